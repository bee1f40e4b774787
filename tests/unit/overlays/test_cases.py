"""What each overlay plans, as data: tests/cases/<overlay>/*.json, of which each says why by name.

A case has options and hosts, what the hosts told of themselves (``public``) and what the overlay
keeps (``memory``). It expects of files on hosts, named by the end of their path: all ``lines``,
lines that it ``has`` or ``has_not``, or ``values`` of JSON and YAML by their path of keys.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast, get_args, get_type_hints

import msgspec
import pytest
import yaml

from e3.experiment import Choice
from e3.interfaces import Host
from e3.nats import Reachability
from e3.overlays import OVERLAYS
from e3.overlays.unit import Members, Planned, Unit
from e3.registry import build
from tests.hosts import host

pytestmark = pytest.mark.unit

CASES = sorted(path for name in OVERLAYS for path in Path("tests/cases", name).glob("*.json"))


@dataclass(frozen=True, kw_only=True)
class Place:
    underlay: str
    underlay6: str = ""
    reachability: Reachability = "public"


@dataclass(frozen=True, kw_only=True)
class Expected:
    lines: list[str] | None = None
    has: list[str] = field(default_factory=list)
    has_not: list[str] = field(default_factory=list)
    values: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Case:
    options: dict[str, Any]
    hosts: dict[str, Place]
    expected: dict[str, dict[str, Expected]]
    public: dict[str, Any] = field(default_factory=dict)
    memory: dict[str, Any] | None = None


@pytest.mark.parametrize("path", CASES, ids=lambda path: f"{path.parent.name}: {path.stem}")
def test_plan(path: Path) -> None:
    case = msgspec.json.decode(path.read_bytes(), type=Case, strict=True)
    hosts = [
        host(name, place.underlay, reachability=place.reachability, underlay6=place.underlay6)
        for name, place in case.hosts.items()
    ]
    overlay, members = planned(path.parent.name, case, hosts)
    for each in hosts:
        units = overlay.plan(each, members)
        for end, expected in case.expected.get(each.name, {}).items():
            check(text_of(units, end), expected, f"{each.name}: {end}")


def planned(name: str, case: Case, hosts: Sequence[Host]) -> tuple[Planned, Members[Any, Any]]:
    options = {key.replace("-", "_"): value for key, value in case.options.items()}
    overlay = build(OVERLAYS, Choice(name=name, options=options), key="overlay")
    addresses = overlay.assign([each.name for each in hosts], None)
    joined = cast("Planned", overlay)
    kinds = get_args(get_type_hints(joined.plan)["members"])
    return joined, Members(
        hosts=hosts,
        addresses=addresses,
        public={name: msgspec.convert(told, kinds[0]) for name, told in case.public.items()},
        memory=msgspec.convert(case.memory, kinds[1]),
    )


def text_of(units: Sequence[Unit], end: str) -> str:
    found = {f.path: f.content for unit in units for f in unit.files if f.path.endswith(f"/{end}")}
    assert len(found) == 1, f"{end} is one of {[f.path for unit in units for f in unit.files]}"
    (content,) = found.values()
    return content.decode()


def check(text: str, expected: Expected, what: str) -> None:
    lines = text.splitlines()
    if expected.lines is not None:
        assert lines == expected.lines, what
    assert set(expected.has) <= set(lines), what
    assert not set(expected.has_not) & set(lines), what
    values = yaml.safe_load(text) if expected.values else None
    for key, value in expected.values.items():
        assert look_up(values, key) == value, f"{what}: {key}"


def look_up(value: Any, path: str) -> object:  # noqa: ANN401 -- JSON
    for part in path.split("."):
        key = int(part) if part.isdigit() else part
        value = value[key]
    return value


@pytest.mark.parametrize("name", sorted(OVERLAYS))
def test_every_overlay_that_runs_something_has_cases(name: str) -> None:
    overlay = OVERLAYS[name]()
    runs = bool(overlay.needs.tools or overlay.needs.packages)
    own = {path.parent.name for path in CASES}
    assert name in own or not runs or name == "tailscale"  # headscale's client at another server


def test_units_are_plain_data() -> None:
    one = Unit(name="one", argv=("true",))
    assert one.service.restart_on == ""
    assert Unit(name="one", argv=("true",), restart_on=["x"]).service.restart_on
    assert json.dumps(one.revision)
