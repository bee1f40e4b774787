"""``e3 output``: files that the parties of a run left in their output folders."""

import argparse
import asyncio
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from rich.filesize import decimal

from e3.cli import terminal
from e3.cli.inputs import host_of
from e3.cli.place import Verbs
from e3.cli.project import session_settings, up
from e3.cli.runs import find
from e3.deployed import Stack
from e3.errors import E3Error
from e3.interfaces import Host
from e3.party.protocol import Spec
from e3.remote.tasks import gather_or_cancel
from e3.remote.text import printable
from e3.session.outputs import FOLDER
from e3.session.private_files import PrivateFiles
from e3.session.programs import counted
from e3.session.runs import RecordedRun

MB = 1_000_000
RUN_HELP = "latest, or the unique beginning or end of a run's name"


def declare(verbs: Verbs) -> None:
    """Declare the verb's command lines."""
    verb = verbs.add_parser(
        "output",
        help="get the files that parties left as output",
        description="Files that programs left in $E3_OUTPUT: in a run's evidence, or private, on "
        "their hosts alone. See docs/files.md.",
    )
    acts = verb.add_subparsers(required=True, metavar="ACT")
    listing = acts.add_parser("list", help="list the output files of a run's evidence")
    get = acts.add_parser("get", help="copy output files into a folder for each host")
    get.add_argument("--to", metavar="FOLDER", help="default: output-RUN, in this folder")
    removal = acts.add_parser("remove", help="remove output files, private ones on their hosts")
    terminal.offer_json(get, "the folder and the number of files")
    terminal.offer_json(removal, "the hosts")
    listing.add_argument("--json", action="store_true", help="one JSON array")
    for act, do in ((listing, list_outputs), (get, get_outputs), (removal, remove_outputs)):
        act.add_argument("run", metavar="RUN", help=RUN_HELP)
        act.add_argument("host", metavar="HOST", nargs="?", help="default: every host")
        act.add_argument("--stack", metavar="STACK", help="default: every stack")
        act.set_defaults(do=do)


def list_outputs(arguments: argparse.Namespace) -> int:
    """Print the files of a run's evidence; of private ones, how many each host has."""
    run = find(arguments.run, arguments.stack)
    result = results(run)
    rows: list[tuple[str, str, int]] = []
    for host in hosts_of(run, arguments.host):
        folder = run.folder / FOLDER / host
        rows += [
            (host, str(path.relative_to(folder)), path.stat().st_size) for path in regular(folder)
        ]
    if arguments.json:
        items = [{"host": host, "name": name, "bytes": size} for host, name, size in rows]
        print(json.dumps(items, indent=2))
        return 0
    if rows:
        terminal.show([(host, name, decimal(size)) for host, name, size in rows])
    for host, (count, size) in result.items():
        if run.private and host in hosts_of(run, arguments.host):
            kept = f"{counted(count)} ({decimal(size)})"
            print(f"{host} keeps {kept}, private: `e3 output get {run.id}`")
    return 0


def get_outputs(arguments: argparse.Namespace) -> int:
    """Copy the files of a run; the status is 1 if there are none."""
    run = find(arguments.run, arguments.stack)
    hosts = hosts_of(run, arguments.host)
    target = Path(arguments.cwd, arguments.to or f"output-{run.id}")
    if target.exists() and any(target.iterdir()):
        raise E3Error(f"--to: {printable(target)} has files; give a new folder")
    target.mkdir(0o700, parents=True, exist_ok=True)
    if run.private:
        counts = asyncio.run(fetch(stack_of(run), run, hosts, target))
    else:
        counts = [copied(run.folder / FOLDER / host, target / host) for host in hosts]
    if not sum(counts):
        target.rmdir()
    if arguments.json:
        files = dict(zip(hosts, counts, strict=True))
        terminal.say_json({"run": run.id, "folder": str(target), "files": files})
        return 0 if sum(counts) else 1
    if not sum(counts):
        terminal.complain(f"run {run.id} left no output files{' there' if arguments.host else ''}")
        return 1
    print(f"{counted(sum(counts))} in {printable(target)}")
    return 0


def remove_outputs(arguments: argparse.Namespace) -> int:
    """Remove the output files of a run."""
    run = find(arguments.run, arguments.stack)
    hosts = hosts_of(run, arguments.host)
    for host in hosts:
        shutil.rmtree(run.folder / FOLDER / host, ignore_errors=True)
    if run.private:
        stack = stack_of(run)

        async def remove() -> None:
            files = [PrivateFiles(host_of(stack, host)) for host in hosts]
            await gather_or_cancel([each.remove_outputs(run.id) for each in files])

        asyncio.run(remove())
    if arguments.json:
        terminal.say_json({"run": run.id, "hosts": list(hosts)})
    return 0


async def fetch(stack: Stack, run: RecordedRun, hosts: Sequence[str], target: Path) -> list[int]:
    """Write private outputs to a folder for each host; return the numbers of files."""
    limits = session_settings(stack).rules.limits

    async def one(host: Host) -> int:
        spec = Spec(
            session=run.id,
            pid=0,
            parties=(),
            entry="",
            args=(),
            output_bytes=int(limits.output_files_mb * MB),
            output_files=limits.output_files,
        )
        found = await PrivateFiles(host).get_outputs(run.id, target / host.name, spec)
        if found is None:
            terminal.complain(f"{host.name} keeps no output of run {run.id}")
            return 0
        for remark in found.remarks:
            terminal.complain(f"{host.name}: {remark}")
        return found.files

    return await gather_or_cancel([one(host_of(stack, host)) for host in hosts])


def stack_of(run: RecordedRun) -> Stack:
    """Return the stack of a run, which must be up."""
    return up(run.folder.parent.parent.name)


def hosts_of(run: RecordedRun, asked: str | None) -> tuple[str, ...]:
    """Return the hosts of a run, or the one that was asked for."""
    if asked is None:
        return run.hosts
    if asked not in run.hosts:
        choices = ", ".join(run.hosts)
        raise E3Error(f"no party of run {run.id} was on {asked!r}; choose one of {choices}")
    return (asked,)


def regular(folder: Path) -> list[Path]:
    """Return the files below a folder of evidence."""
    return sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def copied(source: Path, target: Path) -> int:
    """Copy files of the evidence; return their number."""
    found = regular(source)
    for path in found:
        place = target / path.relative_to(source)
        place.parent.mkdir(0o700, parents=True, exist_ok=True)
        shutil.copyfile(path, place)
        place.chmod(0o600)
    return len(found)


def results(run: RecordedRun) -> dict[str, tuple[int, int]]:
    """Return the number and bytes of the files that each host has, as the result says."""
    try:
        parties = json.loads((run.folder / "result.json").read_text())["parties"]
        return {
            each["host"]: (int(each["output_files"]), int(each["output_files_bytes"]))
            for each in parties
        }
    except (OSError, ValueError, LookupError, TypeError):
        return {}
