"""The folders of the project, and what its state and configuration say of a stack."""

import hashlib
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import msgspec

from e3 import pulumi_state, settings, stack_file
from e3.ceremonies.given import joint_authority
from e3.cli.place import ROOT
from e3.deployed import FILES, Stack, certifier, joined
from e3.errors import ConfigurationError, E3Error, PlatformError
from e3.experiment import SessionSettings
from e3.interfaces import Authority
from e3.pulumi_state import Resource, decode_export

SELECTED = FILES / "pulumi/workspaces"
"""Where Pulumi keeps which stack is selected: a file for each project, named by its place."""

STACK_NAME = re.compile(r"[A-Za-z0-9_.-]+")

PULUMI_SECONDS = 60.0


class _Value(msgspec.Struct):
    value: str = ""


class _Workspace(msgspec.Struct):
    stacks: dict[str, str] = {}
    stack: str = ""


def up(name: str | None) -> Stack:
    """Return the stack ``name``, or the selected one; raises `E3Error` if it is not up."""
    stack = joined(state(name))
    if stack is None:
        which, option = (f"stack {name}", f" --stack {name}") if name else ("the stack", "")
        raise E3Error(f"{which} is not up: it has no joined hosts; run `pulumi up{option}` first")
    return stack


def session_settings(stack: Stack, project: Path = ROOT) -> SessionSettings:
    """Return the session settings in the present configuration of a stack.

    Raises `ConfigurationError` for a mistake there.
    """
    ask = partial(_configuration, stack.name)
    values = stack_file.read(project, stack.name, settings.SESSION_KEYS, ask)
    return settings.session_settings(values, [host.name for host in stack.hosts])


def authority(stack: Stack, settings: SessionSettings) -> Authority | None:
    """Return the authority that certifies the keys of a stack's parties; None without TLS.

    A joint one has its key on the stack's hosts. Any other has it as a Pulumi secret: the pulumi
    command decrypts it with the stack's passphrase and returns it through a pipe; it is kept in
    this process's memory alone. Raises `E3Error` if the key cannot be read, or is not yet there.
    """
    if not settings.rules.tls:
        return None
    if not stack.certifies:
        raise ConfigurationError(
            f"e3:tls: stack {stack.name} has no authority for certificates yet; run "
            f"`pulumi up --stack {stack.name}`, which makes it, or set e3:tls: false"
        )
    if "tls" in stack.joint:
        return joint_authority(stack.joint["tls"])
    try:
        resources = decode_export(_pulumi("stack", "export", "--show-secrets", stack=stack.name))
    except E3Error as error:
        raise E3Error(
            f"e3:tls: the key that certifies the parties of stack {stack.name} is a secret of its "
            f"state, which cannot be read ({error}); it takes {FILES / 'passphrase'} as it was "
            "when the stack was made"
        ) from None
    return certifier(resources)


def state(name: str | None) -> Sequence[Resource]:
    """Return the resources of the state of a stack, by default the selected one; needs no secret.

    The file is read without Pulumi, which takes longer than the start of a session. Where there is
    no such file, Pulumi says why. Raises `E3Error`.
    """
    if not (FILES / "state").is_dir():
        raise E3Error(
            f"{FILES / 'state'}, which has the stacks, is gone; `scripts/setup` makes a new one, "
            "and `e3 doctor --fix` ends the labs that were up"
        )
    known = name or _selected()
    if known is not None and STACK_NAME.fullmatch(known):
        path = pulumi_state.checkpoint(FILES, known)
        if path is not None:
            return pulumi_state.read(path)
    return decode_export(_pulumi("stack", "export", stack=name))


def _selected() -> str | None:
    """Return the selected stack; None if Pulumi has to be asked."""
    place = hashlib.sha1(str(ROOT / stack_file.PROJECT).encode(), usedforsecurity=False).hexdigest()
    try:
        content = (SELECTED / f"e3-{place}-workspace.json").read_bytes()
        workspace = msgspec.json.decode(content, type=_Workspace)
    except (OSError, ValueError):
        return None
    names = {*workspace.stacks.values(), *([workspace.stack] if workspace.stack else [])}
    return names.pop().rpartition("/")[2] if len(names) == 1 else None


def _configuration(stack: str) -> Mapping[str, str]:
    """Return all values of a stack's configuration, decrypted by the pulumi command."""
    try:
        answer = _pulumi("config", "--json", "--show-secrets", stack=stack)
        values = msgspec.json.decode(answer, type=dict[str, _Value])
    except msgspec.DecodeError as error:
        raise E3Error(f"pulumi: the configuration of stack {stack} is not whole: {error}") from None
    except E3Error as error:
        raise E3Error(
            f"the configuration of stack {stack} has encrypted values, which cannot be read "
            f"({error}); it takes {FILES / 'passphrase'} as it was when they were set"
        ) from None
    return {key: value.value for key, value in values.items()}


def _pulumi(*arguments: str, stack: str | None) -> str:
    """Return what the pulumi command says of a stack; raise `E3Error`."""
    if shutil.which("pulumi") is None:
        raise PlatformError("pulumi is not on PATH; run `. scripts/activate` in this project first")
    done = subprocess.run(
        ["pulumi", *arguments, *(["--stack", stack] if stack else [])],
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
    return done.stdout
