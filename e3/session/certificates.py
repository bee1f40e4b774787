"""Certificates for MPyC's own TLS, new for each session; each key is made on its host."""

from dataclasses import dataclass

from e3.errors import AuthorityError
from e3.interfaces import Access, Authority, File, SigningRequest
from e3.party.admission import certified
from e3.party.certificates import AUTHORITY, CERTIFICATE, FOLDER, KEY

MARGIN_SECONDS = 3600
"""How long a certificate is valid after the session's deadline, since clocks differ."""

OPENSSL_SECONDS = 30.0

REQUEST = b"[req]\ndistinguished_name = name\n[name]\n"
"""OpenSSL's configuration; that of a host may differ or be missing."""


@dataclass(frozen=True, kw_only=True)
class Certificates:
    """Makes keys on hosts and certifies them for as long as a session may last."""

    authority: Authority
    deadline_seconds: float

    async def issue(self, access: Access, folder: str, pid: int) -> None:
        """Make a party's key in its session's ``folder``, and put the certificate beside it.

        Raises `AuthorityError` if the host cannot make a key.
        """
        place = f"{folder}/{FOLDER}"
        root = File(path=f"{place}/{AUTHORITY}", content=self.authority.certificate.encode())
        await access.put([root], timeout_seconds=OPENSSL_SECONDS)
        command = ["openssl", "req", "-new", "-newkey", "ed25519", "-nodes"]
        command += ["-config", "/dev/stdin", "-subj", f"/CN={certified(pid)}"]
        command += ["-keyout", f"{place}/{KEY}"]
        made = await access.run(command, stdin=REQUEST, timeout_seconds=OPENSSL_SECONDS)
        if made.exit:
            raise AuthorityError(f"its host makes no key ({made.complaint}); install openssl there")
        request = SigningRequest(
            name=certified(pid),
            address="",
            public_key=made.stdout.decode(errors="replace"),
            groups=(),
            valid_seconds=int(self.deadline_seconds) + MARGIN_SECONDS,
        )
        (certificate,) = await self.authority.sign([request])
        file = File(path=f"{place}/{CERTIFICATE}", content=certificate.encode())
        await access.put([file], timeout_seconds=OPENSSL_SECONDS)
