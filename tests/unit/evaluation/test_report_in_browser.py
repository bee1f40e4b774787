"""A report in a real browser: every chart drawn, nothing to complain of, nothing asked for."""

import json
import re
import subprocess
import tempfile
from html.parser import HTMLParser
from pathlib import Path

import pytest

from e3.errors import PlatformError
from e3.evaluation.report import comparison, page, pdf, study
from tests import synthetic
from tests.commands import ROOT
from tests.elsewhere import installed_by_npm

pytestmark = pytest.mark.unit

pytest.importorskip("vl_convert", reason="charts need it: scripts/setup --report")
BROWSER = pdf.browser()
needs_browser = pytest.mark.skipif(BROWSER is None, reason="no Chromium: apt-get install chromium")

PLAN = synthetic.Plan(
    truths={name: synthetic.TRUTHS[name] for name in ("plain", "wireguard", "tor")},
    scenarios=("near", "far"),
    programs=("rounds", "bulk"),
    repetitions=6,
)

EXAMPLE = ROOT / "docs/evaluation/report.html"
LOOK = """
const root = document.documentElement;
const look = async () => {
  if (root.dataset.charts !== "drawn") return setTimeout(look, 50);
  const found = await axe.run();
  root.dataset.found = JSON.stringify({
    passes: found.passes.length,
    violations: found.violations.map((it) => [it.id, it.nodes.slice(0, 5).map((n) => n.html)]),
  });
};
look();
"""
"""Waits until all charts are drawn, then asks axe-core and keeps what it found at the root."""


class Figures(HTMLParser):
    """The charts of a page: which are drawn, and how many marks they have."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.drawn: dict[str, bool] = {}
        self.marks: dict[str, int] = {}
        self.done = False
        self.root: dict[str, str | None] = {}
        self._within = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        of = dict(attrs)
        if tag == "html":
            self.done, self.root = of.get("data-charts") == "drawn", of
        elif tag == "figure":
            self._within = of.get("data-chart") or ""
            if self._within:
                self.drawn[self._within] = of.get("data-drawn") == "yes"
                self.marks[self._within] = 0
        elif tag == "path" and self._within and "aria-hidden" not in of:
            self.marks[self._within] += 1

    def handle_endtag(self, tag: str) -> None:
        if tag == "figure":
            self._within = ""


def opened(text: str, folder: Path) -> tuple[Figures, list[str]]:
    """Open a page; return its charts, and what the browser's console has."""
    file = folder / "page.html"
    file.write_text(text)
    with tempfile.TemporaryDirectory(prefix="e3-browser-") as profile:
        done = subprocess.run(
            [
                str(BROWSER),
                *("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
                "--enable-logging=stderr",
                f"--user-data-dir={profile}",
                f"--virtual-time-budget={pdf.BUDGET_MS}",
                "--dump-dom",
                file.as_uri(),
            ],
            capture_output=True,
            text=True,
            errors="replace",
            check=True,
            timeout=400,
            stdin=subprocess.DEVNULL,
        )
    return Figures(done.stdout), re.findall(r"CONSOLE.*", done.stderr)


@needs_browser
@pytest.mark.parametrize("kind", ["one", "two"])
def test_every_chart_is_drawn_and_the_console_is_silent(kind: str, tmp_path: Path) -> None:
    of = study.load(synthetic.write(tmp_path / "results.jsonl", PLAN))
    text = page.render(of) if kind == "one" else comparison.render(of, of)
    found, console = opened(text, tmp_path)
    assert console == []
    assert found.done
    assert all(found.drawn.values()), found.drawn
    assert min(found.marks.values()) >= 3, found.marks
    assert len(found.drawn) == (10 if kind == "one" else 1)


@needs_browser
@pytest.mark.long
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_nothing_keeps_people_from_reading_it(theme: str, tmp_path: Path) -> None:
    """Of all that axe-core knows, colours with too little contrast and tables without heads too."""
    axe = installed_by_npm("axe") / "node_modules/axe-core/axe.min.js"
    text = EXAMPLE.read_text().replace('<html lang="en">', f'<html lang="en" data-theme="{theme}">')
    # the page lets nothing but its own scripts run, so it goes without that
    text, policies = re.subn(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", text)
    assert policies == 1
    scripts = f"<script>{axe.read_text()}</script><script>{LOOK}</script>"
    found, _ = opened(text.replace("</body>", f"{scripts}</body>"), tmp_path)
    assert found.root["data-theme"] == theme
    said = json.loads(found.root.get("data-found") or "null")
    assert said is not None
    assert said["passes"] > 20
    assert said["violations"] == []


@needs_browser
def test_a_report_is_printed(tmp_path: Path) -> None:
    file, target = tmp_path / "report.html", tmp_path / "report.pdf"
    file.write_text(page.render(study.load(synthetic.write(tmp_path / "results.jsonl", PLAN))))
    pdf.write(file, target)
    assert target.read_bytes().startswith(b"%PDF-")


def test_without_a_browser_the_error_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PlatformError, match="apt-get install chromium"):
        pdf.write(tmp_path / "report.html", tmp_path / "report.pdf")
