"""The lobby: who has the link, an identity and consent gets a seat, once."""

from dataclasses import replace

import pytest

from e3.didcomm import did as dids
from e3.didcomm.errors import DidcommError
from e3.didcomm.session import invitation as invitations
from e3.didcomm.session.actions import Action, Begin, End, Restart, Send
from e3.didcomm.session.bodies import Body, Close, Program, Ready, Roster, Wanted
from e3.didcomm.session.lobby import Lobby
from tests.unit.didcomm.parties import NOW, Person, invitation, people, program

pytestmark = pytest.mark.unit


class House:
    """An initiator with its lobby."""

    def __init__(self, parties: int = 3) -> None:
        self.host = people(1)[0]
        self.invitation = invitation(self.host, parties)
        self.program = program(self.host, parties)
        self.lobby = Lobby(self.invitation, self.program, "20260101-000000-abcd", dids.resolve)

    def guest(self) -> Person:
        return Person(self.host.sid)

    def join(self, guest: Person, now: float = NOW, token: str = "") -> list[Action]:
        return self.lobby.received(guest.did, guest.join(token or self.invitation.token), now)

    def ready(self, guest: Person) -> list[Action]:
        return self.lobby.received(guest.did, Ready(proposal=self.program.proposal.hash), NOW)


def answer(actions: list[Action], guest: Person) -> Body | None:
    return next((a.body for a in actions if isinstance(a, Send) and a.to == guest.did), None)


def test_all_who_consent_are_the_parties_in_the_order_in_which_they_came() -> None:
    house = House()
    one, two = house.guest(), house.guest()
    assert isinstance(answer(house.join(one), one), Program)
    house.join(two)
    house.ready(two)
    actions = house.ready(one)
    begun = next(action for action in actions if isinstance(action, Begin))
    assert [each.did for each in begun.roster.members] == [house.host.did, one.did, two.did]


def test_nobody_is_in_without_consent() -> None:
    house = House()
    one, two = house.guest(), house.guest()
    house.join(one)
    house.join(two)
    assert not any(isinstance(action, Begin) for action in house.ready(one))


def test_a_wrong_token_gets_no_answer() -> None:
    house = House()
    assert house.join(house.guest(), token=invitations.new_id()) == []


def test_an_expired_link_is_answered_with_that() -> None:
    house, late = House(), 700.0
    guest = house.guest()
    refused = answer(house.join(guest, NOW + late), guest)
    assert isinstance(refused, Close)
    assert "expired" in refused.detail


def test_a_clock_that_is_wrong_by_ten_minutes_is_named() -> None:
    house = House()
    with pytest.raises(DidcommError, match="clock"):
        house.invitation.require_valid(NOW - 600)


def test_who_joins_again_has_one_seat_and_consents_anew() -> None:
    """After a crash somebody comes back with another DID; the former one is out."""
    house = House()
    guest, other = house.guest(), house.guest()
    house.join(guest)
    house.ready(guest)
    again = Person(house.host.sid, key=guest.key)
    actions = house.join(again)
    out = answer(actions, guest)
    assert isinstance(out, Close)
    assert "from elsewhere" in out.detail
    house.join(other)
    assert not any(isinstance(action, Begin) for action in house.ready(other))
    begun = next(action for action in house.ready(again) if isinstance(action, Begin))
    assert [each.did for each in begun.roster.members] == [house.host.did, again.did, other.did]


def test_the_initiator_has_no_second_seat() -> None:
    house = House()
    twice = Person(house.host.sid, key=house.host.key)
    refused = answer(house.join(twice), twice)
    assert isinstance(refused, Close)
    assert "in already" in refused.detail


def test_nobody_joins_as_somebody_else() -> None:
    house = House()
    thief, victim = house.guest(), house.guest()
    join = victim.join(house.invitation.token)
    refused = answer(house.lobby.received(thief.did, join, NOW), thief)
    assert isinstance(refused, Close)
    assert "proof" in refused.detail


def test_an_unanswered_join_is_answered_again() -> None:
    house = House()
    guest = house.guest()
    house.join(guest)
    assert isinstance(answer(house.join(guest), guest), Program)


def test_a_full_session_takes_nobody_else() -> None:
    house = House(parties=2)
    house.join(house.guest())
    late = house.guest()
    refused = answer(house.join(late), late)
    assert isinstance(refused, Close)
    assert refused.reason == "full"


def test_a_flood_of_joins_takes_no_more_than_the_seats() -> None:
    house = House(parties=3)
    refusals = 0
    for _ in range(100):
        guest = house.guest()
        refusals += isinstance(answer(house.join(guest), guest), Close)
    assert refusals == 98


def test_a_seat_is_free_again_when_somebody_leaves() -> None:
    house = House(parties=2)
    guest, other = house.guest(), house.guest()
    house.join(guest)
    house.lobby.received(guest.did, Close(reason="declined"), NOW)
    assert isinstance(answer(house.join(other), other), Program)


def test_a_seat_is_kept_for_whom_is_expected() -> None:
    house = House(parties=3)
    expected, stranger, late = house.guest(), house.guest(), house.guest()
    house.lobby.expect([expected.identity])
    assert isinstance(answer(house.join(stranger), stranger), Program)
    assert isinstance(answer(house.join(late), late), Close)
    assert house.lobby.missing == {expected.identity}
    assert isinstance(answer(house.join(expected), expected), Program)
    assert house.lobby.missing == frozenset()


def gathered(house: House) -> tuple[Person, Person]:
    one, two = house.guest(), house.guest()
    for each in (one, two):
        house.join(each)
    for each in (one, two):
        house.ready(each)
    return one, two


def ready(house: House, guest: Person, lobby: Lobby, epoch: int) -> list[Action]:
    body = Ready(proposal=house.program.proposal.hash, epoch=epoch)
    return lobby.received(guest.did, body, NOW)


def test_a_party_that_is_back_before_the_program_runs_lets_all_begin_once_more() -> None:
    house = House()
    one, two = gathered(house)
    back = Person(house.host.sid, key=one.key)
    assert house.join(back) == [Restart(epoch=1)]
    assert house.lobby.roster is not None
    again = house.lobby.again(house.lobby.seated, 1, "20260101-000001-abcd")
    shown = answer(again.received(back.did, back.join(house.invitation.token), NOW), back)
    assert isinstance(shown, Program)
    assert shown.epoch == 1  # of the roster to which whoever is back consents
    assert not any(isinstance(it, Begin) for it in ready(house, back, again, 1))
    begun = next(it for it in ready(house, two, again, 1) if isinstance(it, Begin))
    assert [each.did for each in begun.roster.members] == [house.host.did, back.did, two.did]
    assert begun.roster.epoch == 1


def test_another_round_is_for_the_same_people_alone() -> None:
    house = House()
    one, two = gathered(house)
    assert house.lobby.roster is not None
    again = house.lobby.again(house.lobby.seated, 1, "20260101-000001-abcd")
    stranger = house.guest()
    refused = answer(
        again.received(stranger.did, stranger.join(house.invitation.token), NOW), stranger
    )
    assert isinstance(refused, Close)
    assert refused.reason == "full"
    assert ready(house, two, again, 1)
    assert ready(house, one, again, 0) == []  # it is late, from the round before
    begun = next(it for it in ready(house, one, again, 1) if isinstance(it, Begin))
    assert begun.roster.members == house.lobby.roster.members


def test_whoever_wants_no_other_round_ends_it_and_is_named() -> None:
    house = House()
    one, two = gathered(house)
    assert house.lobby.roster is not None
    again = house.lobby.again(house.lobby.seated, 1, "20260101-000001-abcd")
    assert again.received(one.did, Close(reason="done"), NOW) == []  # of the round before
    actions = again.received(one.did, Close(reason="declined", epoch=1), NOW)
    assert "takes part no more" in next(it.why for it in actions if isinstance(it, End))
    assert isinstance(answer(actions, two), Close)


def test_consent_to_another_program_is_none() -> None:
    house = House(parties=2)
    guest = house.guest()
    house.join(guest)
    refused = answer(house.lobby.received(guest.did, Ready(proposal="1" * 64), NOW), guest)
    assert isinstance(refused, Close)


def test_the_roster_is_repeated_until_an_offer_comes() -> None:
    house = House(parties=2)
    guest = house.guest()
    house.join(guest)
    house.ready(guest)
    assert isinstance(answer(house.lobby.tick(NOW + 3), guest), Roster)
    house.lobby.has_roster(guest.did)
    assert house.lobby.tick(NOW + 6) == []


def test_a_link_has_the_invitation() -> None:
    house = House()
    link = invitations.link(house.invitation)
    assert invitations.read(link) == house.invitation
    assert link.startswith("http://127.0.0.1/#")


@pytest.mark.parametrize("cut", [10, 100, 400])
def test_a_damaged_link_says_so(cut: int) -> None:
    link = invitations.link(House().invitation)
    with pytest.raises(DidcommError, match=r"damaged|no invitation"):
        invitations.read(link[:-cut])


def test_another_text_is_no_link() -> None:
    with pytest.raises(DidcommError, match="no invitation"):
        invitations.read("https://mediator.example/")


@pytest.mark.parametrize("sid", ["../../../../.ssh", "/home/alice/notes", "a" * 65, "short"])
def test_a_link_whose_id_is_a_path_is_refused(sid: str) -> None:
    """The folder of a guest's copy of the program has the session's id as its name."""
    invitation = replace(House().invitation, sid=sid)
    with pytest.raises(DidcommError, match="damaged"):
        invitations.read(invitations.link(invitation))


@pytest.mark.parametrize("before", ["';reboot;'", "https://x/\n", "https://x/ ", "\x1b[2J", '"'])
def test_a_link_that_is_more_than_a_link_is_refused(before: str) -> None:
    link = before + invitations.link(House().invitation)
    with pytest.raises(DidcommError, match="no invitation"):
        invitations.read(link)


def test_a_link_whose_mediator_is_no_url_is_refused() -> None:
    invitation = replace(House().invitation, mediator="http://x/';reboot;'")
    encoded = invitations.link(invitation).partition("#")[2]
    with pytest.raises(DidcommError, match="no URL"):
        invitations.read(f"http://x/#{encoded}")


def test_a_link_that_expired_before_all_time_is_refused() -> None:
    invitation = replace(House().invitation, expires=-(10**400))
    with pytest.raises(DidcommError, match="damaged"):
        invitations.read(invitations.link(invitation))


def test_a_link_names_two_mediators_and_what_is_required() -> None:
    made = replace(
        House().invitation,
        others=("http://127.0.0.2/",),
        requires=(Wanted(claim="role", value="auditor", issuer="did:key:z6Mk"),),
    )
    assert invitations.read(invitations.link(made)) == made
    assert made.mediators == "http://127.0.0.1/ http://127.0.0.2/"
    with pytest.raises(DidcommError, match="no URL"):
        invitations.read(invitations.link(replace(made, others=("http://x/';reboot;'",))))
