"""Sessions with real processes on hosts of this machine: verdict, reason, nothing left."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from e3.experiment import Limits, Rules
from e3.session.results import SessionResult
from e3.session.run_session import SessionSpec, run_session
from e3.session.verdicts import Verdict
from tests.sessions import Bench, joined

pytestmark = pytest.mark.unit

ROOT = Path(__file__).parents[3]
DEMOS = ROOT / "demos"


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def is_over(pid: int) -> bool:
    """Whether a process is gone, or dead and not yet collected."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def wait_until_over(pids: list[int], timeout_seconds: float) -> list[int]:
    """Return the processes that are still there at the end."""
    deadline = time.monotonic() + timeout_seconds
    while (left := [pid for pid in pids if not is_over(pid)]) and time.monotonic() < deadline:
        time.sleep(0.02)
    return left


def outputs(result: SessionResult) -> set[str]:
    assert result.verdict is Verdict.COMPLETED, result.reason
    return {party.output for party in result.parties}


def test_evidence_is_complete(bench: Bench) -> None:
    result = bench.run(DEMOS / "helloworld.py", ["--number", "4"])
    folder = bench.sessions / result.id
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["args"] == ["--number", "4"]
    assert manifest["digest"] == result.digest
    assert manifest["hosts"]["local-1"]["mpyc"] == manifest["deployer"]["mpyc"]
    assert json.loads((folder / "result.json").read_text()) == result.to_properties()
    log = bench.log(result, 1)
    assert log.startswith(f"$ python helloworld.py -P 127.0.0.2:{bench.base_port} -P ")
    assert "All 3 parties connected." in log
    assert "add up to 12!" in log
    assert (bench.sessions / "latest").resolve() == folder.resolve()


def test_the_log_grows_while_the_program_runs(bench: Bench) -> None:
    program = bench.write(joined("print('here', flush=True); await asyncio.sleep(60)"))
    program.write_text("import asyncio\n" + program.read_text())

    async def follow() -> str:
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
        log = bench.sessions / "latest" / "local-2.log"
        async with asyncio.timeout(60):
            while not (log.exists() and "here" in log.read_text()):  # noqa: ASYNC110 -- a file
                await asyncio.sleep(0.02)
        session.cancel()
        with pytest.raises(asyncio.CancelledError):
            await session
        result: dict[str, str] = json.loads((log.parent / "result.json").read_text())
        return result["verdict"]

    assert asyncio.run(follow()) == "cancelled"
    assert bench.leftovers() == []


def test_a_party_that_exits_with_1(bench: Bench) -> None:
    result = bench.run(
        joined("if mpc.pid == 2: sys.exit(1)").replace("from", "import sys\nfrom", 1)
    )
    assert result.verdict is Verdict.PARTY_FAILED
    assert result.reason == "party 2 (local-2) exited with status 1"


def test_a_party_that_says_why_it_exits(bench: Bench) -> None:
    result = bench.run("import sys\nsys.exit('no input given')")
    assert result.verdict is Verdict.PARTY_FAILED
    assert result.reason.endswith(" exited with status 1: no input given")


def test_a_party_that_raises_is_the_cause_and_not_its_victims(bench: Bench) -> None:
    body = """
        if mpc.pid == 1:
            raise ValueError('one share too few')
        await mpc.output(mpc.input(mpc.SecInt()(mpc.pid)))
    """
    result = bench.run(joined(body))
    assert result.verdict is Verdict.PARTY_FAILED
    assert result.reason == (
        "party 1 (local-1) exited with status 1: ValueError: one share too few"
    )
    assert bench.leftovers() == []


def test_an_exception_in_a_coroutine_of_mpyc_is_named(bench: Bench) -> None:
    program = """
        from mpyc.runtime import mpc

        @mpc.coroutine
        async def divide(x):
            await mpc.returnType(type(x))
            return 1 // (await mpc.gather(x) - await mpc.gather(x)).value

        async def main():
            async with mpc:
                print(await mpc.output(divide(mpc.SecInt()(3))))

        mpc.run(main())
    """
    result = bench.run(program)
    assert result.verdict is Verdict.PARTY_FAILED
    assert "ZeroDivisionError" in result.reason


def test_a_party_killed_by_a_signal_is_the_cause(bench: Bench) -> None:
    body = """
        if mpc.pid == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        await mpc.output(mpc.input(mpc.SecInt()(mpc.pid)))
        await asyncio.sleep(60)
    """
    result = bench.run("import asyncio, os, signal\n" + joined(body))
    assert result.verdict is Verdict.PARTY_FAILED
    assert result.reason == "party 2 (local-2) was killed by SIGKILL"
    assert [party.exit for party in result.parties][2] == -signal.SIGKILL


def test_a_party_that_leaves_early(bench: Bench) -> None:
    body = """
        if mpc.pid == 0:
            os._exit(0)
        await mpc.output(mpc.input(mpc.SecInt()(mpc.pid)))
    """
    result = bench.run("import os\n" + joined(body))
    assert result.verdict is Verdict.PARTY_FAILED
    assert result.reason == "party 0 (local-0) ended while others still needed it"
    assert result.concerned == (0,)


def test_a_program_that_never_ends_times_out_and_says_who_did_what(bench: Bench) -> None:
    program = """
        import time
        from mpyc.runtime import mpc
        if mpc.pid == 2:
            time.sleep(1000)
        mpc.run(mpc.start())
        time.sleep(1000)
    """
    result = bench.run(program, deadline_seconds=6)
    assert result.verdict is Verdict.TIMED_OUT
    assert result.reason == (
        "not done after 6 s; party 0 (local-0), party 1 (local-1): connected, waiting for other "
        "parties; party 2 (local-2): running, not yet at mpc.start"
    )
    assert [party.exit for party in result.parties] == [None, None, None]
    assert bench.leftovers() == []


def test_a_flood_of_output_is_stopped_and_named(bench: Bench) -> None:
    program = """
        import sys
        line = 'x' * 9999 + '\\n'
        for _ in range(100_000):
            sys.stdout.write(line)
    """
    rules = Rules(limits=Limits(output_mb=5))
    result = bench.run(program, parties=1, rules=rules)
    assert result.verdict is Verdict.PARTY_FAILED
    assert result.reason == (
        "party 0 (local-0) was stopped: it printed more than 5 MB; have it print less"
    )
    assert len(bench.log(result, 0)) == pytest.approx(5_000_000, rel=0.1)


def test_much_output_is_cut_in_the_result_and_whole_in_the_log(bench: Bench) -> None:
    result = bench.run("for i in range(200_000): print(i)", parties=1)
    (output,) = outputs(result)
    assert output.startswith("0\n1\n2\n")
    assert output.endswith("\n199999\n")
    assert len(output) < 70_000
    assert "\n".join(map(str, range(200_000))) in bench.log(result, 0)


def test_daemons_of_a_program_are_killed(bench: Bench) -> None:
    program = """
        import os, time
        said, saying = os.pipe()
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                print(os.getpid(), flush=True)
                os.write(saying, b"x")
                time.sleep(1000)
            os._exit(0)
        os.wait()
        os.read(said, 1)
    """
    result = bench.run(program)
    pids = [int(output) for output in outputs(result)]
    assert len(pids) == 3
    assert wait_until_over(pids, 2) == []
    assert "1 processes left behind were killed" in bench.log(result, 0)


def test_a_port_in_use_is_named(bench: Bench) -> None:
    port = bench.base_port + 2
    with socket.create_server(("127.0.0.4", port)):
        result = bench.run(DEMOS / "helloworld.py")
    assert result.verdict is Verdict.PARTY_FAILED
    assert result.reason == (
        f"party 2 (local-2) did not start: port {port} of 127.0.0.4 is in use; "
        "end the program that listens there"
    )
    assert bench.leftovers() == []


def test_an_address_that_the_host_does_not_have(bench: Bench) -> None:
    program = bench.write("print(1)")
    plan = bench.plan(program)
    endpoint = type(plan.seats[1].endpoint)(address="198.51.100.7", port=11366)
    seats = (plan.seats[0], type(plan.seats[1])(pid=1, host="local-1", endpoint=endpoint))
    result = asyncio.run(
        run_session(
            SessionSpec(
                plan=type(plan)(program=plan.program, seats=seats),
                hosts=bench.hosts,
                overlay="plain",
                sessions=bench.sessions,
                deadline_seconds=30,
            )
        )
    )
    assert result.verdict is Verdict.PARTY_FAILED
    assert "cannot listen at 198.51.100.7 port 11366" in result.reason


def test_a_host_without_python(bench: Bench) -> None:
    bench.hosts[1] = type(bench.hosts[1])(
        **{**vars(bench.hosts[1]), "python": "/usr/bin/false"},
    )
    result = bench.run("print(1)")
    assert result.verdict is Verdict.PARTY_FAILED
    assert result.reason.startswith(
        "party 1 (local-1) did not start: its runner exited with status 1"
    )
    assert bench.leftovers() == []


def test_nothing_stays_when_the_deployer_is_killed(bench: Bench) -> None:
    program = bench.write("""
        import os, time
        from mpyc.runtime import mpc
        if (pid := os.fork()) == 0:
            os.setsid()
            time.sleep(1000)
        mpc.run(mpc.start())
        print(os.getpid(), pid, os.getppid(), flush=True)
        time.sleep(1000)
    """)
    deployer = f"""
        import sys
        from pathlib import Path
        sys.path.insert(0, {str(ROOT)!r})
        from tests.sessions import Bench
        Bench(Path({str(bench.folder)!r})).run(Path({str(program)!r}))
    """
    with subprocess.Popen([sys.executable, "-c", textwrap.dedent(deployer)]) as process:
        logs = [bench.sessions / "latest" / f"local-{i}.log" for i in range(3)]
        pids: list[int] = []
        deadline = time.monotonic() + 60
        while len(pids) < 9 and time.monotonic() < deadline:
            assert process.poll() is None
            lines = [line for log in logs if log.exists() for line in log.read_text().splitlines()]
            pids = [
                int(word)
                for line in lines
                if line[:1].isdigit() and ":" not in line
                for word in line.split()
            ]
            time.sleep(0.05)
        assert len(pids) == 9
        os.kill(process.pid, signal.SIGKILL)
    assert wait_until_over(pids, 4) == []
    assert bench.leftovers() == []


def test_long_outputs_are_compared_to_their_ends_and_logged_whole(bench: Bench) -> None:
    lines = "".join(f"line {i:08}\n" for i in range(100_000))
    program = bench.write("""
        import sys
        for i in range(100_000):
            print(f"line {i:08}")
        print("last of", sys.argv[-1])
        sys.stderr.write("and more\\n")
    """)
    plan = bench.plan(program)
    result = asyncio.run(
        run_session(
            SessionSpec(
                plan=plan,
                hosts=bench.hosts,
                overlay="plain",
                sessions=bench.sessions,
                deadline_seconds=120,
                rules=Rules(compare="same"),
            )
        )
    )
    assert (result.verdict, result.concerned) == (Verdict.DIVERGED, (1, 2))
    assert "line 100001 is 'last of 1' and not 'last of 0'" in result.reason
    for party in result.parties:
        assert party.output.startswith("line 00000000\n")
        assert party.output.endswith(f"\nlast of {party.pid}\n")
        log = bench.log(result, party.pid)
        assert log.count("and more\n") == 1  # wherever it comes between
        assert f"{lines}last of {party.pid}\n" in log.replace("and more\n", "")
    shown = (bench.sessions / result.id / "outputs.diff").read_text()
    assert "-last of 0\n+last of 1\n" in shown
    assert sorted(path.name for path in (bench.sessions / result.id).iterdir()) == [
        *(f"local-{i}.log" for i in range(3)),
        "manifest.json",
        "outputs.diff",
        "result.json",
    ]
