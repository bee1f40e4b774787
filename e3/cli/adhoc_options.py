"""The options that `e3 invite` and `e3 join` have in common; e3/cli/adhoc.py uses them."""

import argparse

from e3.cli import terminal


def declare(verb: argparse.ArgumentParser) -> None:
    """Declare them."""
    verb.add_argument("--name", metavar="NAME", help="what you call yourself")
    verb.add_argument(
        "--pseudonym",
        metavar="NAME",
        help="take part under this name and a DID that is made for this session alone",
    )
    verb.add_argument(
        "--input", metavar="PATH", help="your private input: a file, or a folder of files"
    )
    verb.add_argument(
        "--stun",
        metavar="HOST:PORT",
        action="append",
        default=[],
        help="servers that tell which address your router has given you (default: the mediator's)",
    )
    verb.add_argument(
        "--with",
        dest="expected",
        metavar="WHO",
        action="append",
        default=[],
        help="with whom you compute: a domain such as example.org, a DID, or a name that you gave",
    )
    verb.add_argument(
        "--proxy",
        metavar="URL",
        default="",
        help="call the mediator through this SOCKS proxy, as socks5://127.0.0.1:9050 of Tor; "
        "peers are called directly",
    )
    verb.add_argument(
        "--relay-only",
        action="store_true",
        help="let no other party learn an address of this machine: all goes by the relay",
    )
    verb.add_argument(
        "--credential",
        metavar="FILE",
        action="append",
        default=[],
        help="a credential of yours (SD-JWT or JWT), of which is shown what is required",
    )
    verb.add_argument(
        "--yes", action="store_true", help="consent without a question, to people you know alone"
    )
    terminal.offer_json(verb, "the result")
