"""FROST's rounds, shares and signatures, compared with the Rust crate frost-ed25519.

The cases in tests/cases/frost were made by `tests/rust/frost`, which is that crate, and need no
Rust here. With Rust and its packages, holders of both implementations sign together.
"""

import itertools
import json
import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from e3.authority.joint import ed25519, frost, sharing
from e3.authority.joint.ed25519 import Point, Scalar
from e3.authority.joint.frost import Commitment, Nonces, SigningError, SigningPackage
from tests.elsewhere import built_by_cargo
from tests.holders import CONTEXT, JointKey, joint_key, verify

ROOT = Path(__file__).parents[4]
CASES = ROOT / "tests/cases/frost/frost-ed25519.json"
NOT_POINTS = {
    "identity": ed25519.IDENTITY,
    "order 4": bytes(32),
    "order 8": bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"),
    "not canonical": b"\xee" + b"\xff" * 30 + b"\x7f",
    "not on the curve": b"\x02" + bytes(31),
}


@dataclass(frozen=True)
class Crate:
    """The crate's program, which answers lines of JSON."""

    process: subprocess.Popen[str]

    def ask(self, kind: str, **fields: object) -> dict[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps({kind: fields}) + "\n")
        self.process.stdin.flush()
        return dict(json.loads(self.process.stdout.readline()))


@pytest.fixture(scope="module")
def crate() -> Iterator[Crate]:
    """Run the program."""
    with subprocess.Popen(
        [built_by_cargo("frost")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        yield Crate(process)
        process.kill()


@dataclass(frozen=True, kw_only=True)
class Round:
    """A message that holders of both implementations signed: what each said, and the result."""

    key: JointKey
    message: bytes
    commitments: Mapping[int, Commitment]
    nonces: Mapping[int, tuple[Scalar, Scalar]]
    shares: Mapping[int, Scalar]

    @property
    def package(self) -> SigningPackage:
        return SigningPackage(
            public_key=self.key.public_key, message=self.message, commitments=self.commitments
        )

    def aggregate(self, crate: Crate, shares: Mapping[int, Scalar]) -> dict[str, Any]:
        return crate.ask(
            "aggregate",
            public_key=self.key.public_key.hex(),
            threshold=self.key.known.threshold,
            public_shares={one: point.hex() for one, point in self.key.known.public_shares.items()},
            shares={one: share.hex() for one, share in shares.items()},
            package=written(self.package),
        )


def written(package: SigningPackage) -> dict[str, object]:
    commitments = {
        one: (each.hiding.hex(), each.binding.hex()) for one, each in package.commitments.items()
    }
    return {"message": package.message.hex(), "commitments": commitments}


def sign_together(
    crate: Crate, key: JointKey, message: bytes, ours: Sequence[int], theirs: int
) -> Round:
    """Sign with holders of this implementation, and one of the crate's."""
    drawn = {one: frost.commit(key.shares[one]) for one in ours}
    said = crate.ask("commit", share=key.shares[theirs].hex())
    commitments = {one: commitment for one, (_, commitment) in drawn.items()}
    commitments[theirs] = Commitment(
        hiding=ed25519.point(bytes.fromhex(said["hiding"])),
        binding=ed25519.point(bytes.fromhex(said["binding"])),
    )
    package = SigningPackage(public_key=key.public_key, message=message, commitments=commitments)
    shares = {
        one: frost.sign_share(one, key.shares[one], nonces, package)[0]
        for one, (nonces, _) in drawn.items()
    }
    signed = crate.ask(
        "sign",
        identifier=theirs,
        share=key.shares[theirs].hex(),
        threshold=key.known.threshold,
        public_key=key.public_key.hex(),
        package=written(package),
    )
    shares[theirs] = ed25519.scalar(bytes.fromhex(signed["share"]))
    hiding, binding = (ed25519.scalar(bytes.fromhex(each)) for each in said["nonces"])
    return Round(
        key=key,
        message=message,
        commitments=commitments,
        nonces={theirs: (hiding, binding)},
        shares=shares,
    )


HOLDERS = [((1, 2, 3), 2), ((1, 2, 3), 3), ((2, 7, 4000, 65535), 3)]


@pytest.mark.long
@pytest.mark.parametrize(("holders", "threshold"), HOLDERS)
def test_holders_of_both_implementations_sign_together(
    crate: Crate, holders: Sequence[int], threshold: int
) -> None:
    key = joint_key(holders, threshold)
    for signers in itertools.combinations(holders, threshold):
        for theirs in signers:
            ours = [one for one in signers if one != theirs]
            made = sign_together(crate, key, b"a message", ours, theirs)
            signature = frost.aggregate(made.package, made.shares, key.known.public_shares)
            assert made.aggregate(crate, made.shares) == {"signature": signature.hex()}
            verify(key.public_key, made.message, signature)


@pytest.mark.long
def test_both_refuse_a_wrong_share_of_a_signature(crate: Crate) -> None:
    key = joint_key()
    made = sign_together(crate, key, b"", [1], 3)
    for wrong in made.shares:
        changed = {**made.shares, wrong: ed25519.plus(made.shares[wrong], ed25519.ONE)}
        assert "error" in made.aggregate(crate, changed)
        with pytest.raises(SigningError) as refused:
            frost.aggregate(made.package, changed, key.known.public_shares)
        assert refused.value.culprits == (wrong,)


@pytest.mark.long
def test_the_crate_accepts_what_is_dealt_here_and_nothing_else(crate: Crate) -> None:
    secret = ed25519.random_scalar()
    dealing = sharing.deal(1, secret, 3, [1, 2, 9], CONTEXT)
    coefficients = [one.hex() for one in dealing.published.coefficients]
    for receiver, value in dealing.values.items():
        told = {"identifier": receiver, "coefficients": coefficients}
        assert crate.ask("dealt", value=value.hex(), **told) == {
            "public_share": dealing.published.value(receiver).hex(),
            "public_key": ed25519.base_times(secret).hex(),
        }
        wrong = ed25519.plus(value, ed25519.ONE)
        assert "error" in crate.ask("dealt", value=wrong.hex(), **told)


@pytest.mark.long
@pytest.mark.parametrize("name", NOT_POINTS)
def test_both_refuse_the_same_encodings(crate: Crate, name: str) -> None:
    with pytest.raises(ed25519.GroupError):
        ed25519.point(NOT_POINTS[name])
    coefficients = [NOT_POINTS[name].hex()]
    said = crate.ask("dealt", identifier=1, value=ed25519.ONE.hex(), coefficients=coefficients)
    assert "error" in said


@pytest.mark.parametrize("case", json.loads(CASES.read_text())["cases"])
def test_the_same_nonces_make_the_crates_shares_and_signature(case: dict[str, Any]) -> None:
    """A case was signed with one holder of the crate: this makes its share from its nonces."""
    key, package = Point(bytes.fromhex(case["public_key"])), read_package(case)
    theirs = case["signer"]
    hiding, binding = (ed25519.scalar(bytes.fromhex(each)) for each in case["nonces"])
    share = ed25519.scalar(bytes.fromhex(case["key_share"]))
    made, _ = frost.sign_share(theirs, share, Nonces(hiding, binding), package)
    assert made.hex() == case["shares"][str(theirs)]
    shares = {int(one): Scalar(bytes.fromhex(text)) for one, text in case["shares"].items()}
    public = {int(one): Point(bytes.fromhex(text)) for one, text in case["public_shares"].items()}
    signature = frost.aggregate(package, shares, public)
    assert signature.hex() == case["signature"]
    verify(key, package.message, signature)


def read_package(case: dict[str, Any]) -> SigningPackage:
    commitments = {
        int(one): Commitment(
            hiding=ed25519.point(bytes.fromhex(hiding)),
            binding=ed25519.point(bytes.fromhex(binding)),
        )
        for one, (hiding, binding) in case["package"]["commitments"].items()
    }
    return SigningPackage(
        public_key=Point(bytes.fromhex(case["public_key"])),
        message=bytes.fromhex(case["package"]["message"]),
        commitments=commitments,
    )


@pytest.mark.long
def test_the_cases_are_what_the_crate_makes(crate: Crate) -> None:
    """A new case has the shape of those that are kept; E3_FROST_CASES=1 writes them anew."""
    cases = []
    for (holders, threshold), message in zip(HOLDERS, (b"", b"test", bytes(300)), strict=True):
        key = joint_key(holders, threshold)
        *ours, theirs = holders[:threshold]
        made = sign_together(crate, key, message, ours, theirs)
        cases.append(
            {
                "public_key": key.public_key.hex(),
                "public_shares": {one: each.hex() for one, each in key.known.public_shares.items()},
                "signer": theirs,
                "key_share": key.shares[theirs].hex(),
                "nonces": [each.hex() for each in made.nonces[theirs]],
                "package": written(made.package),
                "shares": {one: each.hex() for one, each in made.shares.items()},
                "signature": made.aggregate(crate, made.shares)["signature"],
            }
        )
    source = "frost-ed25519 3.0.0 (crates.io), by tests/rust/frost; signer is the crate's holder"
    text = json.dumps({"source": source, "cases": cases}, indent=1) + "\n"
    if os.environ.get("E3_FROST_CASES"):
        CASES.write_text(text)
    for case in json.loads(text)["cases"]:
        test_the_same_nonces_make_the_crates_shares_and_signature(case)
