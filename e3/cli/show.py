"""``e3 show``: a stack at a glance, as its state has it: hosts, round trips, result, what next."""

import argparse
import json
import os
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.text import Text

from e3 import pulumi_state
from e3.cli import project, terminal
from e3.cli.display import Display
from e3.cli.place import Verbs
from e3.deployed import FILES
from e3.remote.text import printable
from e3.session.runs import RecordedRun, runs

MOST_HOSTS = 10
"""Of more hosts the round trips are shown by region, each the median of its pairs."""


def declare(verbs: Verbs) -> None:
    """Declare the verb's command line."""
    verb = verbs.add_parser(
        "show",
        help="show hosts, round trips, the session's result and what to do next",
        description="Show a stack as its state has it: hosts, overlay, round trips as measured "
        "when the hosts were joined, the session's result, where time went, what to do next.",
    )
    verb.add_argument("--stack", metavar="STACK", help="default: the selected one")
    verb.add_argument("--json", action="store_true", help="print all as one JSON object")
    verb.set_defaults(do=show)


def show(arguments: argparse.Namespace) -> int:
    """Print what the state of a stack says."""
    known = describe(project.state(arguments.stack))
    if arguments.json:
        print(json.dumps(known, indent=2))
    else:
        _print(known)
    return 0


def describe(resources: Sequence[pulumi_state.Resource]) -> dict[str, Any]:
    """Return what `e3 show --json` prints; ``session`` is the last one that completed."""
    stack = resources[0].stack if resources else ""
    overlay = pulumi_state.outputs(resources, "Overlay") or {}
    kept = pulumi_state.outputs(resources, "Session") or {}
    result: Mapping[str, Any] | None = kept.get("result")
    newest = next(reversed(runs(FILES / stack / "sessions")), None) if stack else None
    addresses = overlay.get("addresses") or {}
    pids = {party["host"]: party["pid"] for party in (result or {}).get("parties", ())}
    hosts = [
        {
            **{key: host[key] for key in ("name", "region", "underlay")},
            "overlay": addresses.get(host["name"]),
            "pid": pids.get(host["name"]),
        }
        for host in overlay.get("hosts") or ()
    ]
    ssh = pulumi_state.outputs(resources, "SshConfig") or {}
    return {
        "stack": stack,
        "overlay": overlay.get("kind"),
        "hosts": hosts,
        "paths": [_path(path) for path in overlay.get("paths") or ()],
        "session": result,
        "newest_run": _run(newest) if newest and newest.id != (result or {}).get("id") else None,
        "seconds": _seconds(resources, overlay, result),
        "next": _next(stack, hosts, ssh.get("path")),
    }


def _path(path: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "from": path["source"],
        "to": path["target"],
        "class": path["path_class"],
        "rtt_ms": path["rtt_ms"],
        "by": path.get("by") or "",
    }


def _run(run: RecordedRun) -> dict[str, Any]:
    return {
        "id": run.id,
        "verdict": run.verdict,
        "reason": run.reason,
        "evidence": str(run.folder),
    }


def _seconds(
    resources: Sequence[pulumi_state.Resource],
    overlay: Mapping[str, Any],
    result: Mapping[str, Any] | None,
) -> dict[str, float | None]:
    """Return where the time went when each part was made last; the rest is Pulumi's engine."""
    made = [it.created for it in resources if it.type.endswith(("e3:Lab", "e3:Host"))]
    times = [it for it in made if it is not None]
    result = result or {}
    return {
        "hosts": (max(times) - min(times)).total_seconds() if len(times) > 1 else None,
        "join": overlay.get("settledSeconds"),
        "session": result.get("wall_seconds"),
        "session_setup": result.get("setup_seconds"),
        "session_online": result.get("online_seconds"),
    }


def _next(stack: str, hosts: Sequence[Mapping[str, Any]], ssh_config: str | None) -> list[str]:
    """Return commands that a person may want to type next."""
    if not hosts:
        return [f"pulumi up --stack {stack}", f"make down STACK={stack}"]
    # of make, the caller's shell is not activated
    first = [". scripts/activate"] if os.environ.get("MAKELEVEL") else []
    ssh = [f"ssh -F {ssh_config} {hosts[0]['name']}"] if ssh_config else []
    return [
        *first,
        f"e3 run demos/auction.py --stack {stack}",
        f"e3 paths --stack {stack}",
        *ssh,
        f"pulumi stack output session --json --stack {stack}",
        f"make down STACK={stack}",
    ]


MEANING = {
    ". scripts": "once in each shell",
    "e3 run": "another program on the same hosts; any MPyC program of yours",
    "e3 paths": "measure again, and say what is slow or relayed, and why",
    "ssh": "a shell on a host",
    "pulumi up": "make them",
    "pulumi stack": "the result for scripts",
    "make down": "remove all of it, and prove that nothing is left",
}
"""What the commands of `_next` do, by how they begin."""


def _print(known: Mapping[str, Any]) -> None:
    hosts, result = known["hosts"], known["session"]
    out = terminal.console()
    if hosts:
        title = f"{len(hosts)} hosts, joined by {known['overlay']}"
    else:
        title = "no hosts that are joined"
    out.print(Text.assemble((f"stack {known['stack']}", "bold"), f": {printable(title)}\n"))
    if hosts:
        terminal.show(
            [
                [
                    host["name"],
                    "-" if host["pid"] is None else str(host["pid"]),
                    host["overlay"] or "-",
                    host["underlay"],
                ]
                for host in hosts
            ],
            header=("host", "party", "overlay", "underlay"),
        )
        out.print()
        _print_matrix(known)
    if result:
        Display(out).conclude(result)
    if known["newest_run"]:
        run = known["newest_run"]
        reason = f": {printable(run['reason'])}" if run["reason"] else ""
        line = (f"newest run {run['id']}: ", terminal.word(run["verdict"]), reason)
        out.print(Text.assemble(*line, f" (`e3 logs {run['id']}`)"))
    out.print(_times(known["seconds"]))
    if result:
        out.print(f"evidence: {Path(result['evidence'])}")
    out.print("\nnext:")
    rows = [(f"  {command}", _meaning(command)) for command in known["next"]]
    terminal.show(rows)


def _print_matrix(known: Mapping[str, Any]) -> None:
    """Print the round trip of each pair of hosts, or of regions if there are many hosts."""
    names, cells = matrix(known["hosts"], known["paths"])
    of = "host" if len(known["hosts"]) <= MOST_HOSTS else "region, the median of its pairs"
    terminal.console().print(f"round trips in ms, from {of} to {of.partition(',')[0]}")
    rows = [[name, *(cells.get((name, other), "-") for other in names)] for name in names]
    terminal.show(rows, header=("", *names))
    if any(cell.endswith("r") for cell in cells.values()):
        terminal.console().print("r: relayed; `e3 paths` says by whom")
    terminal.console().print()


def matrix(
    hosts: Sequence[Mapping[str, Any]], paths: Sequence[Mapping[str, Any]]
) -> tuple[list[str], dict[tuple[str, str], str]]:
    """Return the names of rows and columns, and the cells; ``r`` ends one that is relayed."""
    by_host = len(hosts) <= MOST_HOSTS
    place = {host["name"]: host["name"] if by_host else host["region"] for host in hosts}
    found: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for path in paths:
        if path["from"] in place and path["to"] in place:
            found.setdefault((place[path["from"]], place[path["to"]]), []).append(path)
    cells = {
        pair: f"{statistics.median(one['rtt_ms'] for one in met):.1f}"
        + ("r" if any(one["class"] == "relayed" for one in met) else "")
        for pair, met in found.items()
    }
    return list(dict.fromkeys(place.values())), cells


def _times(seconds: Mapping[str, float | None]) -> str:
    """Return the breakdown as one line."""
    parts = [
        f"{word} {seconds[key]:.1f} s"
        for key, word in (("hosts", "hosts"), ("join", "joining them"), ("session", "session"))
        if seconds[key] is not None
    ]
    return f"took: {', '.join(parts) or 'not known'}; the rest is Pulumi's engine"


def _meaning(command: str) -> str:
    return next(text for begin, text in MEANING.items() if command.startswith(begin))
