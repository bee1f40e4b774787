"""Stack configuration to `Experiment`: the only reader of ``Pulumi.<stack>.yaml``.

Pulumi.yaml declares the keys, their types and defaults; this module decodes the values, and
names key, value and remedy of each mistake. `read` takes the values of the running Pulumi
program. `parse` decodes them, for which it also reads the program and an inventory's file.
"""

import json
import os
import re
from collections.abc import Mapping
from itertools import combinations_with_replacement
from pathlib import Path

from e3 import impairments, nats
from e3.errors import ConfigurationError
from e3.experiment import Choice, Experiment, Program
from e3.inventory import machines as inventory
from e3.nats import NatBehaviour
from e3.session.programs import load
from e3.settings import SESSION_KEYS, mapping, session_settings

OTHER_KEYS = (
    *(
        "authority",
        "authority-options",
        "domain",
        "expires-hours",
        "fleet",
        "fleet-options",
        "hosts",
        "image-rollout",
    ),
    *("latency-ms", "links", "max-hourly-usd", "nats", "overlay", "overlay-options", "regions"),
)
KEYS = tuple(sorted(SESSION_KEYS + OTHER_KEYS))

FLEET_KEYS = {
    "domain": "domain",
    "expires-hours": "expires-hours",
    "hosts": "hosts-wanted",
    "image-rollout": "image-rollout",
    "max-hourly-usd": "max-hourly-usd",
}
"""Configuration keys that set an option of the fleet: key to option."""

HOST_NAME_LENGTH = 15
"""A host's name is also the name of an interface, and Linux allows 15 characters there."""

REGION_HOSTS = 1000
"""A lab region is a /22."""

REGIONS = 100
"""The lab's range, 198.18.0.0/15, has room for 128 regions."""

LATENCY_MS = 10_000.0


def read() -> Experiment:
    """Return the experiment of the running Pulumi program; raise `ConfigurationError`."""
    import pulumi  # noqa: PLC0415 - takes a second, which `e3 run` does not have

    # pulumi.Config cannot list keys; the variable that it reads also has the unknown ones
    values: dict[str, str] = json.loads(os.environ.get("PULUMI_CONFIG", "{}"))
    prefix = f"{pulumi.get_project()}:"
    return parse(
        pulumi.get_stack(),
        {
            key.removeprefix(prefix): value
            for key, value in values.items()
            if key.startswith(prefix)
        },
    )


def parse(stack: str, values: Mapping[str, str], *, program: Program | None = None) -> Experiment:
    """Return the experiment that these values of the ``e3:`` keys describe.

    ``values`` are as Pulumi passes them: text, with objects as JSON. Paths are relative to the
    working directory. The program's files and an inventory's file are read, unless ``program``
    is given instead; raises `ProgramError` or `ConfigurationError`.
    """
    unknown = sorted(set(values) - set(KEYS))
    if unknown:
        raise ConfigurationError(f"e3:{unknown[0]}: unknown key; choose one of {', '.join(KEYS)}")
    fleet = Choice(name=values.get("fleet", "lab"), options=_fleet_options(values))
    machines = _listed(fleet)
    usual: dict[str, object] = {"ams3": 3, "nyc3": 1, "sfo3": 1, "sgp1": 1}
    counted = dict(inventory.regions(list(machines.values())))
    regions = _regions(counted or mapping(values, "regions", usual))
    hosts = [f"{region}-{i}" for region, count in regions.items() for i in range(count)]
    session = session_settings(values, hosts)
    if session.parties > len(hosts):
        raise ConfigurationError(
            f"e3:parties: {session.parties} parties need as many hosts, but e3:regions makes "
            f"{len(hosts)}; ask for fewer parties or more hosts"
        )
    return Experiment(
        stack=stack,
        fleet=fleet,
        regions=regions,
        latency_ms=_latency(mapping(values, "latency-ms", {}), regions),
        nats=_nats(mapping(values, "nats", {}), regions) | _hidden(machines),
        links=impairments.decode(mapping(values, "links", {}), tuple(regions)),
        overlay=Choice(
            name=values.get("overlay", "nebula"),
            options=_options(mapping(values, "overlay-options", {})),
        ),
        authority=Choice(
            name=values.get("authority", "local"),
            options=_options(mapping(values, "authority-options", {})),
        ),
        program=program or load(session.program, args=session.args, entry=session.entry),
        session=session,
        folder=Path(".e3") / stack,
    )


def _options(raw: Mapping[str, object]) -> dict[str, object]:
    return {key.replace("-", "_"): value for key, value in raw.items()}


def _fleet_options(values: Mapping[str, str]) -> dict[str, object]:
    own: dict[str, object] = {}
    for key, option in FLEET_KEYS.items():
        if values.get(key, "") not in {"", "false"}:  # the defaults of Pulumi.yaml: not set
            try:
                own[option] = json.loads(values[key])
            except ValueError:
                own[option] = values[key]  # a word
    return _options({**mapping(values, "fleet-options", {}), **own})


def _listed(fleet: Choice) -> Mapping[str, inventory.Machine]:
    """Return the machines in the file of a fleet, by host; none if the fleet has no file."""
    file = fleet.options.get("file")
    return inventory.named(inventory.read(str(file))) if file else {}


def _hidden(machines: Mapping[str, inventory.Machine]) -> dict[str, NatBehaviour]:
    """Return what stands before each machine that is not public."""
    found = {name: nats.CLASSES[machine.reachability] for name, machine in machines.items()}
    return {name: behaviour for name, behaviour in found.items() if behaviour is not None}


def _regions(raw: Mapping[str, object]) -> dict[str, int]:
    regions: dict[str, int] = {}
    for name, count in sorted(raw.items()):
        if not re.fullmatch(r"[a-z][a-z0-9]*", name):
            raise ConfigurationError(
                f"e3:regions: {name!r} is not a region name; use small letters and digits, "
                "beginning with a letter"
            )
        if isinstance(count, bool) or not isinstance(count, int) or not 0 < count <= REGION_HOSTS:
            raise ConfigurationError(
                f"e3:regions: {name} has {count!r} hosts; write a whole number from 1 to "
                f"{REGION_HOSTS}, or leave the region out"
            )
        if len(f"{name}-{count - 1}") > HOST_NAME_LENGTH:
            raise ConfigurationError(
                f"e3:regions: host name {name}-{count - 1} is longer than the "
                f"{HOST_NAME_LENGTH} characters of an interface name; shorten the region's name"
            )
        regions[name] = count
    if not 0 < len(regions) <= REGIONS:
        raise ConfigurationError(
            f"e3:regions: {len(regions)} regions; an experiment has 1 to {REGIONS}"
        )
    return regions


def _latency(raw: Mapping[str, object], regions: Mapping[str, int]) -> dict[tuple[str, str], float]:
    latency: dict[tuple[str, str], float] = {}
    everywhere = raw.get("all")
    if everywhere is not None:
        rtt_ms = _milliseconds("all", everywhere)
        latency.update(dict.fromkeys(combinations_with_replacement(sorted(regions), 2), rtt_ms))
    for pair, value in raw.items():
        if pair == "all":
            continue
        first, _, second = pair.partition("-")
        for name in (first, second):
            if name not in regions:
                raise ConfigurationError(
                    f"e3:latency-ms: {pair!r} names the region {name!r}, which e3:regions does not "
                    f"have; write all, or two of {', '.join(regions)} joined by a hyphen"
                )
        latency[min(first, second), max(first, second)] = _milliseconds(pair, value)
    return latency


def _nats(raw: Mapping[str, object], regions: Mapping[str, int]) -> dict[str, NatBehaviour]:
    """Return what stands before each host that is not public; its own overrides its region's."""
    region_of = {f"{name}-{i}": name for name, count in regions.items() for i in range(count)}
    for name in raw:
        if name not in regions and name not in region_of:
            raise ConfigurationError(
                f"e3:nats: {name!r} is neither a region nor a host of e3:regions; write one of "
                f"{', '.join(regions)}, or a host such as {min(region_of)}"
            )
    known = {name: nats.decode(f"e3:nats: {name}", value) for name, value in raw.items()}
    asked = {host: known.get(host, known.get(region)) for host, region in region_of.items()}
    found = {host: behaviour for host, behaviour in asked.items() if behaviour is not None}
    _check_shared(found, region_of)
    return found


def _check_shared(found: Mapping[str, NatBehaviour], region_of: Mapping[str, str]) -> None:
    """Raise `ConfigurationError` if hosts are to share a NAT that differs, or has no room."""
    homes: dict[tuple[str, str], list[str]] = {}
    for host, behaviour in found.items():
        if behaviour.shared:
            homes.setdefault((region_of[host], behaviour.shared), []).append(host)
    for (_, shared), hosts in homes.items():
        other = next((host for host in hosts if found[host] != found[hosts[0]]), None)
        if other is not None:
            raise ConfigurationError(
                f"e3:nats: {hosts[0]} and {other} share {shared!r}, but their NATs differ; give "
                "both the same properties, or another text in shared"
            )
        if len(hosts) > nats.MOST_SHARING:
            raise ConfigurationError(
                f"e3:nats: {len(hosts)} hosts share {shared!r}; a NAT has room for "
                f"{nats.MOST_SHARING}, so give some another text in shared"
            )


def _milliseconds(pair: str, value: object) -> float:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not 0 <= float(str(value)) <= LATENCY_MS:
        raise ConfigurationError(
            f"e3:latency-ms: {pair} is {value!r}; write a round-trip time from 0 to "
            f"{LATENCY_MS:g} ms"
        )
    return float(str(value))
