"""The kernel features that the lab and the overlays need: each is tried, not looked up."""

import errno
import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence

from e3.cli.checks.finding import Finding
from e3.lab.userspace import TUN, remedy, tun_remedy

PROBE = "e3.cli.checks.probe"
PROBE_SECONDS = 30.0
NOBODY = 65_534
"""An ordinary user, if there is one on this machine."""

NEEDED = {
    "veth": ("virtual cables", "`sudo modprobe veth`"),
    "bridge": ("bridges", "`sudo modprobe bridge`"),
    "nat": ("nftables NAT", "`sudo modprobe nf_tables nft_chain_nat`"),
}


def check() -> Iterator[Finding]:
    """Yield one finding for each feature."""
    facts = _facts()
    refused = facts.get("refused")
    if refused is not None:
        yield Finding(level="FAIL", subject="namespaces", detail=str(refused))
        return
    release = platform.release()
    yield Finding(level="OK", subject="namespaces", detail=f"permitted (Linux {release})")
    yield _ordinary_user()
    for name, (what, remedy_) in NEEDED.items():
        yield (
            Finding(level="OK", subject=name, detail=f"{what} work")
            if facts[name]
            else Finding(level="FAIL", subject=name, detail=f"no {what}", remedy=remedy_)
        )
    yield from _tun(facts)
    wireguard = "in the kernel" if facts["wireguard"] else "not in the kernel"
    yield Finding(level="OK", subject="wireguard", detail=wireguard)
    netem = "there, not used" if facts["netem"] else "not there, not needed"
    yield Finding(level="OK", subject="sch_netem", detail=f"{netem}: the lab delays by itself")


def _facts() -> Mapping[str, object]:
    done = subprocess.run(
        [sys.executable, "-m", PROBE],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=PROBE_SECONDS,
    )
    try:
        facts: Mapping[str, object] = json.loads(done.stdout)
    except ValueError:
        return {"refused": f"the probe ended: {done.stderr.strip().rpartition(chr(10))[2]}"}
    return facts


def _ordinary_user() -> Finding:
    """Return whether an ordinary user could run a lab, by trying it as one."""
    subject = "user namespaces"
    if os.geteuid() != 0:
        return Finding(level="OK", subject=subject, detail="permitted: this user runs labs")
    argv = ["unshare", "--user", "--map-root-user", "--net", "--mount", "--pid", "--fork", "true"]
    if _as_nobody(argv):
        return Finding(
            level="WARN",
            subject=subject,
            detail="refused to ordinary users, whose labs would not start",
            remedy=f"use E3 as root, or for them {remedy(NOBODY)}",
        )
    if _as_nobody(["sh", "-c", f"exec 3<>{TUN}"]):
        return Finding(
            level="WARN",
            subject=subject,
            detail=f"permitted to ordinary users, but not {TUN}: their labs would not start",
            remedy=f"use E3 as root, or for them {tun_remedy(errno.EACCES)}",
        )
    return Finding(level="OK", subject=subject, detail="permitted to ordinary users")


def _as_nobody(argv: Sequence[str]) -> int:
    """Return the exit status of a command that runs as a user without any rights."""
    done = subprocess.run(
        argv,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        timeout=PROBE_SECONDS,
        cwd="/",
        user=NOBODY,
        group=NOBODY,
        extra_groups=[],
    )
    return done.returncode


def _tun(facts: Mapping[str, object]) -> Iterator[Finding]:
    if facts["tun"]:
        yield Finding(
            level="FAIL",
            subject=TUN,
            detail=str(facts["tun"]),
            remedy=str(facts["tun_remedy"]),
        )
        return
    segments = facts["segments"]
    if segments:
        detail = f"opens, with whole segments of {segments} (IFF_VNET_HDR)"
        yield Finding(level="OK", subject=TUN, detail=detail)
    else:
        yield Finding(
            level="WARN",
            subject=TUN,
            detail="opens, but takes no segments: links of a lab are slower",
            remedy="a newer kernel is faster",
        )
