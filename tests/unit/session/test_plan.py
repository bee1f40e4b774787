"""Plans: each party's index and endpoint, and what makes a session run again."""

from dataclasses import replace
from pathlib import Path

import pytest

from e3.errors import ConfigurationError
from e3.experiment import Program
from e3.interfaces import Host
from e3.session.plan import Plan, plan
from tests.local_access import local_hosts

pytestmark = pytest.mark.unit

PROGRAM = Program(path=Path("p.py"), entry="p.py", digest="d0", args=("-x",))


def made(hosts: list[Host], parties: int, program: Program = PROGRAM, trigger: str = "") -> Plan:
    addresses = {host.name: host.underlay for host in hosts}
    return plan(hosts=hosts, addresses=addresses, program=program, parties=parties, trigger=trigger)


def seats(plan: Plan) -> list[tuple[int, str, str]]:
    return [(seat.pid, seat.host, str(seat.endpoint)) for seat in plan.seats]


def test_parties_sit_in_the_order_of_the_configuration(tmp_path: Path) -> None:
    assert seats(made(local_hosts(tmp_path, 3), 2)) == [
        (0, "local-0", "127.0.0.2:11365"),
        (1, "local-1", "127.0.0.3:11366"),
    ]


def test_who_cannot_be_reached_dials_and_so_comes_first(tmp_path: Path) -> None:
    hosts = local_hosts(tmp_path, 4)
    for i in (1, 3):
        hosts[i] = replace(hosts[i], reachability="nat")  # type: ignore[arg-type]  # to come
    names = [seat.host for seat in made(hosts, 4).seats]
    assert names == ["local-1", "local-3", "local-0", "local-2"]


@pytest.mark.parametrize("parties", [0, -1, 4])
def test_more_parties_than_hosts(tmp_path: Path, parties: int) -> None:
    with pytest.raises(ConfigurationError, match=f"e3:parties: {parties} parties on 3 hosts"):
        made(local_hosts(tmp_path, 3), parties)


def test_what_makes_a_session_run_again(tmp_path: Path) -> None:
    hosts = local_hosts(tmp_path, 3)
    first = made(hosts, 3)
    assert made(local_hosts(tmp_path / "other", 3), 3).digest == first.digest
    others = [
        made(hosts, 2),
        made(hosts[::-1], 3),
        made(local_hosts(tmp_path, 3, first=5), 3),
        made(hosts, 3, trigger="again"),
        made(hosts, 3, replace(PROGRAM, digest="d1")),
        made(hosts, 3, replace(PROGRAM, args=("-y",))),
    ]
    assert len({first.digest, *(other.digest for other in others)}) == 7


def test_among_many_hosts_all_parties_have_the_same_port(tmp_path: Path) -> None:
    hosts = local_hosts(tmp_path, 65)
    assert [seat.endpoint.port for seat in made(hosts[:64], 3).seats] == [11365, 11366, 11367]
    many = made(hosts, 65).seats
    assert {seat.endpoint.port for seat in many} == {11365}
    assert len({seat.endpoint.address for seat in many}) == 65
