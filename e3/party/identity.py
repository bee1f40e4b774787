"""Which party a connection belongs to: decided by the address that it comes from.

The overlay declares what an address proves (`e3.interfaces.Needs.address_trust`):
``authenticated`` where the overlay authenticates its members; ``unverified`` where anybody may
use any address (the same is checked there, which finds mistakes but stops no forger);
``translated`` where connections arrive from another address, so that nothing can be checked.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence


class Addresses:
    """The parties' addresses, by pid."""

    def __init__(self, pid: int, addresses: Sequence[str], address_trust: str) -> None:
        """Decide for party ``pid``; ``address_trust`` is one of the three words above."""
        self.pid = pid
        self.translated = address_trust == "translated"
        self._packed = [packed(address) for address in addresses]
        self._at: dict[bytes, list[int]] = {}
        for other, own in enumerate(self._packed):
            if other != pid:
                self._at.setdefault(own, []).append(other)

    def parties_at(self, address: str) -> list[int]:
        """Return the other parties that have an address; none where addresses prove nothing."""
        return [] if self.translated else list(self._at.get(packed(address), ()))

    def admits(self, address: str) -> bool:
        """Return whether a connection from an address may come from a party."""
        return self.translated or bool(self.parties_at(address))

    def fault(self, address: str, claimed: int, called: int | None = None) -> str:
        """Return what is wrong with a claim to be a party, as words that follow a name; or nothing.

        ``called`` is the party that this one dialled, None for a connection that was accepted.
        """
        if called is not None and claimed != called:
            return f"claims to be party {claimed}, and has the address of party {called}"
        if called is None and not 0 <= claimed < self.pid:
            return f"claims to be party {claimed}, which does not call party {self.pid}"
        if not self.translated and packed(address) != self._packed[claimed]:
            owners = " and ".join(f"party {pid}" for pid in self.parties_at(address)) or "no party"
            return f"claims to be party {claimed} from {address}, the address of {owners}"
        return ""


def packed(address: str) -> bytes:
    """Return an address in one form, however it is written; other text stays as it is."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        return socket.inet_pton(family, address.partition("%")[0])
    except OSError:
        return address.encode()
