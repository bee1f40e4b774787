"""What a case of a fault is, and the table of all."""

from collections.abc import Callable
from dataclasses import dataclass

from e3.session.results import SessionResult
from e3.session.verdicts import Verdict
from tests.faults.stage import STOP_SECONDS, Stage

CASES: "dict[str, Case]" = {}


@dataclass(frozen=True, kw_only=True)
class Case:
    """A fault, and what must come of it.

    ``reason`` are words of the sentence, in their order; ``concerned`` are the parties that it
    is about. ``slow`` cases begin first: they wait for a limit. All is stopped and cleaned up
    within ``stop_seconds``: more where no program runs yet, or where a runner itself hangs.
    """

    act: Callable[[Stage], SessionResult]
    verdict: Verdict
    reason: tuple[str, ...]
    concerned: tuple[int, ...]
    slow: bool
    stop_seconds: float


def case(
    name: str,
    verdict: Verdict,
    *reason: str,
    concerned: tuple[int, ...] = (),
    slow: bool = False,
    stop_seconds: float = STOP_SECONDS,
) -> Callable[[Callable[[Stage], SessionResult]], Callable[[Stage], SessionResult]]:
    """Register a case under the words of the table."""

    def register(act: Callable[[Stage], SessionResult]) -> Callable[[Stage], SessionResult]:
        CASES[name] = Case(
            act=act,
            verdict=verdict,
            reason=reason,
            concerned=concerned,
            slow=slow,
            stop_seconds=stop_seconds,
        )
        return act

    return register
