"""The mediator of a network: passes on the messages of its agents, and relays for pairs."""

import asyncio
import signal
from pathlib import Path

from e3.adhoc.relays import Quota, relaying
from e3.agents.settings import MEDIATOR, SERVING, MediatorSettings, read
from e3.didcomm.errors import DidcommError
from e3.didcomm.identity_file import identity_in
from e3.didcomm.mediator.mediator import Mediator
from e3.didcomm.mediator.queues import Limits
from e3.didcomm.mediator.server import Place, serving
from e3.errors import OverlayError

QUOTA = Quota(
    bytes=1 << 50, bytes_per_second=1 << 30, seconds=7 * 86_400, pairs=10_000, pairs_of_one=1000
)
"""Of a pair: as much as a relay grants, since whoever deploys decides who is in the network. Agents
ask again when a path is over."""

LIMITS = Limits(rate=500, rate_bytes=10e6)
UNLIMITED = Limits(
    messages=1 << 20,
    message_bytes=1 << 30,
    all_bytes=1 << 30,
    bytes_of_one=1 << 30,
    rate=1e6,
    rate_bytes=1e10,
)
"""Where all data of sessions are messages: else it would be lost."""


def main(secrets: Path, configuration: Path) -> None:
    """Serve until a signal comes."""
    try:
        asyncio.run(_serve(secrets, configuration))
    except (DidcommError, OverlayError, OSError) as error:
        raise SystemExit(f"the mediator ends: {error}") from None


async def _serve(secrets: Path, configuration: Path) -> None:
    told = read(configuration / MEDIATOR, MediatorSettings)
    mark = configuration / SERVING
    mark.unlink(missing_ok=True)
    over = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, over.set)
    # every address of the host, of both versions of IP
    place = Place(host="", port=told.port, uri=f"http://localhost:{told.port}/")
    async with relaying(told.relay_udp, told.relay_tcp, QUOTA, told.tunnel) as relays:
        limits = UNLIMITED if told.unlimited else LIMITS
        mediator = Mediator(identity_in(secrets / "mediator.json"), limits, relays.take)
        async with serving(mediator, limits, place):
            mark.touch()
            await over.wait()
    mark.unlink(missing_ok=True)
