"""Each mode of a tunnel: what its programs need, and where they reach a peer."""

import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from e3.errors import OverlayError
from e3.lab.client import TOOLS, HostHandle, Lab
from e3.tunnel import PROGRAM, over
from tests.labs import running
from tests.tunnels import SECONDS, address, all_up, asked, introduce

NOBODY = 65534
STAGE = """
set -e
mount --make-rprivate /
mount -t tmpfs -o mode=755 stage "$1"
cp "$2" "$1/program"
mknod "$1/tun" c 10 200; chmod 666 "$1/tun"; mount --bind "$1/tun" /dev/net/tun
exec setpriv --reuid="$3" --regid="$3" --clear-groups "$4" -I -c "$5" "$1/program"
"""
ROOTLESS = """
import json, subprocess, sys
open_ = {"do": "open", "id": 1, "pid": 0, "mode": "namespace", "address": "10.77.0.1/24"}
program = [sys.argv[1], "party"]
with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
    print(json.dumps(open_), file=process.stdin, flush=True)
    opened = json.loads(process.stdout.readline())
    pid = str(opened["namespace"])
    enter = ["nsenter", "--target", pid, "--user", "--net", "--preserve-credentials", "--"]
    show = [*enter, "ip", "-br", "address"]
    print(subprocess.run(show, capture_output=True, text=True, check=True).stdout.split())
    process.stdin.close()
    print(process.wait(20))
print(subprocess.run(["ps", "-p", pid], stdout=subprocess.DEVNULL).returncode)
"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with running(tmp_path_factory.mktemp("modes"), {("a", "a"): 0.0}, ["a"]) as lab:
        lab.add_hosts([("a-0", "a"), ("a-1", "a")])
        yield lab


async def told(host: HostHandle, *argv: str) -> str:
    done = await host.access.run(list(argv), timeout_seconds=SECONDS)
    assert done.exit == 0, done.complaint
    return done.stdout.decode()


@pytest.mark.parametrize("mode", ["tun", "namespace"])
def test_programs_use_the_device(lab: Lab, mode: str) -> None:
    one, other = lab.hosts()

    async def inside(host: HostHandle) -> list[str]:
        if mode == "tun":
            return []
        found = (await told(host, "pgrep", "-f", "inside-namespace")).strip()
        return ["nsenter", "-t", found, "-U", "-n", "--preserve-credentials", "--"]

    async def run() -> None:
        program = [f"{one.host().tools}/{PROGRAM}", "party"]
        async with (
            one.access.attach(program) as first,
            other.access.attach(program) as second,
            over(first) as here,
            over(second) as there,
        ):
            opened = [await it.open(asked(i, mode=mode)) for i, it in enumerate((here, there))]
            await introduce((here, there), opened)
            await all_up((here, there))
            enter = await inside(one)
            assert "0% packet loss" in await told(one, *enter, "ping", "-c2", "-W5", address(1))
            if mode == "namespace":  # and the host itself has no such device
                assert "e3t" not in await told(one, "ip", "-br", "link")
            with pytest.raises(OverlayError, match="only the modes userspace and tls forward"):
                await here.dial(1, 11_365)
        for host in (one, other):  # nothing is left once the program has ended
            assert "e3t" not in await told(host, "ip", "-br", "link")

    asyncio.run(run())


@pytest.mark.skipif(os.geteuid() != 0, reason="makes a device that everyone may open")
def test_an_ordinary_user_has_a_device_in_a_namespace_of_their_own() -> None:
    program = shutil.which(str(TOOLS / PROGRAM))
    assert program is not None, "scripts/setup --all builds e3-tunnel"
    with tempfile.TemporaryDirectory() as stage:
        Path(stage).chmod(0o755)
        python = str(Path(sys.executable).resolve())
        done = subprocess.run(
            [
                "unshare",
                "-m",
                "sh",
                "-c",
                STAGE,
                "-",
                stage,
                program,
                str(NOBODY),
                python,
                ROOTLESS,
            ],
            cwd="/",
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    devices, status, gone = done.stdout.splitlines()
    assert "e3s0" in devices
    assert "10.77.0.1/24" in devices
    assert (status, gone) == ("0", "1")
