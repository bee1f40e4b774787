"""Print a report to PDF, by the browser that is there."""

import shutil
import subprocess
import tempfile
from pathlib import Path

from e3.errors import PlatformError
from e3.remote.text import printable

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
TIMEOUT_SECONDS = 300.0
BUDGET_MS = 10_000
"""How much time of its own the page gets to draw its charts; most needs a second."""


def browser() -> str | None:
    """Return a Chromium of this machine, or None."""
    return next((found for name in BROWSERS if (found := shutil.which(name))), None)


def write(page: Path, target: Path) -> None:
    """Print a page; raise `PlatformError` if there is no browser or it fails."""
    program = browser()
    if program is None:
        raise PlatformError(
            "--pdf needs Chromium or Chrome on PATH: `apt-get install chromium`, or open the "
            "report in any browser and print it there"
        )
    with tempfile.TemporaryDirectory(prefix="e3-pdf-") as profile:
        argv = [
            program,
            "--headless",
            "--no-sandbox",  # root has no other; the page is ours, and its policy fetches nothing
            "--disable-gpu",
            "--disable-dev-shm-usage",
            f"--user-data-dir={profile}",
            "--no-pdf-header-footer",
            f"--virtual-time-budget={BUDGET_MS}",
            f"--print-to-pdf={target.resolve()}",
            page.resolve().as_uri(),
        ]
        try:
            done = subprocess.run(
                argv,
                capture_output=True,
                text=True,
                errors="replace",
                check=False,
                timeout=TIMEOUT_SECONDS,
                stdin=subprocess.DEVNULL,
            )
        except subprocess.TimeoutExpired:
            raise PlatformError(f"{program} did not print within {TIMEOUT_SECONDS:.0f} s") from None
    if done.returncode or not target.exists():
        raise PlatformError(f"{program} could not print: {printable(done.stderr.strip()[-300:])}")
