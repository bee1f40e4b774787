"""``e3 input``: private inputs of hosts, which only the party there gets."""

import argparse
import asyncio
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from rich.filesize import decimal

from e3.cli import terminal
from e3.cli.place import Verbs
from e3.cli.project import session_settings, up
from e3.deployed import Stack
from e3.errors import E3Error
from e3.interfaces import Host
from e3.party.inputs import Input, InputError, files
from e3.party.outputs import fault_of
from e3.remote.tasks import gather_or_cancel
from e3.remote.text import printable
from e3.session.private_files import PrivateFiles, StoredInput

MB = 1_000_000


def declare(verbs: Verbs) -> None:
    """Declare the verb's command lines."""
    verb = verbs.add_parser(
        "input",
        help="put private inputs on hosts, list and remove them",
        description="Private inputs of a host: the program of its party alone reads them, in "
        "$E3_INPUT; stdin among them is its standard input. See docs/files.md.",
    )
    acts = verb.add_subparsers(required=True, metavar="ACT")
    put = acts.add_parser("put", help="copy files to a host, for its party alone")
    put.add_argument("host", metavar="HOST")
    put.add_argument("files", metavar="FILE", nargs="+", help="or a folder")
    put.add_argument("--as", metavar="NAME", dest="name", help="the name there, of a single file")
    put.set_defaults(do=put_inputs)
    listing = acts.add_parser("list", help="list inputs by name and size")
    listing.add_argument("host", metavar="HOST", nargs="?", help="default: every host")
    listing.add_argument("--json", action="store_true", help="one JSON array")
    listing.set_defaults(do=list_inputs)
    removal = acts.add_parser("remove", help="remove inputs that were put there")
    removal.add_argument("host", metavar="HOST")
    removal.add_argument("names", metavar="NAME", nargs="*")
    removal.add_argument("--all", action="store_true", help="all that were put there")
    removal.set_defaults(do=remove_inputs)
    terminal.offer_json(put, "what is there now")
    terminal.offer_json(removal, "what was not there")
    for act in (put, listing, removal):
        act.add_argument("--stack", metavar="STACK", help="default: the selected one")


def put_inputs(arguments: argparse.Namespace) -> int:
    """Copy files to a host."""
    stack = up(arguments.stack)
    host = host_of(stack, arguments.host)
    found = local_files([Path(arguments.cwd, name) for name in arguments.files], arguments.name)
    most_mb = session_settings(stack).rules.limits.input_mb
    size = sum(each.size for each in found)
    if size > most_mb * MB:
        raise E3Error(
            f"{size / MB:.1f} MB are more than the {most_mb:g} MB that a session takes; raise "
            "input-mb of e3:limits first"
        )

    async def put() -> None:
        for each in found:
            await PrivateFiles(host).put(each.name, Path(each.path))

    asyncio.run(put())
    if arguments.json:
        inputs = [{"name": each.name, "bytes": each.size} for each in found]
        terminal.say_json({"host": host.name, "inputs": inputs})
        return 0
    for each in found:
        print(f"{each.name} ({decimal(each.size)}) is on {host.name}")
    return 0


def list_inputs(arguments: argparse.Namespace) -> int:
    """Print the inputs of hosts."""
    stack = up(arguments.stack)
    hosts = [host_of(stack, arguments.host)] if arguments.host else stack.hosts
    answers = asyncio.run(gather(hosts))
    found = [each for inputs, _ in answers for each in inputs]
    if arguments.json:
        print(json.dumps([described(each) for each in found], indent=2))
    elif found:
        rows = [
            (
                each.host,
                each.name,
                decimal(max(each.size, 0)),
                described(each)["changed"][:19],
                "the host's owner" if each.owned else "e3 input put",
            )
            for each in found
        ]
        terminal.show(rows, header=("host", "input", "size", "changed (UTC)", "put there by"))
    else:
        print("No inputs; `e3 input put HOST FILE` puts one there.")
    more = sum(more for _, more in answers)
    if more:
        terminal.complain(f"{more} more are not listed")
    return 0


async def gather(hosts: Sequence[Host]) -> Sequence[tuple[Sequence[StoredInput], int]]:
    """Return the inputs of each host."""
    return await gather_or_cancel([PrivateFiles(host).list() for host in hosts])


def described(each: StoredInput) -> dict[str, str]:
    """Return an input as values of JSON."""
    try:
        changed = datetime.fromtimestamp(each.changed, UTC).isoformat(timespec="seconds")
    except (ValueError, OverflowError, OSError):  # a host may say anything
        changed = ""
    return {**vars(each), "name": printable(each.name), "changed": changed}


def remove_inputs(arguments: argparse.Namespace) -> int:
    """Remove inputs of a host; the status is 1 if one was not there."""
    if bool(arguments.names) == arguments.all:
        raise E3Error("write the names of the inputs to remove, or --all")
    host = host_of(up(arguments.stack), arguments.host)
    missing = asyncio.run(PrivateFiles(host).remove(None if arguments.all else arguments.names))
    if arguments.json:
        terminal.say_json({"host": host.name, "missing": list(missing)})
        return 1 if missing else 0
    for name in missing:
        terminal.complain(
            f"no input {name!r} was put on {host.name}; `e3 input list` shows what is there, and "
            "what the host's owner put there is removed by the owner"
        )
    return 1 if missing else 0


def host_of(stack: Stack, name: str) -> Host:
    """Return a host of a stack by its name."""
    for host in stack.hosts:
        if host.name == name:
            return host
    choices = ", ".join(host.name for host in stack.hosts)
    raise E3Error(f"stack {stack.name} has no host {name!r}; choose one of {choices}")


def local_files(paths: Sequence[Path], name: str | None) -> list[Input]:
    """Return files of this machine as inputs; those of a folder have its name before their own."""
    found = [each for path in paths for each in inputs_at(path)]
    if name is not None:
        if len(found) != 1:
            raise E3Error(f"--as: {len(found)} files cannot all be named {name!r}; give one file")
        found = [Input(name, found[0].path, found[0].size)]
    names = [each.name for each in found]
    for each in names:
        hidden = any(part.startswith(".") for part in each.split("/"))
        fault = fault_of(each) or ("a name that begins with a dot" if hidden else "")
        if fault:
            raise E3Error(f"{printable(each)} has {fault}; give it another one with --as")
        if names.count(each) > 1:
            raise E3Error(f"two files would be the input {printable(each)}; put one with --as")
    return found


def inputs_at(path: Path) -> list[Input]:
    """Return the file at a path, or those in a folder, as inputs."""
    if path.is_dir():
        try:
            found = list(files(path))
        except InputError as error:
            raise E3Error(str(error)) from None
        if not found:
            raise E3Error(f"{printable(path)} has no files")
        return [Input(f"{path.resolve().name}/{each.name}", each.path, each.size) for each in found]
    if not path.is_file():
        raise E3Error(f"{printable(path)} is not a file; give files or folders")
    return [Input(path.name, str(path), path.stat().st_size)]
