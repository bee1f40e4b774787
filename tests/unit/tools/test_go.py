"""The tests of E3's programs in Go, which are in Go; scripts/check lints them."""

import shutil
import subprocess
from pathlib import Path

import pytest

TOOLS = Path(__file__).parents[3] / "tools"
OWN = sorted({path.relative_to(TOOLS).parts[0] for path in TOOLS.glob("*/**/*_test.go")})
SECONDS = 900


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("go") is None, reason="there is no Go to test with")
@pytest.mark.parametrize("program", OWN)
def test_the_tests_in_go_pass(program: str) -> None:
    done = subprocess.run(
        ["go", "test", "-vet=off", "./..."],
        cwd=TOOLS / program,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
