"""Slow hosts of a real lab: what runs there, and what enters it, has a part of one processor."""

import asyncio
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from e3.ceremonies.assembly import assemble
from e3.ceremonies.voices import attached
from e3.errors import LabError
from e3.interfaces import Host
from e3.lab import slow
from e3.lab.client import Lab
from e3.remote import processors
from tests.labs import running
from tests.stack import until

SHARE = 0.1
WORK = """
import os, resource, time
began = time.monotonic()
while resource.getrusage(resource.RUSAGE_SELF).ru_utime < 0.15:
    pass
print(time.monotonic() - began)
"""
"""Prints in how many seconds it had 0.15 s of a processor."""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    if lacking := slow.shortfall():
        pytest.skip(lacking)
    with running(tmp_path_factory.mktemp("lab"), {("a", "a"): 1.0}, ["a"]) as lab:
        lab.add_hosts([("a-0", "a"), ("a-1", "a")])
        yield lab


def seconds(host: Host) -> float:
    """Return how long the work takes on a host, attached as parties are."""

    async def work() -> float:
        async with host.access.attach([host.python, "-I", "-S", "-c", WORK]) as process:
            return float(await process.stdout.readline())

    return asyncio.run(work())


def throttled(entrance: Path) -> int:
    """Return in how many periods a group had used up its part."""
    place = entrance.parents[entrance.parent.name == processors.LEAF]
    lines = (line.split() for line in (place / "cpu.stat").read_text().splitlines())
    return int(dict(lines)["nr_throttled"])


def groups() -> list[Path]:
    found = processors.controller()
    assert found is not None
    return list(found.folder.glob(f"{processors.NAME}*"))


def test_a_slow_host_has_its_part_until_it_is_whole_again(lab: Lab) -> None:
    hosts = {handle.name: handle for handle in lab.hosts()}
    lab.set_processors({"a-0": SHARE})
    assert seconds(hosts["a-0"].host()) > 0.8 * 0.15 / SHARE
    # its own services are slow as well
    first = processors.entrance(Path("/proc", str(hosts["a-0"].identity.pid)))
    assert str(hosts["a-0"].identity.pid) in Path(first).read_text().split()
    assert not processors.entrance(Path("/proc", str(hosts["a-1"].identity.pid)))
    before = throttled(Path(first))
    assert before
    lab.set_processors({})
    seconds(hosts["a-0"].host())
    assert throttled(Path(first)) == before


def test_a_holder_of_a_joint_authority_is_as_slow_as_its_host(lab: Lab) -> None:
    hosts = [handle.host() for handle in lab.hosts()]
    lab.set_processors({"a-0": SHARE})

    async def holders() -> list[str]:
        async with attached(hosts) as (voices, absent):
            assert (sorted(voices), absent) == (["a-0", "a-1"], {})
            await assemble("nebula", voices, absent)
            look = ["sh", "-c", 'cat "/proc/$(pgrep -of joint.holder)/cgroup"']
            return [
                (await host.access.run(look, timeout_seconds=30)).stdout.decode() for host in hosts
            ]

    slow, whole = asyncio.run(holders())
    assert processors.NAME in slow
    assert whole
    assert processors.NAME not in whole
    lab.set_processors({})


@pytest.mark.parametrize("dies", [False, True], ids=["removed", "died"])
def test_a_host_that_goes_leaves_no_group(lab: Lab, dies: bool) -> None:  # noqa: FBT001
    (handle,) = lab.add_hosts([("a-1", "a")])
    lab.set_processors({"a-1": SHARE})
    own = [group for group in groups() if group.name.endswith("-a-1")]
    assert own
    if dies:
        os.kill(handle.identity.pid, signal.SIGKILL)
        until(lambda: "a-1" not in [host["name"] for host in lab.status()["hosts"]], "its end", 30)
    else:
        lab.remove_host("a-1")
    assert not [group for group in own if group.exists()]


def test_a_host_that_is_not_there_is_named(lab: Lab) -> None:
    with pytest.raises(LabError, match="no host 'b-7'"):
        lab.set_processors({"b-7": SHARE})


@pytest.mark.usefixtures("lab")
def test_what_a_killed_process_left_is_removed() -> None:
    found = processors.controller()
    assert found is not None
    left = found.folder / f"{processors.NAME}999999999-gone"
    left.mkdir()
    found.make("next").remove()
    assert not left.exists()
