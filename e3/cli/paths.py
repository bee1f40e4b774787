"""``e3 paths``: measure how every two hosts of a stack that is up reach each other."""

import argparse
import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict

from rich.text import Text

from e3.cli import project, terminal
from e3.cli.place import Verbs
from e3.evaluation.diagnosis import Diagnosis, diagnose
from e3.paths import PairPath

FLOOD_SECONDS = 4.0  # of which TCP needs the first half to find its rate
HEADER = ("", "from", "to", "path", "overlay ms", "underlay ms", "contact s", "direct s")
EXCHANGE, THROUGHPUT = "key exchange", "Mbit/s"

Joined = Mapping[tuple[str, str], PairPath]
"""The path of each ordered pair when the hosts were joined last."""


def declare(verbs: Verbs) -> None:
    """Declare the verb's command line."""
    verb = verbs.add_parser(
        "paths",
        help="measure how every two hosts of a stack reach each other",
        description="Measure every ordered pair of hosts, over the overlay and below it.",
        epilog="exit status: 0, or 1 if a pair does not talk",
    )
    verb.add_argument("--stack", metavar="STACK", help="default: the selected one")
    verb.add_argument(
        "--throughput",
        action="store_true",
        help=f"also measure throughput: {FLOOD_SECONDS:g} s for each pair, one by one",
    )
    verb.add_argument("--json", action="store_true", help="print all as JSON")
    verb.set_defaults(do=show_paths)


def show_paths(arguments: argparse.Namespace) -> int:
    """Measure and print; return 1 if a pair does not talk."""
    stack = project.up(arguments.stack)
    found = asyncio.run(
        diagnose(
            stack.overlay,
            stack.hosts,
            stack.network,
            flood_seconds=FLOOD_SECONDS if arguments.throughput else 0,
        )
    )
    joined = {(path.source, path.target): path for path in stack.paths}
    if arguments.json:
        rows = [_properties(one, joined) for one in found]
        said = {"stack": stack.name, "overlay": stack.choice.name, "paths": rows}
        print(json.dumps(said, indent=2))
    else:
        _show(found, joined, throughput=arguments.throughput)
    return int(any(one.level == "FAIL" for one in found))


def _properties(one: Diagnosis, joined: Joined) -> dict[str, object]:
    """Return a path with the keys of the stack output ``session.paths``."""
    values = asdict(one)
    ends = {"from": values.pop("source"), "to": values.pop("target")}
    contact, direct = _seconds(one, joined)
    times = {"contact_seconds": contact, "direct_seconds": direct}
    return {**ends, "class": values.pop("path_class"), **values, **times}


def _seconds(one: Diagnosis, joined: Joined) -> tuple[float | None, float | None]:
    """Return the seconds, when hosts were joined, to the first data and to a direct path."""
    path = joined.get((one.source, one.target))
    return (path.contact_seconds, path.direct_seconds) if path else (None, None)


def _show(found: Sequence[Diagnosis], joined: Joined, *, throughput: bool) -> None:
    rows: list[Sequence[str | Text]] = []
    header = [*HEADER, THROUGHPUT] if throughput else [*HEADER]
    told = any(one.exchange for one in found)
    for one in found:
        by = f" by {one.by}" if one.by else ""
        numbers = [_number(one.overlay_rtt_ms), _number(one.underlay_rtt_ms)]
        numbers += map(_number, _seconds(one, joined))
        if throughput:
            numbers.append(_number(one.mbit_per_second))
        ends = (terminal.word(one.level), one.source, one.target, f"{one.path_class}{by}")
        rows.append((*ends, *numbers, *([one.exchange or "-"] if told else [])))
    terminal.show(rows, header=[*header, EXCHANGE] if told else header)
    for level in ("FAIL", "WARN"):
        for advice in _advice(found, level):
            terminal.say(f"{level}: {advice}")


def _advice(found: Sequence[Diagnosis], level: str) -> list[str]:
    """Return the advice of that level, once for both directions of a pair."""
    said: dict[tuple[str, ...], str] = {}
    for one in found:
        if one.level == level:
            ends = tuple(sorted((one.source, one.target)))
            where = "" if one.source in one.advice else f"{one.source} to {one.target}: "
            said.setdefault(ends, f"{where}{one.advice}")
    return list(said.values())


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"
