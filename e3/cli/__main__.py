"""The command line: ``e3 VERB ...``, or ``python -m e3.cli VERB ...``.

Exit status 2 is an error of the command itself. 1 is a finding of `doctor`, `paths`,
`results check` or `verify-gone`, a machine that `inventory import` left out, or what `sweep`
could not remove. `e3 run` exits with the status of its verdict.
"""

import argparse
import gc
import os
import sys
from importlib import import_module
from types import ModuleType

from e3 import mishaps
from e3.cli import project
from e3.cli.terminal import complain, write_anything

VERBS = {
    "show": "show",
    "run": "run",
    "runs": "runs",
    "logs": "logs",
    "input": "inputs",
    "output": "outputs",
    "paths": "paths",
    "doctor": "doctor",
    "verify-gone": "verify_gone",
    "inventory": "inventory",
    "sweep": "sweep",
    "campaign": "campaign",
    "results": "results",
    "report": "report",
}
"""The module of each verb; with all of them loaded, `e3 run` would take half a second longer."""


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    write_anything()
    words = sys.argv[1:] if argv is None else argv
    # what follows belongs to the program, even if it looks like an option of E3
    ours: list[str] = words
    theirs: list[str] | None = None
    if "--" in words and words[:1] == ["run"]:
        cut = words.index("--")
        ours, theirs = words[:cut], words[cut + 1 :]
    parser = argparse.ArgumentParser(
        prog="e3", description="Commands of E3 besides those of Pulumi."
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    for module in _modules(words):
        module.declare(verbs)
    gc.freeze()  # what has been loaded stays until the end
    gc.enable()
    arguments, unknown = parser.parse_known_args(ours)
    if unknown:
        hint = "; options of the program stand after --" if arguments.verb == "run" else ""
        parser.error(f"unknown arguments: {' '.join(unknown)}{hint}")
    arguments.args = theirs
    arguments.cwd = _here()
    # the paths in a stack's state are relative to the project, as `pulumi up` made them
    os.chdir(project.ROOT)
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


def _modules(words: list[str]) -> list[ModuleType]:
    """Return the module of the verb that is asked for; without one, those of all verbs."""
    names = [VERBS[words[0]]] if words and words[0] in VERBS else VERBS.values()
    return [import_module(f"e3.cli.{name}") for name in names]


def _here() -> str:
    """Return the working directory as text; the project where it has been removed."""
    try:
        return os.getcwd()  # noqa: PTH109 - as text
    except OSError:
        return str(project.ROOT)


if __name__ == "__main__":
    sys.exit(main())
