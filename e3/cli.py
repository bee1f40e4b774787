"""The `e3` command."""

import argparse
import sys
from pathlib import Path

from e3 import leftovers
from e3.errors import E3Error

ROOT = Path(".e3")


def verify_gone(arguments: argparse.Namespace) -> int:
    """Say what is left of stacks that were destroyed; exit with 1 if anything is."""
    folders = [ROOT / name for name in arguments.stacks] or leftovers.stacks(ROOT)
    left = {folder.name: leftovers.find(folder) for folder in folders}
    for stack, found in left.items():
        for line in found:
            print(f"{stack}: {line}")
    if any(left.values()):
        print("Left behind; `make down STACK=...` of these stacks removes it.")
        return 1
    names = ", ".join(left) or "any stack"
    print(f"Nothing is left of {names}: no process, namespace, mount, socket or state entry.")
    return 0


def main() -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(prog="e3", description="E3 beside Pulumi.")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    gone = verbs.add_parser("verify-gone", help="prove that nothing is left of destroyed stacks")
    gone.add_argument("stacks", nargs="*", metavar="STACK", help="default: every stack")
    gone.set_defaults(run=verify_gone)
    arguments = parser.parse_args()
    try:
        status: int = arguments.run(arguments)
    except E3Error as error:
        print(f"e3: {error}", file=sys.stderr)
        return 2
    return status


if __name__ == "__main__":
    sys.exit(main())
