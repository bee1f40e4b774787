"""Shells complete words of `e3`: as they ask for them, and at a terminal where TAB is pressed."""

import shutil
from pathlib import Path

import pytest

from tests.adhoc import at_terminal
from tests.commands import Command, private

RUN = "20261127-010203-abcd"
SHELLS = {
    "bash": (["bash", "--norc", "--noprofile", "-i"], 'eval "$(e3 completion bash)"'),
    "fish": (["fish", "--no-config", "--interactive"], "e3 completion fish | source"),
    "zsh": (
        ["zsh", "-f", "-i"],
        'autoload -Uz compinit; compinit -u -D; eval "$(e3 completion zsh)"',
    ),
}
"""How each shell begins without a person's settings, and the line that README gives for it."""


@pytest.fixture(scope="module")
def e3(tmp_path_factory: pytest.TempPathFactory) -> Command:
    """The command of a project with stacks whose states are empty, and with a run."""
    made = private(tmp_path_factory.mktemp("completion"))
    store = made.folder / ".e3/state/.pulumi/stacks/e3"
    store.mkdir(parents=True)
    for name in ("dev.json", "dev.json.bak", "lab.json.gz"):
        (store / name).write_text("")
    (made.folder / ".e3/dev/sessions" / RUN).mkdir(parents=True)
    return made


def completed(e3: Command, line: str, folder: Path) -> list[str]:
    """Return what is offered at the end of the line, as bash would ask for it."""
    answer = folder / "answer"
    asked = {
        "_ARGCOMPLETE": "1",
        "_ARGCOMPLETE_SHELL": "bash",
        "_ARGCOMPLETE_STDOUT_FILENAME": str(answer),
        "_ARGCOMPLETE_IFS": "\n",
        "COMP_LINE": line,
        "COMP_POINT": str(len(line)),
        "COMP_TYPE": "9",
    }
    Command(folder=e3.folder, environment={**e3.environment, **asked})(cwd=folder)
    return [word.strip() for word in answer.read_text().split("\n") if word]


def test_a_shell_completes_verbs_options_stacks_runs_and_files(e3: Command, tmp_path: Path) -> None:
    (tmp_path / "vote.py").write_text("")
    (tmp_path / "votes").mkdir()
    assert completed(e3, "e3 verify", tmp_path) == ["verify-gone"]
    assert completed(e3, "e3 run", tmp_path) == ["run", "runs"]
    assert "--parties" in completed(e3, "e3 run --p", tmp_path)
    assert completed(e3, "e3 show --stack ", tmp_path) == ["dev", "lab"]
    assert {RUN, "latest"} <= set(completed(e3, "e3 logs ", tmp_path))
    assert completed(e3, "e3 run vo", tmp_path) == ["vote.py", "votes/"]
    assert {"list", "put", "remove"} <= set(completed(e3, "e3 input ", tmp_path))


@pytest.mark.parametrize("shell", SHELLS)
def test_tab_completes_verbs_and_stacks_at_a_terminal(
    e3: Command, shell: str, tmp_path: Path
) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"no {shell} here")
    argv, line = SHELLS[shell]
    environment = {
        "HOME": str(tmp_path),
        "LANG": "C.UTF-8",
        "PATH": f"{e3.folder}/scripts/bin:/usr/bin:/bin",
        "TERM": "xterm",
    }
    # fish wants the terminal to be that of its session
    owner = ["setsid", "--ctty", "--wait", *argv]
    with at_terminal(owner, environment, tmp_path) as typist:
        typist.type(line)
        typist.type("echo rea''dy")
        typist.await_text("ready")
        # a verb or a stack that was not completed would be unknown
        typist.press("e3 sho\t--sta\tde\t\n")
        typist.await_text(r"stacks/e3/dev\.json is empty")
