"""The HTTP proxy of a network from which nothing else leads out: tinyproxy of the distribution.

It connects a client by CONNECT (RFC 9110, 9.3.6) to port 443 of any host, as such proxies do.
"""

import os
import select
import socket
import time
from dataclasses import dataclass

from e3.errors import LabError
from e3.lab import linux
from e3.lab.helper import HelperProcess

PROGRAM, PACKAGE = "tinyproxy", "tinyproxy-bin"
PORT = 3128
START_SECONDS, CONNECT_SECONDS = 10.0, 1.0
PAUSE_SECONDS = 0.01
CONFIGURATION = """
Port {port}
Listen {gateway}
ConnectPort 443
MaxClients 200
Timeout 86400
LogLevel Error
DisableViaHeader Yes
"""


@dataclass
class HttpProxy:
    """The proxy at the address ``gateway`` inside."""

    gateway: str
    process: HelperProcess

    def start(self) -> None:
        """Start it and return once it serves."""
        file = os.memfd_create("tinyproxy.conf")
        try:
            os.write(file, CONFIGURATION.format(port=PORT, gateway=self.gateway).encode())
            os.set_inheritable(file, True)  # noqa: FBT003 - takes no keyword
            command = [PROGRAM, "-d", "-c", f"/proc/self/fd/{file}"]
            self.process.start([file], lambda: os.execvp(PROGRAM, command))  # noqa: S606
        finally:
            os.close(file)
        end = time.monotonic() + START_SECONDS
        while not self._serves():
            if time.monotonic() > end or _ended(self.process.pid):
                self.stop()
                raise LabError(f"{PROGRAM} does not serve in the lab; see lab.log")
            time.sleep(PAUSE_SECONDS)

    def stop(self) -> None:
        """End it."""
        self.process.stop()

    def _serves(self) -> bool:
        with (
            linux.inside_network(self.process.network),
            socket.socket(socket.AF_INET, socket.SOCK_STREAM) as trying,
        ):
            trying.settimeout(CONNECT_SECONDS)
            return trying.connect_ex((self.gateway, PORT)) == 0


def _ended(pid: int) -> bool:
    descriptor = os.pidfd_open(pid)
    try:
        return bool(select.select([descriptor], [], [], 0)[0])
    finally:
        os.close(descriptor)
