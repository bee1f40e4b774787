"""Admission to MPyC's listener, which itself believes any pid that a caller sends.

A caller is rejected unless its address belongs to a party, the pid that it claims is that
party's, that party is not connected yet and, with TLS, its certificate names that pid.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from e3.party.cost import SendReport
from e3.party.identity import Addresses
from e3.remote.text import printable

Attributes = Any
"""MPyC has no types."""

TLS_1_3 = 0x0304
"""`ssl.TLSVersion.TLSv1_3`, without importing ssl where it is not used."""

NO_CERTIFICATE = "PEER_DID_NOT_RETURN_A_CERTIFICATE"
"""OpenSSL's name of the reason."""

NAME_LENGTH = 64
"""The most characters of a certificate's subject in a sentence."""

PID_BYTES = 2
"""A caller sends its pid first, in so many bytes."""


def guard(exchanger: Attributes, report: SendReport, address_trust: str) -> None:
    """Check connections to MPyC's listener; ``address_trust`` is what an address proves."""
    made, received, lost = (
        exchanger.connection_made,
        exchanger.data_received,
        exchanger.connection_lost,
    )

    @functools.cache
    def addresses(runtime: Attributes) -> Addresses:
        return Addresses(runtime.pid, [party.host for party in runtime.parties], address_trust)

    report_refused_certificates(exchanger, report, addresses)

    @functools.wraps(made)
    def connection_made(self: Attributes, transport: Attributes) -> None:
        address = caller(transport)
        if is_caller(self, transport) and not addresses(self.runtime).admits(address):
            report("stranger", address=address)
            transport.abort()
        else:
            made(self, transport)

    @functools.wraps(received)
    def data_received(self: Attributes, data: bytes) -> None:
        if is_caller(self, self.transport):
            start = bytes(self.bytes[:PID_BYTES]) + data[:PID_BYTES]
            if len(start) >= PID_BYTES:
                claimed = int.from_bytes(start[:PID_BYTES], "little")
                if what := fault(self, addresses(self.runtime), claimed):
                    owners = addresses(self.runtime).parties_at(caller(self.transport))
                    report("impostor", peer=owners[0] if len(owners) == 1 else None, detail=what)
                    self.transport.abort()
                    return
        received(self, data)

    @functools.wraps(lost)
    def connection_lost(self: Attributes, exc: Exception | None) -> None:
        if self.peer_pid is not None:  # a caller that never sent its pid is not reported as lost
            lost(self, exc)

    exchanger.connection_made = connection_made
    exchanger.data_received = data_received
    exchanger.connection_lost = connection_lost


def report_refused_certificates(
    exchanger: Attributes, report: SendReport, addresses: Callable[[Attributes], Addresses]
) -> None:
    """Report the party whose certificate is refused, at either end of MPyC's connections.

    asyncio's listeners close such connections silently, and MPyC dials again for ever. Only one
    method, which is private to asyncio, knows error, connection and party.
    """
    from asyncio import sslproto  # noqa: PLC0415 -- loaded by now, with all of asyncio

    protocol: Attributes = sslproto.SSLProtocol
    complete = protocol._on_handshake_complete  # noqa: SLF001 -- see above

    @functools.wraps(complete)
    def on_handshake_complete(self: Attributes, error: Exception | None) -> None:
        ours = getattr(self, "_app_protocol", None)
        if isinstance(ours, exchanger) and (what := refusal(error)):
            address, known = caller(self._transport), addresses(ours.runtime)
            owners = known.parties_at(address) if ours.peer_pid is None else [ours.peer_pid]
            if ours.peer_pid is None and not known.admits(address):
                report("stranger", address=address)
            else:
                report("impostor", peer=owners[0] if len(owners) == 1 else None, detail=what)
        complete(self, error)

    protocol._on_handshake_complete = on_handshake_complete  # noqa: SLF001 -- see above


def refusal(error: Exception | None) -> str:
    """Return how a handshake failed because of a certificate, as words that follow a name."""
    if message := getattr(error, "verify_message", ""):  # of an `ssl.SSLCertVerificationError`
        return f"shows a certificate that is refused: {printable(message)}"
    return "shows no certificate" if getattr(error, "reason", "") == NO_CERTIFICATE else ""


def fault(exchange: Attributes, addresses: Addresses, claimed: int) -> str:
    """Return what is wrong with a caller's claim, as words that follow its name; or nothing."""
    if what := addresses.fault(caller(exchange.transport), claimed):
        return what
    if exchange.runtime.options.ssl:
        named = common_name(exchange.transport.get_extra_info("peercert"))
        if named != certified(claimed):
            whose = repr(printable(named, NAME_LENGTH))
            return f"claims to be party {claimed}, and its certificate is for {whose}"
    if exchange.runtime.parties[claimed].protocol is not None:
        return f"claims to be party {claimed}, which is connected already"
    return ""


def is_caller(exchange: Attributes, transport: Attributes) -> bool:
    """Return whether at the other end is somebody who called, and has not said yet who it is.

    MPyC's own tests have objects in place of connections, which have addresses of no known type;
    asyncio gives none of a connection that has ended already.
    """
    known = transport.get_extra_info("peername") if transport is not None else None
    return exchange.peer_pid is None and isinstance(known, tuple | None)


def caller(transport: Attributes) -> str:
    """Return the address at the other end of a connection."""
    known = transport.get_extra_info("peername")
    return str(known[0]) if isinstance(known, tuple) else ""


def certified(pid: int) -> str:
    """Return the name in a party's certificate, which MPyC requires of a party that it dials."""
    return f"MPyC party {pid}"


def common_name(certificate: Mapping[str, Sequence[Any]] | None) -> str:
    """Return the subject of a certificate in Python's form, empty without one."""
    subject = (certificate or {}).get("subject", ())
    return next((str(value) for part in subject for key, value in part if key == "commonName"), "")


def harden(context: Attributes) -> None:
    """Restrict a TLS context of MPyC to TLS 1.3; None means no TLS."""
    if context is not None:
        context.minimum_version = TLS_1_3


@contextlib.contextmanager
def no_other_authority() -> Iterator[None]:
    """Keep TLS contexts that are made meanwhile from trusting the system's authorities.

    MPyC's would trust them besides the session's own: a person who gets a certificate from such an
    authority could pose as any party. Loading them also takes 20 ms for each peer.
    """
    import ssl  # noqa: PLC0415 -- loaded by now, with all of asyncio

    context: Attributes = ssl.SSLContext
    load = context.load_default_certs
    context.load_default_certs = lambda *_, **__: None
    try:
        yield
    finally:
        context.load_default_certs = load
