"""The holders' own logs, compared: what some have recorded must be in the log of all who signed."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from e3.authority.joint.errors import CeremonyError
from e3.authority.joint.log import Entry, LogError, check
from e3.authority.joint.messages import Envelope, Log, LogPage
from e3.ceremonies.guests import expect
from e3.ceremonies.verdicts import CeremonyFailedError
from e3.ceremonies.voices import Voice
from e3.errors import HostError
from e3.remote.tasks import each_to_its_end

MOST_PAGES = 500
READ_SECONDS = 60.0
"""The most that a host may take to show its log."""
SHARED = ("shares", "signatures")
"""Kinds of entries that all who took part have."""


@dataclass(frozen=True, kw_only=True)
class Logged:
    """A ceremony as logs have it: its entry, whose logs have it, and whose should and do not."""

    entry: Entry
    recorded_by: Sequence[str]
    missing_from: Sequence[str]


@dataclass(kw_only=True)
class Logs:
    """The logs of holders by host, and why others have none that can be read."""

    entries: dict[str, list[Entry]] = field(default_factory=dict)
    unread: dict[str, str] = field(default_factory=dict)

    def compared(self) -> list[Logged]:
        """Return every entry of every log once, in the order of time.

        A host that left the authority has removed its log, and counts as missing from nothing.
        """
        found: dict[tuple[object, ...], list[str]] = {}
        entries: dict[tuple[object, ...], Entry] = {}
        for host, log in self.entries.items():
            for entry in log:
                key = _identity(host, entry)
                entries.setdefault(key, entry)
                found.setdefault(key, []).append(host)
        return sorted(
            (self._logged(entry, found[key]) for key, entry in entries.items()),
            key=lambda one: (one.entry.time, one.entry.number),
        )

    def _logged(self, entry: Entry, hosts: Sequence[str]) -> Logged:
        expected = set(entry.holders) & set(self.entries) if entry.kind in SHARED else set()
        return Logged(
            entry=entry,
            recorded_by=sorted(set(hosts)),
            missing_from=sorted(expected - set(hosts)),
        )


def _identity(host: str, entry: Entry) -> tuple[object, ...]:
    """Return what makes an entry the same in two logs; a refusal is one holder's own."""
    shared = (entry.kind, entry.purpose, entry.ceremony, entry.epoch, tuple(entry.holders))
    own = (host, entry.number) if entry.kind == "refused" else ()
    return (*shared, tuple(entry.what), *own)


async def collect(
    voices: Mapping[str, Voice], absent: Mapping[str, str], identities: Mapping[str, bytes]
) -> Logs:
    """Return the log of each holder, its chain and its signatures checked.

    ``identities`` are the keys by which holders know one another, by host; a log is signed by it.
    """
    logs = Logs(unread=dict(absent))

    async def one(name: str, voice: Voice) -> None:
        try:
            async with asyncio.timeout(READ_SECONDS) as limit:
                logs.entries[name] = await _read(name, voice, identities.get(name))
        except TimeoutError as error:
            late = f"host {name} shows no whole log within {READ_SECONDS:g} s"
            logs.unread[name] = late if limit.expired() else str(error)
        except (HostError, CeremonyFailedError, CeremonyError) as error:
            logs.unread[name] = str(error)

    await each_to_its_end(one(name, voice) for name, voice in voices.items())
    logs.entries = {name: logs.entries[name] for name in voices if name in logs.entries}
    return logs


async def _read(name: str, voice: Voice, identity: bytes | None) -> list[Entry]:
    said: list[Envelope] = []
    for _ in range(MOST_PAGES):
        asked = Log(purpose="all", first=len(said))
        page = expect(name, await voice.ask(asked), LogPage)
        said += page.entries
        if not page.entries or len(said) >= page.total:
            break
    if identity not in (None, page.key):
        raise LogError("it is signed by another key than that by which the holders know this host")
    return check(page.key, said)
