"""How mediators and domains are called: directly, or through a SOCKS proxy such as Tor's."""

import aiohttp

from e3.errors import PlatformError


def connector(proxy: str = "") -> aiohttp.BaseConnector:
    """Return what makes connections; ``proxy`` is the URL of a SOCKS proxy, empty without one.

    Names are resolved by the proxy: nothing is asked of this machine's name server, and names
    that only the proxy knows (`.onion`) can be called. Raises `PlatformError` without the package.
    """
    if not proxy:
        return aiohttp.TCPConnector()
    try:
        from aiohttp_socks import ProxyConnector  # noqa: PLC0415 - it may not be installed
    except ImportError:
        raise PlatformError(
            "--proxy needs the package aiohttp-socks; type `scripts/setup --sessions`, or install "
            "e3[proxy]"
        ) from None
    made: aiohttp.BaseConnector = ProxyConnector.from_url(proxy, rdns=True)
    return made
