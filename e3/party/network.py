"""Limits what a program reaches: its peers' endpoints, and its own listeners on the loopback.

The rules are of nftables, in the network namespace of the host. They match packets by user, as each
party has a user of its own. The table belongs to the netlink socket that made it (Linux 5.12): it
is removed when the runner ends, however that happens, and no other process can change it. The
runner speaks netlink itself: nft(8) takes longer to start, and need not be installed.

Only packets that open a TCP connection are checked one by one; packets of an open connection pass
at once. So the rules cost a computation nothing.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import sys
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from e3.party.confine import user_of
from e3.party.protocol import Spec

NETFILTER = 12
"""The protocol of netlink(7)."""
BATCH_BEGIN, BATCH_END, NFTABLES = 0x10, 0x11, 10
NEW_TABLE, NEW_CHAIN, NEW_RULE = 0, 3, 6
REQUEST, ACKNOWLEDGE, CREATE, APPEND = 0x1, 0x4, 0x400, 0x800
ERROR, DONE = 2, 3
HEADER = struct.Struct("=IHHII")
DIAGNOSIS, BY_FAMILY, DUMP = 4, 20, 0x300
LISTENING, ANY_STATE, SOCKET_BYTES = 1 << 10, 0xFFFFFFFF, 48
INET = 1
"""The family of tables that see IPv4 and IPv6."""
OWNED = 2
NESTED = 0x8000

LOCAL_OUT, RAW_PRIORITY = 3, -300
"""Before any translation of addresses, such as an overlay may have."""
ACCEPT, JUMP = 1, -3
EQUAL, AT_LEAST = 0, 5
OF_USER, OF_FAMILY, OF_PROTOCOL = 10, 15, 16
NETWORK, TRANSPORT = 1, 2
FAMILIES = {4: (2, 12, 16), 16: (10, 8, 24)}
"""By an address's length: its family's number, and the offsets of source and destination."""
SOURCE_PORT, TARGET_PORT, FLAGS = (0, 2), (2, 2), (13, 1)
"""Offset and length in a header of TCP; UDP has the same ports."""
ICMP, TCP, UDP, ICMP6 = 1, 6, 17, 58
SYN, SYN_ACK = 0x02, 0x12
BY_RESET, UNREACHABLE, PROHIBITED = 1, 2, 3

LOOPBACK = (("127.0.0.0", 8), ("::1", 128))
ANSWER_SECONDS = 5.0
MESSAGE_BYTES = 65_536

Endpoint = tuple[str, int]


class Fence:
    """The rules for one party's program, made by its runner before the program starts."""

    def __init__(self, spec: Spec) -> None:
        """Make the rules, unless the session's network is open.

        Called before the parties agree, when none of their programs listens yet.
        """
        self._kernel: socket.socket | None = None
        self.note = ""
        """Why the rules are not in force; empty if they are, or if the network is open."""
        if spec.network == "open":
            return
        peers = [endpoint for pid, endpoint in enumerate(spec.parties) if pid != spec.pid]
        try:
            name = f"e3-{spec.session}-{spec.pid}"
            self._kernel = fence(name, user_of(spec), spec.parties[spec.pid], peers)
        except OSError as error:
            self.note = f"no rules of nftables ({error.strerror or error})"

    def leave(self) -> None:
        """Close the rules' socket in a forked process; they stay while the parent lives."""
        if self._kernel is not None:
            self._kernel.close()


def fence(name: str, user: int, own: Endpoint, peers: Sequence[Endpoint]) -> socket.socket:
    """Let processes of ``user`` reach ``peers`` and each other only, while the result is open.

    ``own`` is their own endpoint, ``name`` the table's name in the output of nft(8). Raises
    `OSError` where the kernel has no such rules, or does not permit them.
    """
    kernel = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETFILTER)
    try:
        kernel.settimeout(ANSWER_SECONDS)
        kernel.bind((0, 0))
        kernel.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        messages = list(ruleset(name, user, own, peers))
        kernel.send(batch(messages))
        await_last(kernel, len(messages))
    except BaseException:
        kernel.close()
        raise
    return kernel


def ruleset(name: str, user: int, own: Endpoint, peers: Sequence[Endpoint]) -> Iterator[bytes]:
    """Yield the messages that make the table."""
    table = text(1, name)
    hook = nest(4, number(1, LOCAL_OUT), number(2, RAW_PRIORITY))
    yield message(NEW_TABLE, table, number(2, OWNED))
    for chain in ("party", "loopback"):
        yield message(NEW_CHAIN, table, text(3, chain))
    yield message(NEW_CHAIN, table, text(3, "output"), hook, text(7, "filter"))

    def rule(chain: str, *expressions: bytes) -> bytes:
        listed = nest(4, *expressions)
        return message(NEW_RULE, table, text(2, chain), listed)

    yield rule("output", *of(OF_USER, struct.pack("=I", user)), verdict(JUMP, "party"))
    tcp = of(OF_PROTOCOL, bytes([TCP]))
    yield rule("party", *tcp, *flagged(SYN, 0), verdict(ACCEPT))
    address, port = own
    yield rule(
        "party",
        *tcp,
        *flagged(SYN_ACK, SYN_ACK),
        *at(address, source=True),
        *field(TRANSPORT, SOURCE_PORT, port.to_bytes(2)),
        verdict(ACCEPT),
    )
    for address, port in peers:
        to = field(TRANSPORT, TARGET_PORT, port.to_bytes(2))
        yield rule("party", *tcp, *at(address), *to, verdict(ACCEPT))
    holders = listeners()
    for address, bits in LOOPBACK:
        yield rule("party", *at(address, bits=bits), verdict(JUMP, "loopback"))
    yield from (rule("loopback", *expressions) for expressions in loopback(holders))
    yield from (rule("party", *expressions) for expressions in tunnels(holders))
    yield rule("party", *tcp, RESET)
    for protocol in (UDP, ICMP, ICMP6):  # a program can send no other; tunnels can
        yield rule("party", *of(OF_PROTOCOL, bytes([protocol])), PROHIBIT)


def loopback(holders: Collection[Listener]) -> Iterator[list[bytes]]:
    """Yield rules by which a program reaches its own listeners, and no service of the host.

    No rule can match the owner of a listener. But a program cannot listen below a certain port, nor
    at a port that one of ``holders`` has when it starts: those listeners are not its own.
    """
    first = int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text())
    yield [*of(OF_PROTOCOL, bytes([TCP])), *flagged(SYN_ACK, SYN_ACK), verdict(ACCEPT)]
    for protocol, refuse in ((TCP, RESET), (UDP, PROHIBIT)):
        packet = of(OF_PROTOCOL, bytes([protocol]))
        held = {it.port for it in holders if it.protocol == protocol and it.port >= first}
        for port in sorted(held):
            yield [*packet, *field(TRANSPORT, TARGET_PORT, port.to_bytes(2)), refuse]
        own = field(TRANSPORT, TARGET_PORT, first.to_bytes(2), AT_LEAST)
        yield [*packet, *own, verdict(ACCEPT)]


def tunnels(holders: Collection[Listener]) -> Iterator[list[bytes]]:
    """Yield rules that let packets of the kernel's tunnels pass.

    To a rule, an outer packet of WireGuard still belongs to the user of the inner one. But it comes
    from a port that only the tunnel has: no program can send from there.
    """
    for holder in sorted(holders):
        if holder.protocol == UDP and holder.everywhere and alone_at(holder):
            yield [
                *of(OF_PROTOCOL, bytes([UDP])),
                *of(OF_FAMILY, bytes([holder.family])),
                *field(TRANSPORT, SOURCE_PORT, holder.port.to_bytes(2)),
                verdict(ACCEPT),
            ]


def alone_at(holder: Listener) -> bool:
    """Return whether no other process can bind a holder's port, whatever options it sets."""
    with socket.socket(holder.family, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            other.bind(("127.0.0.1" if holder.family == socket.AF_INET else "::1", holder.port))
        except OSError as error:
            return error.errno == errno.EADDRINUSE
    return False


class Listener(NamedTuple):
    """A port that some process has bound: of TCP if it listens, of UDP always."""

    family: int
    protocol: int
    port: int
    everywhere: bool


def listeners() -> set[Listener]:
    """Return the listeners in this network namespace.

    From sock_diag(7): for /proc/net/tcp the kernel would list every connection.
    """
    found: set[Listener] = set()
    with socket.socket(
        socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, DIAGNOSIS
    ) as kernel:
        kernel.settimeout(ANSWER_SECONDS)
        for family in (socket.AF_INET, socket.AF_INET6):
            for protocol, states in ((TCP, LISTENING), (UDP, ANY_STATE)):
                wanted = struct.pack("=BBxxI", family, protocol, states) + bytes(SOCKET_BYTES)
                kernel.send(envelope(BY_FAMILY, REQUEST | DUMP, 0, wanted))
                for kind, content in answers(kernel):
                    if kind == BY_FAMILY:  # struct inet_diag_msg: its own port, and address
                        port, nowhere = int.from_bytes(content[4:6]), not any(content[8:24])
                        found.add(Listener(family, protocol, port, nowhere))
    return found


def answers(kernel: socket.socket) -> Iterator[tuple[int, bytes]]:
    """Yield kind and content of the kernel's messages up to the end of a list; raise `OSError`."""
    while True:
        for kind, _, content in received(kernel):
            if kind == DONE:
                return
            yield kind, content


def received(kernel: socket.socket) -> Iterator[tuple[int, int, bytes]]:
    """Yield kind, number and content of messages that have arrived; raise an error in them."""
    data = kernel.recv(MESSAGE_BYTES)
    while data:
        length, kind, _, sequence, _ = HEADER.unpack_from(data)
        content = data[HEADER.size : length]
        if kind == ERROR and (code := -int.from_bytes(content[:4], sys.byteorder, signed=True)):
            raise OSError(code, os.strerror(code), "netlink")
        yield kind, sequence, content
        data = data[(length + 3) & ~3 :]


def batch(messages: Sequence[bytes]) -> bytes:
    """Return messages as one request, which the kernel applies as a whole or not at all."""
    mark = struct.pack("!BBH", 0, 0, NFTABLES)
    parts = [envelope(BATCH_BEGIN, REQUEST, 0, mark)]
    for sequence, content in enumerate(messages, 1):
        kind, body = content[0], content[1:]
        flags = REQUEST | CREATE | (APPEND if kind == NEW_RULE else 0)
        flags |= ACKNOWLEDGE if sequence == len(messages) else 0
        parts.append(envelope(NFTABLES << 8 | kind, flags, sequence, body))
    parts.append(envelope(BATCH_END, REQUEST, len(messages) + 1, mark))
    return b"".join(parts)


def await_last(kernel: socket.socket, sequence: int) -> None:
    """Return once the kernel has applied all up to ``sequence``; raise `OSError` if it fails."""
    while not any(kind == ERROR and number == sequence for kind, number, _ in received(kernel)):
        pass


def envelope(kind: int, flags: int, sequence: int, body: bytes) -> bytes:
    """Return a message of netlink(7)."""
    return HEADER.pack(HEADER.size + len(body), kind, flags, sequence, 0) + body


def message(kind: int, *attributes: bytes) -> bytes:
    """Return a message about an object of nftables, led by its kind as one byte."""
    return bytes([kind]) + struct.pack("!BBH", INET, 0, 0) + b"".join(attributes)


def attribute(kind: int, value: bytes) -> bytes:
    """Return one attribute, padded."""
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def number(kind: int, value: int) -> bytes:
    """Return an attribute that is a number."""
    return attribute(kind, struct.pack("!i", value))


def text(kind: int, value: str) -> bytes:
    """Return an attribute that is a text."""
    return attribute(kind, value.encode() + b"\0")


def nest(kind: int, *attributes: bytes) -> bytes:
    """Return an attribute that holds others."""
    return attribute(kind | NESTED, b"".join(attributes))


def expression(name: str, *attributes: bytes) -> bytes:
    """Return one step of a rule."""
    return nest(1, text(1, name), nest(2, *attributes))


RESET = expression("reject", number(1, BY_RESET))
PROHIBIT = expression("reject", number(1, UNREACHABLE), attribute(2, bytes([PROHIBITED])))


def verdict(code: int, chain: str = "") -> bytes:
    """Return the step that decides."""
    target = [text(2, chain)] if chain else []
    return expression("immediate", number(1, 0), nest(2, nest(2, number(1, code), *target)))


def compare(value: bytes, how: int = EQUAL) -> bytes:
    """Return the step that continues if what was loaded last is ``value``."""
    return expression("cmp", number(1, 1), number(2, how), nest(3, attribute(1, value)))


def of(key: int, value: bytes) -> list[bytes]:
    """Return the steps that match a property of the whole packet."""
    return [expression("meta", number(1, 1), number(2, key)), compare(value)]


def load(base: int, place: tuple[int, int]) -> bytes:
    """Return the step that loads a part of a header."""
    offset, length = place
    return expression(
        "payload", number(1, 1), number(2, base), number(3, offset), number(4, length)
    )


def mask(bits: bytes) -> bytes:
    """Return the step that keeps these bits of what was loaded last."""
    none = attribute(1, bytes(len(bits)))
    given = nest(4, attribute(1, bits))
    return expression(
        "bitwise", number(1, 1), number(2, 1), number(3, len(bits)), given, nest(5, none)
    )


def field(base: int, place: tuple[int, int], value: bytes, how: int = EQUAL) -> list[bytes]:
    """Return the steps that match a part of a header."""
    return [load(base, place), compare(value, how)]


def flagged(among: int, wanted: int) -> list[bytes]:
    """Return the steps that match which of some flags of TCP are set."""
    return [load(TRANSPORT, FLAGS), mask(bytes([among])), compare(bytes([wanted]))]


def at(address: str, *, bits: int | None = None, source: bool = False) -> list[bytes]:
    """Return the steps that match a packet's destination or source; ``bits`` are a network's."""
    packed = socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)
    family, *places = FAMILIES[len(packed)]
    place = (places[0 if source else 1], len(packed))
    steps = [*of(OF_FAMILY, bytes([family])), load(NETWORK, place)]
    if bits is not None:
        steps.append(mask(((1 << bits) - 1 << len(packed) * 8 - bits).to_bytes(len(packed))))
    return [*steps, compare(packed)]
