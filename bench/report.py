"""Load results of many repetitions, export them, and make their report: seconds, memory, bytes.

    python -m bench.report [REPETITIONS...]

The results are made up (tests/synthetic.py), with the echoes, parties and hosts of real ones. Each
step is a process of its own; its figures are wall time, processor time and the peak of its memory.
"""

import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from e3.evaluation.report import pdf, vega
from tests import synthetic

ROOT = Path(__file__).parents[1]
SIZES = (1_000, 100_000)
GROUPS = 7 * 4 * 3 - 2 * 3
"""Of overlays, scenarios and programs of a made-up campaign that are supported."""

STEPS = {
    "load": "from e3.evaluation.report import study; study.load(source)",
    "report": "from e3.evaluation.report import page, study\n"
    "target.write_text(page.render(study.load(source)))",
    "csv": "from e3.evaluation import export; export.to_csv(source, target)",
    "parquet": "from e3.evaluation import export; export.to_parquet(source, target)",
}
INTERACTIVE = re.compile(r'data-interactive-ms="(\d+)"')
OPENING = """
<script>addEventListener("load", () => document.documentElement.dataset.interactiveMs =
Math.round(performance.now()));</script>
"""


def step(code: str, source: Path, target: Path) -> dict[str, float]:
    """Run a step in a process of its own; return what it took."""
    paths = (
        f"from pathlib import Path; source, target = Path({str(source)!r}), Path({str(target)!r})"
    )
    began = time.monotonic()
    child = subprocess.Popen([sys.executable, "-c", f"{paths}\n{code}"], cwd=ROOT)
    _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise RuntimeError(f"a step ended with status {child.returncode}: {code}")
    return {
        "seconds": round(time.monotonic() - began, 2),
        "cpu_seconds": round(used.ru_utime + used.ru_stime, 2),
        "peak_memory_mb": round(used.ru_maxrss / 1024),
    }


def interactive_seconds(page: Path) -> float | None:
    """Return when a browser has run the page's scripts, in seconds after it began to load it."""
    browser = pdf.browser()
    if browser is None:
        return None
    # the page lets nothing but its own scripts run, so this one goes without that
    text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', OPENING, page.read_text())
    opened = page.with_name("opened.html")
    opened.write_text(text)
    with tempfile.TemporaryDirectory(prefix="e3-browser-") as profile:
        options = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage")
        done = subprocess.run(
            [browser, *options, f"--user-data-dir={profile}", "--dump-dom", opened.as_uri()],
            capture_output=True,
            text=True,
            check=True,
            timeout=400,
        )
    found = INTERACTIVE.search(done.stdout)
    return None if found is None else int(found[1]) / 1000


def measure(number: int, folder: Path) -> dict[str, object]:
    """Return what that many repetitions take."""
    source = folder / "results.jsonl"
    plan = synthetic.Plan(repetitions=-(-number // GROUPS), share_failed=0.01, share_disturbed=0.05)
    synthetic.write(source, plan)
    found: dict[str, object] = {"file_mb": round(source.stat().st_size / 1e6, 1)}
    for name, code in STEPS.items():
        target = folder / f"{name}.out"
        found[name] = {
            **step(code, source, target),
            **({"mb": round(target.stat().st_size / 1e6, 2)} if target.exists() else {}),
        }
    found["interactive_seconds"] = interactive_seconds(folder / "report.out")
    return found


def main(arguments: Sequence[str]) -> dict[str, object]:
    """Measure each size; print and return the figures."""
    vega.script()  # is made once a version
    results: dict[str, object] = {}
    for number in map(int, arguments or SIZES):
        load = os.getloadavg()[0]
        with tempfile.TemporaryDirectory(prefix="e3-report-") as folder:
            found = measure(number, Path(folder))
        print(f"{number} repetitions, load {load:.1f}: {json.dumps(found, indent=1)}")
        results[f"report_{number}"] = {**found, "load_1m": round(load, 1)}
    return results


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    main(sys.argv[1:])
