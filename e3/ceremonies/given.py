"""Authorities as resources and states have them: with a key, or with the hosts that hold it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from e3.access import host_from_properties
from e3.errors import AuthorityError
from e3.interfaces import Authority


def overlay_authority(given: Mapping[str, Any]) -> Authority:
    """Return the authority that signs for an overlay."""
    if "joint" in given:
        return joint_authority(given)
    from e3.authority.local import NebulaCa  # noqa: PLC0415 -- only where hosts are joined

    return NebulaCa(certificate=given["certificate"], key=given["key"])


def party_authority(given: Mapping[str, Any]) -> Authority:
    """Return the authority that certifies the parties' keys."""
    if "joint" in given:
        return joint_authority(given)
    from e3.authority.x509 import X509Authority  # noqa: PLC0415 -- most stacks need no cryptography

    return X509Authority(certificate=given["certificate"], key=given["key"])


def described(outputs: Mapping[str, Any]) -> dict[str, Any]:
    """Return a joint authority, by the outputs of its resource, as `joint_authority` takes it."""
    known = ("purpose", "publicKey", "hosts", "folder", "threshold")
    joint = {key: outputs[key] for key in known}
    return {"certificate": outputs["certificate"], "joint": joint}


def joint_authority(given: Mapping[str, Any]) -> Authority:
    """Return the authority whose key is in shares of hosts."""
    from e3.ceremonies.kinds import KINDS  # noqa: PLC0415 -- most stacks have none
    from e3.ceremonies.signer import JointSigner  # noqa: PLC0415 -- the same

    joint = given["joint"]
    signer = JointSigner(
        folder=Path(joint["folder"]),
        purpose=joint["purpose"],
        public_key=bytes.fromhex(joint["publicKey"]),
        hosts=[host_from_properties(host) for host in joint["hosts"]],
        threshold=int(joint["threshold"]),
    )
    kind = KINDS[joint["purpose"]]
    if kind.authority is None:
        raise AuthorityError(f"the key for {joint['purpose']} certifies no hosts")
    return kind.authority(given["certificate"], signer)
