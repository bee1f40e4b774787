"""Reports of how much a party has sent, made while it computes."""

from __future__ import annotations

from typing import Any

from e3.party.cost import SendReport

Attributes = Any
"""MPyC has no types."""

SECONDS = 1.0


def read(runtime: Attributes, report: SendReport) -> None:
    """Report the bytes that a connected party has sent, each second if more, until it stops.

    This runs in the program's event loop: a program that blocks the loop reports later.
    """
    loop = runtime._loop  # noqa: SLF001 -- MPyC has no other name for it
    links = [peer.protocol for peer in runtime.parties if peer.pid != runtime.pid]

    def tick(before: int) -> None:
        sent = sum(link.nbytes_sent for link in links)
        if sent > before:
            report("sent", total_bytes=sent)
        if not runtime.e3_stopping:
            loop.call_later(SECONDS, tick, sent)

    if links:
        loop.call_later(SECONDS, tick, 0)
