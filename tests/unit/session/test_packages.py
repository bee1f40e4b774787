"""Packages for a program: found, installed once, seen by its parties, and nothing half made.

uv runs for real, with wheels beside the program and without an index.
"""

import asyncio
import fcntl
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from e3.cli.checks import packages as doctor
from e3.errors import E3Error, PlatformError, ProgramError
from e3.experiment import Limits, Program, Rules
from e3.interfaces import Host
from e3.party import fields
from e3.session import layers
from e3.session.declarations import Prepared, declaration
from e3.session.layers import KEPT, Store
from e3.session.packages import prepared
from e3.session.requirements import Requirements
from e3.session.resolver import Package, Target, Uv, platform
from e3.session.results import SessionResult
from e3.session.run_session import SessionSpec, run_session
from tests.sessions import Bench
from tests.wheels import wheel

OFFLINE = "--no-index\n--find-links wheels\n"

USING = """
    import multiprocessing.util, subprocess, sys
    import os; os.environ["MPYC_NONUMPY"] = "1"
    from mpyc.runtime import mpc
    import tally

    async def main():
        async with mpc:
            sum = await mpc.output(mpc.input(mpc.SecInt()(1))[0])
        options = multiprocessing.util._args_from_interpreter_flags()
        command = [sys.executable, *options, "-c", "import tally; print(tally.VERSION)"]
        child = subprocess.check_output(command, text=True).strip()
        print(sum, tally.VERSION, child, tally.__file__)

    mpc.run(main())
"""


@dataclass
class Desk:
    """A folder with a program, wheels beside it, and a store of its own."""

    folder: Path
    told: list[str] = field(default_factory=list)

    @property
    def wheels(self) -> Path:
        return self.folder / "wheels"

    @property
    def store(self) -> Store:
        return Store(folder=self.folder / "store")

    def ask(self, text: str, head: str = OFFLINE) -> None:
        (self.folder / "program.py").touch()
        (self.folder / "requirements.txt").write_text(head + text)

    def prepare(self, hosts: list[Host], rules: Rules | None = None) -> Prepared:
        async def go() -> Prepared:
            asked = declaration(Program(path=self.folder / "program.py", entry="", digest=""))
            assert asked is not None
            tell = self.told.append
            async with prepared(asked, hosts, rules or Rules(), tell, self.store) as made:
                return made

        return asyncio.run(go())

    def run(self, bench: Bench, text: str, rules: Rules | None = None) -> SessionResult:
        return asyncio.run(
            run_session(
                SessionSpec(
                    plan=bench.plan(bench.write(text), parties=len(bench.hosts)),
                    hosts=bench.hosts,
                    overlay="plain",
                    sessions=bench.sessions,
                    deadline_seconds=60,
                    rules=rules or Rules(),
                    store=self.store.folder,
                )
            )
        )


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    tmp_path.chmod(0o755)
    return Desk(tmp_path)


@pytest.fixture
def bench(desk: Desk) -> Bench:
    made = Bench(desk.folder)
    del made.hosts[2:]
    return made


def test_parties_use_what_the_program_asks_for(desk: Desk, bench: Bench) -> None:
    wheel(desk.wheels, "tally", requires=["Depends"])
    # a package may need Python to read its .pth file, and be split among several wheels
    wheel(desk.wheels, "depends", files={"depends.pth": "parts\n", "parts/inner.py": "X = 1\n"})
    desk.ask("tally")
    result = desk.run(bench, USING.replace("import tally\n\n", "import tally, inner\n\n"))
    assert result.verdict == "completed", result.reason
    for party in result.parties:
        total, version, child, place = party.output.split()
        assert (total, version, child) == ("1", "1.0", "1.0")
        assert place.startswith(f"{desk.store.folder}/layer-")
    manifest = json.loads((bench.sessions / result.id / "manifest.json").read_text())
    assert manifest["packages"] == ["depends 1.0", "tally 1.0"]
    assert bench.leftovers() == []
    # nobody but their owner can change them, and no party compiles them again
    (layer,) = desk.store.layers()
    modes = {path.stat().st_mode & 0o777 for path in layer.rglob("*")}
    assert modes <= {0o755, 0o644}
    assert list(layer.glob("site/__pycache__/tally.*.pyc"))


def test_the_second_time_nothing_is_installed(desk: Desk, bench: Bench) -> None:
    wheel(desk.wheels, "tally")
    desk.ask("tally")
    first = desk.prepare(bench.hosts)
    assert [line.split()[0] for line in desk.told] == ["finding", "installing"]
    assert "1 package, 0.0 MB to download: tally 1.0" in desk.told[1]
    desk.told.clear()
    assert desk.prepare(bench.hosts) == first
    assert desk.told == []
    # another set of wheels is another answer, also for the same words
    wheel(desk.wheels, "tally", "1.1")
    assert list(desk.prepare(bench.hosts).listed) == ["tally 1.1"]
    assert len(desk.store.layers()) == 2


def test_nothing_is_installed_if_none_is_asked_for_or_permitted(desk: Desk, bench: Bench) -> None:
    wheel(desk.wheels, "tally")
    desk.ask("tally")
    result = desk.run(bench, USING, Rules(dependencies="none"))
    assert result.verdict == "party-failed"
    assert "ModuleNotFoundError: No module named 'tally'" in result.reason
    assert "name tally in a requirements.txt beside the program" in result.advice
    assert not desk.store.folder.exists()


def needs(*lines: str) -> Callable[[Desk], None]:
    return lambda desk: desk.ask("\n".join(lines))


def with_hash(digest: str) -> Callable[[Desk], None]:
    return lambda desk: desk.ask(f"tally==1.0 --hash=sha256:{digest}")


BAD: Mapping[str, tuple[Callable[[Desk], None], str]] = {
    "no version": (needs("tally==9"), r"there is no version of tally==9.*; correct the name or"),
    "no package": (needs("absent-e3"), "absent-e3 was not found"),
    "wrong hash": (with_hash("0" * 64), "tally 1.0: the index offers tally-1.0-py3-none-any.whl"),
    "no hash": (
        needs("big", f"tally --hash=sha256:{'0' * 64}"),
        "big 1.0 has no --hash, and other",
    ),
    "mpyc": (
        needs("mpyc==0.10", "tally"),
        "asks for mpyc==0.10, and E3 runs every party with mpyc",
    ),
    "mpyc within": (needs("older"), r"requirements.*unsatisfiable"),
    "large": (needs("big"), "its packages have 2 MB to download, and packages-mb of e3:limits"),
    "other system": (needs("other"), "has no wheels with a matching|no usable wheels|no wheels"),
    "source": (needs("source"), "or set e3:dependencies to build, which runs what"),
    "broken": (needs("broken"), r"cannot be installed for Python 3\.\d+"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_met_says_why_and_leaves_nothing(
    desk: Desk, bench: Bench, case: str
) -> None:
    ask, said = BAD[case]
    wheel(desk.wheels, "tally")
    wheel(desk.wheels, "big", files={"big.py": os.urandom(2_000_000)})
    wheel(desk.wheels, "older", requires=["mpyc<0.11"])
    wheel(desk.wheels, "other", tag="cp311-cp311-win_amd64")
    (desk.wheels / "source-1.0.tar.gz").write_bytes(b"")
    (desk.wheels / "broken-1.0-py3-none-any.whl").write_bytes(b"PK")
    ask(desk)
    with pytest.raises(ProgramError, match=said) as refused:
        desk.prepare(bench.hosts, Rules(limits=Limits(packages_mb=1)))
    assert "requirements.txt" in str(refused.value)
    assert {path.name for path in desk.store.folder.iterdir()} == {"lock"}


def test_the_right_hash_is_taken(desk: Desk, bench: Bench) -> None:
    desk.ask(f"tally==1.0 --hash=sha256:{'0' * 64} --hash=sha256:{wheel(desk.wheels, 'tally')}")
    assert list(desk.prepare(bench.hosts).listed) == ["tally 1.0"]


def test_what_unpacks_to_more_than_the_limit_is_refused(desk: Desk, bench: Bench) -> None:
    zeros = bytes(3_000_000)
    wheel(desk.wheels, "tally", files={"tally.py": "", "data": zeros}, compressed=True)
    desk.ask("tally")
    with pytest.raises(ProgramError, match=r"take 3 MB unpacked; ask for fewer, or raise packages"):
        desk.prepare(bench.hosts, Rules(limits=Limits(packages_mb=1)))
    assert desk.store.layers() == desk.store.halves() == []


BACKEND = """
import zipfile
def build_wheel(folder, settings=None, metadata=None):
    name = "built-1.0-py3-none-any.whl"
    with zipfile.ZipFile(f"{folder}/{name}", "w") as archive:
        archive.writestr("tally.py", "VERSION = 'built'")
        about = "Metadata-Version: 2.1\\nName: built\\nVersion: 1.0"
        archive.writestr("built-1.0.dist-info/METADATA", about)
        archive.writestr("built-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\\nTag: py3-none-any")
        archive.writestr("built-1.0.dist-info/RECORD", "")
    return name
"""


def test_what_must_be_built_is_built_only_if_that_is_permitted(desk: Desk, bench: Bench) -> None:
    desk.wheels.mkdir()
    project = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
    project += '[project]\nname = "built"\nversion = "1.0"\n'
    with tarfile.open(desk.wheels / "built-1.0.tar.gz", "w:gz") as archive:
        for name, text in (("pyproject.toml", project), ("backend.py", BACKEND)):
            member = tarfile.TarInfo(f"built-1.0/{name}")
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))
    desk.ask("built")
    with pytest.raises(ProgramError, match="or set e3:dependencies to build, which runs what"):
        desk.prepare(bench.hosts)
    result = desk.run(bench, USING, Rules(dependencies="build"))
    assert result.verdict == "completed", result.reason
    assert result.parties[0].output.startswith("1 built built ")
    with pytest.raises(ProgramError, match="can be built for this machine alone"):
        resolved(desk, ARM, "built", build=True)


def test_time_is_limited(desk: Desk, bench: Bench) -> None:
    wheel(desk.wheels, "tally")
    desk.ask("tally")
    rules = Rules(limits=Limits(packages_seconds=0.001))
    with pytest.raises(ProgramError, match=r"took longer than 0\.001 s; .* packages-seconds"):
        desk.prepare(bench.hosts, rules)


def test_an_index_that_is_away_is_named(
    desk: Desk, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UV_DEFAULT_INDEX", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("UV_CACHE_DIR", str(desk.folder / "cache"))
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    desk.ask("absent-e3", head="")
    with pytest.raises(PlatformError, match="the index of packages does not answer"):
        desk.prepare(bench.hosts)


HELD = """
import asyncio, sys
from pathlib import Path
from e3.session.layers import Store
async def main():
    async with Store(folder=Path(sys.argv[1])).locked() as scratch:
        (scratch / "half").write_text("")
        print("held", flush=True)
        await asyncio.sleep(600)
asyncio.run(main())
"""


def test_an_installation_that_is_killed_leaves_nothing_in_use(desk: Desk, bench: Bench) -> None:
    wheel(desk.wheels, "tally")
    desk.ask("tally")
    command = [sys.executable, "-c", HELD, str(desk.store.folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        # it is at work, so its half-made folder is no leftover
        assert desk.store.busy()
        assert [*doctor.check(desk.store)] == []
        other.send_signal(signal.SIGKILL)
    (finding,) = doctor.check(desk.store)
    assert (finding.level, len(desk.store.halves())) == ("WARN", 1)
    assert list(desk.prepare(bench.hosts).listed) == ["tally 1.0"]
    assert desk.store.halves() == []
    (finding,) = doctor.check(desk.store)
    assert finding.level == "OK"
    assert " MB of programs' packages in " in finding.detail
    (desk.store.folder / ".new-x").mkdir()
    (finding,) = doctor.check(desk.store)
    finding.fixed()
    assert desk.store.halves() == []


def test_two_at_once_install_once(desk: Desk, bench: Bench) -> None:
    wheel(desk.wheels, "tally")
    desk.ask("tally")

    async def both() -> list[Prepared]:
        asked = declaration(Program(path=desk.folder / "program.py", entry="", digest=""))
        assert asked is not None

        async def one() -> Prepared:
            tell = desk.told.append
            async with prepared(asked, bench.hosts, Rules(), tell, desk.store) as made:
                return made

        return [*await asyncio.gather(one(), one())]

    first, second = asyncio.run(both())
    assert first == second
    assert sum(line.startswith("installing") for line in desk.told) == 1


def test_layers_used_longest_ago_go_unless_they_are_in_use(desk: Desk) -> None:
    desk.store.folder.mkdir()
    for number in range(KEPT + 2):
        layer = desk.store.folder / f"layer-{number}"
        layer.mkdir()
        os.utime(layer, (number, number))
    held = os.open(desk.store.folder / "layer-0", os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_SH)
        for old in desk.store.layers()[:-KEPT]:
            layers.forget(old)
    finally:
        os.close(held)
    names = [path.name for path in desk.store.layers()]
    assert "layer-0" in names
    assert "layer-1" not in names
    assert len(names) == KEPT + 1
    with desk.store.using(["layer-0", "layer-absent"]):
        assert desk.store.layers()[-1].name == "layer-0"


def test_parties_with_other_packages_do_not_agree() -> None:
    stated = {0: {"packages": "tally 1.0 (aa)"}, 1: {"packages": "tally 1.1 (bb)"}, 2: {}}
    found = fields.differences(stated, must=True)
    names = {pid: f"ams3-{pid}" for pid in stated}
    assert "would use the packages" in fields.sentence(found, names)
    assert "ams3-1 tally 1.1 (bb)" in fields.sentence(found, names)


def test_a_layer_that_was_changed_is_refused_by_its_party(desk: Desk, bench: Bench) -> None:
    wheel(desk.wheels, "tally")
    desk.ask("tally")
    desk.prepare(bench.hosts)
    (layer,) = desk.store.layers()
    (layer / "site" / "tally-1.0.dist-info").rename(layer / "site" / "tally-2.0.dist-info")
    result = desk.run(bench, USING)
    assert result.verdict == "party-failed"
    assert "were changed; remove that folder" in result.reason
    assert bench.leftovers() == []


X86 = Target(python="3.11", platform="x86_64-manylinux_2_28", base=(("mpyc", "0.11"),))
ARM = Target(python="3.13", platform="aarch64-manylinux_2_36", base=(("mpyc", "0.11"),))
PI = Target(python="3.13", platform="aarch64-manylinux_2_17", base=(), plain=True)


def resolved(desk: Desk, target: Target, *wanted: str, build: bool = False) -> tuple[Package, ...]:
    scratch = desk.folder / f"scratch-{target.name}"
    scratch.mkdir(exist_ok=True)
    asked = Requirements(
        source="requirements.txt", wanted=wanted, folders=(desk.wheels,), index=False
    )
    return asyncio.run(Uv(scratch, asked, build=build).resolve(target, {}))


def test_wheels_are_those_of_the_hosts_system_and_python(desk: Desk) -> None:
    for tag in ("cp311-cp311-manylinux_2_28_x86_64", "cp313-cp313-manylinux_2_17_aarch64"):
        wheel(desk.wheels, "fast", tag=tag, requires=["older; python_version < '3.12'"])
    wheel(desk.wheels, "older")
    assert [each.file for each in resolved(desk, X86, "fast")] == [
        "fast-1.0-cp311-cp311-manylinux_2_28_x86_64.whl",
        "older-1.0-py3-none-any.whl",
    ]
    assert [each.file for each in resolved(desk, ARM, "fast")] == [
        "fast-1.0-cp313-cp313-manylinux_2_17_aarch64.whl"
    ]
    with pytest.raises(ProgramError, match=r"has no wheel for Python 3\.13 on 32-bit Linux"):
        resolved(desk, PI, "fast")
    assert [each.name for each in resolved(desk, PI, "older")] == ["older"]


@pytest.mark.parametrize(
    ("machine", "bits", "libc", "found"),
    [
        ("x86_64", 64, "glibc 2.36", ("x86_64-manylinux_2_36", False)),
        ("x86_64", 64, "glibc 2.43", ("x86_64-manylinux_2_40", False)),
        ("aarch64", 64, "glibc 2.30", ("aarch64-manylinux_2_28", False)),
        ("aarch64", 64, "musl", ("aarch64-unknown-linux-musl", False)),
        ("x86_64", 64, "", ("x86_64-manylinux_2_17", False)),
        ("armv7l", 32, "glibc 2.36", ("aarch64-manylinux_2_17", True)),
        ("aarch64", 32, "glibc 2.36", ("aarch64-manylinux_2_17", True)),
    ],
)
def test_a_hosts_system_has_a_name_that_uv_knows(
    machine: str, bits: int, libc: str, found: tuple[str, bool]
) -> None:
    assert platform(machine, bits, libc) == found


def test_a_host_that_says_nonsense_is_named(desk: Desk, bench: Bench) -> None:
    wheel(desk.wheels, "tally")
    desk.ask("tally")
    host = bench.hosts[0]
    script = desk.folder / "python"
    for said, why in [
        ("{}", "reports invalid facts of its Python"),
        ("[]", "cannot take packages"),
        ('{"refused": "\\u001b[31m is tired"}', r"\\x1b\[31m is tired"),
        ("x" * 100_000, "cannot take packages"),
    ]:
        script.write_text(f"#!/bin/sh\necho '{said}'\n")
        script.chmod(0o755)
        odd = Host(**{**vars(host), "python": str(script)})
        with pytest.raises(E3Error, match=why):
            desk.prepare([odd])


def test_editable_packages_of_a_host_are_seen(desk: Desk, bench: Bench) -> None:
    made = desk.folder / "venv"
    subprocess.run(["/usr/bin/env", "python3", "-m", "venv", "--without-pip", made], check=True)
    (packages,) = made.glob("lib/python*/site-packages")
    source = desk.folder / "source"
    source.mkdir()
    (source / "tally.py").write_text("VERSION = '1.0'\n")
    finder = """
import sys
from importlib.util import spec_from_file_location
MAPPING = {"tally": %r}
class _EditableFinder:
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name in MAPPING:
            return spec_from_file_location(name, MAPPING[name] + ".py")
        return None
def install():
    sys.meta_path.append(_EditableFinder)
"""
    (packages / "__editable___tally_finder.py").write_text(finder % str(source / "tally"))
    own = Path(next(p for p in sys.path if p.endswith("site-packages")))
    pth = f"{own}\nimport __editable___tally_finder as f; f.install()\n"
    (packages / "__editable__.tally.pth").write_text(pth)
    bench.hosts[:] = [Host(**{**vars(h), "python": f"{made}/bin/python"}) for h in bench.hosts]
    result = desk.run(bench, USING)
    assert result.verdict == "completed", result.reason
    assert result.parties[0].output.split()[-1] == str(source / "tally.py")


def test_waiting_for_the_lock_ends_with_its_holder(desk: Desk) -> None:
    async def go() -> float:
        async with desk.store.locked():
            began = time.monotonic()

            async def other() -> None:
                async with desk.store.locked():
                    pass

            task = asyncio.create_task(other())
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
            assert task.cancelled()
            return time.monotonic() - began

    asyncio.run(go())
    assert not desk.store.busy()
