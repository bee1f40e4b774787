import pytest

from e3.errors import LabError
from e3.impairments import Impairment
from e3.lab.client import start
from e3.lab.links import RegionLink, RegionLinks, default_rtt_ms

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("one", "other", "rtt_ms"),
    [
        ("ams3", "nyc3", 82.0),
        ("nyc3", "ams3", 82.0),
        ("sgp1", "nyc3", 230.0),
        ("ams3", "ams3", 0.5),
        ("mars", "mars", 0.5),
        ("ams3", "mars", 100.0),
    ],
)
def test_default_round_trips(one: str, other: str, rtt_ms: float) -> None:
    assert default_rtt_ms(one, other) == rtt_ms


def test_an_asked_round_trip_holds_both_ways_and_for_its_pair_only() -> None:
    links = RegionLinks({("b", "a"): 30.0})
    assert links.link("a", "b") == links.link("b", "a") == RegionLink(delay_ms=15.0)
    assert links.asked_rtt_ms("a", "b") == 30.0
    assert links.asked_rtt_ms("a", "c") == 100.0


def test_a_round_trip_leaves_the_rest_of_a_link_alone() -> None:
    links = RegionLinks({})
    links.impair({("a", "b"): Impairment(loss=0.5)})
    links.set_rtt("a", "b", 8.0)
    assert links.link("a", "b") == RegionLink(delay_ms=4.0, loss=0.5)
    assert links.link("b", "a") == RegionLink(delay_ms=4.0)


def test_only_a_link_that_does_nothing_is_plain() -> None:
    assert RegionLink(delay_ms=0.0).is_plain
    assert not RegionLink(delay_ms=0.0, rate_mbit=10.0).is_plain
    assert not RegionLink(delay_ms=0.25).is_plain


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"delay_ms": -1.0}, "delay_ms is -1.0"),
        ({"delay_ms": float("nan")}, "delay_ms is nan"),
        ({"delay_ms": 1.0, "loss": 1.5}, "loss is 1.5; it must be between 0 and 1"),
        ({"delay_ms": 1.0, "rate_mbit": 0.0}, "rate_mbit is 0.0"),
        ({"delay_ms": 1.0, "jitter_ms": 1e9}, "jitter_ms"),
        ({"delay_ms": 1.0, "reordering": -0.1}, "reordering is -0.1"),
        ({"delay_ms": 1.0, "breaks_for_seconds": 1.0}, "needs breaks_every_seconds"),
        (
            {"delay_ms": 1.0, "breaks_for_seconds": 9.0, "breaks_every_seconds": 9.0},
            "breaks_for_seconds is 9; it must be less than breaks_every_seconds, 9",
        ),
    ],
)
def test_a_link_that_cannot_be_is_refused(values: dict[str, float], said: str) -> None:
    with pytest.raises(LabError, match=said):
        RegionLink(**values)


def test_links_survive_being_sent_as_json() -> None:
    link = RegionLink(delay_ms=1.5, jitter_ms=0.5, loss=0.01, rate_mbit=20.0)
    properties = link.to_properties()
    assert RegionLink(**properties) == link


def test_impairments_leave_delays_alone_and_end_with_the_next() -> None:
    links = RegionLinks({("a", "b"): 8.0})
    links.impair({("a", "b"): Impairment(loss=0.5), ("c", "d"): Impairment(jitter_ms=1.0)})
    assert links.link("a", "b") == RegionLink(delay_ms=4.0, loss=0.5)
    assert links.link("b", "a") == RegionLink(delay_ms=4.0)
    links.impair({("b", "a"): Impairment(rate_mbit=1.0)})
    assert links.link("a", "b") == RegionLink(delay_ms=4.0)
    assert links.link("b", "a") == RegionLink(delay_ms=4.0, rate_mbit=1.0)


def test_what_breaks_is_not_measured_and_jitter_is_allowed_for() -> None:
    links = RegionLinks({})
    links.impair(
        {
            ("a", "b"): Impairment(jitter_ms=3.0),
            ("b", "a"): Impairment(jitter_ms=4.0),
            ("a", "c"): Impairment(breaks_every_seconds=10.0, breaks_for_seconds=1.0),
            ("d", "a"): Impairment(loss=0.5),
        }
    )
    assert links.slack_ms("a", "b") == 7.0
    assert links.slack_ms("b", "c") == 0.0
    assert links.slack_ms("c", "a") is links.slack_ms("a", "d") is None


def test_the_lab_refuses_a_negative_round_trip_and_names_the_pair(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("lab")
    with pytest.raises(LabError, match="round trip a-b is -1 ms"):
        start(folder, {("a", "b"): -1})
