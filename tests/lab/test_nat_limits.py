"""Overlays before networks that forget mappings soon, swallow large packets, or have a proxy."""

import asyncio
import time
from collections.abc import Iterator, Mapping

import pytest

from e3 import contact
from e3.errors import OverlayError
from e3.interfaces import Host, Overlay
from e3.lab.client import Lab
from e3.overlays import OVERLAYS
from e3.overlays.nebula import Nebula
from e3.overlays.openvpn import OpenVpn
from e3.overlays.plain import Plain
from e3.overlays.wireguard import WireGuard
from tests.labs import running
from tests.overlays import Mesh, skip_without_programs

SILENCE_SECONDS = 40.0
AGAIN_SECONDS = 3.0
"""Once the mapping is gone, a new handshake takes longer: 5 s with WireGuard."""

CROSSING = [
    name
    for name, make in OVERLAYS.items()
    if make().needs.crosses_nats and make().needs.account is None
]
ABLE: Mapping[str, Overlay] = {
    "nebula": Nebula(),  # these two let the packets that carry their own be fragmented
    "wireguard": WireGuard(),
}


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with running(tmp_path_factory.mktemp("lab"), {("a", "b"): 4.0}, ["a", "b"]) as lab:
        yield lab


def joined(lab: Lab, overlay: Overlay, **kinds: str) -> Mesh:
    """Return hosts behind these NATs, by name with an underscore, once the overlay joins them."""
    behind = {name.replace("_", "-"): kind for name, kind in kinds.items()}
    made = lab.add_hosts([(name, name[0]) for name in behind], behind)
    mesh = Mesh(lab, overlay, [handle.host() for handle in made])
    mesh.connect(*behind)
    return mesh


def survey(mesh: Mesh, hosts: list[Host], seconds: float) -> contact.ContactReport:
    return asyncio.run(
        contact.survey(mesh.overlay, hosts, mesh.joined, timeout_seconds=seconds, everyone=True)
    )


@pytest.mark.long
@pytest.mark.parametrize("name", CROSSING)
def test_paths_outlive_a_silence_before_nats_that_forget_after_30_seconds(
    lab: Lab, name: str
) -> None:
    skip_without_programs(name, OVERLAYS[name]())
    mesh = joined(lab, OVERLAYS[name](), a_0="public", a_1="mobile", b_0="short-timeout")
    began = time.monotonic()
    paths = asyncio.run(
        contact.wait_for_direct(
            mesh.overlay, mesh.hosts, mesh.joined, mesh.verify_pairs(), since=began
        )
    )
    classes = {(path.source, path.target): path.path_class for path in paths}
    assert len(classes) == 6
    time.sleep(SILENCE_SECONDS)  # that nothing is sent for so long is what is tested
    again = survey(mesh, mesh.hosts, AGAIN_SECONDS)
    assert again.silent == {}
    assert {(path.source, path.target): path.path_class for path in again.paths} == classes


@pytest.mark.parametrize(
    "name",
    [name if name == "nebula" else pytest.param(name, marks=pytest.mark.long) for name in ABLE],
)
def test_some_overlays_cross_a_path_that_swallows_large_packets(lab: Lab, name: str) -> None:
    mesh = joined(lab, ABLE[name], a_0="public", a_1="port-restricted", b_0="mtu-1280")
    assert len(mesh.verify_pairs()) == 6


@pytest.mark.parametrize("overlay", [OpenVpn(), Plain()], ids=["openvpn", "plain"])
def test_a_path_that_swallows_large_packets_is_no_path(lab: Lab, overlay: Overlay) -> None:
    mesh = joined(lab, overlay, a_0="public", b_0="mtu-1280")
    with pytest.raises(OverlayError, match="small packets pass and full-sized ones do not; set a"):
        asyncio.run(
            contact.verify_pairs(mesh.overlay, mesh.hosts, mesh.joined, timeout_seconds=4.0)
        )
