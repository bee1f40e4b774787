"""The salt in stack files, with real git and the real Pulumi: git never sees it."""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from installer.backend import Backend
from installer.salt import FILE, FILTERS, KEY, Salt
from installer.steps import ROOT

DEV = "config:\n  e3:overlay: plain\n"


@dataclass(frozen=True)
class Checkout:
    """A repository with stacks `dev` and `edge`, of which Pulumi has its backend."""

    folder: Path

    @property
    def step(self) -> Salt:
        return Salt(self.folder)

    def git(self, *arguments: str) -> str:
        identity = ["-c", "user.name=e3", "-c", "user.email=e3@localhost"]
        command = ["git", "-C", str(self.folder), *identity, *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    @property
    def status(self) -> str:
        return self.git("status", "--porcelain")

    def read(self, stack: str = "dev") -> str:
        return (self.folder / f"Pulumi.{stack}.yaml").read_text()

    def write(self, text: str, stack: str = "dev") -> None:
        (self.folder / f"Pulumi.{stack}.yaml").write_text(text)


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    made = Checkout(tmp_path)
    made.git("init", "--quiet")
    shutil.copy(ROOT / ".gitattributes", tmp_path)
    (tmp_path / ".gitignore").write_text("/.e3/\n/.tools/\n")
    made.write(DEV)
    made.write("# nothing is configured\n", "edge")
    made.git("add", "--all")
    made.git("commit", "--quiet", "--message", "x")
    (tmp_path / ".tools/bin").mkdir(parents=True)
    (tmp_path / ".tools/bin/pulumi").symlink_to(ROOT / ".tools/bin/pulumi")
    Backend(tmp_path).do()
    return made


def test_every_tracked_file_has_it_and_git_sees_none(checkout: Checkout) -> None:
    assert not checkout.step.done()
    checkout.step.do()
    assert checkout.step.done()
    line = (checkout.folder / FILE).read_text()
    assert line.startswith(f"{KEY} v1:")
    assert checkout.read() == line + DEV
    assert checkout.status == ""
    checkout.git("add", "--all")
    assert checkout.status == ""
    assert KEY not in checkout.git("show", ":Pulumi.dev.yaml")


def test_what_git_writes_later_has_it_too(checkout: Checkout) -> None:
    checkout.step.do()
    (checkout.folder / "Pulumi.dev.yaml").unlink()
    checkout.git("checkout", "--", "Pulumi.dev.yaml")
    assert checkout.read().startswith(KEY)
    assert checkout.step.done()
    assert checkout.status == ""


def test_edits_staged_or_not_stay_and_are_all_that_git_sees(checkout: Checkout) -> None:
    checkout.write(DEV + "  e3:parties: 2\n")
    checkout.git("add", "Pulumi.dev.yaml")
    checkout.write(DEV + "  e3:parties: 3\n")
    checkout.step.do()
    assert checkout.status == "MM Pulumi.dev.yaml\n"
    assert checkout.git("show", ":Pulumi.dev.yaml") == DEV + "  e3:parties: 2\n"
    assert "+  e3:parties: 3\n" in checkout.git("diff")
    assert KEY not in checkout.git("diff")


def test_a_salt_in_use_stays_and_one_that_serves_nothing_is_replaced(checkout: Checkout) -> None:
    theirs = f"{KEY} v1:older:v1:x:y\n"
    checkout.write(DEV + theirs)
    checkout.write(theirs + "config:\n  x:y:\n    secure: v1:x\n", "edge")
    checkout.step.do()
    ours = (checkout.folder / FILE).read_text()
    assert checkout.read() == ours + DEV
    assert checkout.read("edge").startswith(theirs)
    checkout.write(DEV + theirs)
    state = checkout.folder / ".e3/state/.pulumi/stacks/e3/dev.json"
    state.parent.mkdir(parents=True)
    state.write_text("{}")
    assert checkout.step.done()


def test_a_stack_of_a_persons_own_is_left_to_them(checkout: Checkout) -> None:
    checkout.write(DEV, "mine")
    checkout.step.do()
    assert checkout.read("mine") == DEV
    assert checkout.status == "?? Pulumi.mine.yaml\n"


def test_pulumi_takes_it_and_changes_nothing(checkout: Checkout) -> None:
    checkout.step.do()
    before = checkout.read()
    (checkout.folder / "Pulumi.yaml").write_text(
        "name: e3\nruntime: python\nbackend: {url: 'file://./.e3/state'}\n"
    )
    place = {"PULUMI_HOME": f"{checkout.folder}/.e3/pulumi", "PATH": "/usr/bin:/bin"}
    place["PULUMI_CONFIG_PASSPHRASE_FILE"] = f"{checkout.folder}/.e3/passphrase"
    for words in ("stack init dev", "config set --secret key value", "config rm key"):
        subprocess.run(
            [checkout.folder / ".tools/bin/pulumi", *words.split(), "--non-interactive"],
            cwd=checkout.folder,
            env=place,
            check=True,
            capture_output=True,
        )
    assert checkout.read() == before


def test_an_older_set_up_is_completed(checkout: Checkout) -> None:
    checkout.git("config", "filter.e3-stack.clean", FILTERS["filter.e3-stack.clean"])
    assert not checkout.step.done()
    checkout.step.do()
    assert checkout.step.done()


def test_without_git_there_is_nothing_to_do(tmp_path: Path) -> None:
    assert Salt(tmp_path).done()
    (tmp_path / ".git").mkdir()  # no repository: git refuses
    assert Salt(tmp_path).done()


def test_no_salt_is_committed_here() -> None:
    command = ["git", "-C", str(ROOT), "grep", "-l", f"^{KEY}", "HEAD", "--", "Pulumi.*.yaml"]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    # status 1: none; another one: no repository here
    assert found.stdout == "", "commit these again, as git would see them modified for ever"
