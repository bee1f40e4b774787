"""Prepare a machine for a party, and restore it afterwards.

All files are in two folders of E3's: /var/lib/e3 and /run/e3, or below the home of a user without
root. Only one stack uses a machine at a time.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from e3 import private
from e3.access.ssh import RUN, SERVICES, STATE, SshAccess
from e3.errors import HostError
from e3.interfaces import File

OURS = f"{STATE}/host"
OWNER, LOCK, TOOLS, PACKAGES = (
    f"{OURS}/{x}" for x in ("owner", "requirements", "tools", "packages")
)
REQUIREMENTS = Path(__file__).parents[1] / "party" / "requirements.txt"

BOOT = "/proc/sys/kernel/random/boot_id"

STEP_SECONDS = 60.0
SEND_SECONDS = 600.0
INSTALL_SECONDS = 3600.0
"""Long enough for a Raspberry Pi that must build numpy."""

FIND_PIP = """
import ensurepip, glob, os, sysconfig
bundled = os.path.join(os.path.dirname(ensurepip.__file__), "_bundled")
places = filter(None, (sysconfig.get_config_var("WHEEL_PKG_DIR"), bundled))
wheels = (wheel for place in places for wheel in glob.glob(os.path.join(place, "pip-*.whl")))
print(next(wheels, ""))
"""
"""Prints the wheel of pip that a Python has for its environments, if it has one."""

INSTALL = """
set -eu
[ ! -e "$1/whole" ] || exit 0
rm -rf "$1"
"$2" -m venv --without-pip "$1"
python=$1/bin/python
# pip runs from its wheel as well; to install it first takes longer than all that follows
wheel=$("$python" -c "$4")
[ -n "$wheel" ] || "$python" -m ensurepip >/dev/null
pip() { if [ -n "$wheel" ]; then "$python" "$wheel/pip" "$@"; else "$python" -m pip "$@"; fi; }
pip --disable-pip-version-check --no-cache-dir --quiet \
    install --require-hashes --no-deps --no-compile --requirement "$3"
"$python" -c "import mpyc.runtime"  # compiles what parties load, a tenth of all
touch "$1/whole"
for other in "$(dirname "$1")"/venv-*; do [ "$other" = "$1" ] || rm -rf "$other"; done
"""
"""Creates the environment $1 with the Python $2 from the lock $3, once; $4 is `FIND_PIP`."""

LEFT_BEHIND = "left-behind"
"""A file in the stack's folder: machines that were offline when they were to be restored."""

APT = ("env", "DEBIAN_FRONTEND=noninteractive", "NEEDRESTART_MODE=l", "apt-get", "--yes")
LAST_LINES = 8


@dataclass(frozen=True, kw_only=True)
class Provisioned:
    """Paths on a prepared machine, as they are there, and the boot since which they hold."""

    python: str
    tools: str
    boot: str = ""


def environment(access: SshAccess, version: str) -> str:
    """Return the folder of the party environment, named by the digest of what is in it."""
    parts = (REQUIREMENTS.read_text(), access.python, version)
    return f"{OURS}/venv-{hashlib.sha256(repr(parts).encode()).hexdigest()[:16]}"


def ready(access: SshAccess, version: str) -> Provisioned:
    """Return the paths of a prepared machine; pure."""
    place = access.place(environment(access, version))
    return Provisioned(python=f"{place}/bin/python", tools=access.place(TOOLS))


def lock_digest() -> str:
    """Return the digest of the lock of the party environment."""
    return hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()


async def claim(access: SshAccess, owner: str) -> None:
    """Record this stack as the machine's user; raise `HostError` if another stack is."""
    found = (await access.get([OWNER], timeout_seconds=STEP_SECONDS)).get(OWNER)
    if found is not None and found.decode() != owner:
        raise HostError(
            f"host {access.host} is in use by the stack {found.decode()}; destroy that first, or "
            f"remove {access.place(STATE)} there if it is gone"
        )
    await access.put([File(path=OWNER, content=owner.encode())], timeout_seconds=STEP_SECONDS)


async def provision(
    access: SshAccess, version: str, tools: Sequence[File], packages: Sequence[str]
) -> Provisioned:
    """Install the party environment, these programs and these Debian packages.

    What is installed already is kept.
    """
    made = ready(access, version)
    if packages:
        await _install_packages(access, packages)
    lock = File(path=LOCK, content=REQUIREMENTS.read_bytes())
    await access.put([lock, *tools], timeout_seconds=SEND_SECONDS)
    place = environment(access, version)
    argv = ["sh", "-c", INSTALL, "sh", place, access.python, LOCK, FIND_PIP]
    done = await access.run(argv, timeout_seconds=INSTALL_SECONDS)
    if done.exit:
        said = (done.stdout + done.stderr).decode(errors="replace").strip().splitlines()
        lines = "\n".join(said[-LAST_LINES:])
        raise HostError(
            f"host {access.host}: the party environment cannot be installed (exit status "
            f"{done.exit}); does its pip reach an index? Its last lines:\n{lines}"
        )
    return replace(made, boot=await _boot(access))


async def is_whole(access: SshAccess, version: str, owner: str, boot: str) -> bool:
    """Return whether the machine is still as `provision` left it, and not rebooted since.

    Raises `HostError` if it cannot be reached.
    """
    if await _boot(access) != boot:
        return False
    python = ready(access, version).python
    done = await access.run([python, "-c", "import mpyc"], timeout_seconds=STEP_SECONDS)
    found = await access.get([OWNER], timeout_seconds=STEP_SECONDS)
    return done.exit == 0 and found.get(OWNER) == owner.encode()


async def remove(access: SshAccess, owner: str) -> None:
    """Restore the machine to its state before `claim`, unless another stack uses it."""
    kept = await access.get([OWNER, PACKAGES], timeout_seconds=STEP_SECONDS)
    if kept.get(OWNER, owner.encode()) != owner.encode():
        return
    listed = await access.run(["ls", SERVICES], timeout_seconds=STEP_SECONDS)
    for name in listed.stdout.decode().split():
        await access.stop(name, timeout_seconds=STEP_SECONDS)
    if installed := kept.get(PACKAGES, b"").decode().split():
        await access.run([*APT, "remove", *installed], timeout_seconds=INSTALL_SECONDS)
    folders = [access.own] if access.own else [STATE, RUN]
    done = await access.run(["rm", "-rf", *folders], timeout_seconds=STEP_SECONDS)
    if done.exit:
        raise HostError(f"host {access.host}: {done.stderr.decode(errors='replace').strip()}")


def note_left(folder: Path, access: SshAccess, reason: str) -> None:
    """Record in the stack's folder that a machine was offline when it was to be restored."""
    private.folder(folder)
    place = access.own or f"{STATE} and {RUN}"
    why = reason.replace("\n", " ")
    line = f"{access.user}@{access.address}: E3's files are still in {place}, for {why}\n"
    private.append(folder / LEFT_BEHIND, line)


async def _boot(access: SshAccess) -> str:
    return (await access.get([BOOT], timeout_seconds=STEP_SECONDS)).get(BOOT, b"").decode().strip()


async def _install_packages(access: SshAccess, names: Sequence[str]) -> None:
    known = (await access.get([PACKAGES], timeout_seconds=STEP_SECONDS)).get(PACKAGES, b"")
    ours = sorted({*known.decode().split(), *names})
    # recorded first, so that what an interrupted installation leaves is removed as well
    note = File(path=PACKAGES, content="\n".join(ours).encode())
    await access.put([note], timeout_seconds=STEP_SECONDS)
    argv = [*APT, "install", "--no-install-recommends", *names]
    done = await access.run(argv, timeout_seconds=INSTALL_SECONDS)
    if done.exit:
        said = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        raise HostError(f"host {access.host}: {' '.join(argv[-len(names) - 4 :])} failed: {said}")
