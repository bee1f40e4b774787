"""What `e3 paths` thinks of a path, and what it advises."""

import pytest

from e3.evaluation.diagnosis import judge
from e3.evaluation.nat_matrix import load
from e3.nats import Reachability
from e3.paths import PairPath, PathClass

CASES: dict[str, tuple[tuple[Reachability, Reachability], PathClass, float, str, str]] = {
    "good": (("public", "symmetric"), "direct", 11.0, "OK", ""),
    "slow": (("public", "public"), "direct", 16.0, "WARN", "takes 16.0 ms where the network below"),
    "symmetric": (
        ("symmetric", "symmetric"),
        "relayed",
        30.0,
        "WARN",
        "it would be direct if a-0 were full-cone",
    ),
    "unlucky": (
        ("port-restricted", "cgnat"),
        "relayed",
        30.0,
        "WARN",
        "relayed by c-0, though the port that the lighthouse sees is the one that the peer needs",
    ),
}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_path_that_was_found(case: str) -> None:
    kinds, path_class, rtt_ms, level, said = CASES[case]
    by = "c-0" if path_class == "relayed" else ""
    path = PairPath(source="a-0", target="b-0", path_class=path_class, rtt_ms=rtt_ms, by=by)
    classes = dict(zip(("a-0", "b-0"), kinds, strict=True))
    found = judge("nebula", ("a-0", "b-0"), path, 10.0, "", classes, load())
    assert (found.level, found.by, found.overlay_rtt_ms) == (level, by, rtt_ms)
    assert said in found.advice


def test_an_overlay_of_which_nothing_is_expected_gets_no_advice() -> None:
    path = PairPath(source="a-0", target="b-0", path_class="relayed", rtt_ms=9.0)
    classes: dict[str, Reachability] = {"a-0": "cgnat", "b-0": "cgnat"}
    assert judge("pigeon", ("a-0", "b-0"), path, None, "", classes, load()).advice == "relayed"


def test_a_pair_that_does_not_talk() -> None:
    classes: dict[str, Reachability] = {"a-0": "public", "b-0": "public"}
    found = judge("nebula", ("a-0", "b-0"), None, 10.0, "timed out", classes, load())
    assert (found.level, found.path_class, found.overlay_rtt_ms) == ("FAIL", "none", None)
    assert "timed out" in found.advice
