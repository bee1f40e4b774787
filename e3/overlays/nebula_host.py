"""What E3 asks of the Nebula on one host: its key, its version, and whom it is connected to."""

import re
from dataclasses import dataclass

import msgspec

from e3.errors import OverlayError
from e3.interfaces import Host
from e3.party.text import printable

PROGRAMS = ("nebula-cert", "nebula")
CONFIGURATION = "/run/e3/nebula"
CONTROL = f"{CONFIGURATION}/control"
SECRETS = "/var/lib/e3/nebula"
LEAST_VERSION = (1, 12)
"""The first with `nebula ctl`; 1.11.0 lets crafted IPv6 packets pass its firewall (#1840)."""
TIMEOUT_SECONDS = 30.0

MAKE_KEYS = """
set -eu; umask 077; mkdir -p "$1"; cd "$1"
rm -f debug debug.pub
[ -s host.pub ] || {
  rm -f new.key
  "$2" keygen -out-key new.key -out-pub new.pub
  mv new.key host.key; mv new.pub host.pub
}
"$3" -version
cat host.pub
"""
"""Also removes the keys of the SSH server by which E3 asked Nebula before it had `nebula ctl`."""


@dataclass(frozen=True, kw_only=True)
class Keys:
    """The public half of the key that a host made for itself, and the version of its Nebula."""

    public_key: str
    version: str


@dataclass(frozen=True, kw_only=True)
class Peer:
    """What is read of an entry of Nebula's host map, by the names that Nebula gives."""

    vpnAddrs: list[str]  # noqa: N815
    currentRemote: str  # noqa: N815
    currentRelaysToMe: list[str] | None = None  # noqa: N815


async def make_keys(host: Host) -> Keys:
    """Have a host make its key, unless it has one; `OverlayError` if its Nebula is too old."""
    made = await host.access.run(
        ["sh", "-c", MAKE_KEYS, "sh", SECRETS, *(f"{host.tools}/{it}" for it in PROGRAMS)],
        timeout_seconds=TIMEOUT_SECONDS,
    )
    if made.exit:
        raise OverlayError(f"host {host.name} could not make its Nebula keys: {made.complaint}")
    first, _, public_key = made.stdout.decode(errors="replace").partition("\n")
    version = first.removeprefix("Version: ")
    if tuple(map(int, re.findall(r"\d+", version)[:2])) < LEAST_VERSION:
        raise OverlayError(
            f"host {host.name} has Nebula {printable(version)} in {host.tools}, which is older "
            f"than {'.'.join(map(str, LEAST_VERSION))}; `scripts/setup` builds a newer one for "
            "hosts to which E3 brings it, others need another image"
        )
    return Keys(public_key=public_key, version=version)


def control(host: Host, *words: str) -> tuple[str, ...]:
    """Return the command that asks the Nebula on a host."""
    return f"{host.tools}/nebula", "ctl", "-socket", CONTROL, *words


async def host_map(host: Host) -> list[Peer]:
    """Return Nebula's own host map, by the socket that root of the host alone reaches."""
    answer = await host.access.run(
        control(host, "list-hostmap", "-json"), timeout_seconds=TIMEOUT_SECONDS
    )
    try:
        return msgspec.json.decode(answer.stdout, type=list[Peer])
    except msgspec.MsgspecError:
        raise OverlayError(
            f"Nebula on {host.name} does not show its host map: {answer.complaint}; "
            "`pulumi refresh`, then `pulumi up` begin it anew"
        ) from None
