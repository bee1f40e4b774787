"""Certificates of Nebula that a joint key signs, judged by the unmodified ``nebula-cert``."""

import json
import subprocess
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from e3.authority.joint import ed25519
from e3.authority.joint.requests import NebulaAuthority, NebulaHost, RequestError
from e3.authority.joint.requests.nebula import Version, fingerprint, public_key_of
from tests.holders import JointKey, joint_key
from tests.mutations import bits_of_pem, flipped, flipped_pem

NOW = int(time.time())
GROUPS = ("mpyc", "blue team")
VERSIONS: tuple[Version, ...] = (1, 2)
NETWORKS: dict[Version, tuple[str, ...]] = {
    1: ("10.77.0.9/16",),
    2: ("fd00:77::9/64", "10.77.0.9/16", "10.77.0.8/16"),
}


def authority(version: Version) -> NebulaAuthority:
    return NebulaAuthority(
        not_before=NOW - 60, not_after=NOW + 86_400, version=version, name="joint authority"
    )


def host(version: Version, issuer: bytes) -> NebulaHost:
    return NebulaHost(
        not_before=NOW - 60,
        not_after=NOW + 3600,
        version=version,
        name="ams3-0",
        networks=NETWORKS[version],
        groups=GROUPS,
        public_key=bytes(range(32)),
        issuer=issuer,
    )


def issuer_of(request: NebulaAuthority, key: JointKey) -> tuple[str, bytes]:
    """Return the certificate and the fingerprint of an authority, signed once."""
    signature = key.sign(request.to_be_signed(key.public_key))
    text = request.assemble(key.public_key, signature)
    return text, fingerprint(request, key.public_key, signature)


def certified(version: Version) -> tuple[str, str]:
    """Return the certificates of an authority and of a host, both signed by one joint key."""
    key = joint_key()
    root, issuer = issuer_of(authority(version), key)
    return root, key.certify(host(version, issuer))


CERTIFIED = {version: certified(version) for version in VERSIONS}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("nebula")


def tool(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["nebula-cert", *arguments], capture_output=True, text=True, timeout=30, check=False
    )


def show(path: Path) -> dict[str, Any]:
    (shown,) = json.loads(tool("print", "-json", "-path", str(path)).stdout)
    return dict(shown)


def verify(folder: Path, authority: str, certificate: str) -> subprocess.CompletedProcess[str]:
    (folder / "ca").write_text(authority)
    (folder / "crt").write_text(certificate)
    return tool("verify", "-ca", str(folder / "ca"), "-crt", str(folder / "crt"))


def seconds(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp())


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("networks", "groups"), [((), ()), (("10.77.0.0/16", "10.66.0.0/16"), GROUPS)]
)
def test_certificates_equal_those_of_nebula_cert_byte_for_byte(
    tmp_path: Path, version: Version, networks: Sequence[str], groups: Sequence[str]
) -> None:
    """What nebula-cert makes with an ordinary key follows from the same values and signature."""
    ca, key, crt, pub = (tmp_path / name for name in ("ca.crt", "ca.key", "h.crt", "h.pub"))
    common = ["-version", str(version), "-groups", ",".join(groups)]
    made = ["-name", "joint authority", "-networks", ",".join(networks)]
    tool("ca", *common, *made, "-out-crt", str(ca), "-out-key", str(key))
    tool("keygen", "-out-key", str(tmp_path / "h.key"), "-out-pub", str(pub))
    address = NETWORKS[1] if networks or version == 1 else NETWORKS[2]
    asked = ["-name", "ams3-0", "-networks", ",".join(address), "-duration", "1h"]
    files = ["-ca-crt", str(ca), "-ca-key", str(key), "-in-pub", str(pub), "-out-crt", str(crt)]
    assert not tool("sign", *common, *asked, *files).stderr
    shown = {path: show(path) for path in (ca, crt)}
    times = {
        path: {
            "not_before": seconds(one["details"]["notBefore"]),
            "not_after": seconds(one["details"]["notAfter"]),
        }
        for path, one in shown.items()
    }
    public_key = ed25519.point(
        bytes.fromhex(shown[ca].get("publicKey") or shown[ca]["details"]["publicKey"])
    )
    signatures = {path: bytes.fromhex(one["signature"]) for path, one in shown.items()}
    bounds = {"networks": tuple(networks), "groups": tuple(groups)}
    root = replace(authority(version), **bounds, **times[ca])
    assert root.assemble(public_key, signatures[ca]) == ca.read_text()
    issuer = fingerprint(root, public_key, signatures[ca])
    assert issuer.hex() == shown[ca]["fingerprint"]
    leaf = replace(
        host(version, issuer),
        groups=tuple(groups),
        networks=address,
        public_key=public_key_of(pub.read_text()),
        **times[crt],
    )
    assert leaf.assemble(public_key, signatures[crt]) == crt.read_text()
    assert fingerprint(leaf, public_key, signatures[crt]).hex() == shown[crt]["fingerprint"]


@pytest.mark.parametrize("version", VERSIONS)
def test_nebula_cert_accepts_what_a_joint_key_signed(tmp_path: Path, version: Version) -> None:
    key = joint_key((1, 4, 9), 2)
    root, issuer = issuer_of(authority(version), key)
    done = verify(tmp_path, root, key.certify(host(version, issuer)))
    assert done.returncode == 0, done.stderr
    shown = show(tmp_path / "crt")
    assert (shown["details"]["name"], shown["details"]["issuer"]) == ("ams3-0", issuer.hex())


@settings(max_examples=25, deadline=None)
@given(data=st.data(), version=st.sampled_from(VERSIONS), which=st.sampled_from(["ca", "crt"]))
def test_nebula_cert_refuses_every_changed_bit(
    data: st.DataObject, version: Version, which: str, shared: Path
) -> None:
    """Version 1 is protobuf, which has several encodings of one value: those read the same."""
    files = dict(zip(("ca", "crt"), CERTIFIED[version], strict=True))
    bit = data.draw(st.integers(0, bits_of_pem(files[which]) - 1))
    changed = {**files, which: flipped_pem(files[which], bit)}
    if verify(shared, changed["ca"], changed["crt"]).returncode == 0:
        assert version == 1
        read = show(shared / which)
        verify(shared, files["ca"], files["crt"])
        assert read == show(shared / which)


def test_a_signature_that_is_not_the_authoritys_makes_no_certificate() -> None:
    key = joint_key()
    for version in VERSIONS:
        for request in (authority(version), host(version, bytes(32))):
            signature = key.sign(request.to_be_signed(key.public_key))
            for wrong in (flipped(signature, 7), flipped(signature, 500), b"", signature[:63]):
                with pytest.raises(RequestError, match="not the authority's"):
                    request.assemble(key.public_key, wrong)
            with pytest.raises(RequestError, match="not the authority's"):
                request.assemble(joint_key().public_key, signature)


@pytest.mark.parametrize(
    ("version", "networks", "reason"),
    [
        pytest.param(1, (), "one address", id="none in version 1"),
        pytest.param(2, (), "one address", id="none in version 2"),
        pytest.param(1, ("10.77.0.9/16", "10.77.0.8/16"), "one address", id="two in version 1"),
        pytest.param(1, ("fd00::9/64",), "IPv4", id="IPv6 in version 1"),
        pytest.param(2, ("::ffff:10.77.0.9/128",), "written as", id="mapped"),
        pytest.param(2, ("::ffff:a4d:9/128",), "no address", id="mapped, canonical"),
        pytest.param(2, ("0.0.0.0/0",), "no address", id="zero"),
        pytest.param(2, ("fd00::0:9/64",), "written as", id="another spelling"),
        pytest.param(2, ("10.77.0.9/33",), "address/prefix", id="prefix"),
        pytest.param(2, ("10.77.0.9/16", "10.77.0.9/16"), "once", id="twice"),
    ],
)
def test_addresses_that_nebula_or_a_reader_could_mistake_are_refused(
    version: Version, networks: tuple[str, ...], reason: str
) -> None:
    with pytest.raises(RequestError, match=reason):
        replace(host(version, bytes(32)), networks=networks)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param("x", id="one line"),
        pytest.param(
            "-----BEGIN NEBULA X25519 PUBLIC KEY-----\nAA==\n"
            "-----END NEBULA X25519 PUBLIC KEY-----\n",
            id="short",
        ),
        pytest.param(
            "-----BEGIN NEBULA X25519 PUBLIC KEY-----\n!\n-----END NEBULA X25519 PUBLIC KEY-----\n",
            id="no base64",
        ),
    ],
)
def test_public_keys_in_another_form_are_refused(text: str) -> None:
    with pytest.raises(RequestError, match="public_key"):
        public_key_of(text)


@pytest.mark.parametrize("version", VERSIONS)
def test_nebula_itself_loads_what_a_joint_key_signed(tmp_path: Path, version: Version) -> None:
    key = joint_key()
    root, issuer = issuer_of(authority(version), key)
    tool("keygen", "-out-key", str(tmp_path / "key"), "-out-pub", str(tmp_path / "pub"))
    own = replace(host(version, issuer), public_key=public_key_of((tmp_path / "pub").read_text()))
    (tmp_path / "ca").write_text(root)
    pki = {name: str(tmp_path / name) for name in ("ca", "cert", "key")}
    (tmp_path / "config.yml").write_text(json.dumps({"pki": pki, "tun": {"disabled": True}}))
    for request, status in ((own, 0), (host(version, issuer), 1)):
        (tmp_path / "cert").write_text(key.certify(request))
        done = subprocess.run(
            ["nebula", "-test", "-config", str(tmp_path / "config.yml")],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == status, done.stdout + done.stderr
