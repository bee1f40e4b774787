"""``e3 results``: check files of results, export them, and print their schema."""

import argparse
import json
from itertools import islice
from pathlib import Path

from e3.cli import report, terminal
from e3.cli.place import Verbs
from e3.evaluation import join, results, results_file

MOST_PROBLEMS = 20


def declare(verbs: Verbs) -> None:
    """Declare the verb's command line."""
    verb = verbs.add_parser("results", help="check and export results of campaigns")
    parts = verb.add_subparsers(dest="part", required=True, metavar="PART")
    checking = parts.add_parser(
        "check",
        help="tell whether files of results are whole and as they were written",
        epilog="exit status: 0, or 1 if something is wrong with a file",
    )
    checking.add_argument("files", nargs="+", metavar="FILE")
    checking.set_defaults(do=check)
    exporting = parts.add_parser(
        "export",
        help="write one row a repetition for other programs",
        epilog="CAMPAIGN is a name of .e3/campaigns or a file of results; default: the newest",
    )
    exporting.add_argument("campaign", nargs="?", metavar="CAMPAIGN")
    target = exporting.add_mutually_exclusive_group(required=True)
    target.add_argument("--parquet", metavar="FILE", help="Apache Parquet, with types")
    target.add_argument("--csv", metavar="FILE", help="comma-separated values")
    exporting.set_defaults(do=export)
    joining = parts.add_parser(
        "join",
        help="make one file of several campaigns' cells; of each cell the newest",
        epilog="CAMPAIGN is a name of .e3/campaigns or a file of results; the newest comes last",
    )
    joining.add_argument("campaigns", nargs="+", metavar="CAMPAIGN")
    joining.add_argument(
        "-o", "--output", metavar="FILE", required=True, help="such as all.jsonl.gz"
    )
    joining.set_defaults(do=join_campaigns)
    terminal.offer_json(joining, "the file, and what it has of which campaign")
    schema = parts.add_parser("schema", help="print the JSON Schema of a line")
    terminal.offer_json(checking, "the problems of each file")
    terminal.offer_json(exporting, "the file and the number of rows")
    terminal.offer_json(schema, "the schema, as without this option,")
    schema.set_defaults(do=print_schema)


def check(arguments: argparse.Namespace) -> int:
    """Check each file; return 1 if something is wrong with one."""
    wrong = False
    found: dict[str, list[str]] = {}
    for name in arguments.files:
        problems = list(islice(results_file.check(Path(arguments.cwd, name)), MOST_PROBLEMS + 1))
        wrong = wrong or bool(problems)
        found[name] = [str(problem) for problem in problems[:MOST_PROBLEMS]]
        if arguments.json:
            continue
        for problem in problems[:MOST_PROBLEMS]:
            terminal.say(f"{name}: {problem}")
        if len(problems) > MOST_PROBLEMS:
            terminal.say(f"{name}: more than {MOST_PROBLEMS} lines are wrong")
        if not problems:
            terminal.say(f"{name}: whole, of schema {_schema_of(Path(arguments.cwd, name))}")
    if arguments.json:
        terminal.say_json({"ok": not wrong, "files": found})
    return int(wrong)


def _schema_of(path: Path) -> int:
    """Return the version of the schema of a file that is whole."""
    first = next(results_file.read(path))
    assert isinstance(first, results.CampaignRecord)  # noqa: S101 - the reader has checked it
    return first.schema


def export(arguments: argparse.Namespace) -> int:
    """Write the table that is asked for."""
    from e3.evaluation import export as table  # noqa: PLC0415 -- it imports NumPy

    here = Path(arguments.cwd)
    source = report.find(arguments.campaign, here) if arguments.campaign else report.newest()
    write = table.to_parquet if arguments.parquet else table.to_csv
    target = here / (arguments.parquet or arguments.csv)
    rows = write(source, target)
    if arguments.json:
        terminal.say_json({"file": str(target), "rows": rows})
    else:
        terminal.say(f"written: {target}, {rows} rows")
    return 0


def join_campaigns(arguments: argparse.Namespace) -> int:
    """Write one file of the cells of several."""
    here = Path(arguments.cwd)
    target = here / arguments.output
    parts = join.join([report.find(name, here) for name in arguments.campaigns], target)
    if arguments.json:
        taken = {str(part.path): sorted(part.cells) for part in parts}
        terminal.say_json({"file": str(target), "cells": taken})
        return 0
    for part in parts:
        left = f"; without {', '.join(part.left_out)}, not ended" if part.left_out else ""
        terminal.say(f"{part.path}: {len(part.cells)} cells{left}")
    commits = ", ".join(f"{count} of commit {name}" for name, count in join.told(parts).items())
    terminal.say(f"written: {target}; cells: {commits}")
    return 0


def print_schema(_: argparse.Namespace) -> int:
    """Print the schema."""
    print(json.dumps(results.json_schema(), indent=2))
    return 0
