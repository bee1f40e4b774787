"""Records of a small campaign, for tests: each with what a test asks for."""

from pathlib import Path
from typing import Any

from e3.evaluation import results
from e3.evaluation.campaign.cell import Progress
from e3.evaluation.campaign.matrix import Matrix
from e3.evaluation.results_file import Writer
from e3.session.verdicts import Verdict

CELL = "plain/near"
DIGEST = "0" * 64
STARTED = "2026-11-20T10:00:00.000+00:00"


def progress(matrix: Matrix, folder: Path, writer: Writer) -> Progress:
    """Return the progress of a campaign of which nobody is told."""
    return Progress(
        matrix=matrix,
        root=folder,
        folder=folder,
        writer=writer,
        tell=lambda _cell, _what: None,
        e3="",
        commit="",
    )


def overlay(name: str) -> results.OverlayChoice:
    return results.OverlayChoice(id=name, overlay=name)


def campaign(**changes: Any) -> results.CampaignRecord:  # noqa: ANN401 -- the fields of the record
    values: dict[str, Any] = {
        "schema": results.SCHEMA,
        "name": "small",
        "digest": DIGEST,
        "seed": 1,
        "repetitions": 3,
        "started": STARTED,
        "e3": "0.1.0",
        "commit": "0" * 40,
        "overlays": [results.OverlayChoice(id="plain", overlay="plain")],
        "scenarios": [results.ScenarioChoice(id="near", fleet="lab", regions={"ams3": 2})],
        "programs": [
            results.ProgramChoice(
                id="rounds", group="rounds", program="campaigns/programs/rounds.py", digest=DIGEST
            )
        ],
    }
    return results.CampaignRecord(**{**values, **changes})


def setup(**changes: Any) -> results.SetupRecord:  # noqa: ANN401 -- the same
    values: dict[str, Any] = {
        "cell": CELL,
        "setup": 0,
        "started": STARTED,
        "stack": "campaign_small_plain_near",
        "versions": {"mpyc": "0.11"},
        "programs": "",
        "machine": results.MachineFacts(
            system="x86_64-linux",
            kernel="6.18",
            processor="one",
            cores=2,
            memory_bytes=8 << 30,
            load_1m=0.5,
        ),
        "hosts": [
            results.HostFacts(
                name=f"ams3-{pid}",
                region="ams3",
                system="x86_64-linux",
                reachability="public",
                underlay_address=f"198.18.0.{2 + pid}",
                overlay_address=f"198.18.0.{2 + pid}",
                pid=pid,
            )
            for pid in (0, 1)
        ],
        "deploy_seconds": 8.0,
        "overlay_seconds": 0.4,
        "settled_seconds": 0.4,
        "pairs": [
            results.JoinedPair(
                source="ams3-0", target="ams3-1", path_class="direct", contact_seconds=0.1
            )
        ],
        "baseline": [],
        "throughput": [],
        "measuring_seconds": 1.0,
    }
    return results.SetupRecord(**{**values, **changes})


def repetition(**changes: Any) -> results.RepetitionRecord:  # noqa: ANN401 -- the same
    values: dict[str, Any] = {
        "cell": CELL,
        "program": "rounds",
        "repetition": 0,
        "order": 0,
        "setup": 0,
        "started": STARTED,
        "session": "20261120-100000-abcd",
        "verdict": Verdict.COMPLETED,
        "reason": "all parties ended well",
        "setup_seconds": 0.5,
        "online_seconds": 1.5,
        "wall_seconds": 2.2,
        "own_seconds": 0.2,
        "measuring_seconds": 0.6,
        "load_1m": 0.5,
        "parties": [
            results.PartyCost(
                pid=pid,
                host=f"ams3-{pid}",
                exit=0,
                seconds=2.0,
                sent_bytes=1000,
                cpu_seconds=0.4,
                peak_memory_bytes=30 << 20,
                stated_rounds=10,
                stated_bytes=900,
            )
            for pid in (0, 1)
        ],
        "hosts": [],
        "paths": [],
        "round_trips": [],
        "disturbances": [],
    }
    return results.RepetitionRecord(**{**values, **changes})


def cell(**changes: Any) -> results.CellRecord:  # noqa: ANN401 -- the same
    values: dict[str, Any] = {
        "cell": CELL,
        "ended": STARTED,
        "state": "succeeded",
        "reason": "",
        "verdicts": {Verdict.COMPLETED: 2},
        "destroy_seconds": 3.0,
    }
    return results.CellRecord(**{**values, **changes})
