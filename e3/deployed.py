"""A stack whose hosts are joined, as Pulumi's state has it: what sessions run on later."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from e3.access import host_from_properties
from e3.ceremonies.given import described, joint_authority
from e3.experiment import Choice
from e3.interfaces import Authority, Host, Network, Overlay
from e3.overlays import OVERLAYS
from e3.paths import PairPath
from e3.pulumi_state import Resource, all_outputs, outputs
from e3.registry import build
from e3.session.plan import JoinedHosts

FILES = Path(".e3")
"""The folder of stacks' files, relative to the project."""


@dataclass(frozen=True, kw_only=True)
class Stack:
    """A stack whose hosts are joined, as its state has it; ``certifies``: with an authority.

    ``joint`` has the joint authorities by purpose, as `e3.ceremonies.given` takes them.
    ``setup_seconds`` is how long joining took until all pairs had exchanged data, and
    ``settled_seconds`` until their paths had settled; None in states of older versions.
    """

    name: str
    hosts: tuple[Host, ...]
    choice: Choice
    network: Network
    paths: tuple[PairPath, ...]
    certifies: bool
    joint: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    setup_seconds: float | None
    settled_seconds: float | None

    @property
    def overlay(self) -> Overlay:
        """What joined the hosts."""
        return build(OVERLAYS, self.choice, key="overlay")

    @property
    def joined(self) -> JoinedHosts:
        """Its hosts, as a session takes them."""
        return JoinedHosts(
            hosts=self.hosts,
            name=self.choice.name,
            overlay=self.overlay,
            network=self.network,
            paths=self.paths,
        )

    @property
    def sessions(self) -> Path:
        """Where the evidence of its sessions is."""
        return FILES / self.name / "sessions"


def joined(resources: Sequence[Resource]) -> Stack | None:
    """Return the stack that these resources of a state make, if its hosts are joined."""
    overlay = outputs(resources, "Overlay")
    if overlay is None:
        return None
    hosts = tuple(host_from_properties(host) for host in overlay["hosts"])
    joint = {each["purpose"]: described(each) for each in all_outputs(resources, "JointAuthority")}
    return Stack(
        name=resources[0].stack,
        hosts=hosts,
        choice=Choice(name=overlay["kind"], options=overlay["options"]),
        network=Network(addresses=overlay["addresses"], memory=overlay.get("memory") or {}),
        paths=tuple(msgspec.convert(overlay["paths"], list[PairPath])),
        certifies=outputs(resources, "TlsAuthority") is not None or "tls" in joint,
        joint=joint,
        setup_seconds=overlay.get("setupSeconds"),
        settled_seconds=overlay.get("settledSeconds"),
    )


def certifier(resources: Sequence[Resource]) -> Authority:
    """Return the authority that certifies the keys of a stack's parties.

    ``resources`` are those of its state with its secrets in plain text.
    """
    for each in all_outputs(resources, "JointAuthority"):
        if each["purpose"] == "tls":
            return joint_authority(described(each))
    from e3.authority.x509 import X509Authority  # noqa: PLC0415 -- most stacks need no cryptography

    made = outputs(resources, "TlsAuthority") or {}
    # Pulumi has a secret as an object with its value in JSON
    return X509Authority(certificate=made["certificate"], key=json.loads(made["key"]["plaintext"]))
