"""``e3 sweep``: remove experiments at a cloud whose time is over."""

import argparse
import time
from collections.abc import Mapping
from typing import Any

from e3.cli import terminal
from e3.cli.place import Verbs
from e3.digitalocean import api, cleanup
from e3.errors import CloudError


def declare(verbs: Verbs) -> None:
    """Declare the verb's command line."""
    verb = verbs.add_parser("sweep", help="remove experiments at a cloud whose time is over")
    verb.add_argument("--dry-run", action="store_true", help="only say what would be removed")
    verb.add_argument("--all", action="store_true", help="also those whose time is not over")
    terminal.offer_json(verb, "what became of each stack")
    verb.set_defaults(do=sweep)


def sweep(arguments: argparse.Namespace) -> int:
    """Remove the account's expired stacks; return 1 if something could not be removed."""
    account = api.account()
    now = time.time()
    report: list[dict[str, Any]] = []
    for lease in cleanup.leases(account):
        hours = (lease.until - now) / 3600
        row = {"label": lease.label, "state": "stays", "found": [], "hours": hours, "error": ""}
        if hours <= 0 or arguments.all:
            try:
                remove = cleanup.left if arguments.dry_run else cleanup.sweep
                row["found"] = list(remove(account, lease.label))
                row["state"] = "would be removed" if arguments.dry_run else "removed"
            except CloudError as error:
                row |= {"state": "failed", "error": str(error)}
        report.append(row)
        if not arguments.json:
            _tell(row)
    if arguments.json:
        terminal.say_json(report)
    elif not report:
        print("No experiment is at this account.")
    return int(any(row["state"] == "failed" for row in report))


def _tell(row: Mapping[str, Any]) -> None:
    """Print what became of a stack."""
    match row["state"]:
        case "stays":
            terminal.say(f"{row['label']} stays for another {row['hours']:.1f} hours")
        case "failed":
            terminal.say(f"{row['label']}: {row['error']}")
        case done:
            for what in row["found"]:
                terminal.say(f"{row['label']}: {done}: {what}")
