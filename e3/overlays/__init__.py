"""Ways of connecting hosts, one file each. A new overlay adds its line to `OVERLAYS`."""

import pkgutil
from collections.abc import Iterator, Mapping
from typing import cast

from e3.interfaces import Overlay


class Classes(Mapping[str, type[Overlay]]):
    """Classes by name, each loaded from ``module:class`` once it is asked for.

    A process uses one or two of them; to load all takes as long as the rest of E3.
    """

    def __init__(self, places: Mapping[str, str]) -> None:
        """Store where each class is."""
        self._places = places

    def __getitem__(self, name: str) -> type[Overlay]:
        """Return the class of that name; raise `KeyError` if there is none."""
        return cast("type[Overlay]", pkgutil.resolve_name(self._places[name]))

    def __iter__(self) -> Iterator[str]:
        """Return the names."""
        return iter(self._places)

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._places)


OVERLAYS = Classes(
    {
        "didcomm": "e3.overlays.didcomm:Didcomm",
        "headscale": "e3.overlays.tailscale.headscale:Headscale",
        "libp2p": "e3.overlays.libp2p:Libp2p",
        "nebula": "e3.overlays.nebula:Nebula",
        "openvpn": "e3.overlays.openvpn:OpenVpn",
        "plain": "e3.overlays.plain:Plain",
        "tailscale": "e3.overlays.tailscale.tailscale:Tailscale",
        "tinc": "e3.overlays.tinc:Tinc",
        "tor": "e3.overlays.tor.overlay:Tor",
        "wireguard": "e3.overlays.wireguard:WireGuard",
    }
)
