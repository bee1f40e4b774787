"""Holders of a joint authority for tests: the real program of each, in this process or on hosts.

What is said can be changed on its way, as a holder or a coordinator who cheats would.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import pytest

from e3.authority.joint import log
from e3.authority.joint.ed25519 import Point
from e3.authority.joint.holder import ShareHolder
from e3.authority.joint.messages import AnyAnswer, Ask, Header
from e3.authority.joint.policy import Scope
from e3.authority.joint.requests import NebulaAuthority, NebulaHost, Request
from e3.authority.joint.requests.nebula import fingerprint
from e3.authority.joint.store import Held, Store
from e3.ceremonies.assembly import Assembly, assemble
from e3.ceremonies.making import make_key, renew_key
from e3.ceremonies.signatures import Signatures, archive, sign
from e3.ceremonies.verdicts import CeremonyFailedError
from e3.errors import HostError

DAY_SECONDS = 86_400
SCOPE_SECONDS = 30 * DAY_SECONDS
_answers: msgspec.json.Decoder[AnyAnswer] = msgspec.json.Decoder(AnyAnswer)

Changes = Callable[[Ask, AnyAnswer], AnyAnswer]
"""From what a holder was asked and what it said to what its coordinator hears."""


@dataclass
class LocalVoice:
    """A holder in this process, with its files in ``folder``.

    ``alters`` changes what it says, ``hears`` what it is asked; ``dies_at`` is a kind of request at
    which it ends without an answer.
    """

    name: str
    folder: Path
    alters: Changes = lambda _, said: said
    hears: Callable[[Ask], Ask] = lambda asked: asked
    dies_at: type[Ask] | None = None
    asked: list[bytes] = field(default_factory=list)
    said: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.holder = ShareHolder(Store(self.folder))

    async def ask(self, request: Ask) -> AnyAnswer:
        """Return the answer of the real program, whatever was made of it."""
        if self.dies_at is not None and isinstance(request, self.dies_at):
            raise HostError(f"the holder on host {self.name} has ended")
        line = msgspec.json.encode(self.hears(request))
        answer = self.holder.answer(line)
        self.asked.append(line)
        self.said.append(answer)
        return self.alters(request, _answers.decode(answer))

    def restart(self) -> None:
        """Begin a new process: what was in memory is gone."""
        self.holder.end()
        self.holder = ShareHolder(Store(self.folder))

    @property
    def held(self) -> Held:
        """The share on its disk."""
        found = Store(self.folder).held("nebula")
        assert found is not None
        return found


def failed(work: Coroutine[object, object, object]) -> CeremonyFailedError:
    """Return how a ceremony fails, which it must."""
    with pytest.raises(CeremonyFailedError) as it:
        asyncio.run(work)
    return it.value


def voices_in(folder: Path, names: Sequence[str]) -> dict[str, LocalVoice]:
    """Return a holder for each name."""
    return {name: LocalVoice(name, folder / name) for name in names}


def scope_of(names: Sequence[str]) -> Scope:
    """Return what the holders of these tests agree to certify."""
    return Scope(
        names=tuple(names),
        networks=("10.77.0.0/16",),
        groups=("party",),
        most_seconds=SCOPE_SECONDS,
    )


def authority_request() -> NebulaAuthority:
    """Return the request for the authority's own certificate."""
    now = int(time.time())
    return NebulaAuthority(
        version=2, name="E3 test", not_before=now, not_after=now + 3650 * DAY_SECONDS
    )


def host_request(name: str, issuer: bytes) -> NebulaHost:
    """Return a right request for a host."""
    now = int(time.time())
    return NebulaHost(
        version=2,
        name=name,
        networks=("10.77.0.9/16",),
        groups=("party",),
        public_key=bytes([9, *bytes(31)]),
        issuer=issuer,
        not_before=now,
        not_after=now + DAY_SECONDS,
    )


def log_entry(*what: str) -> log.Entry:
    """Return an entry of a log that says ``what`` was signed; `log.append` numbers it."""
    return log.Entry(
        number=0,
        previous=log.START,
        time=0,
        kind="signatures",
        purpose="nebula",
        epoch=1,
        ceremony=bytes(32),
        holders=[],
        what=list(what),
    )


@dataclass
class JointKey:
    """A joint authority for Nebula in this process, with its own certificate signed.

    ``notes`` say whose fault it was that others dealt the newest shares.
    """

    voices: dict[str, LocalVoice]
    header: Header
    authority: NebulaAuthority
    issuer: bytes
    certificate: str
    notes: list[str] = field(default_factory=list)

    @classmethod
    async def made(
        cls, folder: Path, names: Sequence[str], threshold: int, scope: Scope | None = None
    ) -> "JointKey":
        voices = voices_in(folder, names)
        header = await make_key(await enter(voices), threshold, scope or scope_of(names))
        assembly = await enter(voices)
        request = authority_request()
        signed = await sign(assembly, header, [request])
        certificate = await archive(assembly, header, request, signed.signatures[0])
        issuer = fingerprint(request, Point(header.public_key), signed.signatures[0])
        return cls(voices, header, request, issuer, certificate.text)

    def host_request(self, name: str, **changes: object) -> NebulaHost:
        """Return a request for a host, which is right but for the ``changes``."""
        return msgspec.structs.replace(host_request(name, self.issuer), **changes)

    async def sign(self, *requests: Request) -> Signatures:
        """Sign by whoever can be heard."""
        return await sign(await enter(self.voices), self.header, requests)

    async def renew(self, names: Sequence[str], threshold: int) -> Header:
        """Make new shares for the hosts ``names``; new ones come to `voices` first."""
        assembly = await enter(self.voices)
        self.notes = []
        self.header = await renew_key(
            assembly, self.header, names, threshold, scope_of(sorted(self.voices)), notes=self.notes
        )
        return self.header


async def enter(voices: Mapping[str, LocalVoice]) -> Assembly:
    """Let all who can be heard enter."""
    return await assemble("nebula", dict(voices), {})
