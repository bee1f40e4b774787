"""The stack output ``session``: its names are used by scripts."""

import pytest

from e3.paths import PairPath
from e3.session.results import PartyResult, SessionResult
from e3.session.verdicts import Verdict

pytestmark = pytest.mark.unit


def test_the_names_of_a_result() -> None:
    result = SessionResult(
        id="s1",
        program="sum",
        digest="d",
        overlay="plain",
        verdict=Verdict.COMPLETED,
        reason="all 1 parties completed",
        concerned=(),
        advice="",
        parties=(
            PartyResult(
                pid=0,
                host="a-0",
                exit=0,
                seconds=1.5,
                sent_bytes=3,
                output="6\n",
                cpu_seconds=0.4,
                peak_memory_bytes=1000,
            ),
        ),
        setup_seconds=0.5,
        online_seconds=1.0,
        wall_seconds=2.0,
        identity="nothing",
        paths=(PairPath(source="a-0", target="b-0", path_class="direct", rtt_ms=0.4),),
        paths_after=(
            PairPath(source="a-0", target="b-0", path_class="relayed", rtt_ms=0.4, by="c-0"),
        ),
        notes=("the path changed",),
        evidence=".e3/dev/sessions/s1",
    )
    assert result.to_properties() == {
        "id": "s1",
        "program": "sum",
        "digest": "d",
        "overlay": "plain",
        "verdict": "completed",
        "reason": "all 1 parties completed",
        "concerned": [],
        "advice": "",
        "parties": [
            {
                "pid": 0,
                "host": "a-0",
                "exit": 0,
                "seconds": 1.5,
                "sent_bytes": 3,
                "output": "6\n",
                "output_files": 0,
                "output_files_bytes": 0,
                "cpu_seconds": 0.4,
                "peak_memory_bytes": 1000,
            }
        ],
        "setup_seconds": 0.5,
        "online_seconds": 1.0,
        "wall_seconds": 2.0,
        "identity": "nothing",
        "paths": [
            {
                "from": "a-0",
                "to": "b-0",
                "class": "direct",
                "rtt_ms": 0.4,
                "class_after": "relayed",
                "by_after": "c-0",
            }
        ],
        "notes": ["the path changed"],
        "evidence": ".e3/dev/sessions/s1",
    }
