"""A joint authority held by real hosts: made as a stack makes it, and what root of a host reads."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

from e3.authority.choices import majority
from e3.authority.joint.messages import Header, decode
from e3.authority.joint.rest import Sealed
from e3.authority.joint.store import Held
from e3.ceremonies.authority import Established, Wanted, establish
from e3.ceremonies.nebula import authority_request
from e3.ceremonies.voices import SHARES
from e3.interfaces import Host
from tests.ceremonies import DAY_SECONDS, scope_of
from tests.ceremony_malice import spellings
from tests.overlays import ask

PLACES = ("/var/lib", "/run", "/tmp", "/etc", "/root", "/var/log")  # noqa: S108 - the host's own
FILE_SECONDS = 30.0


def established(
    folder: Path,
    hosts: Sequence[Host],
    known: Header | None,
    *,
    seconds: float = DAY_SECONDS,
    leaving: Sequence[Host] = (),
) -> Established:
    """Let ``hosts`` hold the authority: make it, or new shares if they changed or are due."""
    return asyncio.run(establishing(folder, hosts, known, seconds=seconds, leaving=leaving))


async def establishing(
    folder: Path,
    hosts: Sequence[Host],
    known: Header | None,
    *,
    seconds: float = DAY_SECONDS,
    leaving: Sequence[Host] = (),
) -> Established:
    """See `established`; hosts that are ``leaving`` may deal, and get no share."""
    names = [host.name for host in hosts]
    wanted = Wanted(
        purpose="nebula",
        threshold=majority(len(names)),
        holders=names,
        scope=scope_of(names),
        refresh_seconds=seconds,
        request=lambda: authority_request("E3 test", 10 * DAY_SECONDS),
    )
    key = known.public_key if known else None
    return await establish(folder, wanted, [*hosts, *leaving], key)


def shares_on(hosts: Sequence[Host], purpose: str = "nebula") -> list[bytes]:
    """Return each host's share, as root of the host reads it."""
    path = f"{SHARES}/{purpose}/share"
    found = [
        asyncio.run(host.access.get([path], timeout_seconds=FILE_SECONDS))[path] for host in hosts
    ]
    return [decode(decode(each, Sealed).data, Held).share for each in found]


def files_with(host: Host, secrets: Sequence[bytes]) -> set[str]:
    """Return the files of a host that have one of the secrets, however it is written there."""
    wanted = [each for secret in secrets for each in spellings(secret)]
    own = ["-path", "/run/.disk", "-prune", "-o"]  # where a lab's host has its /var/lib
    listed = ask(host, "find", *PLACES, "-xdev", *own, "-type", "f", "-print")
    found = set()
    for path in listed.splitlines():
        getting = host.access.get([path], timeout_seconds=FILE_SECONDS)
        content = asyncio.run(getting).get(path, b"")
        if any(each in content for each in wanted):
            found.add(path)
    return found


async def tell_holder(host: Host, signal: str) -> None:
    """Send a signal to the holder's program on a host, if it runs."""
    argv = ["pkill", f"-{signal}", "-f", "joint.holder"]
    await host.access.run(argv, timeout_seconds=FILE_SECONDS)
