"""``e3 mediator``: run a mediator, which passes on messages of sessions without reading them."""

import argparse
import asyncio
import contextlib
import ipaddress
import signal
import ssl
from pathlib import Path
from typing import TYPE_CHECKING

from e3.cli import terminal
from e3.cli.place import Verbs
from e3.errors import ConfigurationError
from e3.remote.text import printable

if TYPE_CHECKING:
    from e3.didcomm.mediator.mediator import Reply
    from e3.didcomm.messages import Received

SIGNALS = (signal.SIGINT, signal.SIGTERM)
LAST_PORT = 65_535


def declare(verbs: Verbs) -> None:
    """Declare the verb's command line."""
    verb = verbs.add_parser(
        "mediator",
        help="run a mediator of sessions between parties",
        description="Keep and pass on messages of parties who cannot be called. It cannot read "
        "them, keeps each for 5 minutes at most, in memory alone, and may be restarted.",
    )
    verb.add_argument(
        "--listen", metavar="HOST:PORT", default="127.0.0.1:8440", help="default: %(default)s"
    )
    verb.add_argument("--url", metavar="URL", help="by which parties call it, if not by --listen")
    verb.add_argument(
        "--trust-proxy",
        metavar="ADDRESS",
        action="append",
        default=[],
        help="a web server that passes requests on and names their origin in X-Forwarded-For",
    )
    verb.add_argument("--certificate", metavar="FILE", help="its TLS certificate, in PEM")
    verb.add_argument("--key", metavar="FILE", help="the key of the certificate, in PEM")
    verb.add_argument(
        "--relay",
        metavar="PORT",
        type=int,
        nargs=3,
        default=(3478, 3479, 3478),
        help="two UDP ports and a TCP port of servers of STUN and of a relay (default: 3478 3479 "
        "3478)",
    )
    verb.add_argument(
        "--without-relay", action="store_true", help="pass on messages, and nothing else"
    )
    terminal.offer_json(verb, "its DID and URL, once it takes messages,")
    verb.set_defaults(do=run)


def run(arguments: argparse.Namespace) -> int:
    """Run until a signal comes."""
    from e3.adhoc.board import Board  # noqa: PLC0415 - slow to load
    from e3.adhoc.own_dids import mediator_identity  # noqa: PLC0415
    from e3.adhoc.relays import Quota, relaying  # noqa: PLC0415
    from e3.didcomm.mediator.mediator import Extra, Mediator  # noqa: PLC0415
    from e3.didcomm.mediator.queues import Limits  # noqa: PLC0415
    from e3.didcomm.mediator.server import Place, serving  # noqa: PLC0415

    host, port = listen(arguments.listen)
    tls = certificate(arguments)
    shown = f"[{host}]" if ":" in host else host
    proxies = frozenset(map(proxy, arguments.trust_proxy))
    url = arguments.url or f"http{'s' if tls else ''}://{shown}:{port}/"

    async def serve() -> None:
        async with contextlib.AsyncExitStack() as held:
            takers: list[Extra] = []
            if not arguments.without_relay:
                first, second, tcp = arguments.relay
                relays = await held.enter_async_context(relaying((first, second), tcp, Quota()))
                takers.append(relays.take)

            def extra(received: "Received", reply: "Reply") -> bool:
                return any(take(received, reply) for take in takers)

            mediator = Mediator(mediator_identity(), Limits(), extra)
            takers.append(Board(mediator.queues.knows).take)
            await pass_on(mediator)

    async def pass_on(mediator: Mediator) -> None:
        place = Place(host=host, port=port, uri=url, tls=tls, proxies=proxies)
        over = asyncio.Event()
        for number in SIGNALS:
            with contextlib.suppress(NotImplementedError):  # Windows: Ctrl-C ends all at once
                asyncio.get_running_loop().add_signal_handler(number, over.set)
        async with serving(mediator, Limits(), place):
            if arguments.json:
                terminal.say_json({"did": mediator.identity.did, "url": url})
            else:
                terminal.say(f"the mediator takes messages at {url}")
                terminal.say("Ctrl-C ends it; parties connect again when it is back")
            with contextlib.suppress(asyncio.CancelledError):
                await over.wait()

    asyncio.run(serve())
    return 0


def listen(text: str) -> tuple[str, int]:
    """Return host and port of ``--listen``."""
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or not 1 <= int(port) <= LAST_PORT:
        raise ConfigurationError(f"--listen: {text} is not HOST:PORT, as 0.0.0.0:8440 is")
    return host.strip("[]"), int(port)


def proxy(text: str) -> str:
    """Return the address of ``--trust-proxy``."""
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise ConfigurationError(
            f"--trust-proxy: {printable(text)} is not an address, as 127.0.0.1 is"
        ) from None


def certificate(arguments: argparse.Namespace) -> ssl.SSLContext | None:
    """Return the TLS context of the certificate that was given; None without one."""
    if (arguments.certificate is None) != (arguments.key is None):
        raise ConfigurationError("--certificate and --key: give both, or neither")
    if arguments.certificate is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    chain, key = (Path(arguments.cwd, given) for given in (arguments.certificate, arguments.key))
    try:
        context.load_cert_chain(chain, key)
    except OSError as error:
        raise ConfigurationError(
            f"--certificate: {chain} and its key cannot be used: {error.strerror or error}"
        ) from None
    return context
