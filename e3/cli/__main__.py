"""The command line: ``e3 VERB ...``, or ``python -m e3.cli VERB ...``.

Exit status 2 is an error of the command itself. 1 is a finding of `authority`, `doctor`, `paths`,
`results check` or `verify-gone`, a machine that `inventory import` left out, or what `sweep`
could not remove. `e3 run` exits with the status of its verdict.
"""

import argparse
import gc
import os
import sys
from collections.abc import Sequence
from importlib import import_module

from e3 import mishaps, private
from e3.cli.place import IS_PACKAGE, ROOT
from e3.cli.terminal import complain, write_anything
from e3.remote.processes import allow_many_files

VERBS = {
    "show": "show",
    "run": "run",
    "runs": "runs",
    "logs": "logs",
    "input": "inputs",
    "output": "outputs",
    "paths": "paths",
    "authority": "authority",
    "doctor": "doctor",
    "verify-gone": "verify_gone",
    "inventory": "inventory",
    "sweep": "sweep",
    "campaign": "campaign",
    "results": "results",
    "report": "report",
    "completion": "completion",
    "board": "board",
    "id": "identity",
    "inbox": "inbox",
    "invite": "invite",
    "join": "join",
    "mediator": "mediator",
    "nearby": "nearby",
}
"""The module of each verb; with all of them loaded, `e3 run` would take half a second longer."""

ALONE = ("board", "completion", "id", "inbox", "invite", "join", "mediator", "nearby")
"""Verbs that need no stack: those of E3 as a package, which has what they need."""

WITH_ARGUMENTS = ("run", "invite", "join", "inbox")
"""Verbs that give what follows ``--`` to a program."""

PURPOSE = """\
E3 answers which network is fast, safe, private and easy enough for several parties that
compute something together with MPyC and do not trust one another. One Pulumi stack is one
experiment: hosts, an overlay that joins them, sessions, results. These verbs work on a
stack that is up, without Pulumi's engine.
"""

FIRST = """\
three things to do first:
  make up                          hosts in four regions, joined, and a first result
  e3 run demos/auction.py          another program on the same hosts; one of your own as well
  e3 paths                         how each pair of hosts is reached, how fast, and what to do

without a stack, each party on a machine of their own:
  e3 invite demos/auction.py --parties 3    prints a link; the others type  e3 join LINK

`e3 VERB --help` says more. --json of each verb: docs/json.md. TAB: e3 completion --help.
"""


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    write_anything()
    allow_many_files()
    words = sys.argv[1:] if argv is None else argv
    # what follows belongs to the program, even if it looks like an option of E3
    ours: list[str] = words
    theirs: list[str] | None = None
    if "--" in words and words[0] in WITH_ARGUMENTS:
        cut = words.index("--")
        ours, theirs = words[:cut], words[cut + 1 :]
    if "_ARGCOMPLETE" in os.environ:  # a shell asks for words
        from e3.cli import completion  # noqa: PLC0415 - for this alone

        whole, _, _ = os.environ.get("COMP_LINE", "").rpartition(" ")  # the last may go on
        completion.complete(command_line(whole.split()[1:]))  # ends this process
    parser = command_line(words)
    gc.freeze()  # what has been loaded stays until the end
    gc.enable()
    arguments, unknown = parser.parse_known_args(ours)
    if unknown:
        hint = "; options of the program stand after --" if arguments.verb in WITH_ARGUMENTS else ""
        parser.error(f"unknown arguments: {' '.join(unknown)}{hint}")
    arguments.args = theirs
    arguments.cwd = _here()
    # the paths in a stack's state are relative to the project, as `pulumi up` made them
    os.chdir(private.folder(ROOT) if not ROOT.exists() else ROOT)
    try:
        status: int = arguments.do(arguments)
        sys.stdout.flush()  # here, so that an error of writing is still reported
    except BrokenPipeError:  # the reader has ended, as in `e3 logs latest | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return 130
    except Exception as error:  # noqa: BLE001 - the one place that answers for every error
        complain(mishaps.told(error))
        return 2
    return status


def command_line(words: Sequence[str] = ()) -> argparse.ArgumentParser:
    """Return the parser of the verb that is asked for; without one, that of all verbs."""
    parser = argparse.ArgumentParser(
        prog="e3",
        description=PURPOSE,
        epilog=FIRST,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB", title="verbs")
    known = {name: VERBS[name] for name in (ALONE if IS_PACKAGE else VERBS)}
    names = [known[words[0]]] if words and words[0] in known else known.values()
    for name in names:
        import_module(f"e3.cli.{name}").declare(verbs)
    return parser


def _here() -> str:
    """Return the working directory as text; the project where it has been removed."""
    try:
        return os.getcwd()  # noqa: PTH109 - as text
    except OSError:
        return str(ROOT)


if __name__ == "__main__":
    sys.exit(main())
