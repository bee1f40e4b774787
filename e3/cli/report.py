"""``e3 report``: one HTML file of a campaign's results, or of two campaigns beside each other."""

import argparse
from pathlib import Path

from e3 import private
from e3.cli import terminal
from e3.cli.place import Verbs
from e3.deployed import FILES
from e3.errors import ConfigurationError, ResultsError

CAMPAIGNS = FILES / "campaigns"
RESULTS = "results.jsonl"
TWO = 2


def declare(verbs: Verbs) -> None:
    """Declare the verb's command line."""
    verb = verbs.add_parser(
        "report",
        help="make one HTML file of a campaign's results; of two: compare them",
        epilog="CAMPAIGN is a name of .e3/campaigns or a file of results; default: the newest",
    )
    verb.add_argument("campaigns", nargs="*", metavar="CAMPAIGN")
    verb.add_argument("--pdf", action="store_true", help="print it to a PDF as well, by Chromium")
    verb.add_argument("-o", "--output", metavar="FILE", help="the HTML file to write")
    verb.add_argument(
        "--leave-out-disturbed",
        action="store_true",
        help="without the figures of repetitions that something disturbed",
    )
    terminal.offer_json(verb, "the files that were written")
    verb.set_defaults(do=report)


def report(arguments: argparse.Namespace) -> int:
    """Write the report; return 0."""
    # only here: these import NumPy and Jinja, which no other verb needs
    from e3.evaluation.report import comparison, page, study  # noqa: PLC0415

    if len(arguments.campaigns) > TWO:
        raise ConfigurationError(
            f"e3 report: {len(arguments.campaigns)} campaigns; name one, or two to compare"
        )
    here = Path(arguments.cwd)
    files = [find(name, here) for name in arguments.campaigns] or [newest()]
    studies = [
        study.load(file, leave_out_disturbed=arguments.leave_out_disturbed) for file in files
    ]
    text = page.render(studies[0]) if len(studies) == 1 else comparison.render(*studies)
    target = here / arguments.output if arguments.output else _beside(files)
    _write(target, text)
    written = [target]
    if not arguments.json:
        terminal.say(f"written: {target} ({len(text.encode()) / 1e6:.1f} MB)")
    if arguments.pdf:
        from e3.evaluation.report import pdf  # noqa: PLC0415 -- the same

        printed = target.with_suffix(".pdf")
        pdf.write(target, printed)
        written.append(printed)
        if not arguments.json:
            terminal.say(f"written: {printed}")
    if arguments.json:
        terminal.say_json({"files": [str(path) for path in written]})
    return 0


def find(name: str, here: Path) -> Path:
    """Return the results of a campaign of this project, or the file of that name."""
    file = here / name
    if file.is_dir() and (file / RESULTS).exists():
        return file / RESULTS
    if file.is_file():
        return file
    if (kept := CAMPAIGNS / name / RESULTS).is_file():
        return kept
    known = sorted(path.parent.name for path in CAMPAIGNS.glob(f"*/{RESULTS}"))
    choice = f"choose one of {', '.join(known)}" if known else "no campaign has run here yet"
    raise ResultsError(f"no file and no campaign is named {name}; {choice}")


def newest() -> Path:
    """Return the results that were written last."""
    found = list(CAMPAIGNS.glob(f"*/{RESULTS}"))
    if not found:
        raise ResultsError(
            f"{CAMPAIGNS} has no results; `e3 campaign run campaigns/small.yaml` makes some"
        )
    return max(found, key=lambda path: path.stat().st_mtime)


def _beside(files: list[Path]) -> Path:
    """Return where a report goes if nobody says so: beside its results."""
    if len(files) == 1:
        return files[0].with_name("report.html")
    other = files[1]
    name = other.parent.name if other.name == RESULTS else other.name.partition(".")[0]
    return files[0].with_name(f"beside-{name}.html")


def _write(target: Path, text: str) -> None:
    if not target.parent.is_dir():
        raise ConfigurationError(f"-o {target}: there is no folder {target.parent}; make it first")
    private.write(target, text)
