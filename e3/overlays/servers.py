"""Which hosts of a fleet serve the others: those that everybody can reach."""

from collections.abc import Sequence

from e3.errors import OverlayError
from e3.interfaces import Host


def choose(
    hosts: Sequence[Host], known: Sequence[str], *, count: int, need: str, instead: str
) -> list[str]:
    """Return the names of at most ``count`` public hosts: those ``known``, then one a region first.

    So none changes that can go on. Where there is none, `OverlayError` says ``need``, such as
    "Nebula needs {} as relay", and what one may do ``instead`` of making a host public.
    """
    public = [host for host in hosts if host.reachability == "public"]
    if not public:
        raise OverlayError(
            f"{need.format('a host that the others can reach from outside')}, and this fleet has "
            f"none; make one host public, or {instead}"
        )
    first = {host.region: host for host in reversed(public)}
    public.sort(key=lambda host: (host.name not in known, first[host.region] is not host))
    return [host.name for host in public[:count]]
