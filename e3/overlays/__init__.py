"""Ways of connecting hosts, one file each. A new overlay adds its line to `OVERLAYS`."""

from e3.interfaces import Overlay
from e3.on_demand import OnDemand

OVERLAYS: OnDemand[type[Overlay]] = OnDemand(
    {
        "didcomm": "e3.overlays.didcomm:Didcomm",
        "headscale": "e3.overlays.tailscale.headscale:Headscale",
        "iroh": "e3.overlays.iroh:Iroh",
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
