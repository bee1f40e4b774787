"""Nebula's configuration as data, and who holds which certificate."""

import asyncio
import base64
import json
import secrets
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from e3.authority import nebula_cert
from e3.authority.local import LocalAuthority
from e3.errors import AuthorityError
from e3.interfaces import SigningRequest
from e3.overlays.nebula import DAY_SECONDS, Member, Memory, Nebula
from e3.overlays.nebula_host import Keys
from tests.hosts import host

CASES = sorted(Path("tests/cases/nebula").glob("*.json"))


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_configuration(path: Path) -> None:
    case = json.loads(path.read_text())
    hosts = [
        replace(host(name, underlay), underlay6=case.get("underlay6", {}).get(name, ""))
        for name, underlay in case["hosts"].items()
    ]
    overlay = msgspec.convert(case["options"], Nebula)
    nobody = Member(address="", public_key="", certificate="", fingerprint="", not_after=0)
    members = {
        name: replace(nobody, address=f"{address}/16")
        for name, address in overlay.assign(list(case["hosts"]), None).items()
    }
    lighthouses = overlay.choose_lighthouses(hosts, case.get("lighthouses_before", ()))
    memory = Memory(members=members, blocklist=case["blocklist"], lighthouses=lighthouses)
    for each in hosts:
        configuration: Any = overlay.render(each, hosts, memory)
        for key, expected in case["expected"][each.name].items():
            actual = configuration
            for part in key.split("."):
                actual = actual[part]
            assert actual == expected, f"{each.name}: {key}"


@dataclass(frozen=True, kw_only=True)
class Noting(LocalAuthority):
    """The local authority, which also notes for whom it signed."""

    signed: list[str] = field(default_factory=list)

    async def sign(self, requests: Sequence[SigningRequest]) -> Sequence[str]:
        self.signed.extend(request.name for request in requests)
        return await super().sign(requests)


@pytest.fixture
def authority() -> Noting:
    certificate, key = asyncio.run(nebula_cert.make_authority("test", 3600 * 24 * 365))
    return Noting(certificate=certificate, key=key)


def keys(*names: str) -> dict[str, Keys]:
    """Return a public key for each name; any 32 bytes are one of X25519."""
    return {
        name: Keys(
            public_key="-----BEGIN NEBULA X25519 PUBLIC KEY-----\n"
            f"{base64.b64encode(secrets.token_bytes(32)).decode()}\n"
            "-----END NEBULA X25519 PUBLIC KEY-----\n",
            version="1.12.0",
        )
        for name in names
    }


def certify(
    overlay: Nebula, held: dict[str, Keys], authority: Noting, known: Memory | None = None
) -> Memory:
    given = overlay.assign(list(held), None)
    return asyncio.run(overlay.certify(given, held, authority, known or Memory()))


def with_end(memory: Memory, names: Iterable[str], not_after: float) -> Memory:
    """Return memory in which the certificates of ``names`` end at another time."""
    members = {
        name: replace(member, not_after=not_after) if name in names else member
        for name, member in memory.members.items()
    }
    return replace(memory, members=members)


def test_a_certificate_names_host_group_network_and_end(authority: Noting) -> None:
    memory = certify(Nebula(certificate_days=7), keys("ams3-0"), authority)
    member = memory.members["ams3-0"]
    shown = asyncio.run(nebula_cert.show(member.certificate))
    assert shown["details"]["name"] == "ams3-0"
    assert shown["details"]["groups"] == ["party"]
    assert shown["details"]["networks"] == ["10.77.0.1/16"]
    assert shown["details"]["isCa"] is False
    assert member.not_after == pytest.approx(time.time() + 7 * DAY_SECONDS, abs=60)


def test_nothing_is_signed_twice(authority: Noting) -> None:
    held = keys("ams3-0", "nyc3-0")
    memory = certify(Nebula(), held, authority)
    authority.signed.clear()
    assert certify(Nebula(), held, authority, memory) == memory
    assert authority.signed == []


def test_only_the_host_that_joins_is_signed(authority: Noting) -> None:
    held = keys("ams3-0")
    memory = certify(Nebula(), held, authority)
    authority.signed.clear()
    grown = certify(Nebula(), {**held, **keys("nyc3-0")}, authority, memory)
    assert authority.signed == ["nyc3-0"]
    assert grown.members["ams3-0"] == memory.members["ams3-0"]
    assert grown.blocklist == {}


def test_a_host_that_leaves_is_blocked_until_its_certificate_ends(authority: Noting) -> None:
    held = keys("ams3-0", "nyc3-0")
    memory = certify(Nebula(), held, authority)
    gone = memory.members["nyc3-0"]
    smaller = certify(Nebula(), {"ams3-0": held["ams3-0"]}, authority, memory)
    assert smaller.blocklist == {gone.fingerprint: gone.not_after}
    over = replace(smaller, blocklist={gone.fingerprint: time.time() - 1})
    assert certify(Nebula(), {"ams3-0": held["ams3-0"]}, authority, over).blocklist == {}


def test_another_key_blocks_the_certificate_of_the_old_one(authority: Noting) -> None:
    memory = certify(Nebula(), keys("ams3-0"), authority)
    rebuilt = certify(Nebula(), keys("ams3-0"), authority, memory)
    assert list(rebuilt.blocklist) == [memory.members["ams3-0"].fingerprint]
    assert rebuilt.members["ams3-0"].fingerprint not in rebuilt.blocklist


def test_a_third_of_its_life_before_its_end_a_certificate_is_renewed(authority: Noting) -> None:
    overlay = Nebula(certificate_days=30)
    held = keys("ams3-0", "nyc3-0")
    memory = certify(overlay, held, authority)
    late = with_end(memory, ["nyc3-0"], time.time() + 9.9 * DAY_SECONDS)
    authority.signed.clear()
    renewed = certify(overlay, held, authority, late)
    assert authority.signed == ["nyc3-0"]
    assert renewed.blocklist == {}


def test_a_host_that_leaves_is_blocked_with_its_earlier_certificates(authority: Noting) -> None:
    held = keys("ams3-0", "nyc3-0")
    first = certify(Nebula(certificate_days=1), held, authority)
    second = certify(Nebula(certificate_days=30), held, authority, first)
    smaller = certify(Nebula(), {"ams3-0": held["ams3-0"]}, authority, second)
    both = {memory.members["nyc3-0"].fingerprint for memory in (first, second)}
    assert set(smaller.blocklist) == both
    assert len(both) == 2


def test_another_authority_signs_everybody_anew(authority: Noting) -> None:
    held = keys("ams3-0", "nyc3-0")
    memory = certify(Nebula(), held, authority)
    certificate, key = asyncio.run(nebula_cert.make_authority("other", 3600 * 24 * 365))
    other = Noting(certificate=certificate, key=key)
    anew = certify(Nebula(), held, other, memory)
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
