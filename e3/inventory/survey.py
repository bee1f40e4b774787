"""Survey each machine before anything is created: what it is, and whether it can run a party.

All problems of all machines are reported at once, each with a remedy.
"""

import re
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Annotated, Any, TypedDict

import msgspec

from e3.access.ssh import STATE, SshAccess
from e3.errors import E3Error, HostError
from e3.interfaces import Needs
from e3.inventory.machines import SYSTEMS, Machine
from e3.inventory.tools import missing_tools
from e3.remote.tasks import gather_or_cancel
from e3.remote.text import printable

PYTHON = (3, 11)
CANDIDATES = ("python3", "python3.13", "python3.12", "python3.11", "python3.14")
LOOK_SECONDS = 60.0
DISK_MB = 500
"""The disk that a party environment and the overlays' programs need, also while installing."""

CLOCK_SECONDS = 60.0
"""The most that a clock may be off: an overlay's certificates become valid at once."""

PACKAGES = {
    "iproute2": "ip",
    "openssl": "openssl",
    "openvpn": "openvpn",
    "nftables": "nft",
    "tinc": "tincd",
    "tor": "tor",
    "wireguard-tools": "wg",
}
"""A program of each Debian package, which shows that it is installed."""

OVER_TUN = ("iproute2", "nftables")
"""Packages for every overlay with its own network device."""

FIND_PYTHON = """
uname -s
for python in {candidates}; do
  "$python" -c 'import sys; sys.version_info >= {least} and print(sys.executable)' 2>/dev/null
done
"""
MACHINES = {
    ("x86_64", 64): "x86_64-linux",
    ("x86_64", 32): "i686-linux",
    ("i686", 32): "i686-linux",
    ("i386", 32): "i686-linux",
    ("aarch64", 64): "aarch64-linux",
    ("arm64", 64): "aarch64-linux",
    ("aarch64", 32): "armv7l-linux",  # a 32-bit system on a 64-bit kernel, as on a Raspberry Pi
    ("armv8l", 32): "armv7l-linux",
    ("armv7l", 32): "armv7l-linux",
    ("armv6l", 32): "armv6l-linux",
}


Word = Annotated[str, msgspec.Meta(pattern=r"\A[ -~]{0,200}\Z")]
Words = Annotated[list[Word], msgspec.Meta(max_length=100)]
GOOD_PYTHON = re.compile(r"/[\w./+~-]{1,4096}")


class Seen(TypedDict):
    """The used part of the answer of `e3.remote.facts`, validated: a machine can send anything."""

    version: Annotated[list[int], msgspec.Meta(min_length=2, max_length=5)]
    modules: Words
    machine: Word
    bits: int
    release: Word
    home: Annotated[str, msgspec.Meta(pattern=r"\A/[\w./+@~-]{0,4096}\Z")]
    free_bytes: int
    clock: float
    underlay: Annotated[str, msgspec.Meta(pattern=r"\A[0-9A-Fa-f:.]{0,45}\Z")]
    systemd: bool
    tun: bool
    programs: Words


@dataclass(frozen=True, kw_only=True)
class Facts:
    """The permanent facts of a machine: enough to reach and to prepare it.

    ``version`` is its Python's; ``lacking`` are packages that are to be installed.
    """

    system: str
    underlay: str
    version: str
    access: SshAccess
    lacking: tuple[str, ...] = ()

    def to_properties(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {**asdict(self), "lacking": list(self.lacking)}


async def survey(
    machines: Mapping[str, Machine], needs: Needs, *, install_packages: bool
) -> dict[str, Facts]:
    """Return the facts of each machine by its name; ``needs`` are those of the overlay.

    Raises `HostError` with the reason and a remedy for every unfit machine.
    """

    async def one(name: str, machine: Machine) -> Facts | E3Error | TimeoutError:
        try:
            return await _look_at(name, machine, needs, install_packages=install_packages)
        except (E3Error, TimeoutError) as error:
            return error

    found = await gather_or_cancel(one(name, machine) for name, machine in machines.items())
    unfit: list[str] = []
    facts: dict[str, Facts] = {}
    for (name, machine), result in zip(machines.items(), found, strict=True):
        if isinstance(result, Facts):
            facts[name] = result
        else:
            unfit.append(f"{machine.host}: {result}")
    if unfit:
        lines = "\n  ".join(unfit)
        raise HostError(f"{len(unfit)} of {len(machines)} machines cannot be used:\n  {lines}")
    return facts


async def login(name: str, machine: Machine) -> SshAccess:
    """Return the access to a machine as its user, with the first Python on its PATH."""
    from e3.access import connections  # noqa: PLC0415 -- asyncssh is slow to load; labs need none

    access = SshAccess(
        host=name,
        address=machine.address or machine.host,
        port=machine.port or (0 if machine.ssh_config else 22),
        user=machine.user or "",
        key=machine.key,
        host_key=machine.host_key,
        ssh_config=machine.ssh_config,
    )
    user = machine.user or await connections.user_of(access.target)
    return _changed(access, user=user)


async def _look_at(name: str, machine: Machine, needs: Needs, *, install_packages: bool) -> Facts:
    access = await login(name, machine)
    access = _changed(access, python=await _find_python(access, machine))
    if access.user != "root" and machine.sudo is not False:
        may = await access.shell("sudo -n true", timeout_seconds=LOOK_SECONDS)
        if machine.sudo and may.exit:
            raise HostError(
                f"host {name} does not let user {access.user} become root without a password; "
                "permit that (sudoers: NOPASSWD), or set sudo: false"
            )
        access = _changed(access, sudo=may.exit == 0)
    begun = time.time()
    seen = await _see(access)
    if not access.rights:
        access = _changed(access, own=f"{seen['home']}/.e3")
    manager = machine.services or ("systemd" if seen["systemd"] and access.rights else "supervisor")
    facts = Facts(
        system=_system(name, machine, seen),
        underlay=machine.underlay or _underlay(name, machine, seen),
        version=".".join(map(str, seen["version"])),
        access=_changed(access, services=manager),
        lacking=_lacking(needs, seen),
    )
    check_fit(name, seen, ahead_seconds=clock_off(seen["clock"], begun, time.time()))
    _check_needs(name, facts, needs, seen, install_packages=install_packages)
    return facts


async def _see(access: SshAccess) -> Seen:
    request = {"folder": STATE, "programs": list(PACKAGES.values())}
    return await access.ask("facts", "look", request, Seen, timeout_seconds=LOOK_SECONDS)


async def _find_python(access: SshAccess, machine: Machine) -> str:
    script = FIND_PYTHON.format(candidates=machine.python or " ".join(CANDIDATES), least=PYTHON)
    said = await access.shell(script, timeout_seconds=LOOK_SECONDS)
    kernel, *pythons = said.stdout.decode(errors="replace").split() or [""]
    if kernel != "Linux":
        raise HostError(
            f"host {access.host} runs {printable(kernel) or 'no POSIX shell'}, and parties run on "
            "Linux alone"
        )
    if not pythons:
        wanted = f"at {machine.python} " if machine.python else ""
        raise HostError(
            f"host {access.host} has no Python 3.11 or newer {wanted}on its PATH; install it "
            "(Debian, Ubuntu: sudo apt-get install python3 python3-venv), or say where it is as "
            "python:"
        )
    if not GOOD_PYTHON.fullmatch(pythons[0]):
        raise HostError(
            f"host {access.host} has its Python at {printable(pythons[0])!r}; name one by a path "
            "of letters, digits and . _ / + ~ - as python:"
        )
    return pythons[0]


def _system(name: str, machine: Machine, seen: Seen) -> str:
    system = MACHINES.get((seen["machine"], int(seen["bits"])))
    if system is None:
        raise HostError(
            f"host {name} is a {seen['machine']} of {seen['bits']:g} bits, and parties run on "
            f"{', '.join(SYSTEMS)}"
        )
    if machine.system not in {None, system}:
        raise HostError(f"host {name} is {system}, not {machine.system}; correct its system:")
    return system


def _underlay(name: str, machine: Machine, seen: Seen) -> str:
    """Return the address for the other machines: the one we use if it is an IP, else its own."""
    address = machine.address or machine.host
    if not machine.ssh_config and address.replace(".", "").isdigit():
        return address
    if not seen["underlay"]:
        raise HostError(f"host {name} has no address that the others could use; give underlay:")
    return str(seen["underlay"])


def _lacking(needs: Needs, seen: Seen) -> tuple[str, ...]:
    wanted = sorted({*needs.packages, *(OVER_TUN if needs.tun else ())})
    return tuple(name for name in wanted if PACKAGES.get(name, name) not in seen["programs"])


def clock_off(clock: float, begun: float, ended: float) -> float:
    """Return by how many seconds a clock is ahead that was read between two readings of ours."""
    return min(clock - begun, 0) + max(clock - ended, 0)


def check_fit(name: str, seen: Seen, *, ahead_seconds: float) -> None:
    """Raise `HostError` if the machine does not suffice for a party."""
    missing = {"venv", "ensurepip", "ssl", "ctypes", "zlib"} - set(seen["modules"])
    if missing:
        raise HostError(
            f"host {name}: its Python lacks {', '.join(sorted(missing))}; install it (Debian, "
            "Ubuntu: sudo apt-get install python3-venv)"
        )
    free_mb = seen["free_bytes"] / 1e6
    if free_mb < DISK_MB:
        raise HostError(
            f"host {name} has {free_mb:.0f} MB of disk left and needs {DISK_MB}; make room there"
        )
    if abs(ahead_seconds) > CLOCK_SECONDS:
        raise HostError(
            f"host {name}: its clock is {abs(ahead_seconds):.0f} s "
            f"{'ahead' if ahead_seconds > 0 else 'behind'}; set it (timedatectl set-ntp true)"
        )


def _check_needs(
    name: str, facts: Facts, needs: Needs, seen: Seen, *, install_packages: bool
) -> None:
    """Raise `HostError` if the overlay cannot run on the machine."""
    if needs.tun and not facts.access.rights:
        raise HostError(
            f"host {name}: the overlay needs a network device, and user {facts.access.user} is "
            "not root; permit sudo without a password, or choose another overlay, such as plain"
        )
    if needs.tun and not seen["tun"]:
        raise HostError(f"host {name} has no /dev/net/tun; type there: sudo modprobe tun")
    if absent := missing_tools(needs, facts.system):
        raise HostError(f"host {name}: {absent}")
    if not facts.lacking:
        return
    command = f"apt-get install --no-install-recommends {' '.join(facts.lacking)}"
    able = facts.access.rights and "debian" in seen["release"]
    if not (install_packages and able):
        may = "; with e3:fleet-options install-packages: true E3 does it" if able else ""
        raise HostError(f"host {name} lacks programs; type there: sudo {command}{may}")


def _changed(access: SshAccess, **values: Any) -> SshAccess:  # noqa: ANN401 -- its own fields
    return replace(access, **values)
