"""examples/overlays.ipynb does what it says; its plot where matplotlib is installed."""

import importlib.util
import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.stack import ROOT, project

NOTEBOOK = ROOT / "examples" / "overlays.ipynb"


def code_of(notebook: Path, *, plots: bool) -> str:
    """Return the code cells of a notebook as one program."""
    cells = [it for it in json.loads(notebook.read_text())["cells"] if it["cell_type"] == "code"]
    wanted = [it for it in cells if plots or "plot" not in it["metadata"].get("tags", ())]
    return "\n".join("".join(it["source"]) for it in wanted)


@pytest.mark.long
def test_the_notebook_compares_two_overlays_and_leaves_nothing(tmp_path: Path) -> None:
    plots = importlib.util.find_spec("matplotlib") is not None
    with project(tmp_path / "e3") as stack:
        shutil.copytree(ROOT / "examples", stack.folder / "examples")
        program = tmp_path / "cells.py"
        program.write_text(code_of(NOTEBOOK, plots=plots) + "\nprint(rtt_ms)\n")
        done = subprocess.run(
            [stack.folder / ".venv/bin/python", program],
            cwd=stack.folder / "examples",
            env={**stack.environment, "MPLBACKEND": "agg"},
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        lines = done.stdout.splitlines()
        assert [line.split()[:2] for line in lines[:2]] == [
            ["plain", "completed"],
            ["nebula", "completed"],
        ]
        assert lines[2].count("sgp1-0") == 8
        assert (stack.folder / ".e3/notebook/overlays.png").exists() is plots
        assert not (stack.folder / "Pulumi.notebook.yaml").exists()
        assert not (stack.folder / ".e3/notebook/lab/lab.sock").exists()


def test_the_notebook_is_kept_without_results() -> None:
    cells = json.loads(NOTEBOOK.read_text())["cells"]
    assert not any(it.get("outputs") or it.get("execution_count") for it in cells)
