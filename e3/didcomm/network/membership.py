"""Every agent's part in a network: who the members are, and a tunnel with each. Pure.

Each side of a pair sends its `State` until the other one's says that it has come. A pair has
agreed once each has seen the other's keys; then its secret is of both halves, the roster and both
DIDs. Keys name the roster by its hash, so two agents that were told different rosters never agree.
If the members change, the pairs that stay agree on the new roster in the same way, and both sides
keep the tunnel that they have if both name it.
"""

import hashlib
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from e3.didcomm import did as dids
from e3.didcomm.errors import DidcommError
from e3.didcomm.keys import base64url, unbase64
from e3.didcomm.network.actions import Action, Connect, Forget, Keep, Reconnect, Send
from e3.didcomm.network.bodies import (
    MOST_MEMBERS,
    PROTOCOL,
    Body,
    Member,
    PairKeys,
    Refused,
    Roster,
    State,
)
from e3.didcomm.network.invitation import Invitation
from e3.didcomm.session.bodies import Candidate

FIRST_SECONDS, LONGEST_SECONDS = 1.0, 8.0
"""Between states that were not answered: twice as long each time."""

LATER_SECONDS = 1.0
"""For the side of a new pair that does not begin: the one of the greater DID."""

STAYING_SECONDS = 0.05
"""For each pair that has a tunnel, before it agrees on new members: newcomers come first."""

SECRET_BYTES = 32


@dataclass(frozen=True, kw_only=True)
class Ends:
    """The agent's keys for tunnels, of this run alone, and its addresses."""

    wireguard: str
    fingerprint: str
    candidates: tuple[Candidate, ...] = ()


@dataclass(kw_only=True)
class _Peer:
    """What is known of a member; ``own`` are this side's keys for the pair.

    ``theirs`` is the last state that came from it, of the present roster.
    """

    member: Member
    own: PairKeys
    theirs: State | None = None
    agreed: bool = False
    tunnel: str = ""
    due: float = 0.0
    pause: float = FIRST_SECONDS
    sent: bool = False


class Membership:
    """One agent's state."""

    def __init__(self, did: str, invitation: Invitation, ends: Ends) -> None:
        """Take part as ``did``, by an invitation."""
        self.refusal = ""
        """Why the convener gives no seat, or what it says that cannot be."""
        self._did = did
        self._invitation = invitation
        self._ends = ends
        self._moved = 0
        self._number = 0
        self._roster: Roster | None = None
        self._hash = ""
        self._peers: dict[str, _Peer] = {}
        self._early: dict[str, State] = {}
        """States for another roster than the present one, which may be the next one, by DID."""

    @property
    def roster(self) -> Roster | None:
        """The members as this agent knows them."""
        return self._roster

    @property
    def _own(self) -> Member:
        members = self._roster.members if self._roster is not None else ()
        own = next((each for each in members if each.did == self._did), None)
        if own is None:
            raise DidcommError("there is no roster with this agent yet")
        return own

    @property
    def seated(self) -> bool:
        """Whether the convener of the invitation has given this agent its seat."""
        return self._roster is not None and self._roster.network == self._invitation.network

    @property
    def agreed(self) -> frozenset[str]:
        """The DIDs of the members with which this agent has agreed on the present roster."""
        return frozenset(did for did, peer in self._peers.items() if peer.agreed)

    @property
    def strays(self) -> frozenset[str]:
        """The DIDs of members that last spoke of another roster than the present one."""
        return frozenset(self._early.keys() & self._peers.keys())

    def invited(self, invitation: Invitation) -> None:
        """Take another invitation: another agent conveys who the members are."""
        self._invitation = invitation

    def received(self, sender: str, body: Body, now: float) -> list[Action]:
        """Return what follows from a message of a DID."""
        if isinstance(body, Roster) and sender == self._invitation.convener:
            return self._take_roster(body, now)
        if isinstance(body, Refused) and sender == self._invitation.convener:
            self.refusal = body.why
        if isinstance(body, State):
            return self._take_state(sender, body, now)
        return []

    def restore(self, roster: Roster, now: float) -> list[Action]:
        """Return what follows from the roster that this agent stored in an earlier run."""
        try:
            self._check(roster)
        except DidcommError:
            return []
        return self._adopt(roster, now, begins=True)

    def moved(self, candidates: tuple[Candidate, ...], now: float) -> list[Action]:
        """Return what follows when this agent has other addresses."""
        self._ends = Ends(
            wireguard=self._ends.wireguard,
            fingerprint=self._ends.fingerprint,
            candidates=candidates,
        )
        self._moved += 1
        return self._say(self._peers.values(), now, again=True)

    def returned(self, now: float) -> None:
        """Send soon what was not answered: a mediator can be reached again."""
        for peer in self._peers.values():
            peer.due, peer.pause = min(peer.due, now), FIRST_SECONDS

    def tick(self, now: float) -> list[Action]:
        """Return the states that are due, once more or for the first time."""
        late = [peer for peer in self._peers.values() if now >= peer.due and not self._done(peer)]
        again = [peer for peer in late if peer.sent]
        fresh = [peer for peer in late if not peer.sent]
        return [*self._say(fresh, now), *self._say(again, now, again=True)]

    # Rosters

    def _take_roster(self, roster: Roster, now: float) -> list[Action]:
        known = self._roster
        if roster.network != self._invitation.network:
            return []
        if known is not None and known.network == roster.network and roster.epoch <= known.epoch:
            if roster.epoch == known.epoch and roster.hash != self._hash:
                self.refusal = "the convener names two different groups of members"
            peer = self._peers.get(self._invitation.convener)
            # it has not heard that this agent has the roster
            return self._say([peer], now) if peer is not None and roster.hash == self._hash else []
        try:
            self._check(roster)
        except DidcommError as error:
            self.refusal = str(error)
            return []
        self.refusal = ""
        return [Keep(), *self._adopt(roster, now)]

    def _check(self, roster: Roster) -> None:
        network = IPv4Interface(self._invitation.address)
        for what in ("name", "did", "address"):
            if len({getattr(each, what) for each in roster.members}) < len(roster.members):
                raise DidcommError(f"two members have the same {what}")
        own = next((each for each in roster.members if each.did == self._did), None)
        if own is None or (own.name, own.address) != (self._invitation.name, str(network.ip)):
            raise DidcommError("this agent is not among the members, or not as it was invited")
        for each in roster.members:
            if not _within(each.address, network):
                raise DidcommError(f"{each.name} has an address that is not of this network")
            if not dids.resolve(each.did).agreement:
                raise DidcommError(f"{each.name} has no key to which messages are encrypted")

    def _adopt(self, roster: Roster, now: float, *, begins: bool = False) -> list[Action]:
        """Take part in a network of these members; after a restart, begin with all of them."""
        self._roster, self._hash = roster, roster.hash
        known, self._peers = self._peers, {}
        others = [each for each in roster.members if each.did != self._did]
        for each in others:
            before = known.get(each.did)
            if before is not None and before.member != each:
                before = None
            tunnel = before.tunnel if before is not None else ""
            due = now if begins or self._did < each.did else now + LATER_SECONDS
            self._peers[each.did] = _Peer(
                member=each, own=self._keys(tunnel), tunnel=tunnel, due=due
            )
        actions: list[Action] = [
            Forget(member=peer.member)
            for did, peer in known.items()
            if did not in self._peers or self._peers[did].member != peer.member
        ]
        staying = [peer for peer in self._peers.values() if peer.tunnel]
        for place, peer in enumerate(staying, 1):
            peer.due = now + STAYING_SECONDS * place
        early, self._early = self._early, {}
        for did, state in early.items():
            actions += self._take_state(did, state, now)
        return [*actions, *self.tick(now)]

    def _keys(self, tunnel: str) -> PairKeys:
        return PairKeys(
            roster=self._hash,
            wireguard=self._ends.wireguard,
            fingerprint=self._ends.fingerprint,
            half=base64url(secrets.token_bytes(SECRET_BYTES)),
            tunnel=tunnel,
        )

    # States

    def _take_state(self, sender: str, state: State, now: float) -> list[Action]:
        peer = self._peers.get(sender)
        if peer is None or state.keys.roster != self._hash:
            return self._take_early(sender, state)
        before = peer.theirs
        if before is not None and state.number <= before.number:
            return []
        if self._poses(peer, state.keys):
            self.refusal = f"{peer.member.name} gave the keys of another member"
            return []
        self._early.pop(sender, None)
        peer.theirs = state
        news = before is None or before.keys != state.keys
        moved = before is not None and before.moved != state.moved
        if news:
            peer.agreed = False
        actions = self._agree(peer, state)
        if moved and peer.agreed and not any(isinstance(it, Connect) for it in actions):
            actions.append(Reconnect(member=peer.member, candidates=state.candidates))
        if news or moved or state.wants:
            actions += self._say([peer], now)
        return actions

    def _take_early(self, sender: str, state: State) -> list[Action]:
        """Keep a state for a roster that this agent does not have yet, or not any more."""
        before = self._early.get(sender)
        if (before is None or before.number < state.number) and (
            sender in self._early or len(self._early) < MOST_MEMBERS
        ):
            self._early[sender] = state
        return []

    def _poses(self, peer: _Peer, keys: PairKeys) -> bool:
        """Return whether these keys are ours or another member's: a tunnel could not tell."""
        others = [each for each in self._peers.values() if each is not peer]
        theirs = [each.theirs.keys for each in others if each.theirs is not None]
        return any(
            keys.wireguard == each.wireguard or keys.fingerprint == each.fingerprint
            for each in (peer.own, *theirs)
        )

    def _agree(self, peer: _Peer, state: State) -> list[Action]:
        """Return what makes the pair's tunnel, once the peer has seen this side's keys."""
        if peer.agreed or state.seen != peer.own.hash:
            return []
        peer.agreed = True
        if peer.own.tunnel and peer.own.tunnel == state.keys.tunnel:
            # both have it; addresses may be others
            return [Reconnect(member=peer.member, candidates=state.candidates)]
        secret = self._secret(peer, state.keys)
        peer.tunnel = hashlib.sha256(b"e3-network/1.0 tunnel" + secret).hexdigest()
        return [
            Connect(
                member=peer.member,
                keys=state.keys,
                candidates=state.candidates,
                secret=secret,
                begins=_order(self._own) < _order(peer.member),
            )
        ]

    def _secret(self, peer: _Peer, theirs: PairKeys) -> bytes:
        """Return the secret of a pair: of both halves, both DIDs and the roster."""
        halves = {self._did: peer.own.half, peer.member.did: theirs.half}
        low, high = sorted(halves)
        derive = HKDF(
            algorithm=hashes.SHA256(),
            length=SECRET_BYTES,
            salt=bytes.fromhex(self._hash),
            info=f"{PROTOCOL}|{low}|{high}".encode(),
        )
        return derive.derive(unbase64(halves[low]) + unbase64(halves[high]))

    def _done(self, peer: _Peer) -> bool:
        """Return whether the peer has all that this side has to say."""
        theirs = peer.theirs
        return peer.agreed and theirs is not None and theirs.heard == self._moved

    def _say(self, peers: Iterable[_Peer], now: float, *, again: bool = False) -> list[Action]:
        actions: list[Action] = []
        for peer in peers:
            self._number = max(self._number + 1, int(now * 1000))
            theirs = peer.theirs
            state = State(
                number=self._number,
                keys=peer.own,
                seen=theirs.keys.hash if theirs is not None else "",
                candidates=self._ends.candidates,
                moved=self._moved,
                heard=theirs.moved if theirs is not None else 0,
                wants=not self._done(peer),
            )
            peer.pause = min(2 * peer.pause, LONGEST_SECONDS) if again else FIRST_SECONDS
            peer.due, peer.sent = now + peer.pause, True
            actions.append(Send(to=peer.member.did, body=state, again=again))
        return actions


def _order(member: Member) -> tuple[bool, IPv4Address]:
    """Whoever cannot be called begins, as it can call; else whoever has the lower address."""
    return member.public, IPv4Address(member.address)


def _within(address: str, network: IPv4Interface) -> bool:
    try:
        return IPv4Address(address) in network.network
    except ValueError:
        return False
