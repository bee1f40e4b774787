"""Sessions of incompatible parties: the difference is named before any program runs."""

import asyncio
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from e3.interfaces import File
from e3.session.plan import Plan
from e3.session.results import SessionResult
from e3.session.run_session import SessionSpec, run_session
from e3.session.verdicts import Verdict
from tests.local_access import LocalAccess
from tests.sessions import SEALED_BID, Bench

pytestmark = pytest.mark.unit

DEMOS = Path(__file__).parents[3] / "demos"
SITE = Path(sysconfig.get_paths()["purelib"])


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def run(bench: Bench, plan: Plan) -> SessionResult:
    result = asyncio.run(
        run_session(
            SessionSpec(
                plan=plan,
                hosts=bench.hosts,
                overlay="plain",
                sessions=bench.sessions,
                deadline_seconds=60,
            )
        )
    )
    assert bench.leftovers() == []
    return result


def with_private(plan: Plan, pid: int, *args: str) -> Plan:
    """Return the plan with arguments for one party alone."""
    seats = [replace(seat, private=args) if seat.pid == pid else seat for seat in plan.seats]
    return replace(plan, seats=tuple(seats))


def refusal(result: SessionResult) -> str:
    """Return why parties did not agree; none of them had begun."""
    assert result.verdict is Verdict.INCOMPATIBLE, result.reason
    assert [party.exit for party in result.parties] == [None] * len(result.parties)
    return result.reason


@dataclass(frozen=True)
class Tampering(LocalAccess):
    """A host on which one file differs from what was shipped."""

    name: str = ""
    content: bytes | None = None
    mode: int | None = None

    def _write(self, files: Sequence[File]) -> None:
        super()._write([self._change(file) for file in files])

    def _change(self, file: File) -> File:
        if not file.path.endswith(self.name):
            return file
        content = file.content if self.content is None else self.content
        return replace(file, content=content, mode=self.mode or file.mode)


def tampered(bench: Bench, pid: int, name: str, **changes: object) -> None:
    host = bench.hosts[pid]
    assert isinstance(host.access, LocalAccess)
    access = Tampering(host.access.root, name, **changes)  # type: ignore[arg-type]  # by the test
    bench.hosts[pid] = replace(host, access=access)


def environment(folder: Path, version: str) -> Path:
    """Return an interpreter whose mpyc states another version."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    (site,) = folder.glob("lib/python3*/site-packages")
    (site / "rest.pth").write_text(f"{SITE}\n")
    shutil.copytree(SITE / "mpyc", site / "mpyc")
    source = site / "mpyc" / "__init__.py"
    text = source.read_text()
    assert "__version__ = '0.11'" in text
    source.write_text(text.replace("__version__ = '0.11'", f"__version__ = '{version}'"))
    return folder / "bin" / "python"


@pytest.mark.parametrize(
    ("option", "reason"),
    [
        ("-L64", "local-1 would use bit length 64 (-L), the other two 32"),
        ("-K40", "local-1 would use security parameter 40 (-K), the other two 30"),
        ("-T0", "local-1 would use threshold 0 (-T), the other two 1"),
        ("--no-prss", "local-1 would do without PRSS: yes (--no-prss), the other two no"),
        ("--no-pr", "local-1 would do without PRSS: yes (--no-prss), the other two no"),
        ("--mix32-64bit", "local-1 would number messages by SHA-1 (--mix32-64bit), the other two"),
        ("--ssl", "local-1 would connect with TLS: yes (--ssl), the other two no"),
        ("--no-async", "local-1 would run in sequence: yes (--no-async), the other two no"),
        ("--no-numpy", "local-1 would have numpy: no, the other two yes"),
    ],
)
def test_an_option_of_one_party(bench: Bench, option: str, reason: str) -> None:
    plan = with_private(bench.plan(DEMOS / "helloworld.py"), 1, option)
    assert refusal(run(bench, plan)).startswith(reason)


@pytest.mark.parametrize("option", ["--no-gmpy2", "--no-barrier", "--log-level=debug", "--no-log"])
def test_an_option_that_is_a_partys_own_affair(bench: Bench, option: str) -> None:
    plan = with_private(bench.plan(DEMOS / "helloworld.py"), 1, option)
    result = run(bench, plan)
    assert result.verdict is Verdict.COMPLETED, result.reason


def test_private_arguments_are_told_to_nobody(bench: Bench) -> None:
    plan = bench.plan(DEMOS / "auction.py")
    for pid, bid in enumerate(("700", SEALED_BID, "555")):
        plan = with_private(plan, pid, "--bid", bid)
    result = run(bench, plan)
    assert result.verdict is Verdict.COMPLETED, result.reason
    assert {party.output for party in result.parties} == {"bidder 0 of 3 wins and pays 555\n"}
    written = [file for file in bench.sessions.rglob("*") if file.is_file()]
    assert written
    assert not any(SEALED_BID in file.read_text() for file in written if file.suffix == ".json")
    assert not any("--bid" in file.read_text() for file in written)
    assert " -I 0 '[private]'\n" in bench.log(result, 0)


def test_another_constant_in_one_partys_program(bench: Bench) -> None:
    program = bench.write("LIMIT = 10\nprint(LIMIT)")
    tampered(bench, 2, "/program.py", content=b"LIMIT = 11\nprint(LIMIT)")
    reason = refusal(run(bench, bench.plan(program)))
    assert reason.startswith("local-2 would run program ")
    assert ", the other two " in reason


def test_another_mode_of_one_file(bench: Bench) -> None:
    program = bench.write("print(1)")
    tampered(bench, 0, "/program.py", mode=0o755)
    assert refusal(run(bench, bench.plan(program))).startswith("local-0 would run program ")


def test_another_file_beside_the_program(bench: Bench) -> None:
    folder = bench.folder / "vote"
    folder.mkdir()
    (folder / "main.py").write_text("print(1)")
    (folder / "weights.csv").write_text("1,2\n")
    tampered(bench, 1, "/weights.csv", content=b"1,3\n")
    assert refusal(run(bench, bench.plan(folder))).startswith("local-1 would run program ")


def test_another_version_of_mpyc(bench: Bench) -> None:
    python = environment(bench.folder / "old", "0.10")
    bench.hosts[2] = replace(bench.hosts[2], python=str(python))
    reason = refusal(run(bench, bench.plan(DEMOS / "helloworld.py")))
    assert reason == "local-2 would run mpyc 0.10, the other two 0.11"


def test_several_differences_are_named_together(bench: Bench) -> None:
    python = environment(bench.folder / "old", "0.10")
    bench.hosts[2] = replace(bench.hosts[2], python=str(python))
    plan = with_private(bench.plan(DEMOS / "helloworld.py"), 1, "-T0")
    assert refusal(run(bench, plan)) == (
        "local-2 would run mpyc 0.10, the other two 0.11; "
        "local-1 would use threshold 0 (-T), the other two 1"
    )


def test_an_mpyc_without_e3_at_a_partys_place(bench: Bench) -> None:
    plan = bench.plan(DEMOS / "helloworld.py")
    options = " ".join(f"-P {seat.endpoint}" for seat in plan.seats)
    script = bench.folder / "plain-mpyc"
    script.write_text(
        f"#!/bin/sh\nexec {sys.executable} {DEMOS / 'helloworld.py'} {options} -I 2 </dev/null\n"
    )
    script.chmod(0o755)
    bench.hosts[2] = replace(bench.hosts[2], python=str(script))
    result = run(bench, plan)
    assert result.verdict is Verdict.INCOMPATIBLE
    assert result.reason.startswith("party 2 (local-2) hangs up on E3's agreement, as MPyC does, ")


IMPOSTOR = """
    import contextlib, socket
    from mpyc.runtime import mpc

    def dial(party, port, source):
        while True:
            try:
                return socket.create_connection((party.host, port), source_address=(source, 0))
            except ConnectionRefusedError:
                pass

    own, first, second = mpc.parties[mpc.pid], mpc.parties[0], mpc.parties[1]
    if mpc.pid == 0:  # party 1 waits for this one, and so listens until party 2 has called it
        socket.create_server((own.host, own.port + 100)).accept()
    if mpc.pid == 2:
        caller = dial(second, second.port, {source})
        caller.sendall(bytes(2 + 64))
        with contextlib.suppress(ConnectionError):
            caller.recv(1)  # until it is turned away
        dial(first, first.port + 100, own.host)
    mpc.run(mpc.start())
    mpc.run(mpc.shutdown())
"""
"""Party 2 calls party 1 as if it were party 0, before that one does."""


def test_a_party_that_claims_anothers_pid_in_mpycs_connections(bench: Bench) -> None:
    result = bench.run(IMPOSTOR.format(source="own.host"))
    assert result.verdict is Verdict.INCOMPATIBLE
    assert result.reason == (
        "party 2 (local-2) claims to be party 0 from 127.0.0.4, the address of party 2, "
        "as party 1 (local-1) saw"
    )


def test_a_stranger_that_claims_a_pid_in_mpycs_connections(bench: Bench) -> None:
    result = bench.run(IMPOSTOR.format(source="'127.0.0.99'"))
    assert result.verdict is Verdict.COMPLETED, result.reason
    assert "127.0.0.99, no party's address, was turned away once" in bench.log(result, 1)


def test_a_second_connection_for_a_pid_is_refused(bench: Bench) -> None:
    program = """
        import asyncio, contextlib, socket
        from mpyc.runtime import mpc

        first, second, third = mpc.parties
        gate = (second.host, second.port + 100)

        async def again():
            while third.protocol is None:
                await asyncio.sleep(0)
            source = {"local_addr": (first.host, 0)}
            reader, writer = await asyncio.open_connection(third.host, third.port, **source)
            writer.write(bytes(2 + 64))
            with contextlib.suppress(ConnectionError):
                await reader.read()  # until it is refused
            while True:
                try:
                    return await asyncio.open_connection(*gate, **source)
                except ConnectionRefusedError:
                    pass

        async def main():
            twice = asyncio.ensure_future(again()) if mpc.pid == 0 else None
            await mpc.start()
            await twice

        if mpc.pid == 1:  # party 2 waits for this one, and so listens until it was called twice
            socket.create_server(gate).accept()
        mpc.run(main() if mpc.pid == 0 else mpc.start())
        mpc.run(mpc.shutdown())
    """
    result = bench.run(program)
    assert result.verdict is Verdict.INCOMPATIBLE
    assert result.reason == (
        "party 0 (local-0) claims to be party 0, which is connected already, "
        "as party 2 (local-2) saw"
    )
