"""``e3 verify-gone``: proof that nothing is left of destroyed stacks."""

import argparse
from pathlib import Path

from e3 import leftovers
from e3.cli import terminal
from e3.cli.place import Verbs
from e3.deployed import FILES
from e3.digitalocean import api, cleanup, record


def declare(verbs: Verbs) -> None:
    """Declare the verb's command line."""
    verb = verbs.add_parser("verify-gone", help="prove that nothing is left of destroyed stacks")
    verb.add_argument("stacks", nargs="*", metavar="STACK", help="default: every stack")
    terminal.offer_json(verb, "what is left of each stack")
    verb.set_defaults(do=verify_gone)


def verify_gone(arguments: argparse.Namespace) -> int:
    """Print what is left of stacks that were destroyed; return 1 if anything is."""
    folders = [FILES / name for name in arguments.stacks] or leftovers.stacks(FILES)
    left = {folder.name: [*leftovers.find(folder), *_away(folder)] for folder in folders}
    if arguments.json:
        gone = not any(left.values())
        terminal.say_json({"gone": gone, "stacks": left})
        return 0 if gone else 1
    for stack, found in left.items():
        for line in found:
            terminal.say(f"{stack}: {line}")
    if any(left.values()):
        print(
            "Left behind; `make down STACK=...` of these stacks removes it, and `e3 doctor --fix` "
            "a lab that no state knows."
        )
        return 1
    names = ", ".join(left) or "any stack"
    everything = "no process, namespace, mount, socket or state entry"
    terminal.say(f"Nothing is left of {names}: {everything}.")
    asked = [entry.label for folder in folders for entry in record.entries_of(folder)]
    if asked:
        terminal.say(f"DigitalOcean has nothing called {', '.join(asked)} either.")
    return 0


def _away(folder: Path) -> list[str]:
    """Return one line for each thing that a stack still has at a cloud, as the cloud reports."""
    entries = record.entries_of(folder)
    if not entries:
        return []
    account = api.account()
    return [what for it in entries for what in cleanup.left(account, it.label, it.spaces_region)]
