"""The negotiation: whatever a network does, parties start together with one roster, or not."""

import base64
from dataclasses import replace

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from e3.didcomm.keys import base64url
from e3.didcomm.session.actions import End, Reconnect, Restart, Send
from e3.didcomm.session.bodies import (
    Accept,
    Body,
    Candidate,
    Close,
    Offer,
    Roster,
    Up,
    Update,
)
from tests.unit.didcomm.parties import NOW, Net, Person, ends, negotiation, people, proposal, roster

pytestmark = pytest.mark.unit

PEOPLE = people()
ROSTER = roster(PEOPLE)
STEPS = st.lists(
    st.tuples(st.sampled_from(["deliver", "drop", "repeat", "tick"]), st.integers(0, 30)),
    max_size=60,
)


def disturbed(net: Net, steps: list[tuple[str, int]]) -> None:
    for what, number in steps:
        if what == "tick":
            net.tick()
        elif net.flying:
            place = number % len(net.flying)
            if what == "drop":
                net.flying.pop(place)
            else:
                net.deliver(place, keep=what == "repeat")


@given(STEPS)
def test_parties_start_together_whatever_is_lost_repeated_or_reordered(
    steps: list[tuple[str, int]],
) -> None:
    net = Net(PEOPLE)
    net.tell([ROSTER] * 3)
    disturbed(net, steps)
    net.settle([ROSTER] * 3)
    assert net.ends == {}
    assert set(net.started) == {each.did for each in PEOPLE}
    for low, high in ((0, 1), (0, 2), (1, 2)):
        assert net.secrets[low, high] == net.secrets[high, low]
    assert len(set(net.secrets.values())) == 3


@given(STEPS, st.integers(1, 2))
def test_nobody_starts_if_the_initiator_names_different_parties(
    steps: list[tuple[str, int]], deceived: int
) -> None:
    net = Net(PEOPLE)
    other = roster(
        [*PEOPLE[:2], Person(PEOPLE[0].sid)]
        if deceived == 1
        else [PEOPLE[0], Person(PEOPLE[0].sid), PEOPLE[2]]
    )
    rosters = [ROSTER] * 3
    rosters[deceived] = other
    net.tell(rosters)
    disturbed(net, steps)
    net.settle(rosters)
    honest = {PEOPLE[1].did, PEOPLE[2].did}
    assert not honest & set(net.started)
    assert honest & set(net.ends)


@given(STEPS)
def test_nobody_starts_if_rosters_differ_in_a_name_alone(steps: list[tuple[str, int]]) -> None:
    net = Net(PEOPLE)
    renamed = msgspec.structs.replace(ROSTER.members[1], name="somebody else")
    other = msgspec.structs.replace(ROSTER, members=(ROSTER.members[0], renamed, ROSTER.members[2]))
    net.tell([ROSTER, ROSTER, other])
    disturbed(net, steps)
    net.settle([ROSTER, ROSTER, other])
    assert net.started == {}
    assert any("list of parties" in end.why for end in net.ends.values())


BODIES: st.SearchStrategy[Body] = st.sampled_from(
    [
        ROSTER,
        Offer(epoch=0, roster=ROSTER.hash, pid=1, fingerprint="f" * 64, half="A" * 43),
        Accept(epoch=0, roster=ROSTER.hash, offer="0" * 64),
        Up(epoch=0, roster=ROSTER.hash, seen=(0, 1, 2)),
        Update(number=9, roster=ROSTER.hash, candidates=()),
        Close(reason="failed", detail="so there"),
    ]
)


@settings(deadline=None)
@given(st.lists(st.tuples(BODIES, st.integers(0, 2), st.integers(0, 10)), max_size=20))
def test_messages_of_strangers_change_nothing(sent: list[tuple[Body, int, int]]) -> None:
    net, stranger = Net(PEOPLE), Person(PEOPLE[0].sid)
    net.tell([ROSTER] * 3)
    for body, to, deliveries in sent:
        net.flying.append((stranger.did, PEOPLE[to].did, body))
        for _ in range(deliveries):
            if net.flying:
                net.deliver(0)
    net.settle([ROSTER] * 3)
    assert net.ends == {}
    assert len(net.started) == 3


def refused(changed: Roster, why: str) -> None:
    party = negotiation(PEOPLE[1], PEOPLE)
    actions = party.received(PEOPLE[0].did, changed, NOW)
    assert why in next(action.why for action in actions if isinstance(action, End))
    assert party.consent(ends("did:key:z"), NOW) == []


def test_a_roster_for_another_program_is_refused() -> None:
    refused(msgspec.structs.replace(ROSTER, proposal="1" * 64), "another program")


def test_a_roster_without_this_party_is_refused() -> None:
    refused(roster([PEOPLE[0], Person(PEOPLE[0].sid), PEOPLE[2]]), "not in it")


def test_a_roster_with_a_party_twice_is_refused() -> None:
    refused(roster([PEOPLE[0], PEOPLE[1], PEOPLE[1]]), "twice")


def test_a_roster_of_another_size_is_refused() -> None:
    assert proposal(2).hash != proposal(3).hash
    refused(msgspec.structs.replace(roster(PEOPLE[:2]), proposal=ROSTER.proposal), "3 parties")


def test_a_roster_with_the_identity_of_somebody_else_is_refused() -> None:
    victim, thief = Person(PEOPLE[0].sid), PEOPLE[2]
    stolen = msgspec.structs.replace(thief.member(2), identity=victim.identity)
    refused(msgspec.structs.replace(ROSTER, members=(*ROSTER.members[:2], stolen)), "proof")


def test_a_proof_of_another_session_is_refused() -> None:
    old = replace(PEOPLE[2], sid="another-session-0")
    refused(msgspec.structs.replace(ROSTER, members=(*ROSTER.members[:2], old.member(2))), "proof")


def test_a_roster_is_the_initiators_alone() -> None:
    assert negotiation(PEOPLE[1], PEOPLE).received(PEOPLE[2].did, ROSTER, NOW) == []


def changed_offer() -> Offer:
    return Offer(epoch=0, roster=ROSTER.hash, pid=2, fingerprint="f" * 64, half="A" * 43)


def test_a_party_that_changes_its_offer_ends_the_session() -> None:
    party, other = negotiation(PEOPLE[1], PEOPLE), changed_offer()
    party.received(PEOPLE[0].did, ROSTER, NOW)
    party.received(PEOPLE[2].did, other, NOW)
    changed = msgspec.structs.replace(other, fingerprint="e" * 64)
    actions = party.received(PEOPLE[2].did, changed, NOW)
    assert "two different offers" in next(
        action.why for action in actions if isinstance(action, End)
    )


@pytest.mark.parametrize("wireguard", ["", base64.b64encode(bytes([9, *bytes(31)])).decode()])
def test_two_parties_with_the_same_keys_end_the_session(wireguard: str) -> None:
    """A tunnel of one of them would count as that of the other."""
    party, offer = negotiation(PEOPLE[1], PEOPLE), changed_offer()
    one = msgspec.structs.replace(
        offer, wireguard=wireguard, fingerprint=("e" if wireguard else "f") * 64
    )
    other = msgspec.structs.replace(offer, pid=0, wireguard=wireguard)
    party.received(PEOPLE[0].did, ROSTER, NOW)
    party.received(PEOPLE[2].did, one, NOW)
    actions = party.received(PEOPLE[0].did, other, NOW)
    assert "gave the same keys" in next(a.why for a in actions if isinstance(a, End))


@pytest.mark.parametrize(
    ("pid", "body"),
    [
        (0, msgspec.structs.replace(ROSTER, epoch=1)),
        (2, changed_offer()),
        (2, Accept(epoch=0, roster=ROSTER.hash, offer="f" * 64)),
    ],
)
def test_nobody_makes_another_party_leave_once_the_program_runs(pid: int, body: Body) -> None:
    net = Net(PEOPLE)
    net.settle([ROSTER] * 3)
    assert net.parties[PEOPLE[1].did].received(PEOPLE[pid].did, body, NOW) == []


@pytest.mark.parametrize(
    "keys",
    [
        {"half": base64url(bytes(31))},
        {"half": "!" * 43},
        {"wireguard": "k" * 44},
        {"wireguard": base64.b64encode(bytes(32)).decode()},
        {"wireguard": base64.b64encode(bytes([1, *bytes(31)])).decode()},
        {"wireguard": "AAAA"},
    ],
    ids=["short", "no base64", "long key", "zero", "small order", "short key"],
)
def test_a_party_whose_keys_make_no_tunnel_is_named(keys: dict[str, str]) -> None:
    party = negotiation(PEOPLE[1], PEOPLE)
    party.received(PEOPLE[0].did, ROSTER, NOW)
    bad = msgspec.structs.replace(changed_offer(), **keys)
    actions = party.received(PEOPLE[2].did, bad, NOW)
    end = next(each for each in actions if isinstance(each, End))
    assert "party 2 (somebody) offers keys that are none" in end.why
    assert end.culprit == PEOPLE[2].did


def later(epoch: int = 1) -> Net:
    """Return parties of a later roster of the same people."""
    net = Net(PEOPLE, epoch)
    net.tell([msgspec.structs.replace(ROSTER, epoch=epoch)] * 3)
    return net


@given(STEPS, st.lists(st.tuples(st.integers(0, 4), st.integers(0, 2), st.integers(0, 2))))
def test_what_is_left_of_an_earlier_round_changes_nothing_in_the_next(
    steps: list[tuple[str, int]], old: list[tuple[int, int, int]]
) -> None:
    stale: list[Body] = [
        ROSTER,
        Offer(epoch=0, roster=ROSTER.hash, pid=1, fingerprint="f" * 64, half="A" * 43),
        Accept(epoch=0, roster=ROSTER.hash, offer="0" * 64),
        Up(epoch=0, roster=ROSTER.hash, seen=(0, 1, 2)),
        Close(reason="done"),
    ]
    net = later()
    for body, sender, to in old:
        net.flying.append((PEOPLE[sender].did, PEOPLE[to].did, stale[body]))
    disturbed(net, steps)
    net.settle([msgspec.structs.replace(ROSTER, epoch=1)] * 3)
    assert net.ends == {}
    assert {each.epoch for each in net.started.values()} == {1}
    assert len(net.started) == 3


def test_the_initiator_alone_lets_all_begin_once_more() -> None:
    party = negotiation(PEOPLE[1], PEOPLE)
    party.received(PEOPLE[0].did, ROSTER, NOW)
    again = Close(reason="restarted")
    assert party.received(PEOPLE[2].did, again, NOW) == []
    assert party.received(PEOPLE[0].did, again, NOW) == [Restart(epoch=1)]


def test_whoever_has_missed_that_follows_the_newer_roster() -> None:
    party = negotiation(PEOPLE[1], PEOPLE)
    newer = msgspec.structs.replace(ROSTER, epoch=3)
    assert party.received(PEOPLE[0].did, newer, NOW) == [Restart(epoch=3)]


def test_a_party_that_leaves_is_named() -> None:
    net = Net(PEOPLE)
    net.tell([ROSTER] * 3)
    for _ in range(3):
        net.deliver(0)
    net.act(PEOPLE[2].did, net.parties[PEOPLE[2].did].leave("cancelled", "no time"))
    while net.flying:
        net.deliver(0)
    assert set(net.ends) == {PEOPLE[0].did, PEOPLE[1].did}
    assert "party 2 (somebody) left (cancelled): no time" in net.ends[PEOPLE[0].did].why


def test_a_party_that_is_done_still_hears_how_the_others_end() -> None:
    net = Net(PEOPLE)
    net.settle([ROSTER] * 3)
    for person in PEOPLE:
        net.act(person.did, net.parties[person.did].leave("done"))
    while net.flying:
        net.deliver(0)
    assert sorted(left.pid for left in net.left) == [0, 0, 1, 1, 2, 2]


def test_new_addresses_are_taken_once_and_in_order() -> None:
    net = Net(PEOPLE)
    net.settle([ROSTER] * 3)
    here = Candidate(kind="host", address="198.18.0.1:5000")
    first, second = (net.parties[PEOPLE[1].did].moved((here,)) for _ in range(2))
    party = net.parties[PEOPLE[0].did]

    def take(actions: list[object]) -> list[object]:
        body = next(a.body for a in actions if isinstance(a, Send) and a.to == PEOPLE[0].did)
        return list(party.received(PEOPLE[1].did, body, NOW))

    assert take(list(second)) == [Reconnect(pid=1, candidates=(here,))]
    assert take(list(first)) == []


SENT: list[Body] = [
    ROSTER,
    Offer(epoch=0, roster=ROSTER.hash, pid=2, fingerprint="f" * 64, half="A" * 43),
    Accept(epoch=0, roster=ROSTER.hash, offer="0" * 64),
    Up(epoch=0, roster=ROSTER.hash, seen=(0, 1, 2)),
    Update(number=9, roster=ROSTER.hash, candidates=()),
    Close(reason="failed", detail="so there"),
]
VALUES = st.none() | st.integers() | st.text(max_size=70) | st.lists(st.integers(), max_size=3)


@settings(max_examples=1000)
@given(st.sampled_from(SENT), st.data())
def test_what_a_party_sends_is_read_or_refused_whatever_it_is(
    body: Body, data: st.DataObject
) -> None:
    """A thousand bodies with a wrong member, from a party itself: a machine takes all of them."""
    content = msgspec.json.decode(msgspec.json.encode(body))
    name = data.draw(st.sampled_from(sorted(content)))
    content[name] = data.draw(VALUES)
    try:
        read = msgspec.convert(content, type(body))
    except msgspec.ValidationError:
        return
    party = negotiation(PEOPLE[1], PEOPLE)
    for sender in (0, 2):
        party.received(PEOPLE[sender].did, read, NOW)
    party.received(PEOPLE[0].did, ROSTER, NOW)
    party.consent(ends("did:key:z"), NOW)
    for sender in (0, 2):
        party.received(PEOPLE[sender].did, read, NOW)
    party.tick(NOW + 10)
