"""What set-up built is there for the other checkouts of its user, and for nobody else to change."""

import os
import stat
from pathlib import Path

import pytest

from installer.__main__ import _ours
from installer.cache import SUMS, Cache
from installer.programs import Go, Tool
from installer.progress import Progress
from installer.steps import ROOT, run, take
from tests.unit.test_setup import said, script, stand_in_go, write_module


def tool(folder: Path, path: str, kept: Path, name: str = "one") -> Tool:
    """Return the step of a checkout of that name, whose Go only pretends to build."""
    tools = folder / name
    return Tool(write_module(folder), Go(folder / "lock", tools, path), tools, path, Cache(kept))


@pytest.fixture
def path(tmp_path: Path) -> str:
    return stand_in_go(tmp_path, seconds=0)


def builds(folder: Path) -> int:
    log = folder / "go/log"
    return len(log.read_text().splitlines()) if log.exists() else 0


def test_two_checkouts_build_once(tmp_path: Path, path: str) -> None:
    for name in ("one", "two"):
        step = tool(tmp_path, path, tmp_path / "cache/e3/programs", name)
        take([step], step.tools)
        assert said(step) == "hello"
    assert builds(tmp_path) == 1
    folders = (tmp_path / "cache/e3", *(tmp_path / "cache/e3").rglob("*"))
    assert {stat.S_IMODE(it.stat().st_mode) for it in folders if it.is_dir()} == {0o700}


def test_other_pins_are_another_entry(tmp_path: Path, path: str) -> None:
    step = tool(tmp_path, path, tmp_path / "cache/e3/programs")
    take([step], step.tools)
    (step.source / "go.sum").write_text("\n")
    take([step], step.tools)
    assert builds(tmp_path) == 2


@pytest.mark.parametrize("how", ["changed", "cut", "gone", "a link", "sums of nonsense", "no name"])
def test_an_entry_that_is_not_whole_is_built_anew(
    tmp_path: Path, path: str, capsys: pytest.CaptureFixture[str], how: str
) -> None:
    kept = tmp_path / "cache/e3/programs"
    take([tool(tmp_path, path, kept)], tmp_path / "one")
    entry = next(kept.iterdir())
    program, sums = entry / "hello", entry / SUMS
    match how:
        case "changed":
            program.write_text("#!/bin/sh\necho evil >&2\n")
        case "cut":
            program.write_bytes(program.read_bytes()[:5])
        case "gone":
            program.unlink()
        case "a link":
            (tmp_path / "elsewhere").write_bytes(program.read_bytes())
            program.unlink()
            program.symlink_to(tmp_path / "elsewhere")
        case "sums of nonsense":
            sums.write_text("nonsense")
        case "no name":
            sums.write_text(f"{'0' * 64}  other\n")
    capsys.readouterr()
    for name in ("two", "three"):
        step = tool(tmp_path, path, kept, name)
        take([step], step.tools)
        assert said(step) == "hello"
    assert "is not whole" in capsys.readouterr().err
    assert builds(tmp_path) == 2


@pytest.mark.parametrize(("where", "mode"), [("", 0o777), ("e3", 0o750), ("e3/programs", 0o702)])
def test_a_folder_that_others_could_write_is_not_used(
    tmp_path: Path, path: str, capsys: pytest.CaptureFixture[str], where: str, mode: int
) -> None:
    base = tmp_path / "cache"
    (base / "e3/programs").mkdir(parents=True)
    for folder in (base, base / "e3", base / "e3/programs"):
        folder.chmod(0o700)
    (base / where).chmod(mode)
    step = tool(tmp_path, path, base / "e3/programs")
    take([step], step.tools)
    assert said(step) == "hello"
    assert f"others have rights to {base / where}".rstrip("/") in capsys.readouterr().err
    assert list((base / "e3/programs").iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_a_folder_of_somebody_else_is_not_used(
    tmp_path: Path, path: str, capsys: pytest.CaptureFixture[str]
) -> None:
    base = tmp_path / "cache"
    base.mkdir()
    os.chown(base, 65534, 65534)
    step = tool(tmp_path, path, base / "e3/programs")
    take([step], step.tools)
    assert said(step) == "hello"
    assert "belongs to another user" in capsys.readouterr().err


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path: Path, path: str) -> None:
    (tmp_path / "cache").write_text("")
    step = tool(tmp_path, path, tmp_path / "cache/e3/programs")
    take([step], step.tools)
    assert said(step) == "hello"


def test_what_nobody_took_for_long_is_removed(tmp_path: Path, path: str) -> None:
    kept = tmp_path / "cache/e3/programs"
    step = tool(tmp_path, path, kept)
    take([step], step.tools)
    old = next(kept.iterdir())
    os.utime(old / SUMS, (0, 0))
    (step.source / "go.sum").write_text("\n")
    take([step], step.tools)
    assert not old.exists()
    assert len(list(kept.iterdir())) == 1


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("/x/y", "/x/y/e3/programs"),
        ("", "{home}/.cache/e3/programs"),
        ("x", "{home}/.cache/e3/programs"),
    ],
)
def test_the_place_is_that_of_the_xdg_specification(asked: str, found: str) -> None:
    code = "from installer.cache import place; print(place())"
    printed = run(
        ["python3", "-c", code],
        environment={"PYTHONPATH": str(ROOT / "scripts"), "XDG_CACHE_HOME": asked},
    )
    assert printed.strip() == found.format(home=Path.home())


class TestPath:
    """A Pulumi on PATH is taken; its scripts may be missing."""

    RECIPE = """
        programs = ["hello", "hello-exec"]
        usually = "1 s"
        version = ["hello", "--version"]
        minimum = "3.250"
        below = "4"
        [scripts]
        "example.org/module" = ["cmd/hello-exec"]
    """

    GO = """\
        #!/bin/sh
        case "$1 $2" in
            "env GOVERSION") echo go1.99 ;;
            "list -m") echo "$(dirname "$0")" ;;
            "list -deps") echo hello ;;
            "build "*) while [ "$1" != -o ]; do shift; done; echo built > "$2/hello" ;;
        esac
    """

    def step(self, folder: Path, version: str, *, script_too: bool) -> Tool:
        source = write_module(folder, recipe=self.RECIPE)
        script(folder / "go/go", "\n".join(it.strip() for it in self.GO.splitlines()))
        script(folder / "go/cmd/hello-exec", "of the module")
        theirs = folder / "theirs"
        script(theirs / "hello", f"#!/bin/sh\necho v{version}\n")
        if script_too:
            script(theirs / "hello-exec", "theirs")
        path = f"{theirs}:{folder / 'go'}:/usr/bin:/bin"
        return Tool(source, Go(folder / "lock", folder / "tools", path), folder / "tools", path)

    @pytest.mark.parametrize("script_too", [True, False])
    def test_one_that_fits_is_taken_and_what_it_lacks_is_brought(
        self, tmp_path: Path, *, script_too: bool
    ) -> None:
        step = self.step(tmp_path, "3.261.1", script_too=script_too)
        take([step], step.tools)
        assert (step.tools / "bin/hello").resolve() == tmp_path / "theirs/hello"
        brought = (step.tools / "bin/hello-exec").read_text()
        assert brought == ("theirs" if script_too else "of the module")

    @pytest.mark.parametrize("version", ["3.249.9", "4.0.0", "dev"])
    def test_one_that_does_not_fit_is_named_and_one_is_built(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str], version: str
    ) -> None:
        step = self.step(tmp_path, version, script_too=True)
        take([step], step.tools)
        assert (step.tools / "bin/hello").read_text() == "built\n"
        assert "not 3.250 or newer, below 4" in capsys.readouterr().err

    def test_that_of_another_checkout_is_not_taken(self, tmp_path: Path) -> None:
        (tmp_path / "scripts/installer").mkdir(parents=True)
        assert _ours(tmp_path / ".tools/bin")
        assert _ours(tmp_path / "scripts/bin")
        assert _ours(ROOT / ".venv/bin")
        assert not _ours(Path("/usr/bin"))
        assert not _ours(Path("/bin"))


class TestProgress:
    def told(
        self, capsys: pytest.CaptureFixture[str], *, terminal: bool, seconds: float
    ) -> tuple[str, Progress]:
        """Return what is told of 100 packages of which 50 took that time."""
        now = [0.0]
        shown = Progress("packages compiled", 100, clock=lambda: now[0], terminal=terminal)
        for _ in range(50):
            now[0] += seconds / 50
            shown.step()
        shown.end()
        return capsys.readouterr().err, shown

    def test_a_terminal_has_one_line_that_goes(self, capsys: pytest.CaptureFixture[str]) -> None:
        text, shown = self.told(capsys, terminal=True, seconds=240)
        assert "\n" not in text
        assert text.endswith("\r\x1b[K")
        assert str(shown) == "50 of 100 packages compiled, about 4 min left"

    def test_a_file_has_a_line_now_and_then(self, capsys: pytest.CaptureFixture[str]) -> None:
        text, _ = self.told(capsys, terminal=False, seconds=240)
        assert 8 <= len(text.splitlines()) <= 12
        assert "\x1b" not in text

    def test_what_is_quick_says_nothing(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert self.told(capsys, terminal=False, seconds=3)[0] == ""

    @pytest.mark.parametrize(
        ("done", "total", "text"),
        [
            (3, 0, "3 modules"),
            (1, 100, "1 of 100 modules"),
            (100, 100, "100 of 100 modules; linking"),
            (7, 5, "5 of 5 modules; linking"),
        ],
    )
    def test_more_or_fewer_than_expected_are_told_as_they_are(
        self, done: int, total: int, text: str
    ) -> None:
        assert str(Progress("modules", total, done=done)) == text


def test_each_line_of_a_command_is_told_at_once() -> None:
    seen: list[str] = []
    output = run(["sh", "-c", "echo one; echo two >&2"], each=seen.append)
    assert seen == ["one\n", "two\n"]
    assert output == "one\ntwo\n"
