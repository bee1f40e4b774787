"""Droplets at the stand-in cloud: the fleet alone, without overlay and session."""

import os
from collections.abc import Iterator

import pytest

from tests.cloud.stage import Stage, stage

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="sshd needs a lab of root's")


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with stage(tmp_path_factory.mktemp("bare"), bare=True) as made:
        yield made


def test_droplets_answer_and_go(bare: Stage) -> None:
    said = bare.up().said
    assert "3 droplets of size s-1vcpu-1gb cost 0.027 USD an hour" in said
    bare.agree()
    hosts = bare.stack.outputs["hosts"]
    assert [host["host"] for host in hosts] == ["ams3-0", "ams3-1", "sgp1-0"]
    bare.destroyed()
