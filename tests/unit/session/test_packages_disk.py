"""An installation of packages stops before it fills the disk of this machine."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from e3.session.resolver import SPARE_BYTES

ROOT = Path(__file__).parents[3]
ROOM_BYTES = 20_000_000
"""What the disk has beyond what an installation leaves of it."""

APART = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"])]
MOUNTED = 'mount -t tmpfs -o size="$1" disk "$2" && shift 2 && exec "$@"'
INSTALLS = """
import asyncio, os, sys
from pathlib import Path
from e3.errors import PlatformError
from e3.session.resolver import run

folder = Path(sys.argv[1], "new")
folder.mkdir()
script = f"echo $$ > group; head -c {sys.argv[2]} /dev/zero > wheel; sleep 600 & wait"
try:
    asyncio.run(run(["sh", "-c", script], folder, dict(os.environ)))
except PlatformError as error:
    print(error, flush=True)
group = (folder / "group").read_text().strip()
os.execvp("sh", ["sh", "-c", f"while pgrep -g {group} >/dev/null; do sleep 0.02; done"])
"""


def test_an_installation_that_would_fill_the_disk_is_stopped(tmp_path: Path) -> None:
    if subprocess.run([*APART, "true"], check=False, capture_output=True).returncode:
        pytest.skip("no mount namespaces here")
    size = str(SPARE_BYTES + ROOM_BYTES)
    python = [sys.executable, "-c", INSTALLS, str(tmp_path), str(2 * ROOM_BYTES)]
    done = subprocess.run(
        [*APART, "sh", "-c", MOUNTED, "sh", size, str(tmp_path), *python],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,  # also for the end of all that it had started
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == (
        f"packages would fill the disk of {tmp_path}, which has less than 500 MB left; make room, "
        "then run again\n"
    )
