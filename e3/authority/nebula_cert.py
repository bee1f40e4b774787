"""Make and read Nebula's certificates with the upstream tool ``nebula-cert``.

No private key is written to a file: for ``-`` the tool reads standard input
and writes standard output (nebula v1.12.0, ``cmd/nebula-cert``).
"""

import asyncio
import json
import shutil
import tempfile
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from e3.errors import AuthorityError, PlatformError
from e3.interfaces import Completed, SigningRequest

TIMEOUT_SECONDS = 30.0


@dataclass(frozen=True, kw_only=True)
class CertificateFacts:
    """What a certificate says: its fingerprint (hex), its end as a Unix time, its encoding."""

    fingerprint: str
    not_after: float
    version: int


async def make_authority(name: str, valid_seconds: int, version: int = 2) -> tuple[str, str]:
    """Return certificate and private key of a new authority, both in Nebula's PEM form.

    All certificates that it signs are of its own ``version``.
    """
    with tempfile.TemporaryDirectory(prefix="e3-ca-") as folder:
        certificate = Path(folder, "ca.crt")
        arguments = ["-name", name, "-duration", f"{valid_seconds}s", "-version", f"{version}"]
        key = await _run("ca", *arguments, "-out-crt", str(certificate), "-out-key", "-")
        return _read(certificate), key


async def sign(certificate: str, key: str, request: SigningRequest) -> str:
    """Return the certificate for ``request``, whose address is in CIDR form."""
    with tempfile.TemporaryDirectory(prefix="e3-sign-") as folder:
        arguments = ["-ca-crt", _write(folder, "ca.crt", certificate), "-ca-key", "-"]
        arguments += ["-in-pub", _write(folder, "host.pub", request.public_key)]
        arguments += ["-name", request.name, "-networks", request.address]
        arguments += ["-groups", ",".join(request.groups)]
        arguments += ["-duration", f"{request.valid_seconds}s", "-out-crt", "-"]
        return await _run("sign", *arguments, stdin=key)


async def read(certificate: str) -> CertificateFacts:
    """Return the facts that E3 needs of ``certificate``."""
    shown = await show(certificate)
    details = shown["details"]
    return CertificateFacts(
        fingerprint=shown["fingerprint"],
        not_after=datetime.fromisoformat(details["notAfter"]).timestamp(),
        version=int(shown["version"]),
    )


async def show(certificate: str) -> dict[str, Any]:
    """Return everything that ``certificate`` says, in the tool's own JSON."""
    (shown,) = json.loads(await _run("print", "-json", "-path", "-", stdin=certificate))
    return dict(shown)


def _write(folder: str, name: str, text: str) -> str:
    path = Path(folder, name)
    path.write_text(text)
    return str(path)


def _read(path: Path) -> str:
    return path.read_text()


async def _run(verb: str, *arguments: str, stdin: str = "") -> str:
    tool = shutil.which("nebula-cert") or shutil.which("nebula-cert", path=".tools/bin")
    if tool is None:
        raise PlatformError("nebula-cert is not installed; run `scripts/setup`")
    process = await asyncio.create_subprocess_exec(
        tool,
        verb,
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        stdout, stderr = await asyncio.wait_for(
            process.communicate(stdin.encode()), TIMEOUT_SECONDS
        )
    finally:
        if process.returncode is None:
            process.kill()
    if process.returncode:
        done = Completed(exit=process.returncode, stdout=stdout, stderr=stderr)
        raise AuthorityError(f"nebula-cert {verb} refused: {done.complaint}")
    return stdout.decode()
