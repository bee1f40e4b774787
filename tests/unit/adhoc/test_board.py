"""The board of a mediator: posts of those who are there, until their links are over."""

import pytest

from e3.adhoc.board import LIST, POST, POSTS, REMOVE, Board, Post, Posts
from e3.didcomm.errors import DidcommError
from e3.didcomm.messages import Received, message
from e3.didcomm.session.invitation import link
from tests.unit.didcomm.parties import NOW, Person, invitation, people

pytestmark = pytest.mark.unit


class Place:
    """A board, its clock, and who is registered."""

    def __init__(self) -> None:
        self.now = NOW
        self.away: set[str] = set()
        self.board = Board(lambda did: did not in self.away, lambda: self.now)

    def ask(self, person: Person, kind: str, body: object) -> list[Post]:
        answers: list[tuple[str, Posts]] = []
        sent = message(kind, body, now=NOW, to=person.did, sender=person.did)
        received = Received(message=sent, own="", sender=person.did, signer=None)
        assert self.board.take(received, lambda *answer: answers.append(answer))
        ((answered, found),) = answers
        assert answered == POSTS
        return found.posts

    def post(self, person: Person, topic: str = "auctions") -> None:
        self.ask(person, POST, {"topic": topic, "link": link(invitation(person))})


@pytest.fixture
def place() -> Place:
    return Place()


ALICE, BOB = people(2)


def test_posts_are_found_by_topic_the_newest_first(place: Place) -> None:
    place.post(ALICE)
    place.post(BOB, "votes")
    assert [each.topic for each in place.ask(BOB, LIST, {})] == ["votes", "auctions"]
    assert [each.topic for each in place.ask(BOB, LIST, {"topic": "votes"})] == ["votes"]


def test_a_post_ends_with_its_link_with_its_author_or_when_it_is_removed(place: Place) -> None:
    place.post(ALICE)
    place.away.add(ALICE.did)
    assert place.ask(BOB, LIST, {}) == []
    place.post(BOB)
    place.ask(BOB, REMOVE, {})
    assert place.ask(BOB, LIST, {}) == []
    place.post(BOB)
    place.now += 700
    assert place.ask(BOB, LIST, {}) == []


def test_nobody_posts_the_invitation_of_another(place: Place) -> None:
    with pytest.raises(DidcommError, match="only who made"):
        place.ask(BOB, POST, {"topic": "auctions", "link": link(invitation(ALICE))})


def test_one_party_has_only_so_many_posts(place: Place) -> None:
    place.post(ALICE)
    place.post(ALICE)
    with pytest.raises(DidcommError, match="posts enough"):
        place.post(ALICE)


@pytest.mark.parametrize("topic", ["", "Auctions!", "a" * 41, "../x"])
def test_a_topic_is_a_short_word(place: Place, topic: str) -> None:
    with pytest.raises(DidcommError, match="cannot be read"):
        place.post(ALICE, topic)
