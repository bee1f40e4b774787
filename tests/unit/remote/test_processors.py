"""Where groups of processors are made, by what the kernel shows; a folder stands in for it."""

from pathlib import Path

import pytest

from e3.remote import processors

pytestmark = pytest.mark.unit


def shown(process: Path, mounts: str, groups: str) -> Path:
    process.mkdir()
    (process / "mountinfo").write_text(mounts)
    (process / "cgroup").write_text(groups)
    return process


def test_version_1_makes_them_below_the_own_group(tmp_path: Path) -> None:
    mounts = (
        f"30 25 0:26 /box {tmp_path}/cpu rw shared:9 - cgroup cgroup rw,cpu,cpuacct\n"
        f"31 25 0:27 / {tmp_path}/unified rw - cgroup2 cgroup2 rw\n"
    )
    process = shown(tmp_path / "1", mounts, "4:memory:/m\n1:cpu,cpuacct:/box/own\n0::/\n")
    (tmp_path / "cpu/own").mkdir(parents=True)
    found = processors.controller(process)
    assert found == processors.Controller(tmp_path / "cpu/own", unified=False)
    group = found.make("a-0")
    assert group.place == group.top
    group.limit(0.25)
    assert (group.top / "cpu.cfs_quota_us").read_text() == "2500"
    assert (group.top / "cpu.cfs_period_us").read_text() == "10000"


def test_version_2_makes_them_where_processors_are_apportioned(tmp_path: Path) -> None:
    root = tmp_path / "cgroup"
    own = root / "user.slice/session"
    own.mkdir(parents=True)
    (root / "cgroup.controllers").write_text("cpu memory pids\n")
    (root / "cgroup.subtree_control").write_text("cpu memory pids\n")
    (root / "user.slice/cgroup.subtree_control").write_text("memory\n")
    process = shown(
        tmp_path / "1", f"31 25 0:27 / {root} rw - cgroup2 cgroup2 rw\n", "0::/user.slice/session\n"
    )
    found = processors.controller(process)
    assert found == processors.Controller(root, unified=True)
    group = found.make("a-0")
    assert group.place == group.top / processors.LEAF
    (group.top / "cpu.max").touch()
    group.limit(0.05)
    assert (group.top / "cpu.max").read_text() == "1000 20000"
    group.limit(None)
    assert (group.top / "cpu.max").read_text() == "max 10000"


def test_without_the_controller_there_is_none(tmp_path: Path) -> None:
    (tmp_path / "cgroup.controllers").write_text("memory\n")
    mounts = f"31 25 0:27 / {tmp_path} rw - cgroup2 cgroup2 rw\n"
    assert processors.controller(shown(tmp_path / "1", mounts, "0::/\n")) is None
