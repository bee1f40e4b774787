"""Nebula's certificates, made and read by the upstream tool ``nebula-cert``.

No private key touches a file here: the tool reads ``-`` from standard input
and writes it to standard output (nebula v1.11.0, ``cmd/nebula-cert``).
"""

import asyncio
import json
import re
import shutil
import tempfile
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from e3.errors import AuthorityError, PlatformError
from e3.interfaces import SigningRequest

TIMEOUT_SECONDS = 30.0


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What a certificate says: its fingerprint (hex), and its validity as Unix times."""

    fingerprint: str
    not_before: float
    not_after: float


async def make_authority(name: str, valid_seconds: int) -> tuple[str, str]:
    """Return certificate and private key of a new authority, both in Nebula's PEM form."""
    made = await _run(
        "ca", "-name", name, "-duration", f"{valid_seconds}s", "-out-crt", "-", "-out-key", "-"
    )
    blocks = re.findall(r"-----BEGIN ([^-]+)-----.*?-----END \1-----\n", made, re.DOTALL)
    parts = re.split(r"(?<=-----\n)(?=-----BEGIN)", made)
    by_kind = dict(zip(blocks, parts, strict=True))
    key = next(text for kind, text in by_kind.items() if "PRIVATE KEY" in kind)
    certificate = next(text for kind, text in by_kind.items() if "CERTIFICATE" in kind)
    return certificate, key


async def sign(certificate: str, key: str, request: SigningRequest) -> str:
    """Return the certificate that vouches for ``request``; its address is in CIDR form."""
    with tempfile.TemporaryDirectory(prefix="e3-sign-") as folder:
        authority, public = Path(folder, "ca.crt"), Path(folder, "host.pub")
        authority.write_text(certificate)
        public.write_text(request.public_key)
        arguments = ["-ca-crt", str(authority), "-ca-key", "-", "-in-pub", str(public)]
        arguments += ["-name", request.name, "-networks", request.address]
        arguments += ["-groups", ",".join(request.groups)]
        arguments += ["-duration", f"{request.valid_seconds}s", "-out-crt", "-"]
        return await _run("sign", *arguments, stdin=key)


async def read(certificate: str) -> Facts:
    """Return what ``certificate`` says of itself."""
    (facts,) = json.loads(await _run("print", "-json", "-path", "-", stdin=certificate))
    details = facts["details"]
    return Facts(
        fingerprint=facts["fingerprint"],
        not_before=datetime.fromisoformat(details["notBefore"]).timestamp(),
        not_after=datetime.fromisoformat(details["notAfter"]).timestamp(),
    )


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
        reason = stderr.decode(errors="replace").strip()
        raise AuthorityError(f"nebula-cert {verb} refused: {reason}")
    return stdout.decode()
