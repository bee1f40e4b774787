"""Inputs put on hosts and outputs kept there, as the deployer works on them."""

import asyncio
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from e3.errors import HostError
from e3.experiment import Limits, Rules
from e3.interfaces import Host
from e3.party.protocol import Spec
from e3.session.private_files import PrivateFiles
from tests.local_access import LocalAccess
from tests.sessions import Bench

pytestmark = pytest.mark.unit

PUT = "/var/lib/e3/inputs"


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def files(bench: Bench, host: int = 0) -> PrivateFiles:
    return PrivateFiles(bench.hosts[host])


def names(bench: Bench) -> list[tuple[str, int, bool]]:
    found, more = asyncio.run(files(bench).list())
    assert more == 0
    return [(each.name, each.size, each.owned) for each in found]


def spec(**changes: int) -> Spec:
    return Spec(session="s", pid=0, parties=(), entry="", args=(), **changes)  # type: ignore[arg-type]  # of numbers


def test_inputs_are_put_listed_and_removed(bench: Bench, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(bytes(range(256)) * 4000)
    for name in ("a.csv", "folder/deep/b c.csv", "stdin"):
        asyncio.run(files(bench).put(name, source))
    bench.put("local-0", "/var/lib/e3-inputs/own.csv", "123")
    assert names(bench) == [
        ("a.csv", 1_024_000, False),
        ("stdin", 1_024_000, False),
        ("folder/deep/b c.csv", 1_024_000, False),
        ("own.csv", 3, True),
    ]
    put = bench.place("local-0", PUT)
    assert (put / "a.csv").read_bytes() == source.read_bytes()
    assert {path.stat().st_mode & 0o777 for path in (put, *put.rglob("*"))} == {0o700, 0o600}
    source.write_text("new")
    asyncio.run(files(bench).put("a.csv", source))
    assert (put / "a.csv").read_text() == "new"
    removed = asyncio.run(files(bench).remove(["folder/deep/b c.csv", "own.csv", "a.csv"]))
    assert removed == ["own.csv"]
    assert names(bench) == [("stdin", 1_024_000, False), ("own.csv", 3, True)]
    assert not (put / "folder").exists()
    asyncio.run(files(bench).remove(None))
    assert names(bench) == [("own.csv", 3, True)]
    asyncio.run(files(bench).remove(None))


@pytest.mark.parametrize("name", ["../a", "/etc/a", "a/../../b", ""])
def test_no_name_leads_out_of_the_folder(bench: Bench, tmp_path: Path, name: str) -> None:
    (tmp_path / "source").write_text("x")
    with pytest.raises(HostError, match="is no path below the folder"):
        asyncio.run(files(bench).put(name, tmp_path / "source"))
    with pytest.raises(HostError, match="is no path below the folder"):
        asyncio.run(files(bench).remove([name]))


def test_what_does_not_arrive_whole_is_not_there(bench: Bench, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_text("x")
    asyncio.run(files(bench).put("a.csv", source))
    bench.put("local-0", f"{PUT}/is-a-folder/x")
    with pytest.raises(HostError, match=r"local-0 refuses a file: .*Is a directory"):
        asyncio.run(files(bench).put("is-a-folder", source))
    with pytest.raises(HostError, match=r"refuses a file: .*File exists"):
        asyncio.run(files(bench).put("a.csv/b", source))

    async def cut_off() -> None:
        request = {"name": "b.csv", "size": 10}
        asked = files(bench)._asked("put", [PUT], request)  # noqa: SLF001 -- as if it ended there
        async with asked as process:
            process.stdin.write(b"12345")

    asyncio.run(cut_off())
    assert [each[0] for each in names(bench)] == ["a.csv", "is-a-folder/x"]
    assert not list(bench.place("local-0", PUT).glob(".*"))


def test_many_inputs_are_counted(bench: Bench) -> None:
    for number in range(1003):
        bench.put("local-0", f"{PUT}/{number:04}")
    found, more = asyncio.run(files(bench).list())
    assert (len(found), more) == (1000, 3)


def test_private_outputs_are_fetched_and_removed(bench: Bench, tmp_path: Path) -> None:
    program = """
    import os
    os.makedirs(os.environ["E3_OUTPUT"] + "/a")
    open(os.environ["E3_OUTPUT"] + "/a/share", "w").write("secret")
    open(os.environ["E3_OUTPUT"] + "/big", "wb").write(bytes(200_000))
    """
    result = bench.run(program, parties=1, rules=Rules(outputs="private", limits=Limits()))
    got = asyncio.run(files(bench).get_outputs(result.id, tmp_path / "got", spec()))
    assert got is not None
    assert (got.files, got.bytes, got.remarks) == (2, 200_006, [])
    assert (tmp_path / "got/a/share").read_text() == "secret"
    asyncio.run(files(bench).remove_outputs(result.id))
    assert asyncio.run(files(bench).get_outputs(result.id, tmp_path / "x", spec())) is None
    assert not (tmp_path / "x").exists()


def lying(tmp_path: Path, lines: Sequence[bytes]) -> PrivateFiles:
    """Return the files of a host whose Python answers with these lines."""
    python = tmp_path / "python"
    text = b"".join(lines)
    python.write_text(f"#!{sys.executable}\nimport sys\nsys.stdout.buffer.write({text!r})\n")
    python.chmod(0o755)
    return PrivateFiles(
        Host(
            name="liar",
            region="x",
            system="x86_64-linux",
            underlay="127.0.0.9",
            reachability="public",
            python=str(python),
            tools="",
            access=LocalAccess(tmp_path / "host"),
        )
    )


FILE = b'{"e3": "file", "at": 0, "name": "a", "size": 1}\n'
LIES = {
    "nothing": ([], "ended before it had answered"),
    "no JSON": ([b"{]\n"], "answers what is no answer"),
    "another answer": ([b'{"e3": "x"}\n'], "answers what is no answer"),
    "a path out": ([FILE.replace(b'"a"', b'"../../a"')], "sends what is no output: an output file"),
    "too much": ([FILE.replace(b": 1", b": 1000000001")], "more output files than allowed"),
    "no file before it": ([b'{"e3": "piece", "at": 0, "data": "eA=="}\n'], "that has 0 left"),
    "half": ([FILE], "ended before it had answered"),
    "a line without an end": ([b"{" + b"x" * 2_000_000], "ended before it had answered"),
}


@pytest.mark.parametrize(("lines", "wrong"), LIES.values(), ids=LIES)
def test_a_host_that_answers_anything(tmp_path: Path, lines: list[bytes], wrong: str) -> None:
    got = lying(tmp_path, lines).get_outputs("run", tmp_path / "in" / "got", spec())
    with pytest.raises(HostError, match=wrong):
        asyncio.run(got)
    kept = [path for path in tmp_path.rglob("*") if path.is_file() and path.name != "python"]
    assert kept == []


def test_what_a_host_lists_is_printable(tmp_path: Path) -> None:
    listed = {"e3": "listed", "which": 0, "name": "\x1b[2J", "size": 1, "changed": 1e300}
    lines = [json.dumps(listed).encode() + b"\n", b'{"e3": "total", "files": 1}\n']
    found, _ = asyncio.run(lying(tmp_path, lines).list())
    from e3.cli.inputs import described  # noqa: PLC0415

    assert described(found[0]) == {
        "host": "liar",
        "name": r"\x1b[2J",
        "size": 1,
        "changed": "",
        "owned": False,
    }
