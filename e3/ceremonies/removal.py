"""Remove the shares of a key from hosts, and the holders' program with the last of them."""

from collections.abc import Sequence
from contextlib import suppress
from importlib.resources import files

from e3.ceremonies.voices import CODE, SHARES
from e3.errors import HostError
from e3.interfaces import Host
from e3.remote.tasks import each_to_its_end

SECONDS = 30.0


async def remove(hosts: Sequence[Host], purpose: str) -> None:
    """Remove what hosts have for this purpose; a host that is gone has nothing."""
    script = (files("e3.ceremonies") / "remove.sh").read_text()

    async def one(host: Host) -> None:
        argv = ["sh", "-c", script, "remove.sh", SHARES, purpose, CODE]
        with suppress(HostError, TimeoutError):
            await host.access.run(argv, timeout_seconds=SECONDS)

    await each_to_its_end(map(one, hosts))
