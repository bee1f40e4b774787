"""Report the NAT matrix: ``python -m e3.evaluation.nat_report [OVERLAY...]``.

Measures these overlays (default: all of docs/nat-matrix.yaml whose programs are built), prints the
matrix, and writes .e3/nat-matrix/index.html and results.json. Exit status 1 means that an overlay
could not be measured, or that a path is not as docs/nat-matrix.yaml expects.
"""

import argparse
import html
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from e3 import private
from e3.errors import E3Error
from e3.evaluation.nat_matrix import CLASSES, RTT_MS, Cell, Matrix, load, measure
from e3.lab import client
from e3.overlays import OVERLAYS
from e3.preflight import Equipment

RESULTS = client.PROJECT / ".e3" / "nat-matrix"
SETTLE_SECONDS = 25.0
WATCH_SECONDS = 20.0
"""Within these tinc renews its keys, after which pairs go by the hub for some seconds."""

STYLES = {"direct": "green", "relayed": "yellow", "none": "red", "unsupported": "dim"}
SHORT = {"unsupported": "-"}
FOLD = str.maketrans({"-": "-\n"})  # eight columns in 80 characters

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>NAT matrix</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem;
  color: #1b1f24; background: #fff }}
h1 {{ font-size: 1.6rem }} h2 {{ font-size: 1.2rem; margin: 2.5rem 0 .3rem }}
p {{ max-width: 44rem }}
table {{ border-collapse: separate; border-spacing: 3px; width: 100%; table-layout: fixed }}
th {{ font-weight: 600; font-size: .8rem; padding: .3rem; vertical-align: bottom }}
th[scope=row] {{ text-align: right; vertical-align: middle }}
td {{ padding: .4rem .3rem; text-align: center; border-radius: 4px; font-size: .85rem }}
small {{ display: block; font-size: .72rem; color: #444 }}
.direct {{ background: #c9ecd0 }} .relayed {{ background: #ffe7a8 }} .none {{ background: #f8c9c4 }}
.unsupported {{ background: #ececec; color: #555 }} .empty {{ background: none }}
.surprise {{ outline: 3px solid #b3261e }}
dt {{ font-weight: 600; margin-top: .5rem }} dd {{ margin-left: 1.2rem }}
</style>
<h1>Which path between two NATs?</h1>
<p>Two hosts of each class, joined by one overlay, and two public servers for relays. A cell
shows the paths that the pairs of hosts had most of the time, in both directions, once they were
stable, the least round trip (the underlay takes {rtt} ms), the relays, and which other paths any
of them had at times. A red frame marks what docs/nat-matrix.yaml
does not expect.</p>
{sections}
</html>
"""


def table(matrix: Matrix) -> Table:
    """Return a matrix as a table for a terminal."""
    found = Table(title=f"{matrix.overlay}: {_summary(matrix)}", padding=0)
    found.add_column(no_wrap=True)
    for kind in CLASSES:
        found.add_column(kind.translate(FOLD), justify="center")
    cells = {cell.kinds: cell for cell in matrix.cells}
    for row in CLASSES:
        line = [_styled(cells.get((column, row))) for column in CLASSES]
        found.add_row(row.translate(FOLD), *line)
    return found


def page(matrices: Sequence[Matrix], failures: Mapping[str, str], rtt_ms: float) -> str:
    """Return the matrices as one page of HTML without external files."""
    sections = [_section(matrix) for matrix in matrices]
    for name, reason in failures.items():
        sections.append(f"<h2>{html.escape(name)}</h2><p>Not measured: {html.escape(reason)}</p>")
    return PAGE.format(rtt=f"{rtt_ms:g}", sections="\n".join(sections))


def main() -> int:
    """Measure and print the matrices, and write the report."""
    parser = argparse.ArgumentParser(prog="nat-matrix", description=__doc__)
    parser.add_argument("overlays", nargs="*", metavar="OVERLAY")
    asked = parser.parse_args().overlays
    chosen = asked or sorted({*load().overlays} & {*OVERLAYS})
    unknown = sorted(set(chosen) - set(OVERLAYS))
    if unknown:
        parser.error(f"unknown overlay {unknown[0]!r}; choose of {', '.join(sorted(OVERLAYS))}")
    console = Console(markup=False, emoji=False)
    matrices: list[Matrix] = []
    failures: dict[str, str] = {}
    for name in chosen:
        if not asked and Equipment().left_out(OVERLAYS[name]().needs):
            console.print(f"{name}: left out; `scripts/setup {name}` builds its program")
            continue
        try:
            matrices.append(_measured(name))
            console.print(table(matrices[-1]))
            for cell in matrices[-1].surprises:
                console.print(f"  {_words(cell)}; expected {cell.expected}: {cell.because}")
        except E3Error as error:
            failures[name] = str(error)
            console.print(Text(f"{name}: not measured: {error}", "red"))
    private.folder(RESULTS)
    private.write(RESULTS / "results.json", json.dumps([asdict(m) for m in matrices], indent=1))
    private.write(RESULTS / "index.html", page(matrices, failures, RTT_MS))
    console.print(f"written: {RESULTS.relative_to(client.PROJECT)}/index.html and results.json")
    return int(bool(failures) or any(matrix.surprises for matrix in matrices))


def _measured(name: str) -> Matrix:
    overlay = OVERLAYS[name]()
    Equipment().check(name, overlay.needs, name)
    with tempfile.TemporaryDirectory() as folder:
        return measure(
            name,
            overlay,
            Path(folder) / "lab",
            settle_seconds=SETTLE_SECONDS,
            watch_seconds=WATCH_SECONDS,
        )


def _summary(matrix: Matrix) -> str:
    wrong = len(matrix.surprises)
    said = f"{wrong} of {len(matrix.cells)} pairs differ" if wrong else "all as expected"
    return f"{said}; joined in {matrix.connect_seconds:g} s"


def _styled(cell: Cell | None) -> Text:
    if cell is None:
        return Text()
    word = "/".join(SHORT.get(found, found) for found in cell.found)
    mark = "" if cell.as_expected else " !"
    return Text(f"{word}{mark}", STYLES[cell.found[0]])


def _words(cell: Cell) -> str:
    by = f" by {' and '.join(cell.by)}" if cell.by else ""
    return f"{cell.kinds[0]} and {cell.kinds[1]}: {'/'.join(cell.found)}{by}"


def _section(matrix: Matrix) -> str:
    cells = {cell.kinds: cell for cell in matrix.cells}
    head = "".join(f"<th>{kind}</th>" for kind in CLASSES)
    rows = [
        f'<tr><th scope="row">{row}</th>{"".join(_td(cells.get((c, row))) for c in CLASSES)}</tr>'
        for row in CLASSES
    ]
    reasons = dict.fromkeys((cell.expected, cell.because) for cell in matrix.cells)
    because = "".join(f"<dt>{path}</dt><dd>{html.escape(why)}</dd>" for path, why in reasons)
    return (
        f"<h2>{html.escape(matrix.overlay)}</h2><p>{_summary(matrix)}</p>"
        f"<table><tr><th></th>{head}</tr>{''.join(rows)}</table>"
        f"<details><summary>Why</summary><dl>{because}</dl></details>"
    )


def _td(cell: Cell | None) -> str:
    if cell is None:
        return '<td class="empty"></td>'
    surprise = "" if cell.as_expected else " surprise"
    rtt = f"<small>{cell.rtt_ms:.0f} ms</small>" if cell.rtt_ms is not None else ""
    by = f"<small>by {html.escape(', '.join(cell.by))}</small>" if cell.by else ""
    rest = f"<small>at times {' or '.join(cell.at_times)}</small>" if cell.at_times else ""
    words = html.escape("/".join(cell.found))
    title = html.escape(cell.because, quote=True)
    return f'<td class="{cell.found[0]}{surprise}" title="{title}">{words}{rtt}{by}{rest}</td>'


if __name__ == "__main__":
    sys.exit(main())
