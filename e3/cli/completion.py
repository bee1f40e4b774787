"""``e3 completion``: let a shell complete verbs, options, stacks, runs and hosts."""

import argparse
import os
from collections.abc import Callable, Iterable
from pathlib import Path

from e3.cli import terminal
from e3.cli.place import ROOT, Verbs
from e3.deployed import FILES
from e3.session.runs import runs

SHELLS = ("bash", "zsh", "fish")
MOST = 50
"""The most runs that are offered: the newest."""


def declare(verbs: Verbs) -> None:
    """Declare the verb's command line."""
    verb = verbs.add_parser(
        "completion",
        help="print what makes a shell complete e3's words at TAB",
        description="Print what makes a shell complete verbs, options, stacks, runs and hosts.",
        epilog='bash and zsh: eval "$(e3 completion bash)"; fish: e3 completion fish | source',
    )
    verb.add_argument("shell", choices=SHELLS, metavar="SHELL", help=", ".join(SHELLS))
    terminal.offer_json(verb, "shell and script")
    verb.set_defaults(do=show_script)


def show_script(arguments: argparse.Namespace) -> int:
    """Print the script of a shell."""
    from argcomplete.shell_integration import shellcode  # noqa: PLC0415 - no other verb needs it

    script = shellcode(["e3"], shell=arguments.shell)
    if arguments.json:
        terminal.say_json({"shell": arguments.shell, "script": script})
    else:
        print(script)
    return 0


def complete(parser: argparse.ArgumentParser) -> None:
    """Answer the shell that asks, by argcomplete's protocol, and end this process."""
    import argcomplete  # noqa: PLC0415 - the same

    here = Path.cwd()
    os.chdir(ROOT)  # where stacks and runs are
    for option in actions(parser):
        offered = OFFERED.get(option.dest)
        if offered is not None and option.choices is None:
            option.completer = offered  # type: ignore[attr-defined]  # argcomplete reads it
        elif option.dest in FILES_OF:
            option.completer = _files(here)  # type: ignore[attr-defined]  # the same
    argcomplete.autocomplete(parser)


def actions(parser: argparse.ArgumentParser) -> Iterable[argparse.Action]:
    """Yield the options and arguments of all verbs."""
    for action in parser._actions:  # noqa: SLF001 - argparse has no other list of them
        yield action
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001 - the same
            for below in action.choices.values():
                yield from actions(below)


def _stacks(**_: object) -> list[str]:
    place = FILES / "state/.pulumi/stacks/e3"
    return sorted(path.name.partition(".json")[0] for path in place.glob("*.json*") if _whole(path))


def _whole(path: Path) -> bool:
    return path.name.endswith((".json", ".json.gz"))


def _runs(**_: object) -> list[str]:
    found = [run for folder in FILES.glob("*/sessions") for run in runs(folder)]
    found.sort(key=lambda run: run.started)
    return ["latest", *(run.id for run in found[-MOST:])]


def _hosts(**_: object) -> list[str]:
    found = [run for folder in FILES.glob("*/sessions") for run in runs(folder)[-1:]]
    return sorted({host for run in found for host in run.hosts})


def _files(here: Path) -> Callable[..., list[str]]:
    """Return what offers files and folders below the caller's own working directory."""

    def offer(prefix: str, **__: object) -> list[str]:
        lead, begin = prefix[: prefix.rfind("/") + 1], prefix[prefix.rfind("/") + 1 :]
        folder = here / lead
        found = sorted(folder.iterdir()) if folder.is_dir() else []
        return [
            f"{lead}{path.name}{'/' if path.is_dir() else ''}"
            for path in found
            if path.name.startswith(begin) and (begin or not path.name.startswith("."))
        ]

    return offer


OFFERED: dict[str, Callable[..., list[str]]] = {
    "stack": _stacks,
    "stacks": _stacks,
    "run": _runs,
    "host": _hosts,
}
FILES_OF = ("program", "file", "files", "output", "to")
"""What is offered for an argument, by its name; files for the last ones."""
