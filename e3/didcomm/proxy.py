"""How mediators and domains are called: directly, or through a SOCKS proxy such as Tor's."""

from typing import Any

import aiohttp
from aiohttp.connector import Connection

from e3.errors import PlatformError


def connector(proxy: str = "") -> aiohttp.BaseConnector:
    """Return what makes connections; ``proxy`` is the URL of a SOCKS proxy, empty without one.

    Names are resolved by the proxy: nothing is asked of this machine's name server, and names
    that only the proxy knows (`.onion`) can be called. Raises `PlatformError` without the package.
    """
    if not proxy:
        return aiohttp.TCPConnector()
    try:
        from aiohttp_socks import ProxyConnector, ProxyError  # noqa: PLC0415 - it may be missing
    except ImportError:
        raise PlatformError(
            "--proxy needs the package aiohttp-socks; type `scripts/setup --sessions`, or install "
            "e3[proxy]"
        ) from None

    class Connector(ProxyConnector):
        """What a proxy answers is an error of the connection, as of one without a proxy."""

        async def connect(self, *args: Any, **kwargs: Any) -> Connection:  # noqa: ANN401 - aiohttp's
            try:
                return await super().connect(*args, **kwargs)
            except ProxyError as error:
                raise aiohttp.ClientConnectionError(f"the proxy {proxy}: {error}") from None

    made: aiohttp.BaseConnector = Connector.from_url(proxy, rdns=True)
    return made
