"""A lab's network settings are its own, whatever the machine's are."""

import contextlib
import fcntl
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from e3.lab import sysctls
from e3.lab.nat import UDP_TIMEOUTS
from e3.nats import Reachability
from tests.labs import running
from tests.stack import ROOT

REACHABILITIES: Sequence[Reachability] = (
    "public",
    "port-restricted",
    "cgnat",
    "full-cone",
    "ipv6-only",
)
INHERIT = Path("/proc/sys/net/core/devconf_inherit_init_net")
FROM_PRESENT = "3"
LOCK = Path("/run/lock/e3-test-sysctls")
LEFT = {
    "net/ipv4/tcp_congestion_control",  # the machine's to choose
    "net/ipv4/tcp_allowed_congestion_control",  # and read-only
    "net/ipv4/tcp_fastopen_key",  # drawn at random
    "net/netfilter/nf_conntrack_count",  # a counter
}
LOOPBACK6 = "net/ipv6/conf/lo/"
"""It hears no router and looks for no neighbour."""

TWIST = """
import os, sys
from pathlib import Path
for place in ("ipv4/conf/all", "ipv4/conf/default", "ipv6/conf/all", "ipv6/conf/default"):
    for file in Path("/proc/sys/net", place).iterdir():
        if file.name in ("mtu", "stable_secret", "mc_forwarding"):
            continue
        value = int(file.read_text())
        for other in (1 - value, value + 1, value - 1):
            try:
                file.write_text(str(other))
                break
            except OSError:
                continue
Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
Path("/proc/sys/net/ipv4/tcp_keepalive_time").write_text("5")
Path("/proc/sys/net/ipv4/conf/all/rp_filter").write_text("1")
Path("/proc/sys/net/ipv6/conf/all/disable_ipv6").write_text("1")
os.execvp(sys.argv[1], sys.argv[1:])
"""
"""Gives the present namespace other settings than the usual, each, and becomes a command."""

SHOW = """
import json, os, sys
found = {}
for folder, _, names in os.walk("/proc/sys/net"):
    for name in names:
        path = os.path.join(folder, name)
        try:
            with open(path) as file:
                found[path.removeprefix("/proc/sys/")] = " ".join(file.read().split())
        except OSError:
            pass
json.dump(found, sys.stdout)
"""
Settings = Mapping[str, Mapping[str, str]]


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Return the settings of each kind of namespace of a lab, by what it is."""
    return settings_of_a_lab(tmp_path_factory.mktemp("usual"))


def test_every_namespace_has_its_table(usual: Settings) -> None:
    assert len(usual) == 1 + 2 * len(REACHABILITIES)  # cgnat are two, public is none
    for where, found in usual.items():
        wanted = dict(sysctls.HOST if where.startswith("host") else sysctls.ROUTER)
        if where.startswith("host"):
            wanted |= {"net/ipv4/ping_group_range": "0 2147483647"}
        elif found["net/ipv6/conf/all/forwarding"] == "0":
            wanted = dict(sysctls.ROUTER_OF_IPV4)
        if not where.startswith("router"):
            wanted |= sysctls.FLOWS
        if where.startswith("nat"):  # each has its own
            for name in UDP_TIMEOUTS:
                assert int(found[f"net/netfilter/{name}"]) in {120, 300}
                del wanted[f"net/netfilter/{name}"]
        for name, value in wanted.items():
            assert found.get(name, value) == value, f"{where}: {name}"


@pytest.mark.skipif(os.geteuid() != 0, reason="the machine's settings are root's")
def test_the_machines_settings_do_not_matter(tmp_path: Path, usual: Settings) -> None:
    """Also those that a later kernel has: what is named here belongs into e3/lab/sysctls.py."""
    script = (
        "import json, sys; from pathlib import Path; from tests.lab.test_sysctls import *;"
        f" json.dump(settings_of_a_lab(Path({str(tmp_path)!r})), sys.stdout)"
    )
    twisted = ["unshare", "--net", sys.executable, "-c", TWIST]
    with namespaces_inheriting_from_the_present():
        done = subprocess.run(
            [*twisted, sys.executable, "-c", script],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )
    assert done.returncode == 0, done.stderr
    found: Settings = json.loads(done.stdout)
    assert found.keys() == usual.keys()
    for where, settings in found.items():
        other = {
            name: value
            for name, value in settings.items()
            if usual[where].get(name, value) != value
            and name not in LEFT
            and (not name.startswith(LOOPBACK6) or name.endswith("/disable_ipv6"))
        }
        assert other == {}, f"{where}: {other}"


@contextlib.contextmanager
def namespaces_inheriting_from_the_present() -> Iterator[None]:
    """Make each new namespace inherit the settings of the one in which it is created."""
    with LOCK.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        before = INHERIT.read_text()
        try:
            INHERIT.write_text(FROM_PRESENT)
        except OSError:
            pytest.skip("this kernel, or who has this machine, does not permit it")
        try:
            yield
        finally:
            INHERIT.write_text(before)


def settings_of_a_lab(folder: Path) -> Settings:
    """Return all network settings of each namespace of a lab with hosts of several kinds."""
    with running(folder / "lab", {("ams3", "ams3"): 0.0}, ("ams3",)) as lab:
        names = [(f"ams3-{i}", "ams3") for i, _ in enumerate(REACHABILITIES)]
        handles = lab.add_hosts(
            names, dict(zip((n for n, _ in names), REACHABILITIES, strict=True))
        )
        found = {
            f"host {kind}": show(f"/proc/{handle.identity.pid}/ns/net")
            for kind, handle in zip(REACHABILITIES, handles, strict=True)
        }
        daemon = Path("/proc", str(lab.status()["pid"]))
        own = (daemon / "ns/net").readlink()
        links = {file: file.readlink() for file in sorted((daemon / "fd").iterdir())}
        held = [it for it, link in links.items() if str(link).startswith("net:") and link != own]
        for file in held:
            settings = show(str(file))
            (kind,) = {"wan0", "wan"} & {
                name.split("/")[3] for name in settings if "/conf/" in name
            }
            found[f"{'router' if kind == 'wan0' else 'nat'} {len(found)}"] = settings
    return found


def show(namespace: str) -> Mapping[str, str]:
    command = ["nsenter", f"--net={namespace}", sys.executable, "-I", "-c", SHOW]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=600)
    shown: Mapping[str, str] = json.loads(done.stdout)
    return shown
