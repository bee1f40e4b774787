"""Namespaces of the lab as a whole, and what to do where the kernel refuses them."""

import errno
import os
import shutil
import subprocess
from pathlib import Path

from e3.errors import PlatformError
from e3.remote import linux

PACKAGES = {
    "ip": "iproute2",
    "nsenter": "util-linux",
    "unshare": "util-linux",
    "tini": "tini",
    "s6-svscan": "s6",
}
"""The programs that make and keep a host, and the Debian package of each."""

REMEDIES = {
    # Ubuntu 24.04: the namespace is made, but has no rights in it
    "kernel/apparmor_restrict_unprivileged_userns": ("1", "0"),
    # Debian 10 and its derivatives
    "kernel/unprivileged_userns_clone": ("0", "1"),
    "user/max_user_namespaces": ("0", "10000"),
}


TUN = "/dev/net/tun"
"""The device that connects every router of a lab to the WAN."""


def check() -> None:
    """Raise `PlatformError` with a remedy if this machine cannot run a lab; change nothing."""
    require_tools()
    os.close(open_tun())
    user = os.geteuid()
    apart = ["unshare", *(["--map-root-user"] if user else []), "--net", "--mount", "true"]
    tried = subprocess.run(apart, capture_output=True, text=True, check=False)
    if tried.returncode:
        raise refusal(tried.stderr.strip().rpartition(": ")[2], user)


def open_tun() -> int:
    """Return a descriptor of the TUN device; raise `PlatformError` with a remedy."""
    try:
        return os.open(TUN, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise PlatformError(
            f"the lab cannot open {TUN} ({error.strerror}); {tun_remedy(error.errno)}"
        ) from error


def tun_remedy(number: int | None) -> str:
    """Return the remedy for an error of opening the TUN device, by its number."""
    if number in {errno.EACCES, errno.EPERM}:
        return (
            f"run `sudo chmod 0666 {TUN}`, which lets nobody change this machine's network, or run "
            f"as root; a container needs `--device {TUN}`"
        )
    return f"run `sudo modprobe tun`; a container needs `--device {TUN}`"


def enter_namespaces() -> bool:
    """Enter new network and mount namespaces; return whether that needed a user namespace.

    An ordinary user becomes root of a user namespace. Raises `PlatformError` with the
    remedy if the kernel forbids it.
    """
    user, group = os.geteuid(), os.getegid()
    apart = linux.CLONE_NEWNET | linux.CLONE_NEWNS
    try:
        if user == 0:
            linux.unshare(apart)
        else:
            linux.unshare(linux.CLONE_NEWUSER)
            Path("/proc/self/setgroups").write_text("deny")
            Path("/proc/self/uid_map").write_text(f"0 {user} 1")
            Path("/proc/self/gid_map").write_text(f"0 {group} 1")
            linux.unshare(apart)
        linux.mount("", "/", flags=linux.MS_REC | linux.MS_PRIVATE)
    except OSError as error:
        raise refusal(str(error.strerror), user) from error
    return user != 0


def refusal(reason: str, user: int) -> PlatformError:
    """Return the error for a ``user`` whom the kernel refuses namespaces."""
    return PlatformError(f"this machine refuses the lab its namespaces ({reason}); {remedy(user)}")


def require_tools() -> None:
    """Raise `PlatformError` with the command that installs what is missing."""
    path = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
    missing = sorted({p for tool, p in PACKAGES.items() if shutil.which(tool, path=path) is None})
    if missing:
        packages = " ".join(missing)
        raise PlatformError(f"the lab needs more programs; run `sudo apt-get install {packages}`")


def remedy(user: int) -> str:
    """Return what lets ``user`` create namespaces on this machine, with its current settings."""
    if user == 0:
        return "a container needs all capabilities for it (`docker run --privileged`)"
    for name, (bad, good) in REMEDIES.items():
        try:
            value = Path("/proc/sys", name).read_text().strip()
        except OSError:
            continue
        if value == bad:
            return f"run `sudo sysctl {name.replace('/', '.')}={good}`, or run as root"
    return "run as root"
