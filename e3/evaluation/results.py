"""The results of a campaign: JSON lines of one schema; docs/results.md describes it for readers.

The first line is a `CampaignRecord`. A `SetupRecord` follows each time the hosts of a cell have
been joined, a `RepetitionRecord` each finished repetition, an `ObservationRecord` each session that
was watched on the wire, and a `CellRecord` each finished cell.
Numbers are raw, with units in their names; None is what could not be measured.

`e3.evaluation.results_file` reads and writes such files. Everything here is bounded, since anybody
may have written a file that somebody sends.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, field

from e3.evaluation.fields import (
    MOST_ITEMS,
    MOST_SOURCES,
    CellId,
    Count,
    Digest,
    Id,
    Line,
    Milliseconds,
    Number,
    Part,
    Positive,
    Seconds,
    Sentence,
    Share,
    Time,
    Word,
)
from e3.evaluation.observations import ObservationRecord
from e3.paths import PathClass
from e3.session.verdicts import Verdict

SCHEMA = 3
"""The version of the schema. A field that is new, gone or means something else makes another."""

READABLE = (1, 2, 3)
"""Older versions are read, too, if all that they lack has a default."""

CellState = Literal["succeeded", "failed", "unsupported"]
"""How a cell ended; ``unsupported`` is what its overlay, or the machine, cannot do at all."""

Layer = Literal["underlay", "overlay"]
"""The network that a measurement used."""

DisturbanceKind = Literal["cpu", "clock", "suspend", "underlay"]
"""What disturbed a repetition.

``cpu``: other programs used this machine's processors. ``clock``: its clock, or that of a host on
another machine, was set. ``suspend``: one of these machines slept. ``underlay``: the network below
was not as it was when the hosts were joined.
"""


class OverlayChoice(Part, frozen=True, kw_only=True):
    """An overlay of the matrix, with the options that differ from its defaults."""

    id: Id
    overlay: Id
    options: Annotated[dict[Word, Any], Meta(max_length=100)] = field(default_factory=dict)
    tls: bool = False


class LinkQuality(Part, frozen=True, kw_only=True):
    """What a scenario adds to the links between regions (`e3.impairments.Impairment`)."""

    jitter_ms: Milliseconds = 0.0
    loss: Share = 0.0
    rate_mbit: Annotated[float, Meta(gt=0, le=1e6)] | None = None


class ScenarioChoice(Part, frozen=True, kw_only=True):
    """A placement of hosts of the matrix.

    ``rtt_ms`` is what was asked for, by pair of regions ``<region>-<region>``; ``links`` by the
    same, or ``all``. ``nats`` is the class of each host that is not public, ``processors`` the part
    of one processor that a slow host has. ``overlays`` and ``programs`` are those of the matrix
    that are measured in it; all, if they are empty.
    """

    id: Id
    about: Sentence = ""
    fleet: Id
    regions: Annotated[dict[Word, Positive], Meta(max_length=100)]
    rtt_ms: Annotated[dict[Word, Milliseconds], Meta(max_length=MOST_ITEMS)] = field(
        default_factory=dict
    )
    nats: Annotated[dict[Word, Word], Meta(max_length=MOST_ITEMS)] = field(default_factory=dict)
    links: Annotated[dict[Word, LinkQuality], Meta(max_length=MOST_ITEMS)] = field(
        default_factory=dict
    )
    processors: Annotated[dict[Word, Share], Meta(max_length=MOST_ITEMS)] = field(
        default_factory=dict
    )
    overlays: Annotated[list[Id], Meta(max_length=1000)] = field(default_factory=list)
    programs: Annotated[list[Id], Meta(max_length=1000)] = field(default_factory=list)

    def has(self, overlay: str) -> bool:
        """Return whether an overlay is measured in it."""
        return not self.overlays or overlay in self.overlays

    def runs(self, program: str) -> bool:
        """Return whether a program is measured in it."""
        return not self.programs or program in self.programs


class ProgramChoice(Part, frozen=True, kw_only=True):
    """A program of the matrix at one level of its input.

    ``parties`` is their number, None for one on each host. ``digest`` is the SHA-256 of what is
    shipped. Programs of one ``group`` differ in ``level`` alone.
    """

    id: Id
    group: Id
    level: Word = ""
    about: Sentence = ""
    program: Word
    args: Annotated[list[Word], Meta(max_length=1000)] = field(default_factory=list)
    parties: Positive | None = None
    digest: Digest


class Source(Part, frozen=True, kw_only=True):
    """A campaign that ran, as in its own first line, and which ``cells`` of it a file has."""

    schema: int
    name: Id
    digest: Digest
    started: Time
    e3: Word
    commit: Word
    cells: Annotated[list[CellId], Meta(max_length=MOST_ITEMS)]


class CampaignRecord(Line, tag="campaign", frozen=True, kw_only=True):
    """The first line: what was asked for, and which E3 ran it.

    ``digest`` is the SHA-256 of the campaign's content; ``commit`` that of the sources, with a
    plus sign at its end if they had been changed; empty where there was no repository. ``joined``
    are the campaigns of whose cells a file was made, the newest last; empty of one that ran.
    """

    schema: int
    name: Id
    about: Sentence = ""
    digest: Digest
    seed: Count
    repetitions: Positive
    started: Time
    e3: Word
    commit: Word
    overlays: Annotated[list[OverlayChoice], Meta(min_length=1, max_length=1000)]
    scenarios: Annotated[list[ScenarioChoice], Meta(min_length=1, max_length=1000)]
    programs: Annotated[list[ProgramChoice], Meta(min_length=1, max_length=1000)]
    joined: Annotated[list[Source], Meta(max_length=MOST_SOURCES)] = field(default_factory=list)


class MachineFacts(Part, frozen=True, kw_only=True):
    """The machine that ran it, and all hosts of a lab; ``no_energy``: why none is counted."""

    system: Word
    kernel: Word
    processor: Word
    cores: Positive
    memory_bytes: Count
    load_1m: Annotated[float, Meta(ge=0, le=1e6)]
    no_energy: Sentence = "the E3 that ran it did not measure energy"


class HostFacts(Part, frozen=True, kw_only=True):
    """A host of a cell; ``pid`` is its party in a session of one party a host."""

    name: Word
    region: Word
    system: Word
    reachability: Word
    underlay_address: Word
    overlay_address: Word
    pid: Count | None = None


class JoinedPair(Part, frozen=True, kw_only=True):
    """An ordered pair of hosts when the overlay had joined them.

    The seconds count from the start of connecting: until the two had exchanged data, and until the
    overlay reported the path as direct, at most. ``exchange`` is how the connection's keys were
    made; empty where the overlay does not tell.
    """

    source: Word
    target: Word
    path_class: PathClass
    by: Word = ""
    contact_seconds: Seconds | None = None
    direct_seconds: Seconds | None = None
    exchange: Word = ""


class Throughput(Part, frozen=True, kw_only=True):
    """TCP throughput from one host to another; None if they could not connect."""

    source: Word
    target: Word
    layer: Layer
    mbit_per_second: Annotated[float, Meta(ge=0, le=1e9)] | None


class RoundTrip(Part, frozen=True, kw_only=True):
    """Echoes from one host to another: ``sent`` packets, of which ``lost`` did not come back.

    ``jitter_ms`` is the mean difference of successive round trips (RFC 3550 without smoothing).
    ``transport`` is ``tcp`` where the network passes nothing else; then nothing is seen to be lost.
    """

    source: Word
    target: Word
    layer: Layer
    transport: Literal["udp", "tcp"]
    sent: Count
    lost: Count
    least_ms: Milliseconds | None
    median_ms: Milliseconds | None
    most_ms: Milliseconds | None
    jitter_ms: Milliseconds | None


class Installed(Part, frozen=True, kw_only=True):
    """A program that an overlay's hosts need: built by set-up, or a package of the distribution."""

    name: Word
    kind: Literal["program", "package"]
    bytes: Count | None


class SetupRecord(Line, tag="setup", frozen=True, kw_only=True):
    """The manifest of a cell, written each time its hosts have been joined.

    ``setup`` counts them from 0: a campaign that was resumed has several. ``deploy_seconds`` is
    all of ``pulumi up``, ``overlay_seconds`` until the overlay had joined every pair, and
    ``settled_seconds`` until its paths did not change any more. ``programs`` are the digests of
    the overlay's programs, ``installed`` these themselves with their size. ``baseline`` and
    ``throughput`` were measured right after. ``hourly_usd`` is what the hosts of the cell cost.
    ``e3`` and ``commit`` are those of the E3 that ran it, as in the campaign's line; empty in files
    of older schemas, where they are the campaign's.
    """

    cell: CellId
    setup: Count
    started: Time
    stack: Word
    versions: Annotated[dict[Word, Word], Meta(max_length=100)]
    programs: Sentence
    machine: MachineFacts
    hosts: Annotated[list[HostFacts], Meta(min_length=1, max_length=MOST_ITEMS)]
    deploy_seconds: Seconds
    overlay_seconds: Seconds | None
    settled_seconds: Seconds | None
    pairs: Annotated[list[JoinedPair], Meta(max_length=MOST_ITEMS)]
    baseline: Annotated[list[RoundTrip], Meta(max_length=MOST_ITEMS)]
    throughput: Annotated[list[Throughput], Meta(max_length=MOST_ITEMS)]
    measuring_seconds: Seconds
    installed: Annotated[list[Installed], Meta(max_length=100)] = field(default_factory=list)
    hourly_usd: Annotated[float, Meta(ge=0, le=1e6)] = 0.0
    e3: Word = ""
    commit: Word = ""


class PartyCost(Part, frozen=True, kw_only=True):
    """One party's part of a session.

    ``sent_bytes`` is what MPyC sent, ``sent_bytes_to`` the same by peer in the order of pids.
    ``cpu_seconds`` and ``peak_memory_bytes`` are of its program with all processes.
    ``stated_rounds`` and ``stated_bytes`` are what the program says that it takes: sequential
    rounds, and bytes that this party sends. ``stated_openings`` are those of the rounds that only
    open a value.
    """

    pid: Count
    host: Word
    exit: int | None
    seconds: Seconds
    sent_bytes: Count | None
    cpu_seconds: Seconds | None
    peak_memory_bytes: Count | None
    stated_rounds: Count | None = None
    stated_bytes: Count | None = None
    stated_openings: Count | None = None
    sent_bytes_to: Annotated[list[Count], Meta(max_length=MOST_ITEMS)] = field(default_factory=list)


class HostCost(Part, frozen=True, kw_only=True):
    """What a session took of a host besides its party.

    Bytes and packets are those of its underlay interface, and so of everything that the host sent
    and received from before the session to after it. ``daemon_*`` are of the overlay's daemons.
    """

    host: Word
    sent_wire_bytes: Count | None
    received_wire_bytes: Count | None
    sent_packets: Count | None
    received_packets: Count | None
    daemon_cpu_seconds: Seconds | None
    daemon_peak_memory_bytes: Count | None


class PathChange(Part, frozen=True, kw_only=True):
    """The class of an ordered pair's path at the beginning of a session, and at its end."""

    source: Word
    target: Word
    before: PathClass
    after: PathClass | None = None
    by_before: Word = ""
    by_after: Word = ""


class Disturbance(Part, frozen=True, kw_only=True):
    """What disturbed a repetition: a measured ``value`` that is above its ``limit``."""

    kind: DisturbanceKind
    value: Number
    limit: Number
    detail: Sentence


class RepetitionRecord(Line, tag="repetition", frozen=True, kw_only=True):
    """One finished repetition; ``disturbances`` is empty if nothing disturbed it.

    ``order`` counts the repetitions of a campaign as they ran. ``setup`` is that of its cell.
    The first two of the session's times are None if its parties were never all connected.
    ``own_seconds`` is what E3 took besides the session and what was asked to be measured, and
    ``measuring_seconds`` what measuring took, of which nothing falls into the session.
    ``handshakes`` counts pairs that made one meanwhile, by kind: of hosts where an overlay's
    programs tell it, and under ``tls`` those of parties; a kind that is not there was not counted.
    ``energy_joules`` is what this machine's processors and their memory took during the session,
    with all that ran on it; None where it is not measured, or hosts are other machines.
    """

    cell: CellId
    program: Id
    repetition: Count
    order: Count
    setup: Count
    started: Time
    session: Word
    verdict: Verdict
    reason: Sentence
    setup_seconds: Seconds | None
    online_seconds: Seconds | None
    wall_seconds: Seconds
    own_seconds: Seconds
    measuring_seconds: Seconds
    load_1m: Annotated[float, Meta(ge=0, le=1e6)]
    parties: Annotated[list[PartyCost], Meta(max_length=MOST_ITEMS)]
    hosts: Annotated[list[HostCost], Meta(max_length=MOST_ITEMS)]
    paths: Annotated[list[PathChange], Meta(max_length=MOST_ITEMS)]
    round_trips: Annotated[list[RoundTrip], Meta(max_length=MOST_ITEMS)]
    disturbances: Annotated[list[Disturbance], Meta(max_length=100)]
    handshakes: Annotated[dict[Word, Count], Meta(max_length=20)] = field(default_factory=dict)
    energy_joules: Annotated[float, Meta(ge=0, le=1e12)] | None = None


class CellRecord(Line, tag="cell", frozen=True, kw_only=True):
    """The end of a cell; ``verdicts`` counts its repetitions by verdict.

    ``reason`` says why it failed or is unsupported; empty if it succeeded.
    """

    cell: CellId
    ended: Time
    state: CellState
    reason: Sentence
    verdicts: Annotated[dict[Verdict, Count], Meta(max_length=20)]
    destroy_seconds: Seconds | None


Record = CampaignRecord | SetupRecord | RepetitionRecord | ObservationRecord | CellRecord
RECORDS = (CampaignRecord, SetupRecord, RepetitionRecord, ObservationRecord, CellRecord)


def json_schema() -> Mapping[str, Any]:
    """Return the JSON Schema of a line of a file; docs/schemas/results.json has it."""
    schema = msgspec.json.schema(Record)
    for record in RECORDS:
        of_line = schema["$defs"][record.__name__]
        # `e3.evaluation.results_file` adds it to each line
        of_line["properties"]["chain"] = {"type": "string", "pattern": "^[0-9a-f]{64}$"}
        of_line["required"].append("chain")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"A line of E3's results, schema {SCHEMA}",
        **schema,
    }
