"""What the probe on a host reports is taken only if it has the right form."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from e3 import contact
from e3.contact import ProbeReport
from tests.hosts import host

pytestmark = pytest.mark.unit

HOSTS = [host("ams3-0", "198.18.0.2"), host("ams3-1", "198.18.0.3")]


def report(line: bytes) -> ProbeReport:
    return contact._report(HOSTS[0], line, HOSTS)  # noqa: SLF001 -- its one reader


def test_a_right_report_is_taken() -> None:
    said = {"rtt_ms": {"ams3-1": 1.5}, "ago": {"ams3-1": 0.1}, "errors": {}}
    assert report(json.dumps(said).encode()).rtt_ms == {"ams3-1": 1.5}


@pytest.mark.parametrize(
    "line",
    [
        "",
        "[]",
        "{}",
        '{"rtt_ms": {"ams3-1": 1}, "ago": {}, "errors": {}}',
        '{"rtt_ms": {"mars": 1}, "ago": {"mars": 1}, "errors": {}}',
        '{"rtt_ms": {"ams3-0": 1}, "ago": {"ams3-0": 1}, "errors": {}}',
        '{"rtt_ms": {"ams3-1": "x"}, "ago": {"ams3-1": 1}, "errors": {}}',
        '{"rtt_ms": {"ams3-1": -1}, "ago": {"ams3-1": 1}, "errors": {}}',
        '{"rtt_ms": {}, "ago": {}, "errors": []}',
        "[" * 100_000,
    ],
)
def test_any_other_is_the_reason_why_a_host_met_nobody(line: str) -> None:
    found = report(line.encode())
    assert found.rtt_ms == {}
    assert found.errors["ams3-1"].startswith("the probe on ams3-0 ended and said ")


@given(line=st.binary())
def test_no_report_is_an_exception(line: bytes) -> None:
    assert report(line).errors.keys() == {"ams3-1"}
