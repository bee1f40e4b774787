"""Secrets at rest: encrypted by systemd with a key of the host or its TPM, where that exists.

systemd-creds(1) encrypts with a key that is in the TPM, in a file of root, or both. A host without
a running systemd keeps secrets as they are, in files for root alone: whoever reads the disk or a
backup of it then has them.
"""

import contextlib
import functools
import os
from pathlib import Path

from e3.authority.joint.errors import CeremonyError
from e3.authority.joint.messages import Blob, Body, Word

TOOL = "systemd-creds"
BOOTED = Path("/run/systemd/system")
"""Exists where systemd is the first process: sd_booted(3)."""

SECONDS = 20.0
PLAIN = "plain"


class Sealed(Body, frozen=True, kw_only=True):
    """A secret as it is stored; ``by`` is `TOOL` or `PLAIN`."""

    by: Word
    name: Word
    data: Blob


class RestError(CeremonyError):
    """A secret cannot be encrypted or decrypted."""


def seal_at_rest(secret: bytes, name: str) -> Sealed:
    """Return a secret as it is to be stored."""
    key = _usable_key()
    if key is None:
        return Sealed(by=PLAIN, name=name, data=secret)
    return Sealed(by=TOOL, name=name, data=_run("encrypt", name, secret, f"--with-key={key}"))


def open_sealed(stored: Sealed) -> bytes:
    """Return a stored secret; raise `RestError` if this host cannot decrypt it."""
    if stored.by == PLAIN:
        return stored.data
    if stored.by == TOOL:
        return _run("decrypt", stored.name, stored.data)
    raise RestError(f"a secret is encrypted by {stored.by}, which is unknown here")


@functools.cache
def _usable_key() -> str | None:
    """Return with which key systemd encrypts here; None if it does not run or cannot.

    ``auto`` takes the TPM where there is one, and refuses to work in some virtual machines and
    containers without one; ``host`` is a file that only root can read.
    """
    if not BOOTED.is_dir() or not _found():
        return None
    for key in ("auto", "host"):
        with contextlib.suppress(RestError, OSError):
            _run("encrypt", "trial", b"trial", f"--with-key={key}")
            return key
    return None


def _found() -> bool:
    return any(Path(place, TOOL).is_file() for place in os.get_exec_path())


def _run(verb: str, name: str, data: bytes, *options: str) -> bytes:
    import subprocess  # noqa: PLC0415 -- most hosts of a lab need none, and each holder begins anew

    try:
        done = subprocess.run(
            [TOOL, f"--name={name}", *options, verb, "-", "-"],
            input=data,
            capture_output=True,
            check=False,
            timeout=SECONDS,
        )
    except subprocess.TimeoutExpired:
        raise RestError(f"{TOOL} took longer than {SECONDS:g} s") from None
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip()[-200:]
        raise RestError(f"{TOOL} {verb} fails: {said}")
    return done.stdout
