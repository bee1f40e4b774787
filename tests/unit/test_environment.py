"""E3 decides of its environment, in every way of calling it and in each shell."""

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.examples import FEWER

ROOT = Path(__file__).parents[2]
PATH = "/usr/local/bin:/usr/bin:/bin"
SHOW = "#!/bin/sh\numask >&3\nexec env -0 >&3\n"
SHELLS = ["bash", "zsh", "dash"]
HOSTILE = {
    "PULUMI_BACKEND_URL": "file:///elsewhere",
    "PULUMI_CONFIG_PASSPHRASE": "mine; it's $HOME `id`",
    "PULUMI_CONFIG_PASSPHRASE_FILE": "/elsewhere",
    "PULUMI_DIY_BACKEND_GZIP": "true",
    "PULUMI_HOME": "/elsewhere",
    "PULUMI_OPTION_YES": "1",
    "PULUMI_PYTHON_CMD": "/elsewhere",
    "PULUMI_SKIP_CHECKPOINTS": "true",
    "PULUMI_STACK": "other",
    "PYTHONHOME": "/elsewhere",
    "PYTHONINSPECT": "1",
    "PYTHONIOENCODING": "ascii",
    "PYTHONOPTIMIZE": "2",
    "PYTHONPATH": "/else where",
    "PYTHONSAFEPATH": "1",
    "PYTHONSTARTUP": "/elsewhere",
    "PYTHONUTF8": "0",
    "PYTHONWARNINGS": "error",
}
OWN = {
    "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
    "PULUMI_SKIP_UPDATE_CHECK": "true",
    "PYTHONUTF8": "1",
}
KEPT = {
    "DIGITALOCEAN_TOKEN": "x",
    "PULUMI_ACCESS_TOKEN": "x",
    "PYTHONDONTWRITEBYTECODE": "1",
    "HTTPS_PROXY": "http://proxy:3128",
}
WAYS = ["activate", "pulumi", "e3", "pulumi after activate"]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a project, in a folder with a space, whose programs show their environment."""
    folder = tmp_path_factory.mktemp("a project's folder")
    shutil.copytree(ROOT / "scripts/bin", folder / "scripts/bin")
    shutil.copy(ROOT / "scripts/activate", folder / "scripts")
    for name in (".venv/bin/python", ".tools/bin/pulumi"):
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_text(SHOW)
        (folder / name).chmod(0o755)
    (folder / ".e3").mkdir()
    (folder / ".e3/passphrase").write_text("x")
    return folder


def shown(
    project: Path, way: str, variables: Mapping[str, str], shell: str = "dash", before: str = ""
) -> tuple[dict[str, str], str]:
    """Return the environment that a program has which is called in that way, and what is said."""
    call = {
        "activate": f"{before} . scripts/activate; {project}/.tools/bin/pulumi",
        "pulumi": f"{before} scripts/bin/pulumi up",
        "e3": f"{before} scripts/bin/e3 runs",
        "pulumi after activate": f". scripts/activate; {before} pulumi up",
    }[way].replace(str(project), '"$PWD"')
    seen = project / "seen"
    seen.write_text("")
    done = subprocess.run(
        [shell, "-c", f"exec 3>>seen; {call}"],
        cwd=project,
        env={"PATH": PATH, "HOME": "/nonexistent", **variables},
        stderr=subprocess.PIPE,
        text=True,
        check=True,
    )
    umask, _, rest = seen.read_bytes().decode().partition("\n")
    environment = dict(entry.split("=", 1) for entry in rest.rstrip("\0").split("\0"))
    return {**environment, "umask": umask}, done.stderr


def of_pulumi(project: Path) -> dict[str, str]:
    """Return what Pulumi's processes have besides: programs of other projects import E3."""
    python = project / "scripts/python-for-pulumi"
    return {"PULUMI_PYTHON_CMD": str(python), "PYTHONPATH": str(project)}


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("way", WAYS)
def test_what_others_set_does_not_reach_it_and_is_said_once(
    project: Path, way: str, shell: str
) -> None:
    if not shutil.which(shell):
        pytest.skip(f"no {shell} here")
    environment, said = shown(project, way, {**HOSTILE, **KEPT}, shell)
    ours = {
        **OWN,
        "PULUMI_HOME": f"{project}/.e3/pulumi",
        "PULUMI_CONFIG_PASSPHRASE_FILE": f"{project}/.e3/passphrase",
        **(of_pulumi(project) if way.startswith("pulumi") else {}),
    }
    decided = {
        name: value
        for name, value in environment.items()
        if name.startswith(("PULUMI_", "PYTHON")) and name not in KEPT
    }
    assert decided == ours
    assert {name: environment[name] for name in KEPT} == KEPT
    lines = [line for line in said.splitlines() if line.startswith("E3: decides")]
    assert len(lines) == 1
    assert lines[0].endswith(": " + ", ".join(sorted(HOSTILE)))
    assert not any(value in said for value in HOSTILE.values() if len(value) > 5)


@pytest.mark.parametrize("way", WAYS)
def test_where_nothing_is_overridden_nothing_is_said(project: Path, way: str) -> None:
    environment, said = shown(project, way, KEPT)
    assert said == ""
    assert environment["NO_PROXY"] == "localhost,127.0.0.1,::1"
    again, said = shown(project, way, {**environment, "PATH": environment["PATH"]})
    assert said == ""
    assert {**again, "SHLVL": "", "_": ""} == {**environment, "SHLVL": "", "_": ""}


def test_variables_set_after_activation_do_not_reach_pulumi_either(project: Path) -> None:
    before = "export PULUMI_CONFIG_PASSPHRASE=mine PYTHONPATH=/x http_proxy=http://127.0.0.1:9;"
    environment, said = shown(project, "pulumi after activate", {}, before=before)
    assert "PULUMI_CONFIG_PASSPHRASE" not in environment
    assert environment["PYTHONPATH"] == str(project)
    assert environment["http_proxy"] == "http://127.0.0.1:9"
    assert "127.0.0.1" in environment["no_grpc_proxy"].split(",")
    assert "PULUMI_CONFIG_PASSPHRASE, PYTHONPATH" in said
    assert "mine" not in said


def test_state_that_pulumi_writes_is_its_owners_alone(project: Path) -> None:
    assert shown(project, "pulumi", {}, before="umask 000;")[0]["umask"] == "0077"


@pytest.mark.parametrize("variable", ["http_proxy", "HTTPS_PROXY", "all_proxy", "grpc_proxy"])
@pytest.mark.parametrize(
    ("given", "lower"),
    [
        ({}, "localhost,127.0.0.1,::1"),
        ({"no_proxy": ".corp"}, ".corp,localhost,127.0.0.1,::1"),
        ({"no_proxy": "localhost, 127.0.0.1, .corp"}, "localhost, 127.0.0.1, .corp,127.0.0.1,::1"),
        ({"NO_PROXY": "10.0.0.0/8"}, "10.0.0.0/8,localhost,127.0.0.1,::1"),
        ({"no_proxy": "*"}, "*"),
    ],
)
def test_loopback_is_spared_and_proxies_stay(
    project: Path, variable: str, given: dict[str, str], lower: str
) -> None:
    environment, _ = shown(project, "pulumi", {variable: "http://p:1", **given})
    assert environment[variable] == "http://p:1"
    assert environment["no_proxy"] == lower
    assert {"localhost", "127.0.0.1", "::1"} <= set(environment["no_grpc_proxy"].split(","))


@pytest.mark.parametrize(
    "before",
    [
        "set -o noclobber;",
        "set -eu;",
        "set -f;",
        "IFS=/:e;",
        "CDPATH=/:/usr; export CDPATH;",
        "BASH_ENV=/nonexistent ENV=/nonexistent; export BASH_ENV ENV;",
        "cd() { echo elsewhere; command cd /; };",
        "awk() { echo gone; }; env() { false; }; dirname() { echo /; };",
        "umask 777;",
    ],
)
@pytest.mark.parametrize("shell", SHELLS)
def test_any_shell_is_served(project: Path, shell: str, before: str) -> None:
    if not shutil.which(shell):
        pytest.skip(f"no {shell} here")
    environment, said = shown(project, "activate", {}, shell, before)
    assert environment["PULUMI_HOME"] == f"{project}/.e3/pulumi"
    assert environment["PATH"].startswith(f"{project}/scripts/bin:{project}/.venv/bin:")
    assert said == ""


@pytest.mark.parametrize("option", ["ksharrays", "shwordsplit", "nomatch", "nounset", "noglob"])
def test_any_option_of_zsh_is_served(project: Path, option: str) -> None:
    if not shutil.which("zsh"):
        pytest.skip("no zsh here")
    environment, said = shown(project, "activate", {}, "zsh", f"setopt {option};")
    assert environment["PULUMI_HOME"] == f"{project}/.e3/pulumi"
    assert said == ""


def test_aliases_of_a_person_are_not_used(project: Path) -> None:
    aliases = "shopt -s expand_aliases; alias cd=false ls=false awk=false echo=false pulumi=false"
    done = subprocess.run(
        ["bash", "-c", f"{aliases}\n. scripts/activate\nprintenv PULUMI_HOME"],
        cwd=project,
        env={"PATH": PATH},
        capture_output=True,
        text=True,
        check=True,
    )
    assert (done.stdout, done.stderr) == (f"{project}/.e3/pulumi\n", "")


VALUES = st.text(st.characters(blacklist_characters="\0", blacklist_categories=["Cs"]))


@FEWER
@given(
    name=st.from_regex(r"(PULUMI_|PYTHON)[A-Z_0-9]{4,20}", fullmatch=True).filter(str.isascii),
    value=VALUES.filter(lambda value: value not in OWN.values()),
)
def test_no_variable_of_theirs_comes_through(project: Path, name: str, value: str) -> None:
    assert shown(project, "pulumi", {name: value})[0].get(name) != value


@FEWER
@given(value=VALUES)
def test_no_value_is_run_or_changed(project: Path, value: str) -> None:
    environment, said = shown(project, "pulumi", {"no_proxy": value, "http_proxy": "http://p"})
    assert environment["no_proxy"].startswith(value)
    assert said == ""


def test_a_value_of_several_lines_is_not_taken_for_variables(project: Path) -> None:
    several = "x\nPYTHONPATH=/y\nPULUMI_STACK=z"
    environment, said = shown(project, "pulumi", {"MOTD": several})
    assert environment["MOTD"] == several
    assert said == ""


@pytest.mark.parametrize("script", ["check", "lock", "run", "shuffle", "sync", "test", "setup"])
def test_scripts_do_not_follow_cdpath(script: str) -> None:
    lines = (ROOT / "scripts" / script).read_text().splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith("cd "))
    assert any(line.startswith("unset CDPATH") for line in lines[:first])


def test_scripts_are_clean() -> None:
    if not shutil.which("shellcheck"):
        pytest.skip("no shellcheck here")
    scripts = [ROOT / "scripts/activate", *(ROOT / "scripts/bin").glob("[!.]*"), ROOT / ".ci/run"]
    scripts += [
        path
        for path in (ROOT / "scripts").iterdir()
        if path.is_file() and path.read_text().startswith("#!/bin/sh")
    ]
    checked = [path for path in scripts if path.suffix != ".awk"]
    done = subprocess.run(["shellcheck", *checked], capture_output=True, text=True, check=False)
    assert done.stdout == ""


def test_an_empty_lock_is_named_before_pulumi_fails(project: Path) -> None:
    lock = project / ".e3/state/.pulumi/locks/organization/e3/dev/x.json.1.tmp"
    lock.parent.mkdir(parents=True)
    lock.touch()
    try:
        said = shown(project, "pulumi", {})[1]
    finally:
        shutil.rmtree(project / ".e3/state")
    assert "type:  e3 doctor --fix" in said
    assert str(lock) in said


def test_a_passphrase_that_is_gone_is_named(project: Path) -> None:
    passphrase = project / ".e3/passphrase"
    passphrase.unlink()
    try:
        said = shown(project, "pulumi", {})[1]
    finally:
        passphrase.write_text("x")
    assert f"{passphrase} is gone" in said
    assert "e3 doctor --fix" in said


def test_the_set_up_runs_under_022_and_keeps_where_packages_come_from(tmp_path: Path) -> None:
    (tmp_path / "scripts").mkdir()
    shutil.copy(ROOT / "scripts/setup", tmp_path / "scripts")
    shutil.copytree(ROOT / "scripts/bin", tmp_path / "scripts/bin")
    (tmp_path / "scripts/installer.py").write_text(
        "import json, os; print(json.dumps([oct(os.umask(0)), dict(os.environ)]))"
    )
    kept = {"PIP_INDEX_URL": "https://x", "GOPROXY": "https://y", "PIP_CERT": "/c", "GOSUMDB": "z"}
    dropped = {"PIP_TARGET": "/t", "GOOS": "plan9", "GOFLAGS": "-mod=vendor", "PYTHONPATH": "/p"}
    quiet = {"GIT_DIR": "/g", "CDPATH": "/usr", "BASH_ENV": "/b"}
    done = subprocess.run(
        ["sh", "-c", "umask 077; exec sh scripts/setup"],
        cwd=tmp_path,
        env={**os.environ, **kept, **dropped, **quiet},
        capture_output=True,
        text=True,
        check=True,
    )
    umask, environment = json.loads(done.stdout)
    assert umask == "0o22"
    assert {name: environment.get(name) for name in kept} == kept
    assert not {*dropped, *quiet} & set(environment)
    assert ", ".join(sorted(dropped)) in done.stderr
