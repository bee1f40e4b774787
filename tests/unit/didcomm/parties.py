"""Parties of a session in one process, and a network between them that a test commands."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from e3.didcomm import did as dids
from e3.didcomm.did import key_did
from e3.didcomm.messages import Identity
from e3.didcomm.session.actions import Action, Ask, Connect, End, Left, Send, Start
from e3.didcomm.session.bodies import Body, Join, Member, Program, ProgramFile, Proposal, Roster
from e3.didcomm.session.invitation import Invitation, new_id
from e3.didcomm.session.negotiation import Ends, Negotiation, Terms
from e3.didcomm.session.proof import Admit, anyone, prove

NOW = 1_800_000_000.0


def ends(did: str) -> Ends:
    return Ends(fingerprint=hashlib.sha256(did.encode()).hexdigest())


@dataclass
class Person:
    """A user with a lasting identity, and a DID for one session."""

    sid: str
    key: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)
    session: Identity = field(default_factory=Identity.make)

    @property
    def identity(self) -> str:
        return key_did(self.key.public_key())

    @property
    def did(self) -> str:
        return self.session.did

    @property
    def proof(self) -> str:
        return prove(self.sid, self.did, dids.resolve(self.identity), self.key)

    def join(self, token: str, name: str = "Bob") -> Join:
        return Join(token=token, name=name, identity=self.identity, proof=self.proof)

    def member(self, pid: int, name: str = "somebody") -> Member:
        return Member(pid=pid, did=self.did, identity=self.identity, name=name, proof=self.proof)


def proposal(parties: int = 3) -> Proposal:
    file = ProgramFile(path="sum.py", content="cHJpbnQoMSk=")
    return Proposal(
        name="sum",
        entry="sum.py",
        digest="0" * 64,
        files=(file,),
        parties=parties,
        threshold=(parties - 1) // 2,
        deadline_seconds=60,
    )


def program(host: Person, parties: int = 3) -> Program:
    return Program(
        proposal=proposal(parties), name="Alice", identity=host.identity, proof=host.proof
    )


def invitation(host: Person, parties: int = 3) -> Invitation:
    return Invitation(
        sid=host.sid,
        did=host.did,
        identity=host.identity,
        name="Alice",
        token=new_id(),
        mediator="http://127.0.0.1/",
        program="sum",
        digest="0" * 64,
        parties=parties,
        created=int(NOW),
        expires=int(NOW) + 600,
    )


def roster(people: Sequence[Person], session: str = "20260101-000000-abcd") -> Roster:
    members = tuple(each.member(pid) for pid, each in enumerate(people))
    return Roster(epoch=0, session=session, proposal=proposal(len(people)).hash, members=members)


def people(count: int = 3) -> list[Person]:
    sid = new_id()
    return [Person(sid) for _ in range(count)]


def negotiation(
    person: Person, all_of_them: Sequence[Person], admit: Admit = anyone, epoch: int = 0
) -> Negotiation:
    terms = Terms(
        sid=person.sid,
        initiator=all_of_them[0].did,
        initiator_identity=all_of_them[0].identity,
        proposal=proposal(len(all_of_them)).hash,
        parties=len(all_of_them),
        epoch=epoch,
    )
    return Negotiation(person.did, person.identity, terms, dids.resolve, admit)


class Net:
    """Messages on their way between negotiating parties; nothing moves by itself."""

    def __init__(self, people: Sequence[Person], epoch: int = 0) -> None:
        self.people = list(people)
        self.parties = {each.did: negotiation(each, people, epoch=epoch) for each in people}
        self.flying: list[tuple[str, str, Body]] = []
        self.secrets: dict[tuple[int, int], bytes] = {}
        self.started: dict[str, Roster] = {}
        self.ends: dict[str, End] = {}
        self.left: list[Left] = []
        self.now = NOW

    def tell(self, rosters: Sequence[Roster]) -> None:
        """Send each party a roster of the initiator's."""
        host = self.people[0].did
        for person, each in zip(self.people, rosters, strict=True):
            self.flying.append((host, person.did, each))

    def deliver(self, place: int, *, keep: bool = False) -> None:
        sender, to, body = self.flying[place] if keep else self.flying.pop(place)
        if to in self.parties:
            self.act(to, self.parties[to].received(sender, body, self.now))

    def tick(self) -> None:
        self.now += 2.1
        for did, party in self.parties.items():
            self.act(did, party.tick(self.now))

    def act(self, did: str, actions: Sequence[Action]) -> None:
        party = self.parties[did]
        for action in actions:
            if isinstance(action, Send):
                self.flying.append((did, action.to, action.body))
            elif isinstance(action, Ask):
                self.act(did, party.consent(ends(did), self.now))
            elif isinstance(action, Connect):
                self.secrets[party.pid, action.pid] = action.secret
                if (action.pid, party.pid) in self.secrets:  # both ends have begun
                    self._connected(did, action.pid)
            elif isinstance(action, Start):
                assert did not in self.started
                self.started[did] = action.roster
            elif isinstance(action, End):
                self.ends[did] = action
            elif isinstance(action, Left):
                self.left.append(action)

    def _connected(self, did: str, pid: int) -> None:
        other = self.people[pid].did
        self.act(other, self.parties[other].connected(self.parties[did].pid))
        self.act(did, self.parties[did].connected(pid))

    def settle(self, rosters: Sequence[Roster]) -> None:
        """Let everything arrive, with what is repeated, until nothing new comes."""
        for _ in range(8):
            self.tell(rosters)
            self.tick()
            while self.flying:
                self.deliver(0)
