"""What a session yields: raw numbers with their units in the names."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from e3.interfaces import AddressTrust, PairPath, PathClass
from e3.remote.text import printable, printable_lines
from e3.session.verdicts import Verdict

SENTENCE_LENGTH = 4000
"""Characters of a sentence in a result."""

Identity = Literal["certificates", "addresses", "nothing"]

IDENTITY: Mapping[AddressTrust, Identity] = {
    "authenticated": "addresses",
    "unverified": "nothing",
    "translated": "nothing",
}
"""What proves who is which party, without TLS, by what an overlay's addresses do."""


@dataclass(frozen=True, kw_only=True)
class PartyResult:
    """One party's share of a session.

    ``exit`` is the program's own status, negative for a signal, None where it had none (it
    never started, or was stopped). ``seconds`` is the time its process ran, ``sent_bytes``
    what MPyC sent to its peers up to its shutdown, None where it did not get there.
    ``output`` is what it printed on standard output, its begin and its end where it is long.
    """

    pid: int
    host: str
    exit: int | None
    seconds: float
    sent_bytes: int | None
    output: str


@dataclass(frozen=True, kw_only=True)
class SessionResult:
    """How a session went.

    ``reason`` is one sentence that says why it has that verdict, ``concerned`` are the pids that
    it is about, and ``advice`` says what to do, if anything.
    ``setup_seconds`` last from its begin until all parties are connected, ``online_seconds``
    from then until the last party has its last result; both are None if the parties never
    got there. ``paths`` are those at the session's begin, ``paths_after`` the same at its end, none
    where they could not be read; ``notes`` has a sentence for each that changed meanwhile, and
    whatever else is to be known besides the verdict. ``identity`` is what proved who is which
    party: ``certificates``, ``addresses`` of an overlay that authenticates its members, or
    ``nothing``. ``evidence`` is the folder with logs and manifest.
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

        `pulumi up` shows it as it is, so what parties printed and said is made printable.
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
                {**vars(party), "output": printable_lines(party.output)} for party in self.parties
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
        """Return each path; ``by`` and what was found at the end stand there if they are known."""
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
            if (end := ends.get((path.source, path.target))) is not None:
                item["class_after"] = end.path_class
                if end.by:
                    item["by_after"] = end.by
            items.append(item)
        return items
