"""Private inputs of a party: its program reads them, and nobody else sees them."""

import os
import re
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest

from e3.config import parse
from e3.errors import ConfigurationError
from e3.experiment import Limits, Rules
from e3.session.inputs import Earlier
from e3.session.verdicts import Verdict
from tests.sessions import Bench, joined

pytestmark = pytest.mark.unit

PUT, OWNED = "/var/lib/e3/inputs", "/var/lib/e3-inputs"

READ = """
import os, sys
folder = os.environ["E3_INPUT"]
for name in sorted(os.listdir(folder)):
    place = f"{folder}/{name}"
    try:
        open(place, "a")
        os.chmod(folder, 0o700)
        print("writable:", name)
    except OSError:
        pass
    print(name, os.listdir(place) if os.path.isdir(place) else len(open(place).read()))
"""


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def said(bench: Bench, program: str = READ, **more: object) -> str:
    """Return what the program of a single party printed."""
    result = bench.run(program, parties=1, **more)  # type: ignore[arg-type]  # as the caller says
    assert result.verdict is Verdict.COMPLETED, result.reason
    return result.parties[0].output


def failed(bench: Bench, program: str = "", **more: object) -> str:
    """Return why a session of a single party did not complete."""
    result = bench.run(program, parties=1, **more)  # type: ignore[arg-type]  # as the caller says
    assert result.verdict is Verdict.PARTY_FAILED, result
    return result.reason


def traces(bench: Bench, secret: str) -> list[Path]:
    """Return the files of the evidence, and those on hosts, that have a secret."""
    return [
        path
        for folder in (bench.sessions, *bench.folder.glob("hosts/*/run"))
        for path in folder.rglob("*")
        if path.is_file() and secret in path.read_text(errors="replace")
    ]


def test_inputs_of_all_origins_are_in_one_folder_that_nobody_can_write(bench: Bench) -> None:
    bench.put("local-0", f"{PUT}/put.csv", "1234567")
    bench.put("local-0", f"{PUT}/folder/below.csv", "12")
    bench.put("local-0", f"{OWNED}/own.csv", "123")
    bench.put("local-0", f"{OWNED}/.own.csv.swp", "editors make such")
    bench.put("local-0", f"{OWNED}/closed.csv", "12345").chmod(0o600)
    (bench.place("local-0", OWNED) / "link.csv").symlink_to("own.csv")
    (bench.place("local-0", OWNED) / ".#own.csv").symlink_to("an-editors-lock")
    sent = bench.folder / "sent"
    (sent / "local-0").mkdir(parents=True)
    (sent / "local-0" / "sent.csv").write_text("1")
    (sent / "local-1").mkdir(parents=True)
    (sent / "local-1" / "others.csv").write_text("1")
    assert said(bench, inputs=sent).splitlines() == [
        "closed.csv 5",
        "folder ['below.csv']",
        "link.csv 3",
        "own.csv 3",
        "put.csv 7",
        "sent.csv 1",
    ]
    assert bench.leftovers() == []


def test_each_party_has_its_own_and_no_trace_of_it_stays(bench: Bench) -> None:
    for pid in range(3):
        bench.put(f"local-{pid}", f"{PUT}/number", f"secret-{pid}-7351")
    body = """
    import os
    number = int(open(os.environ["E3_INPUT"] + "/number").read()[7])
    print(await mpc.output(mpc.sum(mpc.input(mpc.SecInt()(number)))))
    """
    result = bench.run(joined(body))
    assert [party.output for party in result.parties] == ["3\n"] * 3, result.reason
    assert traces(bench, "7351") == []


def test_parties_agree_on_the_names_of_their_inputs(bench: Bench) -> None:
    for pid in range(2):
        bench.put(f"local-{pid}", f"{PUT}/survey.csv", str(pid))
    result = bench.run(joined("pass"))
    assert result.verdict is Verdict.INCOMPATIBLE
    assert result.reason == ("local-2 has the inputs none, the other two survey.csv")
    result = bench.run(joined("print(mpc.pid)"), rules=Rules(input_names="any"))
    assert result.verdict is Verdict.COMPLETED, result.reason
    assert "that may differ: local-2 has the inputs none" in bench.log(result, 0)


def test_without_inputs_their_folder_is_empty(bench: Bench) -> None:
    assert said(bench) == ""


def test_standard_input_is_the_input_of_that_name(bench: Bench) -> None:
    bench.put("local-0", f"{PUT}/stdin", "310\nanother line\nlast")
    program = """
    import sys
    print(int(input("your bid: ")), sys.stdin.readline().strip(), open("/dev/stdin").read()[:3])
    print(input())
    """
    assert said(bench, program).splitlines() == ["your bid: 310 another line 310", "last"]


def test_input_says_where_it_comes_from(bench: Bench) -> None:
    reason = failed(bench, "input('your bid: ')")
    assert reason == (
        "party 0 (local-0) exited with status 1: EOFError: EOF when reading a line: this party has "
        "no standard input; give it an input named stdin (`e3 input put HOST stdin`), or let "
        "`e3 run --stdin` pass on yours to party 0"
    )
    bench.put("local-0", f"{PUT}/stdin", "310\n")
    assert "has no more lines" in failed(bench, "input(); input()")


def make_socket(place: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(place.name)


def sparse(folder: Path) -> None:
    with (folder / "huge.bin").open("wb") as file:
        file.truncate(5_000_000_000)


WRONG: dict[str, tuple[Callable[[Path], object], str]] = {
    "newline": (
        lambda at: (at / "a\nb").touch(),
        r"input a\\nb in .* has a name that cannot be",
    ),
    "not UTF-8": (lambda at: (at / "a\udcff").touch(), r"the input a\\udcff in .*; rename it"),
    "link out": (
        lambda at: (at / "x").symlink_to("/etc/passwd"),
        "x is a link that leads outside; copy what it leads to",
    ),
    "link to nothing": (lambda at: (at / "x").symlink_to("y"), "x is a link that leads to nothing"),
    "pipe": (lambda at: os.mkfifo(at / "x"), "x is not a file; remove it"),
    "socket": (
        lambda at: make_socket(at / "x"),
        "x is not a file; remove it",
    ),
    "5 GB": (sparse, "its inputs have 5000.0 MB, the most of it in huge.bin; .*, which is 1000"),
    "open to all": (lambda at: at.chmod(0o750), "other users can reach the inputs in .* chmod 700"),
    "of another user": (lambda at: os.chown(at, 1000, 1000), "other users can reach the inputs"),
}


@pytest.mark.parametrize(("change", "reason"), WRONG.values(), ids=WRONG)
def test_wrong_inputs_are_named(
    bench: Bench, change: Callable[[Path], object], reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = bench.put("local-0", f"{OWNED}/good.csv").parent
    monkeypatch.chdir(folder)  # a socket's path must be short
    change(folder)

    assert re.search(f"party 0 .local-0. did not start: .*{reason}", failed(bench))


def test_one_name_in_two_places_is_named(bench: Bench) -> None:
    bench.put("local-0", f"{PUT}/a.csv")
    bench.put("local-0", f"{OWNED}/a.csv")
    assert "the input a.csv is in " in failed(bench)


def test_inputs_count_towards_their_own_limit(bench: Bench) -> None:
    bench.put("local-0", f"{PUT}/a.csv", "x" * 1_100_000)
    rules = Rules(limits=Limits(input_mb=1))
    assert "raise input-mb of e3:limits, which is 1" in failed(bench, rules=rules)


ENCRYPT = """
    import os
    share = int((await mpc.gather(mpc.input(mpc.SecInt()(42), 0))).value)
    with open(os.environ["E3_OUTPUT"] + f"/share{mpc.pid}", "w") as file:
        file.write(str(share))
"""
DECRYPT = """
    import os
    with open(os.environ["E3_INPUT"] + f"/share{mpc.pid}") as file:
        share = mpc.SecInt()(mpc.SecInt().field(int(file.read())))
    print(await mpc.output(share))
"""


@pytest.mark.parametrize("where", ["private", "evidence"])
def test_the_output_of_a_run_is_input_of_the_next(
    bench: Bench, where: Literal["private", "evidence"]
) -> None:
    first = bench.run(joined(ENCRYPT), rules=Rules(outputs=where))
    assert first.verdict is Verdict.COMPLETED, first.reason
    in_evidence = bench.sessions / first.id / "output"
    assert in_evidence.exists() == (where == "evidence")
    earlier = Earlier(session=first.id, folder=None if where == "private" else in_evidence)
    result = bench.run(joined(DECRYPT), earlier=earlier)
    assert [party.output for party in result.parties] == ["42\n"] * 3, result.reason


WRITE = """
    with open(f"share{mpc.pid}.enc", "w") as file:
        file.write(str(mpc.pid))
"""
READ_BACK = """
    print(open(f"share{mpc.pid}.enc").read())
"""


def test_programs_that_know_nothing_of_it_work_in_two_stages(bench: Bench) -> None:
    first = bench.run(joined(WRITE), rules=Rules(outputs="private", keep=("*.enc",)))
    assert first.verdict is Verdict.COMPLETED, first.reason
    result = bench.run(joined(READ_BACK), earlier=Earlier(session=first.id, folder=None))
    assert [party.output for party in result.parties] == ["0\n", "1\n", "2\n"], result.reason


def test_a_programs_own_file_is_not_hidden_by_an_input(bench: Bench) -> None:
    bench.put("local-0", f"{PUT}/program.py", "input")
    bench.put("local-0", f"{PUT}/folder/data.csv", "1")
    text = "import os; print(os.path.islink('program.py'), open('folder/data.csv').read())"
    assert said(bench, text) == "False 1\n"


def test_a_program_sees_nothing_of_the_folders_beyond_its_own(bench: Bench) -> None:
    bench.put("local-0", f"{PUT}/a.csv", "1")
    bench.put("local-0", f"{OWNED}/b.csv", "1")
    places = [str(bench.place("local-0", place)) for place in (PUT, OWNED)]
    assert said(bench, f"import os; print([os.path.exists(p) for p in {places}])") == (
        "[False, False]\n"
    )


@pytest.mark.parametrize("session", ["20260101-000000-abcd", "../../inputs", ""])
def test_a_run_without_output_is_no_input(bench: Bench, session: str) -> None:
    bench.put("local-0", f"{PUT}/a.csv")
    earlier = Earlier(session=session or "x", folder=None)
    assert "there is no output of run " in failed(bench, earlier=earlier)


@dataclass
class Typist:
    """A console at which somebody answers what is asked."""

    answers: list[bytes]
    shown: str = ""

    async def read(self) -> bytes:
        return self.answers.pop(0) if self.answers else b""

    def show(self, text: str) -> None:
        self.shown += text


def test_what_is_typed_reaches_party_0_alone(bench: Bench) -> None:
    body = """
    import sys
    mine = int(input("your bid: ")) if mpc.pid == 0 else len(sys.stdin.read())
    if mpc.pid == 0:
        print(len(sys.stdin.read()))
    print(await mpc.output(mpc.sum(mpc.input(mpc.SecInt()(mine)))))
    """
    much = b"x" * 32_000 + b"\n"
    typist = Typist([b"31", b"07351\n", *[much] * 20])
    result = bench.run(joined(body), console=typist)
    assert result.verdict is Verdict.COMPLETED, result.reason
    assert result.parties[0].output == f"your bid: {len(much) * 20}\n3107351\n"
    assert result.parties[1].output == "3107351\n"
    assert "your bid: " in typist.shown
    assert "3107351" not in (bench.sessions / result.id / "manifest.json").read_text()


def test_typing_ends_and_may_be_unread(bench: Bench) -> None:
    typist = Typist([b"x" * 32_000] * 10)
    assert said(bench, "print(1)", console=typist) == "1\n"
    typist = Typist([b"one\n"])
    reason = failed(bench, "print(input()); input()", console=typist)
    assert "EOFError: EOF when reading a line: its standard input has no more lines" in reason


def folder_of(tmp_path: Path, *names: str) -> str:
    for name in names:
        place = tmp_path / "inputs" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text("secret")
    return str(tmp_path / "inputs")


def test_a_folder_has_a_subfolder_for_each_host(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, "ams3-0/a.csv", "sgp1-0/a.csv", ".hidden")
    assert parse("dev", {"inputs": folder}).session.inputs == Path(folder)
    assert parse("dev", {"inputs": ""}).session.inputs is None


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        ([], "inputs is not a folder; make it, with a subfolder for each host"),
        (["ams3-9/a.csv"], "a subfolder ams3-9, and there is no such host; choose one of ams3-0"),
        (["a.csv"], "a.csv lies in .*inputs itself; move it to the subfolder of its host"),
    ],
)
def test_a_folder_that_is_none_of_inputs(tmp_path: Path, names: list[str], reason: str) -> None:
    with pytest.raises(ConfigurationError, match=f"e3:inputs: .*{reason}"):
        parse("dev", {"inputs": folder_of(tmp_path, *names)})


def test_what_is_sent_is_bounded(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "sent/local-0").mkdir(parents=True)
    sparse(tmp_path / "sent/local-0")
    with pytest.raises(ConfigurationError, match=r"5000.0 MB in 1 files; .* 1000 MB \(input-mb"):
        bench.run("", parties=1, inputs=tmp_path / "sent")
