"""What the holder's program needs of a host's Python: libsodium, msgspec, cryptography, base58.

A host that runs the Python of this machine, as in a lab, has them. Any other is sent a layer of
packages, as for a program that asks for some (`e3.session.packages`).
"""

import sys
import sysconfig
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from e3.experiment import Rules
from e3.interfaces import Host
from e3.party.packages import SITE
from e3.session.declarations import Declaration

REQUIREMENTS = Path(__file__).with_name("requirements.txt")


@asynccontextmanager
async def supplied(hosts: Sequence[Host]) -> AsyncIterator[Mapping[str, str]]:
    """Yield the folder of packages by host, as long as it lasts."""
    lacking = [host for host in hosts if not same_python(host)]
    own = {host.name: _own_packages(host) for host in hosts if host not in lacking}
    if not lacking:
        yield own
        return
    from e3.session.layers import Store  # noqa: PLC0415 -- hosts of a lab need none
    from e3.session.packages import prepared  # noqa: PLC0415 -- the same

    asked = Declaration(path=REQUIREMENTS, top=REQUIREMENTS.parent)
    async with prepared(asked, lacking, Rules(), lambda _: None, Store()) as found:
        yield own | {host: f"{layer}/{SITE}" for host, layer in found.layers.items()}


def same_python(host: Host) -> bool:
    """Return whether a host runs the interpreter in which this runs, with its packages."""
    # not the file itself, to which every environment has a link
    return Path(host.python).parent.resolve() == Path(sys.prefix, "bin").resolve()


def _own_packages(host: Host) -> str:
    """Return where the environment of a host's Python has its packages, as the host sees it."""
    inside = Path(sysconfig.get_path("purelib")).relative_to(sys.prefix)
    return str(Path(host.python).parents[1] / inside)
