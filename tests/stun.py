"""Runs on a host: sockets that answer STUN, ask by STUN, send, dial and tell what they heard.

STUN's Binding method (RFC 5389, sections 6, 7 and 15.2) says to whoever asks which address and
port it was seen from. All sockets are of IPv6 and speak IPv4, too (RFC 4291, 2.5.5.2), so that
one port serves both. The arguments are UDP ports; each line of input is an order in JSON, each
line of output its answer:

- ``{"ask": [address, port], "from": port}``: the address and port as seen there, or null
- ``{"send": text, "from": port, "to": [address, port]}``: null
- ``{"await": text, "at": port}``: what the port heard until then, or null if that never came
- ``{"listen": port}``: null, after which that TCP port accepts connections
- ``{"exchange": hex, "to": [address, port]}``: the answer to a UDP packet, in hex, or null
- ``{"dial": [address, port]}``: whether a TCP connection was made
"""

import ipaddress
import json
import os
import queue
import socket
import struct
import sys
import threading

BINDING_REQUEST, BINDING_RESPONSE = 0x0001, 0x0101
XOR_MAPPED_ADDRESS, FAMILIES = 0x0020, {4: 0x01, 16: 0x02}
COOKIE = 0x2112A442
TRIES, PATIENCE_SECONDS = 3, 0.7
DIAL_SECONDS = 1.5  # the first SYN may be lost to a busy machine, the second not


def request() -> bytes:
    return struct.pack("!HHI", BINDING_REQUEST, 0, COOKIE) + os.urandom(12)


def masked(address: bytes, message: bytes) -> bytes:
    """Return an address XORed with cookie and transaction, or as it was before."""
    return bytes(a ^ b for a, b in zip(address, message[4:20], strict=False))


def response(asked: bytes, source: tuple[str, int]) -> bytes:
    seen = ipaddress.IPv6Address(source[0])
    packed = (seen.ipv4_mapped or seen).packed
    value = struct.pack("!xBH", FAMILIES[len(packed)], source[1] ^ COOKIE >> 16)
    value += masked(packed, asked)
    attribute = struct.pack("!HH", XOR_MAPPED_ADDRESS, len(value)) + value
    return struct.pack("!HH", BINDING_RESPONSE, len(attribute)) + asked[4:20] + attribute


def mapped(answer: bytes) -> tuple[str, int]:
    port = struct.unpack("!H", answer[26:28])[0] ^ COOKIE >> 16
    return str(ipaddress.ip_address(masked(answer[28:], answer))), port


def written(place: list[object]) -> tuple[str, int]:
    """Return an address and port as a socket of IPv6 takes them."""
    address, port = str(place[0]), int(str(place[1]))
    return (address if ":" in address else f"::ffff:{address}"), port


class Port:
    """A socket that answers whoever asks, and keeps everything else that comes."""

    def __init__(self, number: int) -> None:
        self.socket = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        self.socket.bind(("::", number))
        self.heard: queue.Queue[bytes] = queue.Queue()
        threading.Thread(target=self.listen, daemon=True).start()

    def listen(self) -> None:
        while True:
            data, source = self.socket.recvfrom(2048)
            if data[:2] == struct.pack("!H", BINDING_REQUEST):
                self.socket.sendto(response(data, source[:2]), source)
            else:
                self.heard.put(data)

    def ask(self, server: tuple[str, int]) -> tuple[str, int] | None:
        for _ in range(TRIES):
            asked = request()
            self.socket.sendto(asked, server)
            try:
                while (answer := self.heard.get(timeout=PATIENCE_SECONDS))[4:20] != asked[4:20]:
                    pass
            except queue.Empty:
                continue
            return mapped(answer)
        return None

    def until(self, text: str) -> list[str] | None:
        found: list[str] = []
        try:
            while text not in found:
                found.append(self.heard.get(timeout=PATIENCE_SECONDS).decode())
        except queue.Empty:
            return None
        return found


def exchanged(message: bytes, server: tuple[str, int]) -> str | None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as own:
        own.settimeout(PATIENCE_SECONDS)
        own.connect(server)
        try:
            own.send(message)
            return own.recv(2048).hex()
        except OSError:
            return None


def dials(server: tuple[str, int]) -> bool:
    try:
        socket.create_connection(server, DIAL_SECONDS).close()
    except OSError:
        return False
    return True


def main() -> None:
    ports = {int(number): Port(int(number)) for number in sys.argv[1:]}
    listening = []
    for line in sys.stdin:
        order = json.loads(line)
        answer: object = None
        if "ask" in order:
            answer = ports[order["from"]].ask(written(order["ask"]))
        elif "send" in order:
            ports[order["from"]].socket.sendto(order["send"].encode(), written(order["to"]))
        elif "await" in order:
            answer = ports[order["at"]].until(order["await"])
        elif "listen" in order:
            place = ("::", order["listen"])
            both = socket.create_server(place, family=socket.AF_INET6, dualstack_ipv6=True)
            listening.append(both)
        elif "exchange" in order:
            answer = exchanged(bytes.fromhex(order["exchange"]), tuple(order["to"]))
        elif "dial" in order:
            answer = dials(tuple(order["dial"]))
        print(json.dumps(answer), flush=True)  # noqa: T201 - that is the protocol


if __name__ == "__main__":
    main()
