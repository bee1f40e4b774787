"""What this machine must have for what is before a host: a NAT, a proxy, a translator, IPv6."""

import shutil

from e3.errors import PlatformError
from e3.lab import http_proxy, linux, translator
from e3.nats import NatBehaviour


def require(host: str, behaviour: NatBehaviour) -> None:
    """Raise `PlatformError` if this machine cannot make that before ``host``, with what helps."""
    if behaviour.ip != "ipv4" and not linux.has_ipv6():
        raise PlatformError(
            f"host {host} is to have IPv6 only, and this machine's kernel has none; "
            "choose another class in e3:nats, or boot it without ipv6.disable=1"
        )
    if shutil.which("nft") is None:
        raise PlatformError(f"host {host}: a NAT needs nft; run `sudo apt-get install nftables`")
    for wanted, program, package in (
        (behaviour.passes == "proxy", http_proxy.PROGRAM, http_proxy.PACKAGE),
        (behaviour.ip == "nat64", translator.PROGRAM, translator.PACKAGE),
    ):
        if wanted and shutil.which(program) is None:
            raise PlatformError(
                f"host {host}: what is before it needs {program}; run `sudo apt-get install "
                f"{package}`"
            )
