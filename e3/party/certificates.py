"""Key and certificate of a party, laid where MPyC looks for them: ``.config`` beside the program.

They come there after the agreement, since they are no part of the program, and go with the
session's folder. Before it, a party looks whether it would accept its own: what is wrong with its
clock or its files is then said by itself, and is not taken for a fault of those it talks to.
"""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from e3.party.protocol import Spec

if TYPE_CHECKING:
    import ssl

FOLDER = "tls"
"""Below a session's folder: where the deployer leaves them."""

AUTHORITY, CERTIFICATE, KEY = "ca.crt", "party.crt", "party.key"

KEY_MODE = 0o600

CLOCK_CODES = {9: "is not valid yet", 10: "has expired"}
"""Of OpenSSL's X509_V_ERR codes, those that a wrong clock brings about."""


def lay(spec: Spec, folder: str) -> None:
    """Move them to the names that MPyC knows, in place of any that the program brought along."""
    target = Path(folder, "program", spec.entry).parent / ".config"
    target.mkdir(exist_ok=True)
    for name, known in (
        (AUTHORITY, "mpyc_ca.crt"),
        (CERTIFICATE, f"party_{spec.pid}.crt"),
        (KEY, f"party_{spec.pid}.key"),
    ):
        file = Path(folder, FOLDER, name)
        if name == KEY:
            file.chmod(KEY_MODE)
        file.replace(target / known)


def fault(folder: str) -> str:
    """Return what keeps this party from accepting its own certificate, in words; or nothing."""
    import ssl  # noqa: PLC0415 -- most sessions need no TLS

    place = Path(folder, FOLDER)
    shows = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    looks = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    looks.check_hostname = False  # whose it is, is for the others to see
    try:
        shows.load_cert_chain(place / CERTIFICATE, place / KEY)
        looks.load_verify_locations(place / AUTHORITY)
        shake_hands(shows, looks)
    except ssl.SSLCertVerificationError as error:
        if error.verify_code in CLOCK_CODES:
            now = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
            state = CLOCK_CODES[error.verify_code]
            return f"by its clock, {now}, its certificate {state}; set the clock of its host right"
        return f"its certificate is not of the authority that it was given ({error.verify_message})"
    except OSError as error:  # SSL's errors are such, too
        return f"its certificate cannot be used: {error.strerror or error}"
    return ""


def shake_hands(shows: ssl.SSLContext, looks: ssl.SSLContext) -> None:
    """Have one context accept what the other shows, in memory; raises `ssl.SSLError` if not."""
    from ssl import MemoryBIO, SSLWantReadError  # noqa: PLC0415 -- see `fault`

    there, back = MemoryBIO(), MemoryBIO()
    server = shows.wrap_bio(there, back, server_side=True)
    client = looks.wrap_bio(back, there)
    for side in (client, server, client):
        with suppress(SSLWantReadError):
            side.do_handshake()
