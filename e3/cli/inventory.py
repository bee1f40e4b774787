"""``e3 inventory import``: convert a list of machines of another tool into one of E3."""

import argparse
import sys
from pathlib import Path

from e3.cli import terminal
from e3.cli.place import Verbs
from e3.errors import ConfigurationError
from e3.inventory import imports

LEFT_OUT = 1
"""The exit status when a machine of the list was left out; standard error says why."""


def declare(verbs: Verbs) -> None:
    """Declare the verb's command line."""
    verb = verbs.add_parser(
        "inventory",
        help="convert a list of machines from Ansible, OpenSSH, Colmena or parallel-ssh",
        description="Convert lists of machines for the fleet `inventory`.",
    )
    commands = verb.add_subparsers(dest="command", required=True, metavar="COMMAND")
    command = commands.add_parser("import", help="convert a list and print it", description=__doc__)
    command.add_argument("file", type=Path, metavar="FILE")
    command.add_argument("--format", choices=sorted(imports.KINDS), help="default: detected")
    command.add_argument("--output", type=Path, metavar="FILE", help="default: print it")
    terminal.offer_json(command, "machines and notes")
    verb.set_defaults(do=import_list)


def import_list(arguments: argparse.Namespace) -> int:
    """Print the machines of a list, or write them to a file that does not exist yet.

    What E3 does not understand is reported on standard error with its line number.
    """
    here = Path(arguments.cwd)
    report = imports.read(here / arguments.file.expanduser(), arguments.format)
    status = LEFT_OUT if report.left_out else 0
    if arguments.output is not None:
        _write(here / arguments.output.expanduser(), imports.render(report.machines))
    if arguments.json:
        terminal.say_json(
            {
                "hosts": [machine.to_properties() for machine in report.machines],
                "notes": report.notes,
                "left_out": report.left_out,
            }
        )
        return status
    for note in report.notes:
        print(note, file=sys.stderr)
    if arguments.output is None:
        print(imports.render(report.machines), end="")
    else:
        count, target = len(report.machines), here / arguments.output.expanduser()
        print(f"{count} machines are listed in {target}; look at region and reachability of each")
    return status


def _write(target: Path, text: str) -> None:
    """Write a file that does not exist yet."""
    try:
        with target.open("x") as file:
            file.write(text)
    except FileExistsError:
        raise ConfigurationError(f"{target} exists; remove it, or name another file") from None
