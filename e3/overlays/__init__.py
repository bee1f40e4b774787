"""Ways of connecting hosts, one file each. A new overlay adds its line to `OVERLAYS`."""

from collections.abc import Callable, Mapping

from e3.interfaces import Overlay
from e3.overlays.nebula import Nebula
from e3.overlays.openvpn import OpenVpn
from e3.overlays.plain import Plain
from e3.overlays.tailscale.headscale import Headscale
from e3.overlays.tailscale.tailscale import Tailscale
from e3.overlays.tinc import Tinc
from e3.overlays.tor.overlay import Tor
from e3.overlays.wireguard import WireGuard

OVERLAYS: Mapping[str, Callable[..., Overlay]] = {
    "headscale": Headscale,
    "nebula": Nebula,
    "openvpn": OpenVpn,
    "plain": Plain,
    "tailscale": Tailscale,
    "tinc": Tinc,
    "tor": Tor,
    "wireguard": WireGuard,
}
