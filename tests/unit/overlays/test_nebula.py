"""Nebula: which certificates are issued and blocked, and which hosts are lighthouses."""

import asyncio
import base64
import json
import secrets
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from e3.authority import nebula_cert
from e3.authority.local import NebulaCa
from e3.authority.nebula_members import Member, Membership, certify
from e3.errors import AuthorityError
from e3.interfaces import Host, SigningRequest
from e3.overlays.nebula import DAY_SECONDS, Memory, Nebula, NebulaKeys
from e3.overlays.unit import MANY_HOSTS, Members
from tests.hosts import host


def test_lighthouses_stay_and_come_from_other_regions_first() -> None:
    hosts = [
        host("ams3-0", "198.18.0.2"),
        host("ams3-1", "198.18.0.3"),
        host("nyc3-0", "198.18.8.2"),
    ]
    assert Nebula().choose_lighthouses(hosts, ()) == ["ams3-0", "nyc3-0"]
    assert Nebula().choose_lighthouses(hosts, ["ams3-0", "ams3-1"]) == ["ams3-0", "ams3-1"]


BOTH = ["10.77.0.1", "10.77.0.2"]
"""The addresses of the lighthouses, which are the first two hosts."""


def configurations(hosts: Sequence[Host]) -> dict[str, Any]:
    """Return what Nebula is told on each host."""
    overlay, names = Nebula(), [each.name for each in hosts]
    certified = Member(address="", public_key="", certificate="", fingerprint="", not_after=0)
    members = Members(
        hosts=hosts,
        addresses=overlay.assign(names, None),
        public=keys(*names),
        memory=Memory(members=dict.fromkeys(names, certified), lighthouses=names[:2]),
    )
    return {
        each.name: json.loads(overlay.plan(each, members)[0].files[-1].content) for each in hosts
    }


@pytest.mark.parametrize("count", [MANY_HOSTS, MANY_HOSTS + 1])
def test_among_many_hosts_relays_serve_those_alone_who_need_them(count: int) -> None:
    """A handshake asks all relays of a peer at once: of 100 public hosts none came through."""
    hosts = [
        *(host(f"ams3-{i}", f"198.18.0.{i + 2}") for i in range(count - 1)),
        host("nyc3-0", "198.18.8.2", reachability="symmetric"),
    ]
    told = configurations(hosts)
    relays = {name: told[name]["relay"]["relays"] for name in ("ams3-0", "ams3-2", "nyc3-0")}
    assert relays == {"ams3-0": [], "ams3-2": BOTH if count == MANY_HOSTS else [], "nyc3-0": BOTH}


@pytest.mark.parametrize("hidden", [0, 1])
@pytest.mark.parametrize("count", [MANY_HOSTS, MANY_HOSTS + 1])
def test_among_many_public_hosts_nobody_asks_a_lighthouse(count: int, hidden: int) -> None:
    """Two lighthouses had no processors left for the questions of 300 hosts on one machine."""
    hosts = [
        *(host(f"ams3-{i}", f"198.18.0.{i + 2}") for i in range(count - hidden)),
        *(host("nyc3-0", "198.18.8.2", reachability="symmetric") for _ in range(hidden)),
    ]
    told = configurations(hosts)["ams3-2"]
    crowded = count > MANY_HOSTS
    assert told["lighthouse"]["hosts"] == ([] if crowded and not hidden else BOTH)
    assert len(told["static_host_map"]) == (count - hidden if crowded else 2)
    assert told["static_host_map"]["10.77.0.2"] == ["198.18.0.3:4242"]


@dataclass(frozen=True, kw_only=True)
class Noting(NebulaCa):
    """The local authority, which also records the names that it signed."""

    signed: list[str] = field(default_factory=list)

    async def sign(self, requests: Sequence[SigningRequest]) -> Sequence[str]:
        self.signed.extend(request.name for request in requests)
        return await super().sign(requests)


@pytest.fixture
def authority() -> Noting:
    certificate, key = asyncio.run(nebula_cert.make_authority("test", 3600 * 24 * 365))
    return Noting(certificate=certificate, key=key)


def keys(*names: str) -> dict[str, NebulaKeys]:
    """Return a public key for each name; any 32 bytes are one of X25519."""
    return {
        name: NebulaKeys(
            public_key="-----BEGIN NEBULA X25519 PUBLIC KEY-----\n"
            f"{base64.b64encode(secrets.token_bytes(32)).decode()}\n"
            "-----END NEBULA X25519 PUBLIC KEY-----\n",
            version="1.12.0",
        )
        for name in names
    }


def admitted(
    overlay: Nebula, held: dict[str, NebulaKeys], authority: Noting, known: Membership | None = None
) -> Membership:
    given = overlay.assign(list(held), None)
    placed = {name: f"{address}/{overlay.range.prefixlen}" for name, address in given.items()}
    public_keys = {name: each.public_key for name, each in held.items()}
    return asyncio.run(
        certify(known or Membership(), placed, public_keys, authority, overlay.terms)
    )


def with_end(memory: Membership, names: Iterable[str], not_after: float) -> Membership:
    """Return memory in which the certificates of ``names`` expire at another time."""
    members = {
        name: replace(member, not_after=not_after) if name in names else member
        for name, member in memory.members.items()
    }
    return replace(memory, members=members)


def test_a_certificate_names_host_group_network_and_end(authority: Noting) -> None:
    memory = admitted(Nebula(certificate_days=7), keys("ams3-0"), authority)
    member = memory.members["ams3-0"]
    shown = asyncio.run(nebula_cert.show(member.certificate))
    assert shown["details"]["name"] == "ams3-0"
    assert shown["details"]["groups"] == ["party"]
    assert shown["details"]["networks"] == ["10.77.0.1/16"]
    assert shown["details"]["isCa"] is False
    assert member.not_after == pytest.approx(time.time() + 7 * DAY_SECONDS, abs=60)


def test_nothing_is_signed_twice(authority: Noting) -> None:
    held = keys("ams3-0", "nyc3-0")
    memory = admitted(Nebula(), held, authority)
    authority.signed.clear()
    assert admitted(Nebula(), held, authority, memory) == memory
    assert authority.signed == []


def test_only_the_host_that_joins_is_signed(authority: Noting) -> None:
    held = keys("ams3-0")
    memory = admitted(Nebula(), held, authority)
    authority.signed.clear()
    grown = admitted(Nebula(), {**held, **keys("nyc3-0")}, authority, memory)
    assert authority.signed == ["nyc3-0"]
    assert grown.members["ams3-0"] == memory.members["ams3-0"]
    assert grown.blocklist == {}


def test_a_host_that_leaves_is_blocked_until_its_certificate_ends(authority: Noting) -> None:
    held = keys("ams3-0", "nyc3-0")
    memory = admitted(Nebula(), held, authority)
    gone = memory.members["nyc3-0"]
    smaller = admitted(Nebula(), {"ams3-0": held["ams3-0"]}, authority, memory)
    assert smaller.blocklist == {gone.fingerprint: gone.not_after}
    over = replace(smaller, blocklist={gone.fingerprint: time.time() - 1})
    assert admitted(Nebula(), {"ams3-0": held["ams3-0"]}, authority, over).blocklist == {}


def test_another_key_blocks_the_certificate_of_the_old_one(authority: Noting) -> None:
    memory = admitted(Nebula(), keys("ams3-0"), authority)
    rebuilt = admitted(Nebula(), keys("ams3-0"), authority, memory)
    assert list(rebuilt.blocklist) == [memory.members["ams3-0"].fingerprint]
    assert rebuilt.members["ams3-0"].fingerprint not in rebuilt.blocklist


def test_a_third_of_its_life_before_its_end_a_certificate_is_renewed(authority: Noting) -> None:
    overlay = Nebula(certificate_days=30)
    held = keys("ams3-0", "nyc3-0")
    memory = admitted(overlay, held, authority)
    late = with_end(memory, ["nyc3-0"], time.time() + 9.9 * DAY_SECONDS)
    authority.signed.clear()
    renewed = admitted(overlay, held, authority, late)
    assert authority.signed == ["nyc3-0"]
    assert renewed.blocklist == {}


def test_a_host_that_leaves_is_blocked_with_its_earlier_certificates(authority: Noting) -> None:
    held = keys("ams3-0", "nyc3-0")
    first = admitted(Nebula(certificate_days=1), held, authority)
    second = admitted(Nebula(certificate_days=30), held, authority, first)
    smaller = admitted(Nebula(), {"ams3-0": held["ams3-0"]}, authority, second)
    both = {memory.members["nyc3-0"].fingerprint for memory in (first, second)}
    assert set(smaller.blocklist) == both
    assert len(both) == 2


def test_another_authority_signs_everybody_anew(authority: Noting) -> None:
    held = keys("ams3-0", "nyc3-0")
    memory = admitted(Nebula(), held, authority)
    certificate, key = asyncio.run(nebula_cert.make_authority("other", 3600 * 24 * 365))
    other = Noting(certificate=certificate, key=key)
    anew = admitted(Nebula(), held, other, memory)
    assert other.signed == ["ams3-0", "nyc3-0"]
    assert anew.blocklist == {}


def test_an_authority_refuses_what_is_no_key(authority: Noting) -> None:
    request = SigningRequest(
        name="x", address="10.77.0.1/16", public_key="nonsense", groups=(), valid_seconds=60
    )
    with pytest.raises(AuthorityError, match=r"nebula-cert sign refused: .*in-pub"):
        asyncio.run(authority.sign([request]))


def test_an_authority_does_not_show_its_key(authority: Noting) -> None:
    assert "PRIVATE" in authority.key
    assert authority.key not in repr(authority)
