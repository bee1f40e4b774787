"""Hosts for pure tests: plain facts, and an access that nothing may use."""

from e3.access.namespace import NamespaceAccess
from e3.interfaces import Host
from e3.nats import Reachability


def host(
    name: str, underlay: str, *, reachability: Reachability = "public", underlay6: str = ""
) -> Host:
    """Return a host of a lab that does not exist."""
    return Host(
        name=name,
        region=name.partition("-")[0],
        system="x86_64-linux",
        underlay=underlay,
        underlay6=underlay6,
        reachability=reachability,
        python="python3",
        tools="/tools",
        access=NamespaceAccess(host=name, pid=1, started=0, boot="none"),
    )
