"""Make shares: of a new key, or of the same key for other holders or another threshold."""

import os
import time
from collections.abc import Mapping, Sequence
from typing import TypeVar

import msgspec

from e3.authority.joint import channel
from e3.authority.joint.channel import digest, verify
from e3.authority.joint.dealing import promise_of, published_of, total_dealt, value_fits
from e3.authority.joint.ed25519 import Point
from e3.authority.joint.errors import CeremonyError
from e3.authority.joint.messages import (
    Begin,
    CeremonyTerms,
    Commit,
    Complained,
    Deal,
    Dealt,
    DealtValue,
    Done,
    Envelope,
    Header,
    HolderKey,
    Prepared,
    Promise,
    Receive,
    Spoken,
    encode,
)
from e3.authority.joint.policy import Scope
from e3.authority.joint.sharing import Published, Shares, SharingError, shares_of
from e3.authority.joint.terms import context_of, header_of, keys_of
from e3.ceremonies.assembly import Assembly
from e3.ceremonies.guests import Guest, ask_all, blame, said_by
from e3.ceremonies.verdicts import CeremonyFailedError, CeremonyVerdict
from e3.remote.tasks import gather_or_cancel, in_thread

WORKERS = os.cpu_count() or 1
"""Threads that compute public shares: libsodium works beside Python's own lock."""

B = TypeVar("B", Promise, Dealt, Prepared)


async def make_key(assembly: Assembly, threshold: int, scope: Scope) -> Header:
    """Let all guests make a key together that none of them has; return its public side."""
    holders = {
        number: HolderKey(name=name, key=assembly.guests[name].hello.key)
        for number, name in enumerate(sorted(assembly.guests), start=1)
    }
    terms = CeremonyTerms(
        purpose=assembly.purpose,
        epoch=1,
        threshold=threshold,
        holders=holders,
        dealers=sorted(holders),
        scope=scope,
        made=int(time.time()),
    )
    return await ShareCeremony(assembly, terms).run()


async def renew_key(  # noqa: PLR0913 - what new shares are made of
    assembly: Assembly,
    base: Header,
    names: Sequence[str],
    threshold: int,
    scope: Scope,
    *,
    notes: list[str],
) -> Header:
    """Make new shares of a key for the hosts ``names``, who must all be there.

    As many as the threshold deal. If one of them cheats or falls silent, others deal instead as
    long as there are enough; the ceremony then begins anew. ``notes`` gets whose fault it was.
    """
    excluded: set[str] = set()
    last: CeremonyFailedError | None = None
    while True:
        able = assembly.having(base, without=excluded)
        if len(able) < base.threshold:
            raise last or CeremonyFailedError(
                CeremonyVerdict.TOO_FEW,
                f"{len(able)} holders can renew the key for {base.purpose}, and it takes "
                f"{base.threshold}",
                sorted(excluded),
            )
        terms = CeremonyTerms(
            purpose=base.purpose,
            epoch=base.epoch + 1,
            threshold=threshold,
            holders=_numbered(assembly, base, names),
            dealers=sorted(able)[: base.threshold],
            scope=scope,
            made=int(time.time()),
            certificate=assembly.certificate(base),
            base=base,
        )
        dealers = {base.holders[one].name for one in terms.dealers}
        try:
            return await ShareCeremony(assembly, terms).run()
        except CeremonyFailedError as error:
            guilty = error.guilty
            if error.verdict is CeremonyVerdict.SILENT:
                guilty -= set(names)  # it cannot get its share either
            if not guilty & dealers:
                raise
            last = error
            excluded |= guilty
            notes.append(str(error))
            assembly = await assembly.anew()


def _numbered(assembly: Assembly, base: Header, names: Sequence[str]) -> dict[int, HolderKey]:
    """Return the new holders: who was one keeps its number, and no number is given twice."""
    known = {each.name: number for number, each in base.holders.items()}
    missing = sorted(set(names) - set(assembly.guests))
    if missing:
        why = assembly.absent.get(missing[0], "it is not there")
        raise CeremonyFailedError(
            CeremonyVerdict.ABSENT, f"{missing[0]} cannot get a share: {why}", missing
        )
    holders: dict[int, HolderKey] = {}
    following = base.last_number + 1
    for name in sorted(names):
        key = assembly.guests[name].hello.key
        number = known.get(name)
        if number is None or base.holders[number].key != key:
            number, following = following, following + 1  # a host that was made anew
        holders[number] = HolderKey(name=name, key=key)
    return holders


class ShareCeremony:
    """One ceremony that makes shares, as its coordinator sees it."""

    def __init__(self, assembly: Assembly, terms: CeremonyTerms) -> None:
        """Begin with these terms; all who take part have entered."""
        self._terms = terms
        self._keys = keys_of(terms)
        self._names = {number: each.name for number, each in self._keys.items()}
        self._all: dict[int, Guest] = {
            number: assembly.guests[name] for number, name in self._names.items()
        }
        self._hellos = {number: guest.said.hello for number, guest in self._all.items()}
        self._context = context_of(terms, self._hellos)
        self._dealers = {one: self._all[one] for one in terms.dealers}
        self._receivers = {one: self._all[one] for one in terms.holders}
        self._published: list[Published] = []
        self._total: list[Point] = []

    async def run(self) -> Header:
        """Return the public side of the shares that all holders now have."""
        try:
            return await self._run()
        except CeremonyError as error:
            raise blame(error, self._names) from error

    async def _run(self) -> Header:
        purpose = self._terms.purpose
        begun = await ask_all(
            self._all,
            lambda one: Begin(
                purpose=purpose, identifier=one, terms=self._terms, hellos=self._hellos
            ),
            (Spoken, Done),
        )
        promises = self._said(
            {one: x for one, x in begun.items() if isinstance(x, Spoken) and one in self._dealers}
        )
        promised = self._heard(promises, Promise)
        answers = await ask_all(
            self._dealers, lambda _: Deal(purpose=purpose, promises=promises), Spoken
        )
        dealt = self._said(answers)
        self._check_dealt(dealt, promised)
        known = await self._public_side()
        prepared = await self._prepare(known, promises, dealt, answers)
        header = self._check_prepared(known, promises, dealt, prepared)
        await ask_all(self._receivers, lambda _: Commit(purpose=purpose, prepared=prepared), Done)
        return header

    async def _prepare(
        self,
        known: Shares,
        promises: list[Envelope],
        dealt: list[Envelope],
        answers: Mapping[int, Spoken],
    ) -> list[Envelope]:
        def request(receiver: int) -> Receive:
            values = {one: said.values.get(receiver, b"") for one, said in answers.items()}
            return Receive(
                purpose=self._terms.purpose,
                promises=promises,
                dealt=dealt,
                values=values,
                public_shares=dict(known.public_shares),
            )

        said = await ask_all(self._receivers, request, (Spoken, Complained))
        for accuser, answer in said.items():
            if isinstance(answer, Complained):
                self._judge(accuser, answer)
        return self._said({one: x for one, x in said.items() if isinstance(x, Spoken)})

    def _said(self, answers: Mapping[int, Spoken]) -> list[Envelope]:
        return said_by(answers, self._names)

    def _judge(self, accuser: int, said: Complained) -> None:
        """Raise the verdict on a complaint: who cheated, by the evidence, or a dispute."""
        name, accused = self._names[accuser], self._names.get(said.dealer, "nobody")
        published = next((one for one in self._published if one.dealer == said.dealer), None)
        if said.evidence is not None and published is not None:
            try:
                key = self._keys[said.dealer].key
                given = verify(said.evidence, key, self._context, DealtValue)
            except channel.ChannelError:
                pass
            else:
                if given.receiver == accuser and said.evidence.sender == said.dealer:
                    guilty = accused if not value_fits(given, accuser, published) else name
                    why = "dealt a value that it did not publish"
                    if guilty == name:
                        why = f"accuses {accused} of a wrong value that is right"
                    raise CeremonyFailedError(CeremonyVerdict.CHEATED, f"{guilty} {why}", [guilty])
        raise CeremonyFailedError(
            CeremonyVerdict.DISPUTED,
            f"{name} says that {accused} sent it no value that it can open, and nothing proves it",
            [name, accused],
        )

    def _heard(self, said: Sequence[Envelope], kind: type[B]) -> dict[int, B]:
        """Return what each said, its signature checked."""
        return {
            each.sender: verify(each, self._keys[each.sender].key, self._context, kind)
            for each in said
            if each.sender in self._keys
        }

    def _check_dealt(self, dealt: list[Envelope], promised: Mapping[int, Promise]) -> None:
        """Raise what receivers would raise, so that a cheat is proved and not only said."""
        if set(promised) != set(self._dealers):
            missing = sorted(set(self._dealers) - set(promised))
            raise SharingError("did not promise anything", missing)
        heard = self._heard(dealt, Dealt)
        for each in dealt:
            if promise_of(self._context, each.body) != promised[each.sender].digest:
                raise SharingError("published something else than it promised", [each.sender])
        self._published = [published_of(dealer, said) for dealer, said in heard.items()]
        self._total = total_dealt(self._terms, self._published, self._context)

    async def _public_side(self) -> Shares:
        """Return the public side of what was dealt, computed on all processors."""
        holders = sorted(self._terms.holders)
        pieces = [holders[first::WORKERS] for first in range(min(WORKERS, len(holders)))]
        made = await gather_or_cancel(in_thread(shares_of, self._total, each) for each in pieces)
        found = {one: point for each in made for one, point in each.public_shares.items()}
        return msgspec.structs.replace(made[0], public_shares=dict(sorted(found.items())))

    def _check_prepared(
        self,
        known: Shares,
        promises: list[Envelope],
        dealt: list[Envelope],
        prepared: list[Envelope],
    ) -> Header:
        """Return the header, the same for all; raise `CeremonyFailedError` if it is not."""
        terms = self._terms
        saw = channel.view(self._context, [*promises, *dealt])
        header = header_of(terms, known, saw)
        expected = Prepared(view=saw, header=digest(encode(header)))
        differ = [one for one, said in self._heard(prepared, Prepared).items() if said != expected]
        if differ:
            names = [self._names[one] for one in differ]
            raise CeremonyFailedError(
                CeremonyVerdict.DIVERGED, f"{', '.join(names)} saw something else", names
            )
        return header
