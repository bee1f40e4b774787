"""Any input of a runner yields a valid state of its party, no exception, and bounded memory."""

import json
import re
import tracemalloc
from collections.abc import Iterable
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from e3.interfaces import Endpoint
from e3.party import protocol
from e3.party.protocol import Spec
from e3.party.reports import kinds
from e3.session.events import LINE_BYTES, Event, EventError, Incoming, decode
from e3.session.outputs import PartyOutput
from e3.session.plan import Seat
from e3.session.record import LOSS_LENGTH, RESULT_CHARACTERS, Record
from e3.session.verdicts import decide

pytestmark = pytest.mark.unit

NAMES = {0: "h0", 1: "h1", 2: "h2"}
DIFFERENT = {"mpyc": [["0.11", [1, 2]], ["0.10", [0]]]}

BEGINNING: list[dict[str, Any]] = [
    {"e3": "ready", "at": 0.0, "python": "3.11.2"},
    {"e3": "agreeing", "at": 0.1},
    {"e3": "agreed", "at": 0.2, "noted": {}, "strangers": {"10.0.0.9": 2}},
    {"e3": "bounded", "at": 0.3, "note": ""},
    {"e3": "started", "at": 0.4},
]
RUNNING: list[dict[str, Any]] = [
    {"e3": "confined", "at": 1, "notes": []},
    {"e3": "loaded", "at": 1, "version": "0.11"},
    {"e3": "connecting", "at": 1},
    {"e3": "connected", "at": 1},
    {"e3": "sent", "at": 1, "total_bytes": 10},
    {"e3": "stranger", "at": 1, "address": "10.0.0.9"},
    {"e3": "impostor", "at": 1, "peer": 2, "detail": "claims to be party 1"},
    {"e3": "lost", "at": 1, "peer": 2, "why": "closed by peer"},
    {"e3": "offended", "at": 1, "peer": 2, "what": "posix.system"},
    {"e3": "stopping", "at": 1, "sent_bytes": [0, 5, 5]},
    {"e3": "stopped", "at": 1},
    {"e3": "failed", "at": 1, "error": "ValueError"},
    {"e3": "raised", "at": 1, "error": "ValueError"},
    {"e3": "output", "at": 1, "stream": "stdout", "text": "42\n"},
    {"e3": "output", "at": 1, "stream": "stderr", "text": "oh\n"},
    {"e3": "took", "at": 1},
    {"e3": "file", "at": 1, "name": "a.txt", "size": 0},
    {"e3": "leftout", "at": 1, "files": [["x", "a link"]], "total": 1},
    {"e3": "cell", "at": 1, "number": 3},
    {"e3": "alive", "at": 1},
]
EXITED: dict[str, Any] = {
    "e3": "exited",
    "at": 2,
    "exit": 0,
    "why": "",
    "seconds": 1.5,
    "written": {"stdout": 3},
    "strays": 0,
    "fault": "",
}
ENDING: list[dict[str, Any]] = [
    EXITED,
    {"e3": "refused", "at": 1, "reason": "the port is in use"},
    {
        "e3": "disagreed",
        "at": 1,
        "result": "incompatible",
        "peer": None,
        "by": None,
        "detail": "",
        "found": DIFFERENT,
        "strangers": {},
    },
]
ALL = [*BEGINNING, *RUNNING, *ENDING]


def record(pid: int = 0, **changes: Any) -> Record:  # noqa: ANN401 -- fields of Spec
    parties = tuple((f"10.0.0.{other}", 1) for other in NAMES)
    spec = Spec(session="s", pid=pid, parties=parties, entry="p.py", args=(), **changes)
    seat = Seat(pid=pid, host=NAMES[pid], endpoint=Endpoint(address=parties[pid][0], port=1))
    # nothing can be made there: what arrives is checked, and not written
    output = PartyOutput(Path("/dev/null/output"), spec)
    return Record(seat, spec, NAMES, output)


def line(message: dict[str, Any]) -> bytes:
    return json.dumps(message, separators=(",", ":")).encode() + b"\n"


def heard(messages: Iterable[dict[str, Any]], one: Record | None = None) -> Record:
    """Return what is known after a runner has said that."""
    one = one or record()
    for message in messages:
        one.hear(line(message), 100.0)
    return one


def running(*messages: dict[str, Any]) -> Record:
    return heard([*BEGINNING, *messages])


def test_the_kinds_are_those_of_the_protocol() -> None:
    documented = set(re.findall(r"^``(\w+)``", str(protocol.__doc__), re.MULTILINE))
    assert {kind.__struct_config__.tag for kind in get_args(Event)} == documented
    own = {"leaving", "reading", "read"}  # for the runner alone
    assert set(kinds(3, 0)) - own < documented


def test_a_life() -> None:
    one = heard([*BEGINNING, *RUNNING[:5], *RUNNING[9:11], RUNNING[13], EXITED])
    assert one.end is not None
    assert (one.end.how, one.end.exit, one.end.reason) == (
        "exited",
        0,
        "party 0 (h0) exited with status 0",
    )
    assert (one.result.output, one.result.sent_bytes, one.result.seconds) == ("42\n", 10, 1.5)
    assert one.versions == {
        "python": "3.11.2",
        "bounded": "by the kernel",
        "confined": "fully",
        "mpyc": "0.11",
    }
    assert one.removed


LIES: list[tuple[bytes, str]] = [
    (b'{"e3":"disagreed"}', "missing required field"),
    (b'{"e3":"x","at":1}', "Invalid value 'x'"),
    (b'{"e3":"connected","at":"y"}', "`$.at`"),
    (b'{"e3":"connected","at":null}', "`$.at`"),
    (b'{"e3":"connected","at":NaN}', "malformed"),
    (b'{"e3":"connected","at":-1}', "`$.at`"),
    (b'{"e3":"connected","at":1e999}', "out of range"),
    (b'{"e3":"connected","at":1,"more":1}', "unknown field `more`"),
    (b'{"e3":"lost","peer":99,"why":"","at":1}', "99 as the index of another party"),
    (b'{"e3":"lost","peer":0,"why":"","at":1}', "0 as the index of another party"),
    (b'{"e3":"lost","peer":-1,"why":"","at":1}', "`$.peer`"),
    (b'{"e3":"lost","peer":true,"why":"","at":1}', "`$.peer`"),
    (b'{"e3":"impostor","peer":99,"detail":"is evil","at":1}', "99 as the index"),
    (b'{"e3":"offended","peer":99,"what":"x","at":1}', "99 as the index"),
    (b'{"e3":"sent","total_bytes":"abc","at":1}', "`$.total_bytes`"),
    (b'{"e3":"stopping","sent_bytes":["a"],"at":1}', "`$.sent_bytes[0]`"),
    (b'{"e3":"output","stream":"stdout","text":5,"at":1}', "`$.text`"),
    (b'{"e3":"output","stream":"other","text":"x","at":1}', "`$.stream`"),
    (b'{"e3":"output","stream":"stdout","text":"\\ud800","at":1}', "party 0 (h0) was stopped"),
    (b'{"e3":"output","stream":"stdout","text":"' + b"x" * 100_000 + b'","at":1}', "`$.text`"),
    (b'{"e3":"piece","data":"eHg=","at":1}', "2 bytes of a file that has 0 left"),
    (b'{"e3":"piece","data":"?","at":1}', "`$.data`"),
    (b'{"e3":"file","name":"../a","size":1,"at":1}', "no path below the folder"),
    (b'{"e3":"file","name":"/a","size":1,"at":1}', "no path below the folder"),
    (b'{"e3":"file","name":"a\\n","size":1,"at":1}', "a name that cannot be printed"),
    (b'{"e3":"file","name":"a","size":100000001,"at":1}', "more output files than allowed"),
    (b'{"e3":"kept","files":1,"bytes":1,"at":1}', "output that does not belong there"),
    (b'{"e3":"ready","python":"3","at":1}', "'ready' after 'started'"),
    (b'{"e3":"exited","exit":10000,"at":1}', "party 0 (h0) was stopped"),
    (b'{"e3":"\x1b[2J","at":1}', r"\x1b[2J"),
    (b'{"e3":"lost","peer":' + b"[" * 100_000, "`$.peer`"),
    (b'{"e3":"lost","more":' + b"[" * 100_000, "unknown field `more`"),
    (b'{"e3":' + b"[" * 100_000, "was stopped"),
    (b'{"e3":\xff', r"was stopped"),
]


@pytest.mark.parametrize(("lie", "wrong"), LIES, ids=range(len(LIES)))
def test_what_no_runner_says_ends_its_party_and_is_named(lie: bytes, wrong: str) -> None:
    one = running(*RUNNING[:4])
    said = one.hear(lie + b"\n", 100.0)
    assert one.end is not None
    assert one.end.how == "garbled"
    assert wrong in one.end.reason
    assert one.end.reason in said
    assert len(one.end.reason) < 600
    outcome = decide([one.end, record(1).current_end(all_connected=False)], silent=True)
    assert (outcome.verdict, outcome.parties) == ("party-failed", (0,))


@pytest.mark.parametrize("message", RUNNING[:-1], ids=lambda message: str(message["e3"]))
def test_a_program_says_nothing_before_it_runs(message: dict[str, Any]) -> None:
    one = heard([*BEGINNING[:-1], message])
    assert one.end is not None
    assert f"'{message['e3']}' after 'bounded'" in one.end.reason


def test_times_stay_between_the_begin_and_now() -> None:
    one = heard([BEGINNING[0] | {"at": 10**8}, *BEGINNING[1:], RUNNING[2] | {"at": 10**8}])
    assert one.end is None
    assert one.milestones.ready_seconds == 0
    assert one.milestones.connecting_seconds == 100


def test_who_is_turned_away_by_a_party_that_does_not_connect_is_not_blamed() -> None:
    impostor = RUNNING[6]
    late = running(*RUNNING[:4])
    assert "nothing follows" in late.hear(line(impostor), 1.0)
    assert late.end is None
    again = running(*RUNNING[:4], RUNNING[2])  # nobody connects twice
    again.hear(line(impostor), 1.0)
    assert again.end is None
    early = running(*RUNNING[:2], impostor)
    assert early.end is None
    honest = running(*RUNNING[:3], impostor)
    assert honest.end is not None
    assert (honest.end.how, honest.end.about) == ("incompatible", (2,))


def test_an_accusation_holds_for_a_party_that_ends_as_one_that_refused() -> None:
    accused = [
        running(*RUNNING[:4], RUNNING[8], EXITED | {"exit": status}).end
        for status in (70, -9, 1, 0)
    ]
    assert [end.accused for end in accused if end is not None] == [2, 2, None, None]


def test_a_loss_is_told_as_one_short_line() -> None:
    one = running(*RUNNING[:4])
    said = [f"Connection\x1b[2J timed out {'x' * 200}", "closed by peer"]
    for peer, why in zip((2, 1), said, strict=True):
        one.hear(line({"e3": "lost", "at": 1, "peer": peer, "why": why}), 1.0)
    end = one.current_end(all_connected=True)
    assert end.lost == (2, 1)
    assert end.loss.startswith(r"Connection\x1b[2J timed out x")
    assert len(end.loss) <= LOSS_LENGTH + len("...")


def test_who_breaks_an_agreement_off_without_a_reason_is_named() -> None:
    one = heard([*BEGINNING[:2], ENDING[2] | {"result": "unreachable", "found": {}}])
    assert one.end is not None
    assert one.end.reason == "party 0 (h0) broke the agreement off, and does not say why"
    outcome = decide([one.end, record(1).current_end(all_connected=False)], silent=True)
    assert (outcome.verdict, outcome.parties) == ("unreachable", (0,))


def test_a_line_that_is_not_ours_is_a_complaint() -> None:
    one = record()
    assert one.hear(b"bash: python: not found\x1b[2J\n", 1.0) == "bash: python: not found\x1b[2J\n"
    assert one.complaint == r"bash: python: not found\x1b[2J"
    assert one.end is None


def test_output_keeps_its_begin_and_its_end() -> None:
    printed = RUNNING[13]
    one = running(*(printed | {"text": f"{i:09}\n" * 100} for i in range(1000)))
    output = one.result.output
    assert output.startswith("000000000\n")
    assert output.endswith("000000999\n")
    left_out = 1_000_000 - RESULT_CHARACTERS
    assert f"\n[{left_out} characters left out, see the log; SHA-256 of everything: " in output
    assert one.progress(1.0).line == "000000999"


def test_more_output_than_allowed_ends_a_party_whatever_its_runner_makes_of_it() -> None:
    one = running()
    limited = record(flood_bytes=1_000_000)
    heard(BEGINNING, limited)
    text = line(RUNNING[13] | {"text": "x" * 30_000})
    for _ in range(100):
        one.hear(text, 1.0)
        limited.hear(text, 1.0)
    assert one.end is None
    assert limited.end is not None
    assert limited.end.reason.endswith("it printed more than 1 MB; have it print less")


def through(incoming: Incoming, pieces: Iterable[bytes]) -> tuple[list[bytes], str]:
    """Return the lines of what comes in pieces, and what was wrong then."""
    lines: list[bytes] = []
    try:
        for piece in pieces:
            lines += incoming.feed(piece)
    except EventError as error:
        return lines, str(error)
    return lines, ""


def test_lines_are_put_together_again() -> None:
    data = b"one\n\ntwo\r\n\xff\nrest"
    for size in range(1, len(data)):
        incoming = Incoming(100)
        lines, wrong = through(incoming, (data[i : i + size] for i in range(0, len(data), size)))
        assert (lines, wrong) == ([b"one\n", b"\n", b"two\r\n", b"\xff\n"], "")
        assert incoming.rest() == b"rest"


def test_a_runner_that_says_too_much() -> None:
    lines, wrong = through(Incoming(1_000_000), (b"x\n" * 1000 for _ in range(1000)))
    assert (len(lines), wrong) == (500_000, "more than 1 MB")


def test_a_line_without_an_end_does_not_grow_the_deployer() -> None:
    tracemalloc.start()
    try:
        _, wrong = through(Incoming(10**9), (b"z" * 65_536 for _ in range(1000)))
        assert f"a line of more than {LINE_BYTES} bytes" in wrong
        assert tracemalloc.get_traced_memory()[1] < 4 * LINE_BYTES
    finally:
        tracemalloc.stop()


def test_what_is_kept_is_bounded() -> None:
    """Events that may be repeated, a few million bytes of each."""
    messages = [
        *RUNNING[1:5],
        *RUNNING[7:14],
        RUNNING[13] | {"text": "x\x1b" * 15_000},
        RUNNING[14] | {"text": "y" * 30_000},
        RUNNING[11] | {"error": "e" * 4_000},
        RUNNING[5] | {"address": "a" * 4_000},
        RUNNING[6] | {"detail": "d" * 4_000},
        RUNNING[2],
        RUNNING[9],
        RUNNING[10],
    ]
    lines = [*map(line, messages), b"n" * 200_000 + b"\n"]
    one = running()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(200):
            for each in lines:
                one.hear(each, 1.0)
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert one.end is None
    assert grown < 600_000


TEXTS = st.text(st.characters(exclude_categories=[]), max_size=30)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=5,
)
NUMBERS = st.integers(-1, 3)
FOUND = st.dictionaries(
    st.sampled_from(["mpyc", "program", "{x}", "{0:9999999}", "\x1b"]) | TEXTS,
    st.lists(
        st.tuples(TEXTS | st.integers() | st.none(), st.lists(NUMBERS, max_size=3)), max_size=4
    ),
    max_size=4,
)
FIELDS = st.sampled_from(sorted({name for message in ALL for name in message}))
CHANGED = st.builds(
    lambda message, fields: {**message, **fields},
    st.sampled_from(ALL),
    st.dictionaries(FIELDS, NUMBERS | TEXTS | VALUES | FOUND, max_size=2),
)
DAMAGED = st.builds(
    lambda one, at, byte: one[:at] + byte + one[at:],
    st.sampled_from([line(message).rstrip() for message in ALL]),
    st.integers(0, 80),
    st.binary(max_size=2),
)
LINES = st.one_of(
    st.sampled_from(ALL).map(line),
    CHANGED.map(line),
    DAMAGED,
    st.binary(max_size=100),
)


@given(
    said=st.tuples(*[st.tuples(st.integers(0, len(BEGINNING)), st.lists(LINES, max_size=5))] * 3),
    size=st.integers(1, 200),
    now=st.floats(0, 1000),
)
def test_nothing_that_runners_say_is_an_exception(
    said: tuple[tuple[int, list[bytes]], ...], size: int, now: float
) -> None:
    parties = [record(pid) for pid in NAMES]
    for one, (begun, lines) in zip(parties, said, strict=True):
        data = b"".join(map(line, BEGINNING[:begun])) + b"\n".join(lines) + b"\n"
        pieces = (data[i : i + size] for i in range(0, len(data), size))
        whole, wrong = through(Incoming(10**6), pieces)
        assert wrong == ""
        for each in whole:
            one.hear(each, now).encode(errors="backslashreplace")
        assert one.progress(now).phase.isprintable()
        assert all(version.isprintable() for version in one.versions.values())
        json.dumps(vars(one.result), allow_nan=False)
    ends = [one.current_end(all_connected=True) for one in parties]
    for end in ends:
        assert end.reason.isprintable()
        assert len(end.reason) < 3000
    outcome = decide(ends, silent=False)
    assert outcome.reason.isprintable()
    assert set(outcome.parties) <= set(NAMES)


@given(LINES)
def test_a_line_is_an_event_or_foreign_or_wrong(one: bytes) -> None:
    try:
        event = decode(one)
    except EventError as error:
        event = None
        wrong = str(error)
    else:
        wrong = ""
    assert wrong.isprintable()
    if event is not None:
        assert decode(msgspec.json.encode(event)) == event
