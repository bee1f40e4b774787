"""Runs on a host: asks tailscaled at its socket for its peers, and pings hosts until they answer.

    python tailscale_peers.py SOCKET SECONDS GREETING_SECONDS [NAME...]

A process for each question would load a machine that has many hosts. The hosts with these names
are pinged until they answer; both ends must know each other, and a ping that came too early is
never answered. Then each gets a greeting packet, so that its tunnel is made before all parties
connect. Prints the client's status as JSON; its ``Peer`` is replaced by the names that have not
answered. The local API is that of ipn/localapi/localapi.go in github.com/tailscale/tailscale.
"""

from __future__ import annotations

import json
import socket
import sys
import threading
import time
from typing import Any

ANSWER_SECONDS = 5.0
DISCARD_PORT = 9
NEVER = "0001-"
"""How Go prints its zero time."""


class Peers:
    """The hosts that are waited for."""

    def __init__(self, path: str, names: set[str]) -> None:
        """Ask the client at the socket ``path`` for hosts of ``names``."""
        self._path = path
        self._names = names
        self._answered: dict[str, str] = {}
        self._met: set[str] = set()

    def look(self, seconds: float, greeting_seconds: float) -> dict[str, Any]:
        """Return the client's status once all have a tunnel, or when time is up."""
        end = time.monotonic() + seconds
        while True:
            said = self._ask("GET /localapi/v0/status" + ("" if self._names else "?peers=false"))
            for peer in (said.get("Peer") or {}).values():
                self._greet(peer)
            silent = self._names - set(self._answered)
            if self._names and not silent:
                end = min(end, time.monotonic() + greeting_seconds)
            stateless = said.get("BackendState", "NoState") == "NoState"
            if not (stateless or self._names - self._met) or time.monotonic() > end:
                return {**said, "Peer": sorted(silent)}
            time.sleep(0.1 + 0.01 * len(silent) if silent else 0.03)

    def _greet(self, peer: dict[str, Any]) -> None:
        name, addresses = peer["HostName"], peer["TailscaleIPs"] or []
        if self._answered.get(name) in addresses:
            if not peer["LastHandshake"].startswith(NEVER):
                self._met.add(name)
        elif name in self._names and name not in self._answered:
            for address in addresses:
                if "." in address:
                    threading.Thread(target=self._ping, args=(name, address), daemon=True).start()

    def _ping(self, name: str, address: str) -> None:
        said = self._ask(f"POST /localapi/v0/ping?ip={address}&type=disco")
        if said.get("LatencySeconds") and name not in self._answered:
            self._answered[name] = address
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as greeting:
                greeting.sendto(b"", (address, DISCARD_PORT))

    def _ask(self, call: str) -> dict[str, Any]:
        head = f"{call} HTTP/1.0\r\nHost: local-tailscaled.sock\r\nSec-Tailscale: localapi"
        try:
            with socket.socket(socket.AF_UNIX) as client:
                client.settimeout(ANSWER_SECONDS)
                client.connect(self._path)
                client.sendall(f"{head}\r\nContent-Length: 0\r\n\r\n".encode())
                answer = client.makefile("rb").read().partition(b"\r\n\r\n")[2]
                said: dict[str, Any] = json.loads(answer)
                return said
        except (OSError, ValueError):
            return {}


def main(path: str, seconds: str, greeting_seconds: str, *names: str) -> None:
    """Print the status as JSON."""
    found = Peers(path, set(names)).look(float(seconds), float(greeting_seconds))
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
