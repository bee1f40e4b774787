"""Sessions without a deployer between machines behind home routers, at terminals."""

import asyncio
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from e3.interfaces import File
from e3.lab.client import HostHandle, Lab
from e3.nats import Reachability
from tests.adhoc import COUNTING, LINK, PersonAtHome, acquainted, mediator, rooms_work
from tests.commands import ROOT
from tests.labs import running

pytestmark = [
    pytest.mark.lab,
    pytest.mark.skipif(
        not rooms_work() or os.geteuid() != 0,
        reason="needs user namespaces, /dev/net/tun, e3-tunnel, and a lab of root's",
    ),
]

AUCTION = str(ROOT / "demos/auction.py")
NATS: dict[str, Reachability] = {
    "a-0": "port-restricted",
    "b-0": "port-restricted",
    "b-1": "symmetric",
}


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with running(tmp_path_factory.mktemp("adhoc"), {("a", "b"): 20.0}, ["a", "b"]) as made:
        made.add_hosts([("a-0", "a"), ("b-0", "b"), ("b-1", "b"), ("a-1", "a")], NATS)
        yield made


@pytest.fixture
def hosts(lab: Lab) -> dict[str, HostHandle]:
    return {each.host().name: each for each in lab.hosts()}


USER = "54321"
ORDINARY = f"""
mount -t tmpfs -o mode=755 tmpfs /dev/net && mknod -m 666 /dev/net/tun c 10 200 &&
exec setpriv --reuid {USER} --regid {USER} --clear-groups --inh-caps=-all "$@"
"""
"""A shell command that runs another one as a user without rights; as on most distributions, that
user may open /dev/net/tun."""


def person(host: HostHandle, name: str, url: str) -> PersonAtHome:
    """Return somebody without rights on their machine, which is a host of the lab."""
    as_user = ["unshare", "--mount", "sh", "-c", ORDINARY, "sh"]
    made = PersonAtHome(Path("/tmp") / name, url, [*host.access.nsenter(), "--", *as_user])  # noqa: S108 - the host's own
    assert made.run("id", "--name", name).returncode == 0
    return made


@pytest.mark.parametrize(
    ("third", "relayed"),
    [
        pytest.param("a-1", False, marks=pytest.mark.long),
        pytest.param("b-0", False, marks=pytest.mark.long),
        ("b-1", True),
    ],
    ids=["public", "behind one NAT", "symmetric"],
)
def test_three_people_behind_home_routers_compute(
    hosts: dict[str, HostHandle], third: str, *, relayed: bool
) -> None:
    """The mediator is on a public host; its relay carries what no punching lets through."""
    public = hosts["a-1"]
    inside = [*public.access.nsenter(), "--"]
    address = public.host().underlay
    port = 8440 + ["a-1", "b-0", "b-1"].index(third)  # that of another case may still run there
    with mediator(Path("/root"), port, host=address, inside=inside) as (url, _):
        alice = person(hosts["a-0"], "alice", url)
        bob, carol = (
            person(hosts["b-0"], "bob", url),
            person(hosts[third], f"carol{third.replace('-', '')}", url),
        )
        acquainted([alice, bob, carol])
        asked = ("invite", AUCTION, "--parties", "3", "--yes", "--", "--bid", "200")
        with alice.typing(*asked) as a:
            link = a.await_text(LINK.pattern)[1]
            bid = ("join", link, "--yes", "--json", "--", "--bid")
            with bob.typing(*bid, "310") as b, carol.typing(*bid, "250") as c:
                a.await_text("wins and pays 250")
                assert a.end() == b.end() == c.end() == 0
    printed = c.shown[c.shown.index('{\r\n  "id"') :]
    result = json.loads(printed)
    classes = {path["to"].partition("-")[0]: path["class"] for path in result["paths"]}
    assert result["verdict"] == "completed"
    assert classes == dict.fromkeys(["alice", "bob"], "relayed" if relayed else "direct")


@pytest.mark.long
def test_a_computation_outlives_new_addresses_and_a_rebooted_router(
    lab: Lab, hosts: dict[str, HostHandle]
) -> None:
    program = File(path="/tmp/counting.py", content=COUNTING.encode())  # noqa: S108 - the host's own
    asyncio.run(hosts["a-0"].access.put([program], timeout_seconds=30))
    public = hosts["a-1"]
    inside, address = [*public.access.nsenter(), "--"], public.host().underlay
    with mediator(Path("/root"), 8443, host=address, inside=inside) as (url, _):
        alice, bob = person(hosts["a-0"], "anna", url), person(hosts["b-0"], "ben", url)
        acquainted([alice, bob])
        with alice.typing("invite", program.path, "--args", "150", "--parties", "2", "--yes") as a:
            link = a.await_text(LINK.pattern)[1]
            with bob.typing("join", link, "--yes") as b:
                for each in (a, b):
                    each.await_text("computing")
                lab.renumber_host("a-0")
                lab.reboot_nat("b-0")
                for each in (a, b):
                    each.await_text("counted 300")
                    assert each.end() == 0
