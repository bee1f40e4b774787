"""The lab of an ordinary user, in a user namespace.

Run as root, the tests become that user in a mount namespace of their own, in which everyone
may open /dev/net/tun and reach the project and Python, wherever they are. This machine
itself stays as it is.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from e3.lab.client import PROJECT
from e3.overlays.iroh import Iroh
from e3.preflight import Equipment

pytestmark = pytest.mark.lab

NOBODY = 65534
STAGE = """
set -e
mount --make-rprivate /
stage=$1 tun=$2 user=$3; shift 3
mount -t tmpfs -o mode=755 stage "$stage"
# what the user must reach may lie below folders that are closed to him: those are covered
count=0
for path in $REACHED; do
    count=$((count + 1)); mkdir "$stage/$count"; mount --bind "$path" "$stage/$count"
done
for closed in $CLOSED; do mount -t tmpfs -o mode=755 closed "$closed"; done
count=0
for path in $REACHED; do
    count=$((count + 1)); mkdir -p "$path"; mount --bind "$stage/$count" "$path"
done
mknod "$stage/tun" c 10 200; chmod "$tun" "$stage/tun"; mount --bind "$stage/tun" /dev/net/tun
mkdir "$stage/home"; chown "$user" "$stage/home"
cd "$PROJECT"
exec setpriv --reuid="$user" --regid="$user" --clear-groups "$@" "$stage/home"
"""
JOURNEY = """
import asyncio, json, os, signal, sys
from pathlib import Path
from e3.interfaces import File, Service
from e3.lab.client import start, stop
from e3.lab.vantage import vantages
from tests.joint_hosts import established
from tests.labs import Traces

folder = Path(sys.argv[1]) / "lab"
lab = start(folder, {("a", "b"): 20.0})

async def use(host):
    access = host.access
    assert access.in_user_namespace
    assert (await access.run(["hostname"], timeout_seconds=60)).stdout == b"a-0\\n"
    file = File(path="/run/e3/x", content=b"x", mode=0o600, owner="nobody")
    assert await access.put([file], timeout_seconds=60) == {"/run/e3/x"}
    assert await access.get(["/run/e3/x"], timeout_seconds=60) == {"/run/e3/x": b"x"}
    await access.start(Service(name="s", argv=["sleep", "1000"]), timeout_seconds=60)
    await access.stop("s", timeout_seconds=60)
    async with access.attach([sys.executable, "-c", "print(input())"]) as process:
        process.stdin.write(b"hello\\n")
        assert await process.stdout.readline() == b"hello\\n"
    tun = ["ip", "tuntap", "add", "dev", "overlay", "mode", "tun"]
    assert (await access.run(tun, timeout_seconds=60)).exit == 0

async def watch(region, home):
    places = vantages(lab)
    assert places.in_user_namespace
    capture = [sys.executable, "-I", "-S", str(Path("e3/remote/capture.py").resolve())]
    views = {places.regions[region]: ["br0"], places.homes[home]: ["lan"]}
    for place, interfaces in views.items():
        async with places.attach(place, capture) as process:
            asked = {"needles": {}, "views": {"all": interfaces}}
            process.stdin.write(json.dumps(asked).encode() + b"\\n")
            assert await process.stdout.readline() == b"\\n"
            ping = ["ping", "-c1", "-W2", hosts[0].underlay]
            assert (await hosts[2].access.run(ping, timeout_seconds=60)).exit == 0
            process.stdin.write(b"take\\n")
            assert json.loads(await process.stdout.readline())["all"]["packets"] >= 2

try:
    for region in "ab":
        lab.add_region(region)
    wanted = [("a-0", "a"), ("a-1", "a"), ("b-0", "b"), ("b-1", "b")]
    hosts = lab.add_hosts(wanted, {"b-0": "cgnat", "b-1": "ipv6-only"})
    assert lab.measure()["a", "b"] >= 20
    lab.reboot_nat("b-0")
    lab.reboot_nat("b-1")
    assert asyncio.run(
        hosts[3].access.run(["ping", "-c1", "-W2", hosts[0].underlay6], timeout_seconds=60)
    ).exit == 0
    lab.set_cable("a-1", whole=False)
    lab.set_cable("a-1", whole=True)
    assert lab.renumber_host("a-1").underlay != hosts[1].underlay
    assert lab.renumber_host("b-0").underlay == hosts[2].underlay
    assert lab.renumber_host("b-1").underlay != hosts[3].underlay
    assert lab.measure()["a", "b"] >= 20
    asyncio.run(use(hosts[0]))
    asyncio.run(watch("a", "b-0"))
    held = [handle.host() for handle in hosts]
    assert established(Path(sys.argv[1]) / "authority", held, None).header.threshold == 3
    traces = Traces.of(lab, hosts)
    os.kill(lab.status()["pid"], signal.SIGKILL)
    for pid in traces.pids:
        while Path(f"/proc/{pid}/ns").exists() and traces.left():
            pass
    assert not any(host.alive() for host in hosts)
    assert traces.machine_is_as_before()
finally:
    stop(folder)
print("done")
"""
JOINED = """
import sys
from pathlib import Path
from e3.overlays import OVERLAYS
from e3.preflight import Equipment
from tests.labs import running
from tests.overlays import Mesh, ask

overlays = {name: make() for name, make in OVERLAYS.items()}
bare = {
    name
    for name, overlay in overlays.items()
    if not overlay.needs.tun and not Equipment().left_out(overlay.needs)
}
for name in sorted(bare):
    with running(Path(sys.argv[1]) / name, regions=("a",)) as lab:
        mesh = Mesh(lab, overlays[name])
        mesh.add("a-0", "a-1")
        before = ask(mesh.host("a-0"), "ls", "/sys/class/net")
        mesh.connect("a-0", "a-1")
        mesh.verify_pairs()
        assert ask(mesh.host("a-0"), "ls", "/sys/class/net") == before
        mesh.disconnect("a-0", "a-1")
print(*sorted(bare))
"""
COMPLAINT = """
import sys
from pathlib import Path
from e3.cli.checks import kernel
from e3.errors import PlatformError
from e3.fleets.lab import LabFleet
from e3.lab.client import start

folder = Path(sys.argv[1]) / "lab"
for attempt in (lambda: LabFleet().check(None), lambda: start(folder)):
    try:
        attempt()
    except PlatformError as error:
        print("refused:", error)
print("made:", folder.exists())
for finding in kernel.check():
    if finding.subject == "/dev/net/tun":
        print(finding.level, finding.detail, finding.remedy)
"""


def run_as_user(code: str, folder: Path, tun: str) -> str:
    """Run Python code as an ordinary user, with the path of a folder of his own."""
    if os.geteuid() != 0:
        pytest.skip("needs root to become an ordinary user with a device file of his own")
    allowed = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    if subprocess.run([*allowed, "unshare", "-Urnm", "true"], check=False).returncode:
        pytest.skip("this kernel keeps user namespaces from ordinary users")
    reached = {PROJECT, Path(sys.base_prefix), Path(sys.prefix).resolve()} - {Path("/usr")}
    reached = {path for path in reached if not any(p in reached for p in path.parents)}
    closed = {path.parents[-2] for path in reached if any(is_closed(p) for p in path.parents)}
    user = [str(folder), tun, str(NOBODY), sys.executable, "-c", code]
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", STAGE, "sh", *user],
        env={
            "PATH": os.environ["PATH"],
            "PROJECT": str(PROJECT),
            "REACHED": " ".join(map(str, sorted(reached))),
            "CLOSED": " ".join(map(str, sorted(closed))),
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def is_closed(path: Path) -> bool:
    return not path.stat().st_mode & 0o001


@pytest.fixture
def stage() -> Iterator[Path]:
    """Make a folder that an ordinary user can reach, unlike those of pytest."""
    folder = Path(tempfile.mkdtemp(prefix="e3-stage-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def test_an_ordinary_user_can_run_a_lab(stage: Path) -> None:
    assert run_as_user(JOURNEY, stage, "666") == "done\n"


@pytest.mark.long
def test_an_overlay_that_declares_no_tun_makes_no_interface(stage: Path) -> None:
    built = [] if Equipment().left_out(Iroh().needs) else ["iroh"]
    joined = run_as_user(JOINED, stage, "666").split()
    assert joined == [*built, "libp2p", "plain", "tor"]


def test_an_ordinary_user_who_may_not_open_the_tun_device_is_told_what_to_do(stage: Path) -> None:
    """Before anything is made, and by the doctor."""
    before_pulumi_begins, at_the_start, made, doctor = run_as_user(
        COMPLAINT, stage, "600"
    ).splitlines()
    for line in (before_pulumi_begins, at_the_start):
        assert line.startswith(
            "refused: the lab cannot open /dev/net/tun (Permission denied); run "
        )
        assert "sudo chmod 0666 /dev/net/tun" in line
    assert made == "made: False"
    assert doctor.startswith("FAIL cannot be opened (Permission denied) run `sudo chmod 0666 /dev")
