"""The protocol between deployer and runner: one JSON object a line, both ways.

The deployer sends one ``spec``, then ``beat`` from time to time, and ``stop`` to end the party. If
it passes on what a person types, ``typed`` has the next bytes in base64 as ``data``, none at the
end; before each it waits for ``started`` or ``took``. The runner answers with events. Each of them
has ``at``: seconds since it read the spec, by its monotonic clock.

=============  ===============================================================
``ready``      the runner has its spec; ``python`` is its version
``refused``    the program cannot be started: ``reason``
``agreeing``   it compares with the other parties, see `e3.party.agreement`
``agreed``     all are about to run the same: ``noted`` is what may differ and does,
               ``strangers`` are rejected connections, by address
``disagreed``  they are not, or one is missing: ``result`` is incompatible or unreachable,
               ``found`` are the differences, ``peer`` and ``detail`` say who did what; if
               ``by`` is not null, that party called it off, and this one saw no fault itself
``bounded``    the program is about to start; ``note`` says why the kernel cannot count its
               processes' memory together, empty if it can, see `e3.party.bounds`
``started``    the program's process runs
``confined``   it has given up what it does not need; ``notes`` say what it could not
``loaded``     the program has imported mpyc; ``version``
``connecting`` the program called ``mpc.start``
``connected``  all parties are connected
``sent``       it has sent ``total_bytes`` to all peers so far; at most once a second
``stranger``   a caller from ``address``, which is no party's, was rejected
``impostor``   party ``peer``, None if its address does not tell, was rejected: ``detail``
``lost``       the connection to party ``peer`` ended too early: ``why``
``offended``   party ``peer`` sent ``what`` in a pickle, which is not allowed
``stopping``   the program called ``mpc.shutdown``; ``sent_bytes`` to each peer
``stopped``    all connections are closed
``failed``     a coroutine of MPyC met an exception: ``error``
``raised``     the program met an exception that nothing caught: ``error``
``cell``       the program, a notebook, begins its cell ``number``
``output``     the program wrote ``text`` to ``stream``
``took``       the program can read what was typed last
``file``       the program has ended, and left a file of ``size`` bytes as output ``name``
``piece``      the next bytes of that file, in base64: ``data``
``kept``       its output stays on the host: ``files`` of ``bytes`` together
``leftout``    ``total`` things in its output folder were not taken; ``files`` names some, with why
``alive``      the answer to ``beat``
``exited``     the party has ended and no process is left: see `Exit`
=============  ===============================================================

From ``confined`` to ``cell`` they are reports of the program's process (`e3.party.reports`). The
runner checks their form; what they say is only the program's claim. The deployer in turn checks the
form of all events (`e3.session.events`) and relies on nothing else.

Each end counts the other as gone after `silence_seconds` without a line.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import cast

VERSION = 1
"""Of this protocol; deployer and runner are shipped together, parties may not be."""

AGREE_SECONDS = 25.0
"""A party may start 20 s after the others; each failure must have its verdict within 30 s."""

BEAT_SECONDS = 4.0
SILENCE_SECONDS = 20.0

REFUSED_STATUS = 70
"""The exit status of a program to which a peer sent what may not be read."""

FEW_PARTIES = 20
SECONDS_A_PARTY = 2.0
"""For each further party, as all may share the processors of one machine."""

FOLDER_STAYS = 73
"""The exit status of a runner that could not remove its session's folder."""

NOTEBOOK = ".ipynb"
"""How the name of a program's entry ends if it is a notebook."""

STREAMS = ("log", "stderr", "stdout")
"""The streams that a program writes to; ``log`` has MPyC's own log lines."""

RUNNER = "runner.zip"
"""The archive with this package in it, below a session's folder."""

START = (
    "import sys; sys.dont_write_bytecode = True; "
    f"sys.path.insert(0, sys.argv[1] + '/{RUNNER}'); "
    "from e3.party.opening import main; main(*sys.argv[1:])()"
)
"""The runner as ``python -I -c START <folder of the session> <E3's folder> <owner's inputs>``.

The session's folder holds `RUNNER`, ``program``, the program's files, and ``sent``, inputs that
were sent to this host alone. The other two folders outlive the session, see `e3.party.keeping` and
`e3.party.inputs`.
"""

STATE, OWNED = "/var/lib/e3", "/var/lib/e3-inputs"
"""Those two on a host where E3 is root. E3 makes, changes and removes nothing in the second."""


def spare_seconds(parties: int) -> float:
    """Return by how much the limits of a session's phases are longer with so many parties."""
    return max(0, parties - FEW_PARTIES) * SECONDS_A_PARTY


def silence_seconds(parties: int) -> float:
    """Return after which silence runner and deployer of such a session count as gone."""
    return SILENCE_SECONDS + spare_seconds(parties) / 8


@dataclass(frozen=True, kw_only=True)
class Spec:
    """What one party is to run.

    ``parties`` are (address, port) by pid. A party that writes more than ``flood_bytes`` is
    stopped. ``private`` are arguments that no other party learns. ``address_trust`` is what an
    address proves, see `e3.party.identity`; ``agree_seconds`` limit
    the agreement. ``tls`` turns on MPyC's own TLS; ``mixed`` says that some parties have words of
    32 bits and some of 64. All processes together may take ``memory_bytes``; their number is
    limited by ``processes``, and what they write by ``file_bytes``. ``unpickle`` are types, as
    ``module.name``, that peers may send besides MPyC's own. ``network`` is what the program
    reaches: ``peers``, or ``open`` for all that its host reaches. Its output folder has
    ``output_bytes`` in ``output_files``; ``outputs`` says where they go, to the ``evidence`` or
    nowhere: ``private``. Files of the program's own folder that match a pattern of ``keep`` are
    output as well. Its inputs have ``input_bytes`` at most; those of all parties have the
    same names, unless ``input_names`` is ``any``. ``inputs_from`` is a session whose private
    outputs are inputs of this one. The runner itself adds the names of its ``inputs``. If ``typed``
    is true, the deployer passes on what is the program's standard input. ``packages`` is the layer
    with the packages that the program asks for, see `e3.party.packages`, if it asks for any.
    """

    session: str
    pid: int
    parties: tuple[tuple[str, int], ...]
    entry: str
    args: tuple[str, ...]
    private: tuple[str, ...] = ()
    overlay: str = ""
    address_trust: str = "unverified"
    agree_seconds: float = AGREE_SECONDS
    tls: bool = False
    mixed: bool = False
    flood_bytes: int = 100_000_000
    memory_bytes: int = 4_096_000_000
    file_bytes: int = 256_000_000
    processes: int = 512
    unpickle: tuple[str, ...] = ()
    network: str = "peers"
    output_bytes: int = 100_000_000
    output_files: int = 1000
    outputs: str = "evidence"
    keep: tuple[str, ...] = ()
    input_bytes: int = 1_000_000_000
    input_names: str = "same"
    inputs_from: str = ""
    inputs: tuple[str, ...] = ()
    typed: bool = False
    packages: str = ""
    version: int = VERSION

    @property
    def argv(self) -> list[str]:
        """The program's ``sys.argv``.

        MPyC's options stand first, since a program's own arguments may end with ``-- x``.
        """
        endpoints = (f"{address}:{port}" for address, port in self.parties)
        options = [word for endpoint in endpoints for word in ("-P", endpoint)]
        last = self.args.index("--") if "--" in self.args else len(self.args)
        args = [*self.args[:last], *self.private, *self.args[last:]]
        ssl = ["--ssl"] if self.tls else []
        mixed = ["--mix32-64bit"] if self.mixed else []
        return [self.entry, *options, "-I", str(self.pid), *ssl, *mixed, *args]


@dataclass(frozen=True, kw_only=True)
class Exit:
    """How a party ended.

    ``exit`` is the program's own status, negative for a signal, and None where the runner stopped
    it. ``why`` is then ``stop``, ``flood``, ``memory``, ``silence``, ``end`` (of the runner's
    input), or ``report``: the program sent an invalid report, described by ``fault``
    (`e3.party.reports`). ``seconds`` is the program's running time, ``written``
    the bytes it wrote by stream, ``strays`` the processes it left behind. ``cpu_seconds`` is the
    processor time of all its processes, ``peak_bytes`` the most memory of the largest one.
    """

    exit: int | None
    why: str
    seconds: float
    written: dict[str, int]
    strays: int
    fault: str = ""
    cpu_seconds: float = 0.0
    peak_bytes: int = 0


def encode(kind: str, **fields: object) -> bytes:
    """Return one line that says ``kind``."""
    return json.dumps({"e3": kind, **fields}, separators=(",", ":")).encode() + b"\n"


def decode(line: bytes) -> dict[str, object] | None:
    """Return the message in a line, or None if it is not one (a banner, a traceback)."""
    if not line.startswith(b'{"e3":'):
        return None
    try:
        message = json.loads(line)
    except ValueError:
        return None
    return message if isinstance(message, dict) else None


def encode_spec(spec: Spec) -> bytes:
    """Return the line of a spec."""
    return encode("spec", **asdict(spec))


def decode_spec(line: bytes) -> Spec | None:
    """Return the spec in a line, or None if there is none of this version."""
    message = decode(line)
    if message is None or message.pop("e3") != "spec" or message.get("version") != VERSION:
        return None
    fields: dict[str, object] = {name: message[name] for name in Spec.__dataclass_fields__}
    parties = message["parties"]
    args, private = message["args"], message["private"]
    if not (isinstance(parties, list) and isinstance(args, list) and isinstance(private, list)):
        return None
    fields["parties"] = tuple((str(address), int(port)) for address, port in parties)
    fields["args"] = tuple(map(str, args))
    fields["private"] = tuple(map(str, private))
    for name in ("unpickle", "inputs", "keep"):
        fields[name] = tuple(map(str, cast("list[str]", message[name])))
    return Spec(**fields)  # type: ignore[arg-type]  # the fields came from encode_spec
