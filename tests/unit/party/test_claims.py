"""A peer's statements about itself: typed and bounded when they arrive, never a template."""

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from e3.errors import MESSAGE_LENGTH, HostError
from e3.interfaces import Completed
from e3.party import frames, hooks, statement
from e3.party.fields import FIELDS, NAME_LENGTH, VALUE_LENGTH, Value, differences, sentence
from e3.party.frames import LIMIT_FACTS, ForeignError
from e3.session import agreement
from tests.agreements import FACTS

pytestmark = pytest.mark.unit

HOSTS = {0: "ams3-0", 1: "nyc3-0", 2: "sgp1-0"}
LONGEST_SENTENCE = 2000

texts = st.one_of(
    st.text(st.characters(codec=None), max_size=300),
    st.sampled_from(
        [
            "{x}",
            "{",
            "}",
            "{}",
            "{0.__class__.__mro__}",
            "{0:2000000000}",
            "{0:999999999}{:d}",
            "%s%n%(x)s",
            "$x",
            "[/tmp/x]",
            "\ud800",
            "\x1b]0;x\x07",
            "a\nVerdict: completed",
        ]
    ),
)
values = st.one_of(texts, st.none(), st.booleans(), st.integers())
anything = st.recursive(
    st.one_of(values, st.floats()),
    lambda inner: st.one_of(st.lists(inner), st.dictionaries(texts, inner)),
    max_leaves=8,
)


def stated(**changes: Any) -> bytes:  # noqa: ANN401 -- whatever JSON can say
    return json.dumps({"pid": 0, "to": 1, "facts": dict(FACTS), **changes}).encode()


def is_clean(text: str) -> bool:
    return text.isprintable() and len(text) <= LONGEST_SENTENCE


@given(texts, values)
def test_what_a_peer_calls_a_fact_is_shown_as_it_is(name: str, value: Value) -> None:
    found = differences({0: {}, 1: {name: value}, 2: {}}, must=True)
    assert is_clean(sentence(found, HOSTS))


def test_a_template_is_a_name_like_any_other() -> None:
    found = differences({0: {}, 1: {"{0:999999999}{:d}": "{x}"}}, must=True)
    assert sentence(found, HOSTS) == ("nyc3-0 states {0:999999999}{:d} as {x}, ams3-0 none")


@given(
    st.dictionaries(
        texts, st.lists(st.tuples(values, st.lists(st.integers(-1, 99), max_size=9)), max_size=9)
    ),
    st.one_of(st.none(), st.integers()),
    st.one_of(st.none(), st.integers(-1, 3)),
    texts,
)
@example({"mpyc": [("0.10", [0, 0, 0, 0]), ("0.11", [1, 0])]}, None, None, "")
def test_what_a_host_reports_of_an_agreement_becomes_one_sentence(
    found: dict[str, Any], peer: int | None, by: int | None, detail: str
) -> None:
    report = {"result": "incompatible", "found": found, "peer": peer, "detail": detail, "by": by}
    _, reason = agreement.explain(report, 0, HOSTS)
    assert is_clean(reason)
    assert set(agreement.about(report, HOSTS)) <= set(HOSTS)
    assert agreement.compared(report, HOSTS) <= len(HOSTS)


def test_a_statement_comes_through_as_it_was_made() -> None:
    claim = frames.decode(stated())
    assert (claim.pid, claim.to, claim.facts) == (0, 1, FACTS)


def test_every_known_fact_has_a_name_that_may_come() -> None:
    assert frames.decode(stated(facts=dict.fromkeys(FIELDS, "x"))).facts.keys() == FIELDS.keys()
    assert len(FIELDS) < LIMIT_FACTS


@pytest.mark.parametrize(
    "changes",
    [
        {"pid": False},
        {"pid": 10**4000},
        {"to": 1.0},
        {"to": None},
        {"facts": []},
        {"facts": {}},
        {"facts": {"{x}": 1}},
        {"facts": {"": 1}},
        {"facts": {"a\n": 1}},
        {"facts": {"a" * (NAME_LENGTH + 1): 1}},
        {"facts": {f"f{i}": 1 for i in range(LIMIT_FACTS + 1)}},
        {"facts": {"m": 10**4000}},
        {"facts": {"m": 2**64}},
        {"facts": {"m": 1.5}},
        {"facts": {"m": float("nan")}},
        {"facts": {"m": [1]}},
        {"facts": {"mpyc": "\ud800"}},
        {"facts": {"mpyc": "x" * (VALUE_LENGTH + 1)}},
    ],
    ids=lambda changes: str(changes)[:40],
)
def test_what_is_no_statement_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ForeignError):
        frames.decode(stated(**changes))


@given(anything)
def test_any_json_is_a_bounded_claim_or_refused(value: object) -> None:
    for body in (json.dumps(value), json.dumps({"pid": 0, "to": 1, "facts": value})):
        try:
            claim = frames.decode(body.encode())
        except ForeignError:
            continue
        assert len(claim.facts) <= LIMIT_FACTS
        json.dumps(dict(claim.facts), ensure_ascii=False).encode()


@given(st.text(st.characters(codec=None)), st.integers(0, 3000))
def test_whatever_this_party_states_is_a_statement(text: str, length: int) -> None:
    """An argument may be any bytes, and as long as the system lets it."""
    facts = {"args": statement.shortened(text + "x" * length)}
    assert frames.decode(stated(facts=facts)).facts == facts


@pytest.mark.parametrize("name", ["", "\n", "Bad", "x" * 999])
@pytest.mark.parametrize("text", ["", " \n ", "\n", "\x1b[2J", "\ud800", "x" * 9999, "a\nb"])
def test_an_exceptions_line_is_one(name: str, text: str) -> None:
    line = hooks.summary(type(name, (Exception,), {})(text))
    assert line.isprintable()
    assert len(line) <= hooks.SUMMARY_LENGTH + 3


def test_an_exception_that_has_no_text_of_its_own() -> None:
    class Silent(Exception):  # noqa: N818 -- a program's
        def __str__(self) -> str:
            raise ValueError

    assert hooks.summary(Silent()) == "Silent: <exception str() failed>"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (None, "closed by peer"),
        (ConnectionResetError(104, "Connection reset by peer"), "Connection reset by peer"),
        (TimeoutError(110, "Connection timed out"), "Connection timed out"),
        (ConnectionResetError(), "ConnectionResetError"),
    ],
)
def test_how_a_connection_ended_is_said_in_words(error: Exception | None, said: str) -> None:
    assert hooks.ending(error) == said


@given(st.binary(max_size=3000), st.binary(max_size=3000))
def test_a_commands_complaint_is_one_printable_line(stdout: bytes, stderr: bytes) -> None:
    said = Completed(exit=1, stdout=stdout, stderr=stderr).complaint
    assert said
    assert is_clean(said)


def test_a_complaint_is_the_end_of_what_was_written() -> None:
    done = Completed(exit=1, stdout=b"no", stderr=b"x" * 9999 + b"\n\nno space\x1b[m\n")
    assert done.complaint.endswith("x / no space\\x1b[m")
    assert Completed(exit=3, stdout=b"", stderr=b" ").complaint == "exit status 3"


@given(st.text(st.characters(codec=None)))
def test_an_error_can_be_printed_whatever_it_quotes(text: str) -> None:
    message = str(HostError(f"host a says {text}"))
    assert message.replace("\n", "").replace("\t", "").isprintable()
    assert len(str(HostError("x" * 10**6))) <= MESSAGE_LENGTH + 3
    assert str(HostError("a sentence; its last lines:\nb")) == "a sentence; its last lines:\nb"
