"""What a campaign's file has, as typed values; docs/campaigns.md describes its keys.

docs/schemas/campaign.json is its JSON Schema for editors. Keys have hyphens there.
"""

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from e3.evaluation.fields import Id
from e3.impairments import LIMITS

Whole = Annotated[int, Meta(ge=0, le=2**53)]


def _limits(name: str) -> Meta:
    least, most = LIMITS[name]
    return Meta(ge=least, le=most)


class Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="kebab"):
    """Any part of a campaign's file."""


class OverlayEntry(Part, frozen=True, kw_only=True):
    """An overlay; ``overlay`` is by default the entry's own name."""

    overlay: str = ""
    options: dict[str, Any] = {}
    tls: bool = False


class ScenarioEntry(Part, frozen=True, kw_only=True):
    """A placement of hosts; keys that a stack's configuration has, too, mean the same here.

    ``links`` adds jitter, loss and a rate to the lab's links, by pair of regions or ``all``.
    ``processors`` are slow hosts of the lab, with the part of one processor that each has.
    ``overlays`` and ``programs`` limit it to some of the matrix; a program's name stands for all
    its levels.
    """

    about: str = ""
    fleet: str = "lab"
    fleet_options: dict[str, Any] = {}
    regions: dict[str, int]
    latency_ms: dict[str, float] = {}
    nats: dict[str, str | dict[str, Any]] = {}
    links: dict[str, "LinkEntry"] = {}
    processors: dict[str, Annotated[float, Meta(ge=0.01, le=1)]] = {}
    overlays: Annotated[list[Id], Meta(max_length=1000)] = []
    programs: Annotated[list[Id], Meta(max_length=1000)] = []
    max_hourly_usd: float | None = None
    expires_hours: float | None = None


class LinkEntry(Part, frozen=True, kw_only=True):
    """What is added to both directions of a link between regions."""

    jitter_ms: Annotated[float, _limits("jitter_ms")] = 0.0
    loss: Annotated[float, _limits("loss")] = 0.0
    rate_mbit: Annotated[float, _limits("rate_mbit")] | None = None


class ProgramEntry(Part, frozen=True, kw_only=True):
    """A program, with the values that ``{level}`` in its arguments takes one after another."""

    about: str = ""
    program: str
    args: str = ""
    levels: list[str | int | float] = []
    parties: Annotated[int, Meta(ge=1, le=10_000)] | None = None


class Measuring(Part, frozen=True, kw_only=True):
    """What is measured: echoes of each pair around each repetition, throughput when joined.

    ``throughput_pairs`` are so many pairs, the farthest first; 0 seconds measure none.
    """

    echoes: Annotated[int, Meta(ge=0, le=1000)] = 10
    throughput_seconds: Annotated[float, Meta(ge=0, le=60)] = 2.0
    throughput_pairs: Annotated[int, Meta(ge=0, le=1000)] = 1


class Observing(Part, frozen=True, kw_only=True):
    """What is watched on the wire of a lab, after the repetitions of a cell.

    In each of ``scenarios`` one session carries a canary, and whoever has not joined tries to reach
    a member. In each of ``traffic`` so many ``sessions`` of each program, and as many of each kind
    of other traffic, are watched, from which reports train a classifier. ``quiet_seconds`` is how
    long the network is watched without a session.
    """

    scenarios: Annotated[list[Id], Meta(max_length=1000)] = []
    traffic: Annotated[list[Id], Meta(max_length=1000)] = []
    sessions: Annotated[int, Meta(ge=1, le=1000)] = 4
    quiet_seconds: Annotated[float, Meta(ge=0.1, le=600)] = 2.0


class CampaignFile(Part, frozen=True, kw_only=True):
    """The content of a campaign's file."""

    name: Id
    about: str = ""
    seed: Whole = 1
    repetitions: Annotated[int, Meta(ge=1, le=100_000)] = 5
    deadline_seconds: Annotated[float, Meta(ge=1, le=86_400)] = 120.0
    measure: Measuring = Measuring()
    observe: Observing = Observing()
    overlays: Annotated[dict[Id, OverlayEntry | None], Meta(min_length=1, max_length=1000)]
    scenarios: Annotated[dict[Id, ScenarioEntry], Meta(min_length=1, max_length=1000)]
    programs: Annotated[dict[Id, ProgramEntry], Meta(min_length=1, max_length=1000)]


def json_schema() -> Mapping[str, Any]:
    """Return the JSON Schema of a campaign's file; docs/schemas/campaign.json has it."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A campaign of E3",
        **msgspec.json.schema(CampaignFile),
    }
