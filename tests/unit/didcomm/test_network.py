"""Networks that last: whatever is lost, repeated or restarted, members get tunnels that fit."""

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from e3.didcomm.errors import DidcommError
from e3.didcomm.messages import Identity
from e3.didcomm.network import invitation as invitations
from e3.didcomm.network.actions import Action, Connect, Forget, Reconnect, Send
from e3.didcomm.network.bodies import Body, Join, Member, PairKeys, Refused, Roster, State
from e3.didcomm.network.convener import Convener, Given, Seat, token
from e3.didcomm.network.invitation import Invitation, MediatorPlace
from e3.didcomm.network.membership import Ends, Membership
from e3.didcomm.session.bodies import Candidate

pytestmark = pytest.mark.unit

NOW = 1_800_000_000.0
SECRET = b"s" * 32
NETWORK = "0" * 64
NAMES = ("ams3-0", "ams3-1", "nyc3-0", "sgp1-0")
IDENTITIES = [Identity.make() for _ in NAMES]
DIDS = [each.did for each in IDENTITIES]
MEDIATOR = MediatorPlace(did=DIDS[0], addresses=("198.18.0.2",), port=8440, stun=(3478, 3479))


def address(name: str) -> str:
    return f"10.76.0.{NAMES.index(name) + 1}"


def seat(name: str, serial: str = "a" * 64) -> Seat:
    return Seat(name=name, address=address(name), serial=serial[:-1] + str(NAMES.index(name)))


def seats(*names: str) -> list[Seat]:
    return [seat(name) for name in names]


def invited(name: str) -> Invitation:
    return Invitation(
        network=NETWORK,
        convener=DIDS[0],
        token=token(SECRET, seat(name)),
        name=name,
        address=f"{address(name)}/16",
        mediators=(MEDIATOR,),
    )


def candidates(text: str) -> tuple[Candidate, ...]:
    return (Candidate(kind="host", address=text),)


def ends_of(did: str, run: int) -> Ends:
    key = hashlib.sha256(f"{did}{run}".encode())
    return Ends(
        wireguard=base64.b64encode(key.digest()).decode(),
        fingerprint=key.hexdigest(),
        candidates=candidates("192.0.2.1:1"),
    )


@dataclass
class Agent:
    """An agent of a test, with the tunnels that it was told to make: secret and addresses."""

    name: str
    did: str
    runs: int = 0
    tunnels: dict[str, tuple[bytes, tuple[Candidate, ...]]] = field(default_factory=dict)
    connects: int = 0
    stored: Roster | None = None
    membership: Membership = field(init=False)

    def __post_init__(self) -> None:
        self.start()

    def start(self) -> None:
        """Begin another run: tunnels and their keys are gone."""
        self.runs += 1
        self.tunnels = {}
        ends = ends_of(self.did, self.runs)
        self.membership = Membership(self.did, invited(self.name), ends)


class Net:
    """Agents, a convener, and messages on their way; nothing moves by itself."""

    def __init__(self, *names: str) -> None:
        self.convener = Convener(NETWORK, SECRET, seats(*names), Given())
        self.agents = {
            did: Agent(name, did) for name, did in zip(NAMES, DIDS, strict=True) if name in names
        }
        self.flying: list[tuple[str, str, Body]] = []
        self.now = NOW

    def deliver(self, place: int, *, keep: bool = False) -> None:
        sender, to, body = self.flying[place] if keep else self.flying.pop(place)
        if to == DIDS[0]:
            if isinstance(body, Join):
                self.act(to, self.convener.received(sender, body, self.now))
            if isinstance(body, State):
                self.convener.has(sender, body.keys.roster)
        if to in self.agents:
            self.act(to, self.agents[to].membership.received(sender, body, self.now))

    def tick(self) -> None:
        self.now += 1.1
        self.act(DIDS[0], self.convener.tick(self.now))
        for did, agent in self.agents.items():
            if not agent.membership.seated:
                join = Join(name=agent.name, token=invited(agent.name).token)
                self.flying.append((did, DIDS[0], join))
            self.act(did, agent.membership.tick(self.now))

    def restart(self, did: str) -> None:
        agent = self.agents[did]
        agent.start()
        if agent.stored is not None:
            self.act(did, agent.membership.restore(agent.stored, self.now))

    def act(self, did: str, actions: Sequence[Action]) -> None:
        for action in actions:
            if isinstance(action, Send):
                self.flying.append((did, action.to, action.body))
            elif isinstance(action, Connect):
                agent = self.agents[did]
                agent.tunnels[action.member.did] = (action.secret, action.candidates)
                agent.connects += 1
            elif isinstance(action, Reconnect):
                tunnels = self.agents[did].tunnels
                tunnels[action.member.did] = (tunnels[action.member.did][0], action.candidates)
            elif isinstance(action, Forget):
                self.agents[did].tunnels.pop(action.member.did, None)
        if did in self.agents:
            self.agents[did].stored = self.agents[did].membership.roster

    def disturb(self, steps: list[tuple[str, int]]) -> None:
        for what, number in steps:
            if what == "tick":
                self.tick()
            elif what == "restart":
                self.restart(list(self.agents)[number % len(self.agents)])
            elif self.flying:
                place = number % len(self.flying)
                if what == "drop":
                    self.flying.pop(place)
                else:
                    self.deliver(place, keep=what == "repeat")

    def settle(self) -> None:
        """Let everything arrive, with what is repeated, until nothing more is to be said."""
        for _ in range(30):
            self.tick()
            while self.flying:
                self.deliver(0)

    def assert_whole(self, *names: str) -> None:
        """Assert that these, and only they, have tunnels with the same secrets."""
        members = {did for did, agent in self.agents.items() if agent.name in names}
        secrets = set()
        for did in members:
            agent = self.agents[did]
            assert set(agent.tunnels) == members - {did}, agent.membership.refusal
            assert agent.membership.agreed == members - {did}
            for other, (secret, _) in agent.tunnels.items():
                assert self.agents[other].tunnels[did][0] == secret
                secrets.add(secret)
        assert len(secrets) == len(members) * (len(members) - 1) // 2


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["deliver", "deliver", "drop", "repeat", "tick", "restart"]),
        st.integers(0, 30),
    ),
    max_size=60,
)


@settings(deadline=None)
@given(STEPS, STEPS)
def test_members_have_tunnels_that_fit_whatever_is_lost_repeated_or_restarted(
    first: list[tuple[str, int]], then: list[tuple[str, int]]
) -> None:
    net = Net(*NAMES[:3])
    net.disturb(first)
    net.settle()
    net.assert_whole(*NAMES[:3])
    net.disturb(then)
    net.settle()
    net.assert_whole(*NAMES[:3])


@settings(deadline=None)
@given(STEPS)
def test_members_come_and_go_while_the_others_keep_their_tunnels(
    steps: list[tuple[str, int]],
) -> None:
    net = Net(*NAMES[:3])
    net.settle()
    kept = {
        (one, other): net.agents[one].tunnels[other]
        for one in DIDS[:2]
        for other in DIDS[:2]
        if one != other
    }
    net.agents[DIDS[3]] = Agent(NAMES[3], DIDS[3])
    changed = net.convener.change(seats(NAMES[0], NAMES[1], NAMES[3]), net.now)
    net.act(DIDS[0], changed)
    net.disturb([step for step in steps if step[0] != "restart"])
    net.settle()
    gone = net.agents.pop(DIDS[2])
    net.assert_whole(NAMES[0], NAMES[1], NAMES[3])
    assert {pair: net.agents[pair[0]].tunnels[pair[1]] for pair in kept} == kept
    assert gone.membership.roster is not None  # nobody tells it, and nobody answers it
    assert DIDS[2] not in net.agents[DIDS[0]].tunnels


def roster(*members: Member, epoch: int = 1) -> Roster:
    return Roster(network=NETWORK, epoch=epoch, members=members)


def member(place: int, **changed: str) -> Member:
    known = Member(name=NAMES[place], did=DIDS[place], address=address(NAMES[place]))
    return msgspec.structs.replace(known, **changed)


def test_nobody_gets_a_tunnel_to_whom_the_convener_tells_something_else() -> None:
    net = Net(*NAMES[:3])
    honest = [member(0), member(1), member(2)]
    lie = [member(0), member(1), member(2, address="10.76.0.99")]
    net.convener = Convener(NETWORK, SECRET, [], Given())
    for did, told in zip(DIDS, (honest, lie, honest), strict=False):
        net.flying.append((DIDS[0], did, roster(*told)))
    net.settle()
    assert set(net.agents[DIDS[0]].tunnels) == {DIDS[2]}
    assert net.agents[DIDS[1]].tunnels == {}
    assert net.agents[DIDS[0]].membership.strays == {DIDS[1]}


@pytest.mark.parametrize(
    ("members", "why"),
    [
        pytest.param([member(0), member(2)], "this agent is not", id="without this agent"),
        pytest.param(
            [member(0), member(1, name="other-0")], "not as it was invited", id="another name"
        ),
        pytest.param(
            [member(0), member(1, address="10.76.0.9")], "not as it was", id="another address"
        ),
        pytest.param(
            [member(0), member(1), member(2, did=DIDS[0])], "the same did", id="a DID twice"
        ),
        pytest.param(
            [member(0), member(1), member(2, address="10.76.0.1")], "the same address", id="twice"
        ),
        pytest.param(
            [member(0), member(1), member(2, address="10.99.0.1")], "not of this", id="elsewhere"
        ),
        pytest.param(
            [member(0), member(1), member(2, address="999.9.9.9")], "not of this", id="nonsense"
        ),
    ],
)
def test_a_roster_that_cannot_be_is_refused(members: list[Member], why: str) -> None:
    agent = Agent(NAMES[1], DIDS[1])
    assert agent.membership.received(DIDS[0], roster(*members), NOW) == []
    assert why in agent.membership.refusal
    assert agent.membership.roster is None


def test_only_the_convener_says_who_the_members_are_and_no_older_word_counts() -> None:
    agent = Agent(NAMES[1], DIDS[1])
    new, old = roster(member(0), member(1), epoch=7), roster(member(1), member(2), epoch=6)
    assert agent.membership.received(DIDS[2], new, NOW) == []
    assert agent.membership.received(DIDS[0], new, NOW)
    assert agent.membership.received(DIDS[0], old, NOW) == []
    other = msgspec.structs.replace(old, epoch=7)
    assert agent.membership.received(DIDS[0], other, NOW) == []
    assert "two different groups" in agent.membership.refusal
    assert agent.membership.roster == new


def test_who_gives_the_keys_of_another_member_gets_no_tunnel() -> None:
    net = Net(*NAMES[:3])
    thief, victim = net.agents[DIDS[2]], net.agents[DIDS[1]]
    ends = ends_of(victim.did, victim.runs)
    thief.membership = Membership(thief.did, invited(thief.name), ends)
    net.settle()
    assert not {DIDS[1], DIDS[2]} <= set(net.agents[DIDS[0]].tunnels)
    assert "the keys of another member" in net.agents[DIDS[0]].membership.refusal


def test_a_member_that_moves_is_followed_though_messages_are_lost() -> None:
    net = Net(*NAMES[:3])
    net.settle()
    before = net.agents[DIDS[0]].tunnels[DIDS[1]][0]
    moved = net.agents[DIDS[1]].membership.moved(candidates("192.0.2.77:7"), net.now)
    assert len(moved) == 2  # and both are lost
    net.settle()
    for other in (DIDS[0], DIDS[2]):
        assert net.agents[other].tunnels[DIDS[1]][1] == candidates("192.0.2.77:7")
    assert net.agents[DIDS[0]].tunnels[DIDS[1]][0] == before
    assert net.flying == []  # nobody goes on talking


BODIES: st.SearchStrategy[Body] = st.one_of(
    st.builds(Roster, network=st.just(NETWORK), epoch=st.integers(0, 9), members=st.just(())),
    st.builds(
        State,
        number=st.integers(0, 1 << 52),
        keys=st.builds(
            PairKeys,
            roster=st.sampled_from(["0" * 64, roster(member(0)).hash]),
            wireguard=st.just("A" * 43 + "="),
            fingerprint=st.just("f" * 64),
            half=st.just("A" * 43),
            tunnel=st.sampled_from(["", "e" * 64]),
        ),
        seen=st.sampled_from(["", "d" * 64]),
        moved=st.integers(0, 9),
        heard=st.integers(0, 9),
        wants=st.booleans(),
    ),
    st.builds(Refused, why=st.text(max_size=20)),
    st.builds(Join, name=st.sampled_from(NAMES), token=st.just("A" * 22)),
)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2), BODIES), max_size=20))
def test_what_strangers_and_members_make_up_changes_nothing_between_the_others(
    sent: list[tuple[int, int, Body]],
) -> None:
    """Whoever is no member is not heard, and a member can only spoil its own tunnels."""
    net = Net(*NAMES[:3])
    net.settle()
    pair = (net.agents[DIDS[0]].tunnels[DIDS[1]], net.agents[DIDS[1]].tunnels[DIDS[0]])
    present = net.agents[DIDS[0]].membership.roster
    assert present is not None
    for sender, to, body in sent:
        told = body
        if isinstance(body, State) and not body.number % 2:
            keys = msgspec.structs.replace(body.keys, roster=present.hash)
            told = msgspec.structs.replace(body, keys=keys)
        if sender > 1:
            net.flying.append((DIDS[sender], DIDS[to], told))
    net.settle()
    after = (net.agents[DIDS[0]].tunnels[DIDS[1]], net.agents[DIDS[1]].tunnels[DIDS[0]])
    assert after == pair
    assert set(net.agents[DIDS[0]].tunnels) == {DIDS[1], DIDS[2]}


def test_a_seat_is_for_the_first_who_shows_its_token() -> None:
    convener = Convener(NETWORK, SECRET, seats(*NAMES[:2]), Given())
    join = Join(name=NAMES[1], token=token(SECRET, seat(NAMES[1])))

    def answer(did: str, asked: Join) -> str:
        sent = [it.body for it in convener.received(did, asked, NOW) if isinstance(it, Send)]
        return "".join(each.why for each in sent if isinstance(each, Refused))

    assert (
        answer(DIDS[2], Join(name=NAMES[1], token="A" * 22)) == "there is no seat with that token"
    )
    assert answer(DIDS[2], Join(name=NAMES[2], token=join.token)).startswith("there is no seat")
    assert answer(DIDS[1], join) == ""
    assert answer(DIDS[1], join) == ""
    assert answer(DIDS[2], join) == "another agent has that seat"
    other = Join(name=NAMES[0], token=token(SECRET, seat(NAMES[0])))
    assert answer(DIDS[1], other) == "that agent has another seat"
    # a restarted convener knows who has which seat
    again = Convener(NETWORK, SECRET, seats(*NAMES[:2]), convener.given)
    (refused,) = again.received(DIDS[2], join, NOW)
    assert isinstance(refused, Send)
    assert isinstance(refused.body, Refused)
    # and whoever comes in place of a host has another seat, though it has that host's name
    again.change([seat(NAMES[0]), seat(NAMES[1], serial="b" * 64)], NOW)
    (refused,) = again.received(DIDS[1], join, NOW)
    assert isinstance(refused, Send)
    assert refused.body == Refused(why="there is no seat with that token")


def test_those_who_are_there_begin_without_one_who_does_not_come() -> None:
    net = Net(*NAMES[:3])
    net.agents.pop(DIDS[2])
    net.settle()
    net.assert_whole(*NAMES[:2])
    assert net.convener.missing == [NAMES[2]]


@given(st.text(max_size=200))
def test_nonsense_is_no_invitation(text: str) -> None:
    for link in (text, invitations.PREFIX + text):
        with pytest.raises(DidcommError):
            invitations.read(link)


def test_an_invitation_is_read_as_it_was_written() -> None:
    made = invited(NAMES[1])
    assert invitations.read(invitations.link(made)) == made
    with pytest.raises(DidcommError, match="damaged"):
        invitations.read(invitations.link(made)[:-20])
