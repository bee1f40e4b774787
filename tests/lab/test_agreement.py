"""Agreement and identity between hosts of a real lab, where each has its own network."""

import asyncio
import os
import sys
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from e3.authority import x509
from e3.experiment import Rules
from e3.interfaces import Access, Process
from e3.lab.client import Lab, start, stop
from e3.session.plan import Plan
from e3.session.results import SessionResult
from e3.session.run_session import SessionSpec, run_session
from e3.session.verdicts import Verdict
from tests.sessions import Bench

pytestmark = pytest.mark.lab

DEMOS = Path(__file__).parents[2] / "demos"
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
    hosts = [handle.host() for handle in lab.add_hosts(NAMES)]
    return Bench(tmp_path, hosts)


def run(bench: Bench, plan: Plan, **options: object) -> SessionResult:
    return asyncio.run(
        run_session(
            SessionSpec(
                plan=plan,
                hosts=bench.hosts,
                overlay="plain",
                sessions=bench.sessions,
                deadline_seconds=60,
                **options,  # type: ignore[arg-type]  # by the test's care
            )
        )
    )


@dataclass(frozen=True)
class Replaced:
    """A host on which something else runs in the runner's place."""

    inner: Access
    argv: tuple[str, ...]

    def __getattr__(self, name: str) -> object:
        return getattr(self.inner, name)

    def attach(self, argv: object) -> AbstractAsyncContextManager[Process]:
        del argv
        return self.inner.attach(self.argv)


@pytest.mark.parametrize(
    ("pid", "told"),
    [
        (0, "party 0 (ams3-0) speaks MPyC without E3 (as party 0) instead of E3's agreement"),
        (2, "party 2 (nyc3-0) hangs up on E3's agreement, as MPyC does"),
    ],
)
def test_an_mpyc_without_e3(bench: Bench, pid: int, told: str) -> None:
    plan = bench.plan(DEMOS / "helloworld.py")
    argv = [sys.executable, str(DEMOS / "helloworld.py")]
    argv += [word for seat in plan.seats for word in ("-P", str(seat.endpoint))]
    host = bench.hosts[pid]
    access = Replaced(host.access, (*argv, "-I", str(pid)))
    bench.hosts[pid] = replace(host, access=access)  # type: ignore[arg-type]  # by __getattr__
    result = run(bench, plan)
    assert result.verdict is Verdict.INCOMPATIBLE
    assert result.reason.startswith(told)


def test_an_option_of_one_party(bench: Bench) -> None:
    plan = bench.plan(DEMOS / "helloworld.py")
    seats = [replace(seat, private=("-T0",)) if seat.pid == 2 else seat for seat in plan.seats]
    result = run(bench, replace(plan, seats=tuple(seats)))
    assert result.verdict is Verdict.INCOMPATIBLE
    assert result.reason == "nyc3-0 would use threshold 0 (-T), the other two 1"


def test_tls(bench: Bench) -> None:
    certificate, key = x509.make_authority("E3 test", 86_400)
    authority = x509.X509Authority(certificate=certificate, key=key)
    plan = bench.plan(DEMOS / "helloworld.py")
    result = run(bench, plan, rules=Rules(tls=True), authority=authority)
    assert result.verdict is Verdict.COMPLETED, result.reason
    assert "All 3 parties connected via SSL." in bench.log(result, 0)


def test_addresses_of_an_overlay_that_proves_them(bench: Bench) -> None:
    result = run(bench, bench.plan(DEMOS / "helloworld.py"), address_trust="authenticated")
    assert result.verdict is Verdict.COMPLETED, result.reason
    assert result.identity == "addresses"


def test_a_folder_arrives_as_it_is_and_the_program_sees_it(bench: Bench) -> None:
    folder = bench.folder / "any"
    (folder / "empty").mkdir(parents=True)
    (folder / os.fsdecode(b"caf\xe9.csv")).write_text("x")
    (folder / ("é" * 127)).write_text("y")
    (folder / "main.py").write_text("import os\nprint(sorted(os.listdir(b'.')))")
    result = run(bench, bench.plan(folder))
    assert result.verdict is Verdict.COMPLETED, result.reason
    names = sorted([b"caf\xe9.csv", b"empty", b"main.py", ("é" * 127).encode()])
    assert {party.output for party in result.parties} == {f"{names}\n"}
