"""What an overlay may have besides the contract of `e3.interfaces`: it tells of its handshakes."""

from collections.abc import Mapping, Sequence
from typing import ClassVar, Protocol, runtime_checkable

from e3.interfaces import Host, Network

Marks = Mapping[tuple[str, str], str]
"""A mark of the last handshake of each ordered pair of host names that had one."""


@runtime_checkable
class TellsHandshakes(Protocol):
    """An overlay whose programs tell of the handshakes that they complete.

    ``handshake`` names their kind in results, such as ``wireguard``.
    """

    handshake: ClassVar[str]

    async def handshakes(self, hosts: Sequence[Host], network: Network) -> Marks:
        """Return the marks now.

        A pair has another mark after another handshake, and only then. Of several between two
        calls the last one is told.
        """
