"""The agreement over real sockets: parties that are equal, different, late, absent or not E3."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from e3.party import frames, links, opening
from e3.party.agreement import Agreement
from e3.party.fields import FIELDS, differences, sentence
from e3.party.frames import HEADER, MAGIC, STATEMENT, VERSION, ForeignError, pack, unpack
from e3.party.links import GRACE_SECONDS
from tests.agreements import FACTS, Table, is_closed, reset, vanish

pytestmark = pytest.mark.unit

OLD = {**FACTS, "mpyc": "0.10"}
NAMES = {0: "ams3-0", 1: "nyc3-0", 2: "sgp1-0", 3: "sfo3-0"}
MPYC_KEYS = bytes(range(16)) * 2
"""PRSS keys: 16 bytes each."""

WIREGUARD_REJECTS_SECONDS = 180
"""After which WireGuard uses no key any more (its whitepaper, 6.1): a new one takes a handshake."""


@pytest.fixture
def two() -> Iterator[Table]:
    with Table(2) as table:
        yield table


@pytest.mark.parametrize("m", [2, 3, 6, 30])
def test_parties_that_run_the_same_agree(m: int) -> None:
    with Table(m) as table:
        outcomes = table.all_agree({})
        assert [outcome.kind for outcome in outcomes] == ["agreed"] * m
        assert all(not outcome.found and not outcome.noted for outcome in outcomes)


def test_nothing_waits_in_a_listener_that_the_agreement_has_left() -> None:
    with Table(4) as table:
        table.all_agree({})
        for listener in table.listeners[1:]:
            listener.settimeout(0)
            with pytest.raises(BlockingIOError):
                listener.accept()


def test_of_many_peers_a_party_calls_few_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "MOST_CALLS", 1)
    monkeypatch.setattr(opening, "LEAST_CALLS", 3)
    open_at_once = []
    dial = Agreement._dial  # noqa: SLF001 -- what it calls is seen nowhere else

    def counted(self: Agreement, pid: int) -> None:
        dial(self, pid)
        open_at_once.append(sum(link.connecting for link in self._links.values()))

    monkeypatch.setattr(Agreement, "_dial", counted)
    with Table(12) as table:
        assert {each.kind for each in table.all_agree({})} == {"agreed"}
    assert max(open_at_once) == 3
    assert len(open_at_once) >= 12 * 11 / 2


def test_what_differs_is_found_by_every_party() -> None:
    with Table(4) as table:
        outcomes = table.all_agree({2: OLD})
        assert [outcome.kind for outcome in outcomes] == ["incompatible"] * 4
        sentences = {sentence(outcome.found, NAMES) for outcome in outcomes}
        assert sentences == {"sgp1-0 would run mpyc 0.10, the other three 0.11"}


def test_a_difference_waits_for_the_statement_that_tells_what_most_run() -> None:
    with Table(3) as table, ThreadPoolExecutor(2) as pool:
        early = [pool.submit(table.agree, pid, facts) for pid, facts in enumerate((OLD, FACTS))]
        threading.Event().wait(1.2 * GRACE_SECONDS)
        outcomes = [table.agree(2), *(task.result(60) for task in early)]
        sentences = {sentence(outcome.found, NAMES) for outcome in outcomes}
        assert sentences == {"ams3-0 would run mpyc 0.10, the other two 0.11"}


def test_what_may_differ_is_noted() -> None:
    with Table(3) as table:
        outcomes = table.all_agree({1: {**FACTS, "python": "3.13"}})
        assert [outcome.kind for outcome in outcomes] == ["agreed"] * 3
        assert sentence(outcomes[0].noted, NAMES) == "nyc3-0 runs Python 3.13, the other two 3.11"


def test_a_party_that_comes_late_is_waited_for() -> None:
    with Table(3) as table, ThreadPoolExecutor(3) as pool:
        table.listeners[2].close()
        early = [pool.submit(table.agree, pid) for pid in (0, 1)]
        probe = table.call(1, [], source=table.addresses[0])  # the others have started
        reset(probe)
        address = (table.addresses[2], table.ports[2])
        table.listeners[2] = table.exits.enter_context(socket.create_server(address))
        late = pool.submit(table.agree, 2)
        assert {task.result(60).kind for task in (*early, late)} == {"agreed"}


def test_a_party_that_never_comes_is_named(two: Table) -> None:
    two.listeners[1].close()
    outcome = two.agree(0, agree_seconds=0.5)
    assert outcome.kind == "unreachable"
    assert outcome.peer == 1
    assert outcome.detail == "does not answer at its address (Connection refused)"


def test_a_party_that_never_calls_is_named(two: Table) -> None:
    outcome = two.agree(1, agree_seconds=0.5)
    assert (outcome.kind, outcome.peer, outcome.detail) == ("unreachable", 0, "did not call")


def test_a_party_that_listens_and_says_nothing_is_named(two: Table) -> None:
    outcome = two.agree(0, agree_seconds=0.5)
    assert outcome.peer == 1
    assert outcome.detail == "accepts connections, says nothing"


@pytest.mark.parametrize(
    ("data", "detail"),
    [
        (b"\0\0" + MPYC_KEYS, "speaks MPyC without E3 (as party 0) instead of E3's agreement"),
        (b"GET / HTTP/1.1\r\n\r\n", "speaks HTTP instead of E3's agreement"),
        (b"SSH-2.0-x\r\n", "speaks SSH instead of E3's agreement"),
        (
            b"\x16\x03\x01\x02\x00\x01",
            "speaks TLS (MPyC with --ssl, or something else) instead of E3's agreement",
        ),
        (b"hello", "speaks something unknown (68 65 6c 6c 6f) instead of E3's agreement"),
        (HEADER.pack(MAGIC, VERSION + 1, 1, 0), "speaks version 3 of E3's agreement, not 2"),
        (HEADER.pack(MAGIC, VERSION, 9, 0), "sent a message of unknown kind 9"),
        (
            HEADER.pack(MAGIC, VERSION, STATEMENT, 2**32 - 1),
            "announced a message of 4294967295 bytes",
        ),
        (pack(STATEMENT, b"[" * 60_000), "sent a message that says nothing readable"),
        (pack(STATEMENT, b"{}"), "stated nothing"),
        (pack(frames.AGREED), "answered before it was asked"),
        (
            pack(STATEMENT, b'{"pid": 0, "to": 1, "facts": {"mpyc": [1]}}'),
            "stated what nobody can compare",
        ),
        (
            pack(STATEMENT, b'{"pid": 1, "to": 1, "facts": {"mpyc": 1}}'),
            "claims to be party 1, which does not call party 1",
        ),
        (
            pack(STATEMENT, b'{"pid": 0, "to": 2, "facts": {"mpyc": 1}}'),
            "takes party 1 for party 2",
        ),
    ],
)
def test_a_party_that_speaks_something_else_is_named(two: Table, data: bytes, detail: str) -> None:
    with ThreadPoolExecutor(1) as pool:
        agreement = pool.submit(two.agree, 1)
        caller = two.call(1, [data], source=two.addresses[0])
        outcome = agreement.result(60)
        assert (outcome.kind, outcome.peer, outcome.detail) == ("incompatible", 0, detail)
        assert is_closed(caller)


def test_a_stranger_is_rejected_and_noted() -> None:
    with Table(2) as table, ThreadPoolExecutor(2) as pool:
        upper = pool.submit(table.agree, 1)
        for data in (b"GET / HTTP/1.1\r\n\r\n", b""):
            assert is_closed(table.call(1, [data], source="127.0.0.77"))
        lower = pool.submit(table.agree, 0)
        assert lower.result(60).kind == upper.result(60).kind == "agreed"
        assert upper.result().strangers == {"127.0.0.77": 2}


def test_a_party_that_takes_anothers_pid_is_named() -> None:
    with Table(3) as table, ThreadPoolExecutor(1) as pool:
        claim = pack(STATEMENT, b'{"pid": 0, "to": 2, "facts": {"mpyc": 1}}')
        agreement = pool.submit(table.agree, 2)
        table.call(2, [claim], source=table.addresses[1])
        outcome = agreement.result(60)
        assert (outcome.kind, outcome.peer) == ("incompatible", 1)
        assert outcome.detail == ("claims to be party 0 from 127.0.1.3, the address of party 1")


def test_addresses_are_not_checked_where_they_are_translated() -> None:
    with Table(3, address_trust="translated") as table:
        assert {outcome.kind for outcome in table.all_agree({})} == {"agreed"}


def test_half_a_message_that_ends_may_be_the_network_and_is_tried_again(two: Table) -> None:
    with ThreadPoolExecutor(2) as pool:
        upper = pool.submit(two.agree, 1)
        half = pack(STATEMENT, json.dumps({"pid": 0}).encode())[:20]
        two.call(1, [half], source=two.addresses[0]).close()
        lower = pool.submit(two.agree, 0)
        assert lower.result(60).kind == upper.result(60).kind == "agreed"


def test_half_a_message_and_nothing_after_it_is_named(two: Table) -> None:
    with ThreadPoolExecutor(1) as pool:
        agreement = pool.submit(two.agree, 1, agree_seconds=0.5)
        two.call(1, [MAGIC], source=two.addresses[0]).close()
        outcome = agreement.result(60)
        assert (outcome.kind, outcome.peer, outcome.detail) == (
            "incompatible",
            0,
            "sent half a message",
        )


def test_a_listener_that_closes_connections_is_not_e3(two: Table) -> None:
    """An MPyC closes the connection when a caller names a pid that does not exist."""

    def hang_up() -> None:
        while True:
            try:
                connection, _ = two.listeners[1].accept()
            except OSError:
                return
            with connection:
                assert int.from_bytes(connection.recv(2), "little") == 0xFFFF

    thread = threading.Thread(target=hang_up)
    thread.start()
    try:
        outcome = two.agree(0)
        assert (outcome.kind, outcome.peer) == ("incompatible", 1)
        assert outcome.detail == "hangs up on E3's agreement, as MPyC does"
    finally:
        two.listeners[1].shutdown(socket.SHUT_RDWR)
        thread.join()


def test_a_flood_is_cut_off_at_once(two: Table) -> None:
    with ThreadPoolExecutor(1) as pool:
        agreement = pool.submit(two.agree, 1)
        caller = two.call(1, [], source=two.addresses[0])
        head = HEADER.pack(MAGIC, VERSION, STATEMENT, 2**31)
        with pytest.raises(ConnectionError):
            caller.sendall(head + bytes(1_000_000_000))
        assert agreement.result(60).detail == "announced a message of 2147483648 bytes"


def test_many_callers_from_a_partys_address_do_not_keep_it_out(two: Table) -> None:
    with ThreadPoolExecutor(2) as pool:
        upper = pool.submit(two.agree, 1)
        for _ in range(100):
            two.call(1, [], source=two.addresses[0])
        lower = pool.submit(two.agree, 0)
        assert lower.result(60).kind == upper.result(60).kind == "agreed"


def test_a_flood_from_one_party_drops_no_connection_of_another() -> None:
    with Table(3) as table, ThreadPoolExecutor(1) as pool:
        outcome = pool.submit(table.agree, 2)
        first = table.call(2, [], source=table.addresses[1])
        for _ in range(200):
            table.call(2, [], source=table.addresses[0])
        first.sendall(stated(1, to=2))
        assert first.recv(len(MAGIC)) == MAGIC  # it answers
        while not outcome.done():
            table.call(2, [], source=table.addresses[0])
        ended = outcome.result(60)
        assert (ended.kind, ended.peer) == ("incompatible", 0)
        assert ended.detail == "opened more than 500 connections and stated nothing"


def stated(pid: int, *, to: int, facts: object = None) -> bytes:
    claim = {"pid": pid, "to": to, "facts": dict(FACTS) if facts is None else facts}
    return pack(STATEMENT, json.dumps(claim).encode())


@pytest.mark.parametrize("said", [(None, ""), (1, "sent half a message"), (2, "\x1b[2J{x}")])
def test_the_party_that_calls_it_off_is_told_from_the_one_at_fault(
    said: tuple[int | None, str],
) -> None:
    with Table(3) as table, ThreadPoolExecutor(1) as pool:
        outcome = pool.submit(table.agree, 2)
        caller = table.call(2, [stated(0, to=2)], source=table.addresses[0])
        assert caller.recv(len(MAGIC)) == MAGIC
        caller.sendall(frames.pack_off(*said))
        ended = outcome.result(60)
        assert (ended.kind, ended.by, ended.peer, ended.found) == ("incompatible", 0, said[0], {})
        assert ended.detail.isprintable()


def test_the_others_are_told_why_it_is_called_off() -> None:
    with Table(3) as table, ThreadPoolExecutor(1) as pool:
        outcome = pool.submit(table.agree, 2)
        told = table.call(2, [stated(1, to=2)], source=table.addresses[1])
        assert told.recv(len(MAGIC)) == MAGIC
        table.call(2, [b"GET / HTTP/1.1\r\n\r\n"], source=table.addresses[0])
        assert outcome.result(60).peer == 0
        heard = bytearray(MAGIC)
        while data := told.recv(65_536):
            heard += data
        assert unpack(heard, 3) is not None  # its statement
        kind, body = unpack(heard, 3) or (0, b"")
        assert kind == frames.OFF
        assert frames.decode_off(body, 3) == (0, "speaks HTTP instead of E3's agreement")


def test_a_party_that_leaves_after_it_was_called_off_is_not_blamed() -> None:
    """The connection of a party that leaves may end before that of the one that called it off."""
    with Table(3) as table, ThreadPoolExecutor(1) as pool:
        outcome = pool.submit(table.agree, 2)
        links = [table.call(2, [stated(pid, to=2)], source=table.addresses[pid]) for pid in (0, 1)]
        for link in links:
            assert link.recv(len(MAGIC)) == MAGIC
        links[0].sendall(frames.pack_off(1, "went away"))
        reset(links[1])
        assert (outcome.result(60).by, outcome.result().kind) == (0, "incompatible")


@given(st.binary(max_size=300))
def test_any_reason_to_call_it_off_is_text_or_refused(body: bytes) -> None:
    try:
        peer, detail = frames.decode_off(body, 3)
    except ForeignError:
        return
    assert peer in {None, 0, 1, 2}
    assert detail.isprintable()


def test_tunnels_rest_between_the_probes_of_many_parties() -> None:
    few, many = links.Times.of(6), links.Times.of(300)
    assert few.probe_seconds == links.PROBE_SECONDS
    assert 300 * 299 / many.probe_seconds == pytest.approx(links.MOST_PROBES_A_SECOND)
    assert many.probe_seconds > WIREGUARD_REJECTS_SECONDS


def test_a_broken_connection_is_made_again(two: Table) -> None:
    with ThreadPoolExecutor(2) as pool:
        lower = pool.submit(two.agree, 0)
        connection, _ = two.listeners[1].accept()
        reset(connection)
        upper = pool.submit(two.agree, 1)
        assert lower.result(60).kind == upper.result(60).kind == "agreed"


@pytest.mark.parametrize("end", [socket.socket.close, reset, vanish])
def test_a_party_whose_connection_broke_may_state_again(
    monkeypatch: pytest.MonkeyPatch, end: Callable[[socket.socket], None]
) -> None:
    monkeypatch.setattr(links, "PROBE_SECONDS", 1.0)
    with Table(3) as table, ThreadPoolExecutor(3) as pool:
        first = pool.submit(table.agree, 0)
        connection, _ = table.listeners[1].accept()
        assert connection.recv(65536).startswith(MAGIC)
        connection.sendall(stated(1, to=0))
        end(connection)
        second = pool.submit(table.agree, 1)
        time.sleep(2.5)  # the first asks whether the connection is alive
        others = [second, pool.submit(table.agree, 2)]
        assert {task.result(60).kind for task in (first, *others)} == {"agreed"}


valid = pack(
    STATEMENT, json.dumps({"pid": 0, "to": 1, "facts": dict(FACTS)}, sort_keys=True).encode()
)
foreign = st.binary(max_size=200).filter(lambda data: not MAGIC.startswith(data[: len(MAGIC)]))
framed = st.builds(pack, st.integers(0, 255), st.binary(max_size=99))


@given(st.one_of(foreign, framed, st.binary(max_size=64).map(lambda tail: MAGIC + tail)))
def test_random_messages_are_refused_or_incomplete(data: bytes) -> None:
    incoming = bytearray(data)
    try:
        message = unpack(incoming, 3)
    except ForeignError:
        return
    if message is None:
        assert MAGIC.startswith(data[: len(MAGIC)])
    elif message[0] == STATEMENT and message[1]:
        with pytest.raises(ForeignError):
            frames.decode(message[1] + b"!")


@given(st.integers(0, len(valid) - 1))
def test_a_truncated_message_is_incomplete(length: int) -> None:
    incoming = bytearray(valid[:length])
    assert unpack(incoming, 3) is None
    assert bytes(incoming) == valid[:length]
    incoming += valid[length:]
    assert unpack(incoming, 3) == (STATEMENT, valid[HEADER.size :])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(foreign.filter(bool))
def test_random_bytes_from_a_party_end_the_agreement(two: Table, data: bytes) -> None:
    sent = threading.Event()

    def garble() -> None:
        caller = two.call(1, [data], source=two.addresses[0])
        sent.wait(60)
        caller.close()

    thread = threading.Thread(target=garble)
    thread.start()
    outcome = two.agree(1)
    sent.set()
    thread.join()
    assert (outcome.kind, outcome.peer) == ("incompatible", 0)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, len(valid) - 1))
def test_truncated_messages_keep_no_party_out(two: Table, length: int) -> None:
    with ThreadPoolExecutor(2) as pool:
        two.call(1, [valid[:length]], source=two.addresses[0]).close()
        tasks = [pool.submit(two.agree, pid) for pid in (0, 1)]
        assert {task.result(60).kind for task in tasks} == {"agreed"}


def test_every_field_gives_its_reason() -> None:
    for name, field in FIELDS.items():
        assert field.why, name
        assert "{}" in field.phrase, name


def test_no_majority_names_all() -> None:
    found = differences({0: {"mpyc": "0.9"}, 1: {"mpyc": "0.10"}, 2: {"mpyc": "0.11"}}, must=True)
    assert sentence(found, NAMES) == ("sgp1-0 would run mpyc 0.11, nyc3-0 0.10, ams3-0 0.9")


def test_what_a_peer_states_is_shown_as_text() -> None:
    found = differences({0: {"mpyc": "\x1b[31m" + "x" * 500}, 1: {"mpyc": None}}, must=True)
    shown = sentence(found, NAMES)
    assert shown.isprintable()
    assert len(shown) < 250


def test_a_fact_that_is_not_known_here_must_be_equal() -> None:
    found = differences({0: {}, 1: {"quantum": True}}, must=True)
    assert "quantum" in sentence(found, NAMES)


def test_values_of_different_types_differ() -> None:
    assert differences({0: {"no_prss": True}, 1: {"no_prss": 1}}, must=True)
