"""What the verbs of `e3 authority` do with the joint authorities of a stack."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from e3.access import host_from_properties
from e3.ceremonies.assembly import Assembly, assemble
from e3.ceremonies.authority import ceremony, current
from e3.ceremonies.logs import Logs, collect
from e3.ceremonies.making import renew_key
from e3.ceremonies.overview import AuthorityState, overview
from e3.ceremonies.verdicts import CeremonyFailedError, CeremonyVerdict
from e3.ceremonies.voices import attached
from e3.interfaces import Host

Given = Mapping[str, Mapping[str, Any]]
"""Joint authorities by purpose, as `e3.ceremonies.given` describes them."""


async def look(given: Given) -> tuple[list[AuthorityState], Logs]:
    """Return the state of each authority, and the logs of all holders."""
    hosts = {host.name: host for each in given.values() for host in _hosts(each)}
    async with attached(list(hosts.values())) as (voices, absent):
        states = []
        for purpose, each in given.items():
            names = {host.name for host in _hosts(each)}
            theirs = {name: voice for name, voice in voices.items() if name in names}
            gone = {name: why for name, why in absent.items() if name in names}
            states.append(overview(await assemble(purpose, theirs, gone), _key(each)))
        return states, await collect(voices, absent, identities(states))


def identities(states: Sequence[AuthorityState]) -> dict[str, bytes]:
    """Return the key by which holders know each host, by its name."""
    headers = [state.header for state in states if state.header]
    return {each.name: each.key for header in headers for each in header.holders.values()}


async def refresh(given: Given) -> list[AuthorityState]:
    """Make new shares of each key for the same holders; return the states after it."""
    states = []
    for purpose, each in given.items():
        folder, key = Path(each["joint"]["folder"]), _key(each)
        async with ceremony(folder, purpose, "refresh", _hosts(each)) as (assembly, record):
            made = await _renewed(assembly, key, record.notes)
            record.step("renewed")
            state = overview(made, key)
            if state.header is not None:
                record.of(state.header)
            states.append(state)
    return states


async def _renewed(assembly: Assembly, key: bytes, notes: list[str]) -> Assembly:
    header = current(assembly, key)
    if header is None:
        raise CeremonyFailedError(CeremonyVerdict.TOO_FEW, "nobody holds the key")
    names = [each.name for each in header.holders.values()]
    await renew_key(assembly, header, names, header.threshold, header.scope, notes=notes)
    return await assembly.anew()


def _key(given: Mapping[str, Any]) -> bytes:
    return bytes.fromhex(given["joint"]["publicKey"])


def _hosts(given: Mapping[str, Any]) -> Sequence[Host]:
    return [host_from_properties(host) for host in given["joint"]["hosts"]]


def ago(moment: float) -> str:
    """Return how long ago a Unix time was, in words."""
    seconds = max(0, int(time.time() - moment))
    for size, name in ((86_400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= size:
            count = seconds // size
            return f"{count} {name}{'' if count == 1 else 's'} ago"
    return "just now"
