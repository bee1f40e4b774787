"""E3's components in a program of somebody else, as `pulumi new` makes it and as they change it."""

import json
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.stack import ROOT, Stack, project

TWO_OVERLAYS = """
import pulumi
from e3 import Lab, Overlay, Session

lab = Lab(regions={"ams3": 2, "sgp1": 1}, latency_ms={"all": 2})
for kind in ("nebula", "plain"):
    overlay = Overlay(kind, lab)
    session = Session(f"over-{kind}", overlay, program="mean.py", parties=2, compare="same")
    pulumi.export(kind, session.result["overlay"])
    pulumi.export(f"{kind}-verdict", session.verdict)
"""

MISTAKES = """
import pulumi

class Mocks(pulumi.runtime.Mocks):
    def new_resource(self, args):
        return [args.name, args.inputs]
    def call(self, args):
        return {}

pulumi.runtime.set_mocks(Mocks(), preview=False)
from e3 import Lab, Overlay, Session
lab = Lab(regions={"ams3": 2})
nebula = Overlay("nebula", lab)
for make in (
    lambda: Lab("other", regions={"ams3": 0}),
    lambda: Lab("other", region={"ams3": 2}),
    lambda: Overlay("nebulla", lab),
    lambda: Overlay("again", lab, kind="nebula"),
    lambda: Overlay("wireguard", lab, options={"range": "10.77.5.0/24"}),
    lambda: Overlay("tailscale", lab),
    lambda: Session("none", nebula),
    lambda: Session("none", nebula, program="missing.py"),
    lambda: Session("none", nebula, program=PROGRAM, parties=3),
    lambda: Session("none", nebula, program=PROGRAM, regions={"ams3": 9}),
    lambda: Session("none", nebula, program=PROGRAM, deadline="soon"),
    lambda: Session("none", nebula, program=PROGRAM, args=["--x", 3], compare="different"),
):
    try:
        make()
    except pulumi.RunError as error:
        print(error)
    else:
        print("nothing is wrong")
"""


@pytest.fixture(scope="module")
def mine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The stack of a project that `pulumi new` made of the template; it is not up."""
    with project(tmp_path_factory.mktemp("library") / "e3") as e3:
        shutil.copytree(ROOT / "template", e3.folder / "template")
        folder = e3.folder / "mine"
        folder.mkdir()
        made = subprocess.run(
            ["pulumi", "new", e3.folder / "template", "--yes", "--name", "mine"],
            cwd=folder,
            env=dict(e3.environment),
            capture_output=True,
            text=True,
            check=True,
        )
        assert "pulumi stack init; pulumi up" in made.stderr
        stack = Stack(folder=folder, name="dev", environment=e3.environment)
        assert stack.pulumi("stack init").exit == 0
        yield stack


def outputs(stack: Stack) -> dict[str, object]:
    values: dict[str, object] = json.loads(stack.pulumi("stack output", "--json").said)
    return values


def test_the_template_runs_changes_and_goes(mine: Stack) -> None:
    source = (mine.folder / "Pulumi.yaml").read_text()
    assert "name: mine" in source
    assert "${" not in source
    up = mine.pulumi("up", "--yes", "--skip-preview")
    assert up.exit == 0, up.said
    made = outputs(mine)
    assert made["verdict"] == "completed"
    assert "3 parties earn" in str(made["output"])
    assert (mine.folder / str(made["evidence"]) / "result.json").exists()
    assert mine.pulumi("preview", "--expect-no-changes").exit == 0

    # another program on the same lab's hosts, with two overlays at once
    (mine.folder / "__main__.py").write_text(TWO_OVERLAYS)
    up = mine.pulumi("up", "--yes", "--skip-preview")
    assert up.exit == 0, up.said
    made = outputs(mine)
    assert (made["nebula"], made["plain"]) == ("nebula", "plain")
    assert made["nebula-verdict"] == made["plain-verdict"] == "completed"

    gone = mine.pulumi("destroy", "--yes", "--skip-preview")
    assert gone.exit == 0, gone.said
    assert not (mine.folder / ".e3/dev/lab/lab.sock").exists()


def test_a_mistake_is_a_sentence_before_anything_is_made(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text("")
    code = textwrap.dedent(MISTAKES).replace("PROGRAM", '"program.py"')
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    expected = [
        "e3:regions: ams3 has 0 hosts",
        "Lab: unknown setting 'region'; choose one of latency-ms, links, nats, regions",
        "e3:overlay: unknown value 'nebulla'; choose one of ",
        "Overlay: the lab's hosts are joined by nebula already",
        "Overlay: wireguard has the range 10.77.5.0/24, which overlaps that of nebula",
        "Overlay: tailscale needs a credential",
        "Session: program is missing",
        "program missing.py does not exist",
        "e3:parties: 3 parties need as many hosts",
        "Session: regions is a setting of lab or overlay",
        "e3:deadline: unknown key",
        "e3:compare: unknown value 'different'",
    ]
    said = done.stdout.splitlines()
    assert len(said) == len(expected), done.stdout
    for line, begin in zip(said, expected, strict=True):
        assert line.startswith(begin)


def test_a_program_that_takes_nothing_of_e3_does_not_load_pulumi() -> None:
    code = "import sys, e3; print('pulumi' in sys.modules, hasattr(e3, 'Labs'), sorted(e3.__all__))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False False ['Lab', 'Overlay', 'Session']"
