"""One line of `e3 doctor`."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Level = Literal["OK", "WARN", "FAIL"]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What was found about ``subject``, and what to do if it is not OK.

    WARN is a limitation or a harmless leftover; FAIL keeps stacks from working. ``fix`` removes
    what is safe to remove, or does what ``done`` says.
    """

    level: Level
    subject: str
    detail: str
    remedy: str = ""
    fix: Callable[[], None] | None = None
    done: str = "removed"

    @property
    def text(self) -> str:
        """Detail and remedy as one sentence."""
        return f"{self.detail}; {self.remedy}" if self.remedy else self.detail

    def fixed(self) -> "Finding":
        """Apply the fix; return the finding that reports it."""
        if self.fix is not None:
            self.fix()
        return Finding(level="OK", subject=self.subject, detail=f"{self.done}: {self.detail}")

    def to_properties(self) -> dict[str, object]:
        """Return the finding as values of JSON."""
        return {
            "level": self.level,
            "subject": self.subject,
            "detail": self.detail,
            "remedy": self.remedy,
            "fixable": self.fix is not None,
        }
