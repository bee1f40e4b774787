"""Every party's part from the roster on, until each pair is connected. Pure.

A party offers nothing until its user has consented to the roster, and connects nobody until both
offers of the pair name the same roster. So an initiator that tells two parties different things
is found out before any program starts, and the keys of a pair are bound to what both were told.
"""

import secrets
from collections.abc import Callable
from dataclasses import dataclass

from e3.didcomm.did import Document
from e3.didcomm.errors import DidcommError
from e3.didcomm.keys import base64url
from e3.didcomm.session import proof
from e3.didcomm.session.actions import (
    Action,
    Ask,
    Connect,
    End,
    Left,
    Reconnect,
    Restart,
    Send,
    Start,
)
from e3.didcomm.session.bodies import (
    Accept,
    Body,
    Candidate,
    Close,
    Member,
    Offer,
    Roster,
    Up,
    Update,
)
from e3.didcomm.session.offered import pair_secret, same_keys, usable
from e3.didcomm.session.proof import Admit, anyone
from e3.remote.text import printable

REPEAT_SECONDS = 2.0
EARLY_OFFERS = 16


@dataclass(frozen=True, kw_only=True)
class Terms:
    """What this party's user has consented to, and knows from the invitation.

    ``initiator`` is its DID in the session, ``initiator_identity`` the lasting one; ``proposal``
    the hash of what is computed by ``parties`` parties. ``epoch`` is that of the roster.
    """

    sid: str
    initiator: str
    initiator_identity: str
    proposal: str
    parties: int
    epoch: int = 0


@dataclass(frozen=True, kw_only=True)
class Ends:
    """Keys for connections, of this session alone, and addresses of this party."""

    fingerprint: str
    wireguard: str = ""
    candidates: tuple[Candidate, ...] = ()


class Negotiation:
    """One party's state."""

    def __init__(
        self,
        did: str,
        identity: str,
        terms: Terms,
        resolve: Callable[[str], Document],
        admit: Admit = anyone,
    ) -> None:
        """Negotiate as ``did``, which is ``identity``'s in this session."""
        self._did = did
        self._identity = identity
        self._terms = terms
        self._resolve = resolve
        self._admit = admit
        self._roster: Roster | None = None
        self._hash = ""
        self._consented = False
        self._own: dict[int, Offer] = {}
        self._theirs: dict[int, Offer] = {}
        self._early: dict[str, Offer] = {}
        """Offers that came before the roster, by DID."""
        self._accepted: set[int] = set()
        """The peers that have accepted our offer."""
        self._connecting: set[int] = set()
        self._connected: set[int] = set()
        self._up: set[int] = set()
        self._numbers: dict[int, int] = {}
        self._number = 0
        self._started = False
        self._over = False
        self._closed: Close | None = None
        """How this party left."""
        self._repeat = 0.0

    @property
    def roster(self) -> Roster | None:
        """The roster that this party was told."""
        return self._roster

    @property
    def pid(self) -> int:
        """The pid of this party."""
        if self._roster is None or (pid := self._roster.pid_of(self._did)) is None:
            raise DidcommError("there is no roster yet")
        return pid

    @property
    def started(self) -> bool:
        """Whether every pair is connected, and the program starts."""
        return self._started

    @property
    def missing(self) -> list[Member]:
        """The members that this party still waits for."""
        if self._roster is None:
            return []
        done = self._up if self._connected >= self._peers else self._connected
        return [each for each in self._roster.members if each.pid in self._peers - done]

    def received(self, sender: str, body: Body, now: float) -> list[Action]:
        """Return what follows from a message of a DID."""
        if self._over:
            return self._tell_again(sender, body)
        if isinstance(body, Close):
            return self._take_close(sender, body)
        if self._is_outdated(body):
            return []
        if isinstance(body, Roster):
            return self._take_roster(sender, body, now)
        pid = self._roster.pid_of(sender) if self._roster is not None else None
        if pid is not None and pid != self.pid:
            return self._of_peer(pid, body)
        if isinstance(body, Offer) and self._roster is None and len(self._early) < EARLY_OFFERS:
            self._early.setdefault(sender, body)
        return []

    def _is_outdated(self, body: Body) -> bool:
        """Return whether a message is of another roster than this party's, or changes nothing."""
        if self._started and isinstance(body, Roster | Offer | Accept):
            return True  # nothing that was agreed changes while the program runs
        return isinstance(body, Offer | Accept | Up) and body.epoch != self._terms.epoch

    def _tell_again(self, sender: str, body: Body) -> list[Action]:
        """Tell whoever has not heard it that this party has left."""
        known = {each.did for each in self._roster.members} if self._roster is not None else set()
        if self._closed is None or isinstance(body, Close):
            return []
        return [Send(to=sender, body=self._closed)] if sender in known - {self._did} else []

    def _of_peer(self, pid: int, body: Body) -> list[Action]:
        if isinstance(body, Offer):
            return self._take_offer(pid, body)
        if isinstance(body, Accept):
            return self._take_accept(pid, body)
        if isinstance(body, Up):
            return self._take_up(pid, body)
        return self._take_update(pid, body) if isinstance(body, Update) else []

    def consent(self, ends: Ends, now: float) -> list[Action]:
        """Return what follows from the user's consent to the roster; ``ends`` are for it alone."""
        if self._roster is None or self._consented or self._over:
            return []
        self._consented = True
        self._repeat = now + REPEAT_SECONDS
        for pid in self._peers:
            self._own[pid] = Offer(
                epoch=self._roster.epoch,
                roster=self._hash,
                pid=self.pid,
                fingerprint=ends.fingerprint,
                wireguard=ends.wireguard,
                half=base64url(secrets.token_bytes(32)),
                candidates=ends.candidates,
            )
        actions: list[Action] = [self._send(pid, offer) for pid, offer in self._own.items()]
        for pid in self._theirs:
            actions += self._accept(pid)
        return [*actions, *self._check_start()]

    def connected(self, pid: int) -> list[Action]:
        """Return what follows from a connection to a peer."""
        if self._over:
            return []
        before = self._connected >= self._peers
        self._connected.add(pid)
        if before or not self._connected >= self._peers:
            return []
        return [*(self._send(peer, self._own_up) for peer in self._peers), *self._check_start()]

    def moved(self, candidates: tuple[Candidate, ...]) -> list[Action]:
        """Return what follows when this party has new addresses."""
        if not self._consented or self._over:
            return []
        self._number += 1
        update = Update(number=self._number, roster=self._hash, candidates=candidates)
        return [self._send(pid, update) for pid in self._peers]

    def tick(self, now: float) -> list[Action]:
        """Return the messages that were not answered for `REPEAT_SECONDS`."""
        if now < self._repeat or not self._consented or self._started or self._over:
            return []
        self._repeat = now + REPEAT_SECONDS
        silent = self._peers - (self._accepted & set(self._theirs))
        actions: list[Action] = [self._send(pid, self._own[pid]) for pid in silent]
        if self._connected >= self._peers:
            actions += [self._send(pid, self._own_up) for pid in self._peers - self._up]
        return actions

    def leave(self, reason: str, detail: str = "") -> list[Action]:
        """Return the messages by which this party leaves."""
        self._over = not self._started  # else it still hears how the others end
        close = Close(reason=reason, detail=detail[:400], epoch=self._terms.epoch)  # type: ignore[arg-type]
        self._closed = close
        if self._roster is None:
            return [Send(to=self._terms.initiator, body=close)]
        return [self._send(pid, close) for pid in self._peers]

    # Messages

    def _take_roster(self, sender: str, roster: Roster, now: float) -> list[Action]:
        if sender != self._terms.initiator or roster.epoch < self._terms.epoch:
            return []
        if roster.epoch > self._terms.epoch:
            return self._restart(roster.epoch)
        if self._roster is not None:
            if roster.hash == self._hash:
                # the initiator has not got our offer
                return self.tick(max(now, self._repeat)) if self._consented else []
            return self._end("the initiator named two different groups of parties", sender)
        try:
            self._check_roster(roster)
        except DidcommError as error:
            return self._end(f"the initiator's list of parties is wrong: {error}", sender)
        self._roster, self._hash = roster, roster.hash
        actions: list[Action] = [Ask(roster=roster)]
        for did, offer in self._early.items():
            pid = roster.pid_of(did)
            if pid is not None and pid != self.pid:
                actions += self._take_offer(pid, offer)
        self._early.clear()
        return actions

    def _check_roster(self, roster: Roster) -> None:
        terms, members = self._terms, roster.members
        if roster.proposal != terms.proposal:
            raise DidcommError("it is for another program than this party has consented to")
        if [each.pid for each in members] != list(range(terms.parties)):
            raise DidcommError(f"it does not have {terms.parties} parties, numbered from 0")
        for what in ("did", "identity"):
            if len({getattr(each, what) for each in members}) < len(members):
                raise DidcommError("a party is in it twice")
        by_did = {each.did: each for each in members}
        own, first = by_did.get(self._did), by_did.get(terms.initiator)
        if own is None or own.identity != self._identity:
            raise DidcommError("this party is not in it")
        if first is None or first.identity != terms.initiator_identity:
            raise DidcommError("the initiator is not in it, or has another identity than before")
        for each in members:
            proof.check(each.proof, terms.sid, each.did, each.identity, self._resolve)
            self._admit(each.identity, each.credentials)

    def _take_offer(self, pid: int, offer: Offer) -> list[Action]:
        if offer.roster != self._hash:
            return self._end(
                f"{self._name(pid)} was told another list of parties: the initiator, or that "
                "party, says different things to different parties",
                self._terms.initiator,
            )
        if offer.pid != pid:
            return self._end(f"{self._name(pid)} says that it is party {offer.pid}", self._of(pid))
        known = self._theirs.get(pid)
        if known is not None and known != offer:
            return self._end(f"{self._name(pid)} made two different offers", self._of(pid))
        if not usable(offer):
            return self._end(f"{self._name(pid)} offers keys that are none", self._of(pid))
        for other, theirs in self._theirs.items():
            if other != pid and same_keys(theirs, offer):
                names = f"{self._name(other)} and {self._name(pid)}"
                return self._end(
                    f"{names} gave the same keys; one of them poses as the other", None
                )
        self._theirs[pid] = offer
        return self._accept(pid) if self._consented else []

    def _accept(self, pid: int) -> list[Action]:
        offer = self._theirs[pid]
        return [
            self._send(pid, Accept(epoch=offer.epoch, roster=self._hash, offer=offer.hash)),
            *self._check_connect(pid),
        ]

    def _take_accept(self, pid: int, accept: Accept) -> list[Action]:
        own = self._own.get(pid)
        if own is None or accept.roster != self._hash or accept.offer != own.hash:
            return self._end(
                f"{self._name(pid)} accepts what this party did not offer", self._of(pid)
            )
        self._accepted.add(pid)
        return self._check_connect(pid)

    def _check_connect(self, pid: int) -> list[Action]:
        if pid in self._connecting or pid not in self._accepted or pid not in self._theirs:
            return []
        self._connecting.add(pid)
        return [Connect(pid=pid, offer=self._theirs[pid], secret=self._secret(pid))]

    def _take_up(self, pid: int, up: Up) -> list[Action]:
        if up.roster != self._hash:
            return []
        self._up.add(pid)
        actions = self._check_start()
        if self.pid not in up.seen and self._connected >= self._peers:
            # it has not heard from us
            return [self._send(pid, self._own_up), *actions]
        return actions

    def _take_update(self, pid: int, update: Update) -> list[Action]:
        if update.roster != self._hash or update.number <= self._numbers.get(pid, 0):
            return []  # an old one
        self._numbers[pid] = update.number
        return [Reconnect(pid=pid, candidates=update.candidates)]

    def _take_close(self, sender: str, close: Close) -> list[Action]:
        if close.epoch < self._terms.epoch:
            return []  # how an earlier round ended
        pid = self._roster.pid_of(sender) if self._roster is not None else None
        if close.reason == "restarted" and not self._started:
            restarts = sender == self._terms.initiator
            return self._restart(close.epoch + 1) if restarts else []
        if self._started and pid is not None:
            return [Left(pid=pid, reason=close.reason, detail=close.detail)]
        if pid is None and sender != self._terms.initiator:
            return []
        self._over = True
        who = self._name(pid) if pid is not None else "the initiator"
        detail = f": {printable(close.detail)}" if close.detail else ""
        return [End(why=f"{who} left ({close.reason}){detail}", culprit=sender)]

    def _check_start(self) -> list[Action]:
        ready = self._consented and self._connected >= self._peers and self._up >= self._peers
        if self._started or not ready or self._roster is None:
            return []
        self._started = True
        return [Start(roster=self._roster)]

    def _restart(self, epoch: int) -> list[Action]:
        self._over = True
        return [Restart(epoch=epoch)]

    # Parts

    @property
    def _peers(self) -> set[int]:
        members = self._roster.members if self._roster is not None else ()
        return {each.pid for each in members if each.did != self._did}

    @property
    def _own_up(self) -> Up:
        epoch = self._roster.epoch if self._roster is not None else 0
        return Up(epoch=epoch, roster=self._hash, seen=tuple(sorted(self._up)))

    def _secret(self, pid: int) -> bytes:
        """Return the secret of a pair: of both halves, both DIDs, the roster and the session."""
        low, high = sorted((self.pid, pid))
        halves = {self.pid: self._own[pid].half, pid: self._theirs[pid].half}
        dids = (self._of(low), self._of(high))
        return pair_secret(self._hash, self._terms.sid, dids, (halves[low], halves[high]))

    def _of(self, pid: int) -> str:
        if self._roster is None:
            return ""
        return self._roster.members[pid].did

    def _name(self, pid: int) -> str:
        if self._roster is None:
            return f"party {pid}"
        return f"party {pid} ({printable(self._roster.members[pid].name, 64)})"

    def _send(self, pid: int, body: Body) -> Send:
        return Send(to=self._of(pid), body=body)

    def _end(self, why: str, culprit: str | None) -> list[Action]:
        """End the session, and tell the others why."""
        told = self.leave("refused", why)
        return [*told, End(why=why, culprit=culprit)]
