"""Requests for port mappings and their answers: NAT-PMP (RFC 6886) and PCP (RFC 6887).

Pure. Of PCP the opcodes ANNOUNCE and MAP, without options; a request has at most 1100 bytes (RFC
6887, 7), and what is shorter than a header is not answered.
"""

import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Literal

Protocol = Literal["udp", "tcp"]

PORT = 5351
LEAST_BYTES, MOST_BYTES = 2, 1100
RESPONSE = 128
OK, UNSUPPORTED_VERSION, MALFORMED = 0, 1, 3
NO_RESOURCES = {0: 4, 2: 8}  # by version
UNSUPPORTED_OPCODE = {0: 5, 2: 4}
UNSUPPORTED_PROTOCOL, ADDRESS_MISMATCH = 9, 12
PMP_PROTOCOLS: dict[int, Protocol] = {1: "udp", 2: "tcp"}
PCP_PROTOCOLS: dict[int, Protocol] = {17: "udp", 6: "tcp"}
PCP_HEADER = struct.Struct("!BBHI16s")
PCP_ANSWER = struct.Struct("!BBBBII12x")
PCP_MAP = struct.Struct("!12sB3xHH16s")
PCP_ANNOUNCE, PCP_MAPPING = 0, 1


@dataclass(frozen=True, kw_only=True)
class Router:
    """What every answer says of the router: its outside address, and how long it has run."""

    outside: IPv4Address
    up_seconds: int


@dataclass(frozen=True, kw_only=True)
class Question:
    """A request that asks for nothing but the router's own data."""

    version: Literal[0, 2]

    def answer(self, router: Router) -> bytes:
        """Return what RFC 6886, 3.2, or RFC 6887, 14.1, has for an answer."""
        if self.version == 0:
            packed = router.outside.packed
            return struct.pack("!BBHI4s", 0, RESPONSE, OK, router.up_seconds, packed)
        return PCP_ANSWER.pack(2, RESPONSE | PCP_ANNOUNCE, 0, OK, 0, router.up_seconds)


@dataclass(frozen=True, kw_only=True)
class Wish:
    """A request for an outside port, ``wanted_port`` if it is free; for 0 seconds it is returned.

    ``nonce`` is PCP's, which an answer repeats.
    """

    version: Literal[0, 2]
    protocol: Protocol
    inside_port: int
    wanted_port: int
    life_seconds: int
    nonce: bytes = b""

    def answer(self, router: Router, outside_port: int, life_seconds: int) -> bytes:
        """Return the answer for the port that was mapped."""
        code = {name: number for number, name in self._protocols.items()}[self.protocol]
        if self.version == 0:
            head = struct.pack("!BBHI", 0, RESPONSE | code, OK, router.up_seconds)
            return head + struct.pack("!HHI", self.inside_port, outside_port, life_seconds)
        outside = IPv6Address(f"::ffff:{router.outside}").packed
        return PCP_ANSWER.pack(
            2, RESPONSE | PCP_MAPPING, 0, OK, life_seconds, router.up_seconds
        ) + PCP_MAP.pack(self.nonce, code, self.inside_port, outside_port, outside)

    def refusal(self, router: Router) -> bytes:
        """Return the answer if there is no port left."""
        if self.version == 0:
            code = {name: number for number, name in PMP_PROTOCOLS.items()}[self.protocol]
            refused = struct.pack("!BBHI", 0, RESPONSE | code, NO_RESOURCES[0], router.up_seconds)
            return refused + struct.pack("!HHI", self.inside_port, 0, 0)
        return _pcp_error(PCP_MAPPING, NO_RESOURCES[2], router)

    @property
    def _protocols(self) -> dict[int, Protocol]:
        return PMP_PROTOCOLS if self.version == 0 else PCP_PROTOCOLS


def read(data: bytes, source: IPv4Address, router: Router) -> Question | Wish | bytes | None:
    """Return what a packet from ``source`` asks for; the answer if it is refused, None if none."""
    if not LEAST_BYTES <= len(data) <= MOST_BYTES or data[1] >= RESPONSE:
        return None
    if data[0] == 0:
        return _read_pmp(data, router)
    if data[0] != 2:  # noqa: PLR2004 - PCP's version
        return _pcp_error(data[1], UNSUPPORTED_VERSION, router)
    if len(data) < PCP_HEADER.size:
        return None
    return _read_pcp(data, source, router)


def _read_pmp(data: bytes, router: Router) -> Question | Wish | bytes:
    opcode = data[1]
    if opcode == 0:
        return Question(version=0)
    if opcode not in PMP_PROTOCOLS or len(data) < 12:  # noqa: PLR2004 - RFC 6886, 3.3
        wrong = UNSUPPORTED_OPCODE[0]
        return struct.pack("!BBHI", 0, RESPONSE | opcode, wrong, router.up_seconds)
    inside, wanted, life = struct.unpack_from("!HHI", data, 4)
    return Wish(
        version=0,
        protocol=PMP_PROTOCOLS[opcode],
        inside_port=inside,
        wanted_port=wanted,
        life_seconds=life,
    )


def _read_pcp(data: bytes, source: IPv4Address, router: Router) -> Question | Wish | bytes:
    _, opcode, _, life, client = PCP_HEADER.unpack_from(data)
    if IPv6Address(client).ipv4_mapped != source:
        return _pcp_error(opcode, ADDRESS_MISMATCH, router)
    if opcode == PCP_ANNOUNCE:
        return Question(version=2)
    if opcode != PCP_MAPPING:
        return _pcp_error(opcode, UNSUPPORTED_OPCODE[2], router)
    if len(data) < PCP_HEADER.size + PCP_MAP.size or len(data) % 4:
        return _pcp_error(opcode, MALFORMED, router)
    nonce, code, inside, wanted, _ = PCP_MAP.unpack_from(data, PCP_HEADER.size)
    if code not in PCP_PROTOCOLS or not inside:  # all ports of a host: no NAT can do that
        return _pcp_error(opcode, UNSUPPORTED_PROTOCOL, router)
    return Wish(
        version=2,
        protocol=PCP_PROTOCOLS[code],
        inside_port=inside,
        wanted_port=wanted,
        life_seconds=life,
        nonce=nonce,
    )


def _pcp_error(opcode: int, code: int, router: Router) -> bytes:
    return PCP_ANSWER.pack(2, RESPONSE | opcode, 0, code, 0, router.up_seconds)
