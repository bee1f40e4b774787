"""Key and certificate of a party, put where MPyC looks for them: ``.config`` beside the program.

They are put there after the agreement, as they are no part of the program, and are removed with
the session's folder. Before the agreement, a party checks that it would accept its own
certificate: a wrong clock or file is then reported by that party, and not blamed on its peers.
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
"""The folder below a session's folder where the deployer puts them."""

AUTHORITY, CERTIFICATE, KEY = "ca.crt", "party.crt", "party.key"

KEY_MODE = 0o600

CLOCK_CODES = {9: "is not valid yet", 10: "has expired"}
"""The X509_V_ERR codes of OpenSSL that a wrong clock causes."""


def lay(spec: Spec, folder: str) -> None:
    """Move them to the names that MPyC reads; replace any that the program has."""
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
    """Return why this party would not accept its own certificate, empty if it would."""
    import ssl  # noqa: PLC0415 -- most sessions need no TLS

    place = Path(folder, FOLDER)
    shows = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    looks = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    looks.check_hostname = False  # the others check the name in it
    try:
        shows.load_cert_chain(place / CERTIFICATE, place / KEY)
        looks.load_verify_locations(place / AUTHORITY)
        shake_hands(shows, looks)
    except ssl.SSLCertVerificationError as error:
        if error.verify_code in CLOCK_CODES:
            now = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
            state = CLOCK_CODES[error.verify_code]
            return f"by its clock, {now}, its certificate {state}; set the clock of its host right"
        why = error.verify_message
        return f"its certificate is not signed by the authority that it was given ({why})"
    except OSError as error:  # SSL's errors are such, too
        return f"its certificate cannot be used: {error.strerror or error}"
    return ""


def shake_hands(shows: ssl.SSLContext, looks: ssl.SSLContext) -> None:
    """Do a TLS handshake in memory between two contexts; raise `ssl.SSLError` if it fails."""
    from ssl import MemoryBIO, SSLWantReadError  # noqa: PLC0415 -- see `fault`

    there, back = MemoryBIO(), MemoryBIO()
    server = shows.wrap_bio(there, back, server_side=True)
    client = looks.wrap_bio(back, there)
    for side in (client, server, client):
        with suppress(SSLWantReadError):
            side.do_handshake()
