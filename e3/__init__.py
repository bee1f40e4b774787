"""E3, the Extensible Evaluation Environment: one Pulumi stack is one MPyC experiment.

``from e3 import Lab, Overlay, Session`` is for Pulumi programs of others; see `e3.library`.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from e3.library import Lab, Overlay, Session

__all__ = ["Lab", "Overlay", "Session"]


def __getattr__(name: str) -> object:
    """Load `e3.library` at its first use: it needs Pulumi, which takes a second."""
    if name in __all__:
        return getattr(import_module("e3.library"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
