"""What links do to packets is decoded from the configuration, and every mistake is named."""

import contextlib
import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from e3.errors import ConfigurationError
from e3.impairments import LIMITS, Impairment, decode

pytestmark = pytest.mark.unit

REGIONS = ("ams3", "nyc3")


def test_a_direction_overrides_its_pair_and_a_pair_all() -> None:
    raw = {
        "nyc3->ams3": {"rate-mbit": 10},
        "nyc3-ams3": {"rate-mbit": 100, "jitter-ms": 2},
        "all": {"loss": 0.01},
    }
    assert decode(raw, REGIONS) == {
        ("ams3", "ams3"): Impairment(loss=0.01),
        ("ams3", "nyc3"): Impairment(loss=0.01, jitter_ms=2.0, rate_mbit=100.0),
        ("nyc3", "ams3"): Impairment(loss=0.01, jitter_ms=2.0, rate_mbit=10.0),
        ("nyc3", "nyc3"): Impairment(loss=0.01),
    }


MISTAKES: dict[str, tuple[dict[str, Any], str]] = {
    "region": (
        {"ams3-mars": {}},
        "e3:links: 'ams3-mars' is neither all nor two of ams3, nyc3, joined by a hyphen or",
    ),
    "way": ({"ams3>nyc3": {}}, "e3:links: 'ams3>nyc3' is neither"),
    "value": ({"all": 0.1}, "e3:links: all is 0.1; write properties, as in {loss: 0.01}"),
    "property": ({"all": {"lose": 1}}, "e3:links: all has no 'lose'; choose of jitter-ms, loss, r"),
    "type": ({"all": {"loss": "1%"}}, "e3:links: all: loss is '1%'; write a number"),
    "truth": ({"all": {"loss": True}}, "e3:links: all: loss is True; write a number"),
    "none": ({"all": {"rate-mbit": None}}, "e3:links: all: rate-mbit is None; write a number"),
    "range": ({"all": {"loss": 2}}, "e3:links: all: loss is 2.0; it must be between 0 and 1"),
    "no number": ({"all": {"loss": float("nan")}}, "e3:links: all: loss is nan; it must be"),
    "break": (
        {"ams3-nyc3": {"breaks-for-seconds": 5}},
        "e3:links: ams3-nyc3: breaks-for-seconds needs breaks-every-seconds",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES, ids=str)
def test_a_mistake_is_named(mistake: str) -> None:
    raw, said = MISTAKES[mistake]
    with pytest.raises(ConfigurationError, match=re.escape(said)):
        decode(raw, REGIONS)


@given(
    st.dictionaries(st.text(max_size=12), st.dictionaries(st.text(max_size=9), st.integers())),
)
def test_nonsense_is_refused_and_never_breaks_the_decoder(raw: dict[str, Any]) -> None:
    with contextlib.suppress(ConfigurationError):
        decode(raw, REGIONS)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            name: st.floats(*LIMITS[name]) for name in LIMITS if not name.startswith("breaks")
        },
    )
)
def test_properties_are_the_values_that_differ(values: dict[str, float]) -> None:
    link = Impairment(**values)
    assert Impairment(**json.loads(json.dumps(link.to_properties()))) == link
