"""Hosts for pure tests: plain facts, and an access that nothing may use."""

from e3.access import NamespaceAccess
from e3.interfaces import Host


def host(name: str, underlay: str) -> Host:
    """Return a public host of a lab that does not exist."""
    return Host(
        name=name,
        region=name.partition("-")[0],
        system="x86_64-linux",
        underlay=underlay,
        reachability="public",
        python="python3",
        tools="/tools",
        access=NamespaceAccess(host=name, pid=1, started=0, boot="none"),
    )
