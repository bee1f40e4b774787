"""A case of a fault, and the table of all cases."""

from collections.abc import Callable
from dataclasses import dataclass

from e3.session.results import SessionResult
from e3.session.verdicts import Verdict
from tests.faults.stage import STOP_SECONDS, Stage

CASES: "dict[str, Case]" = {}


@dataclass(frozen=True, kw_only=True)
class Case:
    """A fault, and the result that it must have.

    ``reason`` are words of the reason, in their order; ``concerned`` are the parties of the
    verdict. ``slow`` cases begin first, since they wait for a limit. All parties must be stopped
    and cleaned up within ``stop_seconds``: longer if no program runs yet, or a runner hangs.
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
    """Register a case under its name in the table."""

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
