"""What runs at GitHub: pinned by commit, with no more rights and secrets than it needs."""

import re
from collections.abc import Mapping
from typing import Any

import pytest
import yaml

from tests.stack import ROOT

WORKFLOWS = sorted((ROOT / ".github" / "workflows").iterdir())
PINNED = re.compile(r"uses: [\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$")
SECRET = re.compile(r"\bsecrets\b(?!\.\w+ != \'\')")
"""The value of one; whether there is one may be asked."""


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
class TestWorkflow:
    def test_actions_are_pinned_by_commit_with_their_version(self, path: Any) -> None:  # noqa: ANN401
        lines = [line for line in path.read_text().splitlines() if "uses:" in line]
        assert lines
        for line in lines:
            assert PINNED.search(line), line

    def test_it_may_read_and_nothing_else(self, path: Any) -> None:  # noqa: ANN401
        workflow: Mapping[str, Any] = yaml.safe_load(path.read_text())
        assert workflow["permissions"] == {"contents": "read"}
        assert all("permissions" not in job for job in workflow["jobs"].values())

    def test_no_credential_stays_in_the_checkout(self, path: Any) -> None:  # noqa: ANN401
        for step in steps(path.read_text()):
            if step.get("uses", "").startswith("actions/checkout@"):
                assert step["with"]["persist-credentials"] is False

    def test_secrets_are_given_to_single_steps_of_our_own(self, path: Any) -> None:  # noqa: ANN401
        text = re.sub(r"(?m)^ *#.*", "", path.read_text())
        holders = [step for step in steps(text) if SECRET.search(str(step))]
        assert len(SECRET.findall(text)) == sum(len(SECRET.findall(str(it))) for it in holders)
        for step in holders:
            assert "uses" not in step
            assert "pip" not in step["run"]


def steps(text: str) -> list[Mapping[str, Any]]:
    jobs = yaml.safe_load(text)["jobs"].values()
    return [step for job in jobs for step in job["steps"]]
