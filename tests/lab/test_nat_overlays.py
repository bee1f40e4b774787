"""Overlays across NATs: pairs are direct where real NATs allow it, and only there."""

import asyncio
import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from e3 import contact
from e3.errors import OverlayError
from e3.evaluation import nat_matrix
from e3.evaluation.diagnosis import diagnose
from e3.interfaces import Host, Overlay
from e3.lab.client import Lab
from e3.overlays import OVERLAYS, tinc
from e3.overlays.iroh import Iroh
from e3.overlays.nebula import Nebula
from e3.overlays.plain import Plain
from e3.overlays.tailscale.headscale import Headscale
from e3.overlays.tinc import RESTARTED_KEY_SECONDS, Tinc
from e3.paths import PathClass
from e3.session.verdicts import Verdict
from tests.labs import running
from tests.overlays import Mesh, ask, processes, skip_without_programs
from tests.sessions import Bench

DEMOS = Path(__file__).parents[2] / "demos"
SETTLE_SECONDS = 6.0  # paths are direct after 1 s here; Nebula punches once more after 5 s
AGAIN_SECONDS = 60.0
CLASSES = (
    "public",
    "address-restricted",
    "port-restricted",
    "symmetric",
    "ipv6-only",
)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with running(tmp_path_factory.mktemp("lab"), {("a", "b"): 4.0}, ["a", "b"]) as lab:
        yield lab


def made(lab: Lab, **classes: str) -> list[Host]:
    """Return hosts behind NATs, by name with an underscore."""
    nats = {name.replace("_", "-"): kind for name, kind in classes.items()}
    return [h.host() for h in lab.add_hosts([(name, name[0]) for name in nats], nats)]


def test_a_party_behind_a_nat_computes_over_the_plain_network(lab: Lab, tmp_path: Path) -> None:
    hosts = made(lab, a_0="public", a_1="public", b_0="symmetric")
    mesh = Mesh(lab, Plain(), hosts)
    mesh.connect(*(host.name for host in hosts))
    paths = mesh.verify_pairs()
    assert len(paths) == 6  # the hosts that cannot dial have their path, too
    assert {path.path_class for path in paths} == {"direct"}
    result = Bench(tmp_path, hosts).run(DEMOS / "secret_santa.py")
    assert result.verdict is Verdict.COMPLETED, result.reason
    assert [party.host for party in result.parties] == ["b-0", "a-0", "a-1"]


def test_two_hosts_behind_nats_are_named_where_nothing_joins_them(lab: Lab) -> None:
    hosts = made(lab, a_0="public", a_1="cgnat", b_0="symmetric")
    mesh = Mesh(lab, Plain(), hosts)
    mesh.connect(*(host.name for host in hosts))
    with pytest.raises(OverlayError, match=r"neither of a-1 \(cgnat\) and b-0 \(symmetric\) can"):
        mesh.verify_pairs()


def test_a_diagnosis_knows_both_networks_and_says_what_would_help(lab: Lab) -> None:
    hosts = made(lab, a_0="public", a_1="ipv6-only", b_0="symmetric", b_1="port-restricted")
    mesh = Mesh(lab, Nebula(), hosts)
    network = mesh.connect(*(host.name for host in hosts))
    mesh.verify_pairs()
    found = asyncio.run(diagnose(mesh.overlay, hosts, network))
    pairs = {(one.source, one.target): one for one in found}
    assert len(pairs) == len(found) == 12
    relayed, direct = pairs["b-1", "b-0"], pairs["a-0", "b-0"]
    assert (relayed.level, relayed.path_class, relayed.by) == ("WARN", "relayed", "a-0")
    assert relayed.underlay_rtt_ms is None
    assert "it would be direct if b-0 were port-restricted" in relayed.advice
    assert direct.underlay_rtt_ms is not None
    assert direct.underlay_rtt_ms > 4.0
    # by IPv6, which the other has, too
    assert pairs["a-1", "a-0"].underlay_rtt_ms is not None
    assert pairs["a-1", "b-0"].underlay_rtt_ms is None
    assert "no IP version in common" in pairs["a-1", "b-0"].advice


def test_throughput_is_measured_from_who_can_dial(lab: Lab) -> None:
    hosts = made(lab, a_0="public", b_0="cgnat")
    network = Mesh(lab, Plain(), hosts).connect("a-0", "b-0")
    found = asyncio.run(diagnose(Plain(), hosts, network, flood_seconds=0.5))
    rates = {one.source: one.mbit_per_second for one in found}
    assert rates["a-0"] is None  # nobody can dial b-0
    assert rates["b-0"] is not None
    assert rates["b-0"] > 1.0


@pytest.mark.parametrize(
    ("overlay", "kind"),
    [
        (Headscale(), "corporate"),
        pytest.param(
            Headscale(),
            "http-proxy",
            marks=pytest.mark.skipif(
                shutil.which("tinyproxy") is None, reason="tinyproxy is not installed"
            ),
        ),
        (Tinc(port=443), "tcp-443-only"),
        (Iroh(relay_port=443), "tcp-443-only"),
    ],
    ids=["headscale", "headscale by proxy", "tinc", "iroh"],
)
def test_who_has_port_443_alone_is_joined_by_relay(lab: Lab, overlay: Overlay, kind: str) -> None:
    skip_without_programs("iroh", overlay)
    hosts = made(lab, a_0="public", a_1=kind, b_0="port-restricted")
    mesh = Mesh(lab, overlay, hosts)
    mesh.connect(*(host.name for host in hosts))
    by = {(path.source, path.target): path.by for path in mesh.verify_pairs()}
    assert len(by) == 6
    assert by["a-1", "b-0"] == by["b-0", "a-1"] == "a-0"


def settled(mesh: Mesh) -> Mapping[contact.Pair, PathClass]:
    """Join all hosts; return the path of each pair, once those that can be direct had the time."""
    network = mesh.connect(*(host.name for host in mesh.hosts))
    since = time.monotonic()
    found = mesh.verify_pairs()
    waited = contact.wait_for_direct(mesh.overlay, mesh.hosts, network, found, since=since)
    return {(path.source, path.target): path.path_class for path in asyncio.run(waited)}


def test_tinc_connects_directly_whatever_the_hub_is_called(lab: Lab) -> None:
    hosts = made(lab, b_0="public", a_0="public", a_1="port-restricted", b_1="port-restricted")
    mesh = Mesh(lab, Tinc(), hosts)
    classes = settled(mesh)
    assert classes["a-1", "b-1"] == classes["b-1", "a-1"] == "direct"


def test_tinc_knows_by_which_port_each_host_of_one_home_is_reached(lab: Lab) -> None:
    hosts = made(lab, a_0="public", a_1="port-restricted", b_0="shared-home", b_1="shared-home")
    mesh = Mesh(lab, Tinc(), hosts)
    network = mesh.connect(*(host.name for host in hosts))
    dump = ask(mesh.host("a-0"), "sh", f"{tinc.CONFIGURATION}/{tinc.SCRIPT}", *tinc.PLACES, "dump")
    passed = {line["name"]: int(line["passed"]) for line in tinc.NODE.finditer(dump)}
    # the hub has had their packets over UDP before they send each other any
    assert all(passed[tinc.node(host, network.addresses)] > 0 for host in hosts[1:])
    classes = settled(mesh)
    for home in ("b-0", "b-1"):
        assert classes["a-1", home] == classes[home, "a-1"] == "direct"


def test_a_tinc_that_died_tells_its_new_keys_soon(lab: Lab) -> None:
    hosts = made(lab, a_0="public", a_1="port-restricted", b_1="port-restricted")
    mesh = Mesh(lab, Tinc(), hosts)
    mesh.connect(*(host.name for host in hosts))
    hidden = mesh.host("a-1")

    def running() -> list[list[str]]:
        return [line.split(maxsplit=1) for line in processes(hidden) if "tincd -D" in line]

    ((first, command),) = running()
    assert "KeyExpire" not in command
    mesh.with_options(keepalive=7)  # so that all restart
    mesh.connect(*(host.name for host in hosts))
    ((second, same),) = running()
    assert second != first
    assert same == command
    ask(hidden, "pkill", "-KILL", "-x", "tincd")
    deadline = time.monotonic() + AGAIN_SECONDS
    # tinc overwrites its option in its command line.
    again = f"{command} -o KeyExpire {RESTARTED_KEY_SECONDS}"
    while [command for _, command in running()] != [again]:
        assert time.monotonic() < deadline, running()
        time.sleep(0.05)


@pytest.mark.parametrize("name", ["nebula", "plain"])
def test_paths_are_as_docs_nat_matrix_says(name: str, tmp_path: Path) -> None:
    matrix = nat_matrix.measure(
        name,
        OVERLAYS[name](),
        tmp_path / "lab",
        settle_seconds=SETTLE_SECONDS,
        classes=CLASSES,
    )
    assert len(matrix.cells) == 15
    assert matrix.surprises == []
