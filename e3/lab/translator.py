"""NAT64 (RFC 6146) of a provider whose homes have IPv6 alone: TAYGA of the distribution.

TAYGA translates packets between IPv6 and IPv4 one by one (RFC 7915), with an address of its own
pool for each host; what makes it a NAT64 is the NAT of Linux behind it.
"""

import os
import subprocess
from dataclasses import dataclass

from e3.errors import LabError
from e3.lab import linux
from e3.lab.helper import HelperProcess
from e3.lab.host import run_ip
from e3.nats import NAT64_PREFIX

PROGRAM, PACKAGE = "tayga", "tayga"
DEVICE = "nat64"
POOL = "192.168.64.0/24"  # within the router alone
CONFIGURATION = f"""
tun-device {DEVICE}
ipv4-addr 192.168.64.1
prefix {NAT64_PREFIX}
dynamic-pool {POOL}
"""
START_SECONDS = 10.0


@dataclass
class Translator:
    """The translator of a router, with its interface and routes."""

    process: HelperProcess

    def start(self) -> None:
        """Start it; raise `LabError` if it cannot serve."""
        file = os.memfd_create("tayga.conf")
        try:
            os.write(file, CONFIGURATION.encode())
            os.set_inheritable(file, True)  # noqa: FBT003 - takes no keyword
            command = [PROGRAM, "--nodetach", "-c", f"/proc/self/fd/{file}"]
            with linux.inside_network(self.process.network):
                run_ip(f"link del {DEVICE}\n", force=True)
                self._make_device(file)
                run_ip(
                    f"link set {DEVICE} up\n"
                    f"route add {POOL} dev {DEVICE}\nroute add {NAT64_PREFIX} dev {DEVICE}\n"
                )
            self.process.start([file], lambda: os.execvp(PROGRAM, command))  # noqa: S606
        finally:
            os.close(file)

    def stop(self) -> None:
        """End it."""
        self.process.stop()

    @staticmethod
    def _make_device(file: int) -> None:
        made = subprocess.run(
            [PROGRAM, "--mktun", "-c", f"/proc/self/fd/{file}"],
            pass_fds=(file,),
            capture_output=True,
            check=False,
            timeout=START_SECONDS,
        )
        if made.returncode:
            said = made.stderr.decode(errors="replace").strip()
            raise LabError(f"{PROGRAM} cannot make its interface in the lab: {said}")
