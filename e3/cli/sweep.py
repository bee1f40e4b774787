"""``e3 sweep``: remove experiments at a cloud whose time is over."""

import argparse
import time

from e3.cli import terminal
from e3.cli.project import Verbs
from e3.digitalocean import api, cleanup
from e3.errors import CloudError


def declare(verbs: Verbs) -> None:
    """Declare the verb's command line."""
    verb = verbs.add_parser("sweep", help="remove experiments at a cloud whose time is over")
    verb.add_argument("--dry-run", action="store_true", help="only say what would be removed")
    verb.add_argument("--all", action="store_true", help="also those whose time is not over")
    verb.set_defaults(do=sweep)


def sweep(arguments: argparse.Namespace) -> int:
    """Remove the account's expired stacks; return 1 if something could not be removed."""
    account = api.account()
    now, failed = time.time(), False
    leases = cleanup.leases(account)
    for lease in leases:
        if lease.until > now and not arguments.all:
            terminal.say(f"{lease.label} stays for another {(lease.until - now) / 3600:.1f} hours")
            continue
        try:
            remove = cleanup.left if arguments.dry_run else cleanup.sweep
            found = remove(account, lease.label)
        except CloudError as error:
            terminal.say(f"{lease.label}: {error}")
            failed = True
            continue
        verb = "would be removed" if arguments.dry_run else "removed"
        for what in found:
            terminal.say(f"{lease.label}: {verb}: {what}")
    if not leases:
        print("No experiment is at this account.")
    return 1 if failed else 0
