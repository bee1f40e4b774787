"""The first contact with droplets: wait until each answers by SSH with the key sent to it."""

import asyncio
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from e3.access.ssh import SshAccess
from e3.errors import HostError
from e3.interfaces import Host
from e3.remote.tasks import gather_or_cancel

PAUSE_SECONDS = 0.5
ONE_TRY_SECONDS = 30.0
WRONG_KEY = "host key"
CONTRACT = "/etc/e3/image.json"
"""The file in which an image of E3 describes itself: docs/images.md."""

READ_CONTRACT = f"cat {CONTRACT} 2>/dev/null || echo null"


@dataclass(frozen=True, kw_only=True)
class Droplet:
    """What is known of a droplet before it answers."""

    host: str
    region: str
    address: str
    key: str
    host_key: str

    @property
    def access(self) -> SshAccess:
        """How it is reached."""
        return SshAccess(
            host=self.host,
            address=self.address,
            user="root",
            key=self.key,
            host_key=self.host_key,
            services="systemd",
        )


async def wait_for_answers(
    droplets: Sequence[Droplet],
    *,
    seconds: float,
    said: Callable[[str], object] = lambda _: None,
) -> list[dict[str, Any] | None]:
    """Return how each droplet's image describes itself, or None, once all have answered.

    All are waited for at the same time. Raises `HostError` with a sentence for each droplet that
    does not answer within ``seconds``. A droplet with a different key than the one sent to it
    fails at once: another machine answers there, or the image has no cloud-init.
    """
    begin = time.monotonic()

    async def one(droplet: Droplet) -> dict[str, Any] | str | None:
        reason = f"host {droplet.host} was not asked"
        while (left := begin + seconds - time.monotonic()) > 0:
            try:
                done = await droplet.access.shell(
                    READ_CONTRACT, timeout_seconds=min(left, ONE_TRY_SECONDS)
                )
                if done.exit == 0:
                    said(f"{droplet.host} answers after {time.monotonic() - begin:.1f} s")
                    image: dict[str, Any] | None = json.loads(done.stdout)
                    return image
                reason = f"host {droplet.host} runs no commands: {done.complaint}"
            except (HostError, TimeoutError) as error:
                reason = str(error)
                if WRONG_KEY in reason:
                    return reason
            await asyncio.sleep(PAUSE_SECONDS)
        return f"{reason} (after {seconds:g} s)"

    answers = await gather_or_cancel(map(one, droplets))
    if wrong := [answer for answer in answers if isinstance(answer, str)]:
        raise HostError(
            "; ".join(wrong) + "; its console at https://cloud.digitalocean.com/droplets tells "
            "more, `pulumi up` tries again"
        )
    return [answer for answer in answers if not isinstance(answer, str)]


def host(droplet: Droplet, image: dict[str, Any]) -> Host:
    """Return the host for a droplet whose image is one of E3's."""
    python = str(image["python"])
    return Host(
        name=droplet.host,
        region=droplet.region,
        system=str(image["system"]),
        underlay=droplet.address,
        reachability="public",
        python=python,
        tools=str(image["tools"]),
        access=replace(droplet.access, python=python, services=image["services"]),
    )
