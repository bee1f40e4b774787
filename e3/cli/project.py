"""The folders of the project, and what Pulumi's state says of a stack."""

import argparse
import json
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

import msgspec

from e3 import config, pulumi_state
from e3.access import host_from_properties
from e3.errors import E3Error, PlatformError
from e3.experiment import Choice, Rules
from e3.interfaces import (
    AddressTrust,
    Authority,
    Host,
    Network,
    Overlay,
    PairPath,
    decode_address_trust,
)
from e3.overlays import OVERLAYS
from e3.pulumi_state import Resource, decode_export, outputs
from e3.registry import build
from e3.settings import settings

ROOT = Path(__file__).resolve().parents[2]
"""The project; every verb changes to it, wherever it was called."""

FILES = Path(".e3")
"""The folder of stacks' files, relative to the project."""

DEADLINE_SECONDS = 600.0
"""The default of e3:deadline-seconds."""

PULUMI_SECONDS = 60.0

Verbs: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"  # noqa: SLF001 - has no other name


@dataclass(frozen=True, kw_only=True)
class Stack:
    """A stack whose hosts are joined, as its state has it.

    ``address_trust``, ``parties``, ``deadline_seconds`` and ``rules`` are those of its own session,
    or defaults if that has not completed; `configured` replaces the last three. ``rules`` ask for
    TLS if the state has an authority for it.
    """

    name: str
    hosts: tuple[Host, ...]
    choice: Choice
    network: Network
    paths: tuple[PairPath, ...]
    parties: int
    deadline_seconds: float
    rules: Rules
    address_trust: AddressTrust

    @property
    def overlay(self) -> Overlay:
        """What joined the hosts."""
        return build(OVERLAYS, self.choice, key="overlay")

    @property
    def sessions(self) -> Path:
        """Where the evidence of its sessions is."""
        return FILES / self.name / "sessions"


def up(name: str | None) -> Stack:
    """Return the stack ``name``, or the selected one; raises `E3Error` if it is not up."""
    stack = joined(export(name))
    if stack is None:
        which, option = (f"stack {name}", f" --stack {name}") if name else ("the stack", "")
        raise E3Error(f"{which} is not up: it has no joined hosts; run `pulumi up{option}` first")
    return stack


def configured(stack: Stack) -> Stack:
    """Return the stack with the session settings of its present configuration.

    Raises `ConfigurationError` for a mistake there.
    """
    now = settings(config.plain(ROOT / f"Pulumi.{stack.name}.yaml"))
    return replace(
        stack,
        parties=now.parties or len(stack.hosts),
        deadline_seconds=now.deadline_seconds,
        # by the state: the configuration makes or removes the authority at the next `up`
        rules=replace(now.rules, tls=stack.rules.tls),
    )


def authority(stack: Stack) -> Authority | None:
    """Return the authority that certifies the keys of a stack's parties; None without TLS.

    Its key is a Pulumi secret. The pulumi command decrypts it with the stack's passphrase and
    returns it through a pipe; it is kept in this process's memory alone. Raises `E3Error` if the
    key cannot be read.
    """
    if not stack.rules.tls:
        return None
    from e3.authority.x509 import X509Authority  # noqa: PLC0415 -- most stacks need no cryptography

    try:
        resources = export(stack.name, "--show-secrets")
    except E3Error as error:
        raise E3Error(
            f"e3:tls: the key that certifies the parties of stack {stack.name} is a secret of its "
            f"state, which cannot be read ({error}); it takes {FILES / 'passphrase'} as it was "
            "when the stack was made"
        ) from None
    made = outputs(resources, "TlsAuthority") or {}
    # Pulumi has a secret as an object with its value in JSON
    return X509Authority(certificate=made["certificate"], key=json.loads(made["key"]["plaintext"]))


def state(name: str | None) -> Sequence[Resource]:
    """Return the resources of a stack, read from its checkpoint where that can be told."""
    path = pulumi_state.checkpoint(FILES, name) if name else None
    # one that is cut is for Pulumi to say, as `export` reports it
    return export(name) if path is None else pulumi_state.read(path)


def export(name: str | None, *options: str) -> Sequence[Resource]:
    """Return the resources of a stack's state; this needs no secret, unless they are asked for."""
    if shutil.which("pulumi") is None:
        raise PlatformError("pulumi is not on PATH; run `. scripts/activate` in this project first")
    if not (FILES / "state").is_dir():
        raise E3Error(
            f"{FILES / 'state'}, which has the stacks, is gone; `scripts/setup` makes a new one, "
            "and `e3 doctor --fix` ends the labs that were up"
        )
    done = subprocess.run(
        ["pulumi", "stack", "export", *(["--stack", name] if name else []), *options],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=PULUMI_SECONDS,
    )
    if done.returncode:
        reason = done.stderr.strip().rpartition("error: ")[2]
        # Pulumi says neither which file it is nor what helps
        broken = "JSON input" in reason or "corrupt store" in reason
        remedy = "`e3 doctor` tells which file" if broken else "`pulumi stack ls` lists the stacks"
        raise E3Error(f"pulumi: {reason}; {remedy}")
    return decode_export(done.stdout)


def joined(resources: Sequence[Resource]) -> Stack | None:
    """Return the stack that these resources of a state make, if its hosts are joined."""
    overlay = outputs(resources, "Overlay")
    if overlay is None:
        return None
    session = outputs(resources, "Session") or {}
    hosts = tuple(host_from_properties(host) for host in overlay["hosts"])
    rules = msgspec.convert(session.get("rules", {}), Rules, strict=False)
    return Stack(
        name=resources[0].stack,
        hosts=hosts,
        choice=Choice(name=overlay["kind"], options=overlay["options"]),
        network=Network(addresses=overlay["addresses"], memory=overlay.get("memory") or {}),
        paths=tuple(msgspec.convert(overlay["paths"], list[PairPath])),
        parties=int(session.get("parties", len(hosts))),
        deadline_seconds=float(session.get("deadline", DEADLINE_SECONDS)),
        # a stack whose own session has not completed has no rules in its state yet
        rules=replace(rules, tls=outputs(resources, "TlsAuthority") is not None),
        address_trust=decode_address_trust(session.get("sources", "unverified")),
    )
