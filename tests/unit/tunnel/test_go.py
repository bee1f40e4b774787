"""The tests of the program that carries sessions, which are in Go; scripts/check lints it."""

import shutil
import subprocess
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[3] / "tools" / "tunnel"
SECONDS = 900


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("go") is None, reason="there is no Go to test with")
def test_the_tests_in_go_pass() -> None:
    done = subprocess.run(
        ["go", "test", "-vet=off", "./..."],
        cwd=SOURCE,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
