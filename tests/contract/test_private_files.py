"""Private inputs and outputs of a host by every access, also of a user without root."""

import asyncio
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from e3.access.namespace import NamespaceAccess
from e3.access.ssh import SshAccess
from e3.errors import HostError
from e3.experiment import Rules
from e3.interfaces import Access
from e3.inventory import provision
from e3.party.protocol import Spec
from e3.session.private_files import INPUTS, PrivateFiles
from e3.session.verdicts import Verdict
from tests import machines
from tests.hosts import host
from tests.labs import running
from tests.machines import HOME, USER, Machine
from tests.sessions import Bench

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="SSH needs a lab of root's")

WAYS = ("namespace", *machines.ACCESSES)

PROGRAM = """
import os
os.chdir(os.environ["E3_INPUT"])
print([(name, open(name).read()) for name in sorted(os.listdir("."))], input())
open(os.environ["E3_OUTPUT"] + "/share", "w").write("kept here")
"""


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Machine, Path]]:
    with running(tmp_path_factory.mktemp("files"), regions=["a"]) as lab:
        machines.keys(lab.folder)
        inside = lab.add_host("a-0", "a").access
        machines.add_user(inside, lab.folder, sudo=True)
        with machines.opened(inside) as made:
            yield made, lab.folder


@pytest.fixture(params=WAYS)
def access(
    request: pytest.FixtureRequest, machine: tuple[Machine, Path]
) -> NamespaceAccess | SshAccess:
    made, folder = machine
    if request.param == "namespace":
        return made.inside
    return machines.access(made, folder, request.param)


def own(access: Access) -> tuple[str, str, str]:
    """Return where inputs are put, where the owner puts them, and whose they are there."""
    if isinstance(access, SshAccess) and access.own:
        return f"{HOME}/.e3/state/inputs", f"{HOME}/.e3-inputs", USER
    return INPUTS, "/var/lib/e3-inputs", "root"


def test_inputs_reach_the_program_and_outputs_stay(
    machine: tuple[Machine, Path], access: NamespaceAccess | SshAccess, tmp_path: Path
) -> None:
    made, _ = machine
    put, owned, user = own(access)
    one = replace(host("a-0", "127.0.0.1"), access=access, python="python3")
    files = PrivateFiles(one)
    (tmp_path / "source").write_text("41")
    asyncio.run(files.put("sub/number", tmp_path / "source"))
    asyncio.run(files.put("stdin", tmp_path / "source"))
    asyncio.run(files.remove(["sub/number"]))
    made.do("install", "-d", "-m", "700", "-o", user, owned)
    made.do(
        "sh", "-c", f"echo secret > {owned}/own; chmod 600 {owned}/own; chown {user} {owned}/own"
    )
    assert made.do("stat", "-c", "%a %U", put, f"{put}/stdin").split() == ["700", user, "600", user]
    listed, _ = asyncio.run(files.list())
    assert [(each.name, each.owned) for each in listed] == [("stdin", False), ("own", True)]
    try:
        bench = Bench(tmp_path, hosts=[one])
        result = bench.run(PROGRAM, parties=1, rules=Rules(outputs="private"))
        assert result.verdict is Verdict.COMPLETED, result.reason
        assert result.parties[0].output == "[('own', 'secret\\n'), ('stdin', '41')] 41\n"
        spec = Spec(session=result.id, pid=0, parties=(), entry="", args=())
        got = asyncio.run(files.get_outputs(result.id, tmp_path / "got", spec))
        assert got is not None
        assert (tmp_path / "got/share").read_text() == "kept here"
        run = f"{HOME}/.e3/run" if user == USER else "/run/e3"
        assert made.do("find", f"{run}/sessions", "-mindepth", "1") == ""
    finally:
        asyncio.run(files.remove(None))
        made.do("rm", "-r", owned)
    assert asyncio.run(files.list()) == ([], 0)


def test_a_full_disk_of_a_host_leaves_nothing_half(
    machine: tuple[Machine, Path], tmp_path: Path
) -> None:
    made, folder = machine
    files = PrivateFiles(
        replace(host("a-0", "127.0.0.1"), access=machines.access(made, folder, "root"))
    )
    made.do("mkdir", "-p", INPUTS)
    made.do("mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", INPUTS)
    try:
        with (tmp_path / "big").open("wb") as file:
            file.truncate(5_000_000)
        with pytest.raises(HostError, match="No space left on device"):
            asyncio.run(files.put("big", tmp_path / "big"))
        assert made.do("find", INPUTS, "-type", "f") == ""
    finally:
        made.do("umount", INPUTS)


def test_what_the_owner_put_there_stays(machine: tuple[Machine, Path], tmp_path: Path) -> None:
    made, folder = machine
    access = machines.access(made, folder, "user")
    (tmp_path / "source").write_text("41")
    asyncio.run(provision.claim(access, "stack"))
    files = PrivateFiles(replace(host("a-0", "127.0.0.1"), access=access))
    asyncio.run(files.put("number", tmp_path / "source"))
    made.do("install", "-D", "-o", USER, "/etc/hostname", f"{HOME}/.e3-inputs/own")
    try:
        asyncio.run(provision.remove(access, "stack"))
        assert made.do("ls", "-A", f"{HOME}/.e3-inputs").split() == ["own"]
        assert ".e3\n" not in made.do("ls", "-A", HOME)
    finally:
        made.do("rm", "-r", f"{HOME}/.e3-inputs")
