"""Sessions on hosts of a real lab: everything but Pulumi's engine."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from e3.errors import HostError
from e3.interfaces import Host
from e3.lab.client import Lab, start, stop
from e3.session.run_session import SessionSpec, run_session
from e3.session.verdicts import Verdict
from tests.sessions import Bench, joined

pytestmark = pytest.mark.lab

ROOT = Path(__file__).parents[2]
DEMOS = ROOT / "demos"
NAMES = [("ams3-0", "ams3"), ("ams3-1", "ams3"), ("nyc3-0", "nyc3")]


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    folder = tmp_path_factory.mktemp("lab")
    lab = start(folder, {("ams3", "nyc3"): 20.0})
    try:
        for region in ("ams3", "nyc3"):
            lab.add_region(region)
        yield lab
    finally:
        stop(folder)


@pytest.fixture
def bench(lab: Lab, tmp_path: Path) -> Bench:
    return Bench(tmp_path, made(lab, NAMES))


def made(lab: Lab, names: Sequence[tuple[str, str]]) -> list[Host]:
    return [handle.host() for handle in lab.add_hosts(names)]


def ask(host: Host, *argv: str) -> str:
    """Return what a command prints on a host."""
    return asyncio.run(host.access.run(argv, timeout_seconds=60)).stdout.decode()


def leftovers(hosts: Sequence[Host]) -> list[str]:
    """Return what sessions left on hosts: files, and processes of Python."""
    return [
        line
        for host in hosts
        for line in (
            *ask(host, "find", "/run/e3", "-mindepth", "2").splitlines(),
            *ask(host, "pgrep", "-fa", "e3.party|program").splitlines(),
        )
    ]


@pytest.mark.parametrize("demo", ["helloworld", "secret_santa", "auction"])
def test_a_demo(bench: Bench, demo: str) -> None:
    result = bench.run(DEMOS / f"{demo}.py")
    assert result.verdict is Verdict.COMPLETED, result.reason
    assert [party.host for party in result.parties] == ["ams3-0", "ams3-1", "nyc3-0"]
    assert len({party.output for party in result.parties}) == 1
    assert result.online_seconds is not None
    assert result.online_seconds > 0.01  # a way over the ocean, less what is connected earlier
    assert leftovers(bench.hosts) == []


def test_a_port_in_use_on_one_host(bench: Bench) -> None:
    host = bench.hosts[1]
    port = bench.base_port + 1
    listener = f"import socket; s = socket.create_server(('', {port})); print(flush=True); input()"

    async def occupied() -> str:
        argv = [host.python, "-c", listener]
        async with host.access.attach(argv) as process:
            await process.stdout.readline()
            result = await run_session(
                SessionSpec(
                    plan=bench.plan(DEMOS / "helloworld.py"),
                    hosts=bench.hosts,
                    overlay="plain",
                    sessions=bench.sessions,
                    deadline_seconds=30,
                )
            )
            return result.reason

    reason = asyncio.run(occupied())
    assert reason.startswith(f"party 1 (ams3-1) did not start: port {port} of {host.underlay}")


def test_a_host_that_dies_in_the_middle(lab: Lab, bench: Bench) -> None:
    program = bench.write(
        "import asyncio\n" + joined("print('on', flush=True); await asyncio.sleep(60)")
    )

    async def die() -> tuple[Verdict, str]:
        session = asyncio.create_task(
            run_session(
                SessionSpec(
                    plan=bench.plan(program),
                    hosts=bench.hosts,
                    overlay="plain",
                    sessions=bench.sessions,
                    deadline_seconds=60,
                )
            )
        )
        log = bench.sessions / "latest" / "nyc3-0.log"
        async with asyncio.timeout(60):
            while not (log.exists() and "on\n" in log.read_text()):  # noqa: ASYNC110 -- a file
                await asyncio.sleep(0.02)
        await asyncio.to_thread(lab.remove_host, "nyc3-0")
        result = await session
        return result.verdict, result.reason

    verdict, reason = asyncio.run(die())
    assert verdict is Verdict.UNREACHABLE
    assert reason.startswith("party 2 (nyc3-0) is gone: ")
    assert leftovers(bench.hosts[:2]) == []


def test_a_host_that_is_gone_before(lab: Lab, bench: Bench) -> None:
    lab.remove_host("ams3-1")
    result = bench.run(DEMOS / "helloworld.py")
    assert result.verdict is Verdict.UNREACHABLE
    assert "party 1 (ams3-1) is gone: host ams3-1 is gone" in result.reason
    with pytest.raises(HostError):
        ask(bench.hosts[1], "true")
    assert leftovers([bench.hosts[0], bench.hosts[2]]) == []


def test_a_host_without_the_interpreter(bench: Bench) -> None:
    bench.hosts[2] = replace(bench.hosts[2], python="/nowhere/python")
    result = bench.run(DEMOS / "helloworld.py")
    assert result.verdict is Verdict.PARTY_FAILED
    assert result.reason.startswith("party 2 (nyc3-0) did not start: ")
    assert "/nowhere/python" in result.reason


def test_cancelled_in_the_middle(bench: Bench) -> None:
    program = bench.write("""
        import os, time
        if os.fork() == 0:
            os.setsid()
        print('on', flush=True)
        time.sleep(1000)
    """)

    async def cancel() -> None:
        session = asyncio.create_task(
            run_session(
                SessionSpec(
                    plan=bench.plan(program),
                    hosts=bench.hosts,
                    overlay="plain",
                    sessions=bench.sessions,
                    deadline_seconds=60,
                )
            )
        )
        logs = [bench.sessions / "latest" / f"{host.name}.log" for host in bench.hosts]
        async with asyncio.timeout(60):
            while not all(log.exists() and "on\n" in log.read_text() for log in logs):  # noqa: ASYNC110 -- files
                await asyncio.sleep(0.02)
        session.cancel()
        await session

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(cancel())
    result = json.loads((bench.sessions / "latest" / "result.json").read_text())
    assert result["verdict"] == "cancelled"
    assert leftovers(bench.hosts) == []


def test_nothing_stays_when_the_deployer_is_killed(lab: Lab, bench: Bench) -> None:
    program = bench.write("""
        import os, time
        if os.fork() == 0:
            os.setsid()
        print('on', flush=True)
        time.sleep(1000)
    """)
    deployer = f"""
        import sys
        from pathlib import Path
        sys.path.insert(0, {str(ROOT)!r})
        from e3.lab.client import Lab
        from tests.sessions import Bench
        hosts = [handle.host() for handle in Lab(Path({str(lab.folder)!r})).hosts()]
        Bench(Path({str(bench.folder)!r}), hosts).run(Path({str(program)!r}))
    """
    logs = [bench.sessions / "latest" / f"{host.name}.log" for host in bench.hosts]
    with subprocess.Popen([sys.executable, "-c", textwrap.dedent(deployer)]) as process:
        deadline = time.monotonic() + 60
        while not all(log.exists() and log.read_text().count("on\n") == 2 for log in logs):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert leftovers(bench.hosts) != []
        os.kill(process.pid, signal.SIGKILL)
    deadline = time.monotonic() + 60
    while (left := leftovers(bench.hosts)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert left == []
