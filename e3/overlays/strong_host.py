"""Let overlay addresses be reached through the overlay's device alone: the strong host model.

Linux accepts a packet for any of its addresses on any interface, the weak model of RFC 1122,
3.3.4.2. A neighbour on a member's network, or its router, could so reach what listens at the
overlay address past the tunnel (CVE-2019-14899 is of that kind, and wg-quick(8) has such rules for
full tunnels). Overlays without a device of their own have loopback addresses, which Linux itself
protects.
"""

from collections.abc import Sequence

from e3.interfaces import Host, Needs, Network
from e3.overlays.unit import on_each_host, run_script
from e3.remote.tasks import each_to_its_end

SCRIPT = "strong_host.sh"


async def enforce(overlay: str, needs: Needs, hosts: Sequence[Host], network: Network) -> None:
    """Drop what comes for the hosts' overlay addresses by another device; `OverlayError` if not."""
    if needs.tun:
        await on_each_host(
            run_script(host, SCRIPT, _table(overlay), "enforce", network.addresses[host.name])
            for host in hosts
        )


async def lift(overlay: str, needs: Needs, hosts: Sequence[Host]) -> None:
    """Remove the rules from hosts that leave the overlay."""
    if needs.tun:
        await each_to_its_end(run_script(host, SCRIPT, _table(overlay), "lift") for host in hosts)


def _table(overlay: str) -> str:
    return f"e3-{overlay}"
