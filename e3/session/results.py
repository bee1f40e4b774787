"""The result of a session: raw numbers, with their units in the names."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from e3.interfaces import AddressTrust
from e3.paths import PairPath, PathClass
from e3.remote.text import printable, printable_lines
from e3.session.verdicts import Verdict

SENTENCE_LENGTH = 4000
"""The most characters of a sentence in a result."""

Identity = Literal["certificates", "addresses", "nothing"]

IDENTITY: Mapping[AddressTrust, Identity] = {
    "authenticated": "addresses",
    "unverified": "nothing",
    "translated": "nothing",
}
"""What proves a party's identity without TLS, by how far an overlay's addresses are trusted."""


@dataclass(frozen=True, kw_only=True)
class PartyResult:
    """One party's part of a session.

    ``exit`` is the program's own status, negative for a signal; None if it never started or was
    stopped. ``seconds`` is how long its process ran. ``sent_bytes`` is what MPyC sent to its
    peers up to its shutdown; None if it did not get there. ``cpu_seconds`` is the processor time of
    all its processes and ``peak_memory_bytes`` the most memory of the largest one; None if it never
    started. ``sent_bytes_to`` is ``sent_bytes`` by peer, in the order of pids, with 0 for itself;
    empty if it is not known. ``output`` is what it printed on standard output; of a long output,
    the beginning and the end. It left ``output_files`` in its output folder, of
    ``output_files_bytes`` together, which are in the evidence or on its host.
    """

    pid: int
    host: str
    exit: int | None
    seconds: float
    sent_bytes: int | None
    output: str
    output_files: int = 0
    output_files_bytes: int = 0
    cpu_seconds: float | None = None
    peak_memory_bytes: int | None = None
    sent_bytes_to: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class SessionResult:
    """How a session went.

    ``reason`` is one sentence that says why it has that verdict. ``concerned`` are the pids that
    the reason concerns, and ``advice`` says what to do, if anything.
    ``setup_seconds`` is the time until all parties are connected, ``online_seconds`` that from
    then until the last party has its last result; None if the parties never got there.
    ``paths`` are those at the session's beginning, ``paths_after`` those at its end; none if they
    could not be read. ``notes`` has a sentence for each path that changed meanwhile, and other
    remarks besides the verdict. ``identity`` is what proved the parties' identities:
    ``certificates``, ``addresses`` of an overlay that authenticates its members, or ``nothing``.
    ``evidence`` is the folder with logs and manifest.
    """

    id: str
    program: str
    digest: str
    overlay: str
    verdict: Verdict
    reason: str
    concerned: tuple[int, ...]
    advice: str
    parties: tuple[PartyResult, ...]
    setup_seconds: float | None
    online_seconds: float | None
    wall_seconds: float
    identity: Identity
    paths: tuple[PairPath, ...]
    paths_after: tuple[PairPath, ...] = ()
    notes: tuple[str, ...] = ()
    evidence: str

    def to_properties(self) -> dict[str, object]:
        """Return the stack output ``session``: values of JSON under stable names.

        `pulumi up` shows it unchanged, so texts that parties wrote are made printable.
        """
        return {
            "id": self.id,
            "program": self.program,
            "digest": self.digest,
            "overlay": self.overlay,
            "verdict": str(self.verdict),
            "reason": printable(self.reason, SENTENCE_LENGTH),
            "concerned": list(self.concerned),
            "advice": printable(self.advice, SENTENCE_LENGTH),
            "parties": [
                # without what each sent to each: that grows with the square of their number
                {
                    **{key: it for key, it in vars(party).items() if key != "sent_bytes_to"},
                    "output": printable_lines(party.output),
                }
                for party in self.parties
            ],
            "setup_seconds": self.setup_seconds,
            "online_seconds": self.online_seconds,
            "wall_seconds": self.wall_seconds,
            "identity": self.identity,
            "paths": self._paths(),
            "notes": [printable(note, SENTENCE_LENGTH) for note in self.notes],
            "evidence": self.evidence,
        }

    def _paths(self) -> list[dict[str, str | float | PathClass]]:
        """Return each path; what is not known of it, such as ``by``, is left out."""
        ends = {(path.source, path.target): path for path in self.paths_after}
        items = []
        for path in self.paths:
            item: dict[str, str | float | PathClass] = {
                "from": path.source,
                "to": path.target,
                "class": path.path_class,
                "rtt_ms": path.rtt_ms,
            }
            if path.by:
                item["by"] = path.by
            if path.exchange:
                item["exchange"] = path.exchange
            if (end := ends.get((path.source, path.target))) is not None:
                item["class_after"] = end.path_class
                if end.by:
                    item["by_after"] = end.by
            items.append(item)
        return items


def new_id() -> str:
    """Return a name for a session: its time in UTC, and four characters to keep names unique."""
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
