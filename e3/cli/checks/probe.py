"""Try features of this kernel in namespaces of this process: ``python -m e3.cli.checks.probe``.

Prints one JSON object; all that it makes is removed with the process.
"""

import contextlib
import fcntl
import json
import os
import struct
import subprocess

from e3.errors import PlatformError
from e3.lab.router import IFF_NO_PI, IFF_TUN, IFF_VNET_HDR, TUNSETIFF
from e3.lab.userspace import TUN, enter_namespaces, tun_remedy
from e3.lab.wan import ALL_SEGMENTS, TCP_SEGMENTS, TUNSETOFFLOAD

TRIED = {
    "veth": "ip link add e3-veth type veth peer name e3-peer",
    "bridge": "ip link add e3-bridge type bridge",
    "nat": "nft add table ip e3; add chain ip e3 nat { type nat hook postrouting priority 100; }",
    "wireguard": "ip link add e3-wg type wireguard",
    "netem": "tc qdisc add dev lo root netem delay 1ms",
}
"""Kernel features, each with a command that needs it."""


def main() -> None:
    """Try every feature and print the results."""
    os.environ["PATH"] = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
    try:
        enter_namespaces()
    except PlatformError as error:
        print(json.dumps({"refused": str(error)}))
        return
    print(json.dumps({**{name: _runs(line) for name, line in TRIED.items()}, **_tun()}))


def _runs(line: str) -> bool:
    program, *words = line.split()
    argv = ["nft", line.removeprefix("nft ")] if program == "nft" else [program, *words]
    try:
        return subprocess.run(argv, capture_output=True, check=False, timeout=10).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def _tun() -> dict[str, str]:
    """Return the error of /dev/net/tun, or which segments it accepts whole."""
    try:
        tun = os.open(TUN, os.O_RDWR | os.O_CLOEXEC)
        fcntl.ioctl(
            tun, TUNSETIFF, struct.pack("16sH", b"e3-tun", IFF_TUN | IFF_NO_PI | IFF_VNET_HDR)
        )
    except OSError as error:
        return {
            "tun": f"cannot be opened ({error.strerror})",
            "tun_remedy": tun_remedy(error.errno),
        }
    for what, flags in (("TCP and UDP", ALL_SEGMENTS), ("TCP", TCP_SEGMENTS)):
        with contextlib.suppress(OSError):
            fcntl.ioctl(tun, TUNSETOFFLOAD, flags)
            return {"tun": "", "segments": what}
    return {"tun": "", "segments": ""}


if __name__ == "__main__":
    main()
