"""The first contact with droplets: wait until each answers by SSH with the key sent to it."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Literal

import msgspec

from e3.access.ssh import SshAccess
from e3.errors import HostError
from e3.interfaces import Host
from e3.remote.tasks import gather_or_cancel
from e3.remote.text import printable

PAUSE_SECONDS = 0.5
ONE_TRY_SECONDS = 30.0
WRONG_KEY = "host key"
CONTRACT = "/etc/e3/image.json"
"""The file in which an image of E3 describes itself: docs/images.md."""

READ_CONTRACT = f"cat {CONTRACT} 2>/dev/null || echo null"


Word = Annotated[str, msgspec.Meta(max_length=4_096, pattern=r"^[!-~]+\Z")]
"""A path or a name, without a space or a character that ends a line."""


class Image(msgspec.Struct, frozen=True):
    """How an image of E3 describes itself; ``contract`` is the version of that description."""

    contract: Literal[1]
    python: Word
    tools: Word
    system: Word
    services: Literal["systemd", "supervisor"]
    overlays: Annotated[list[Word], msgspec.Meta(max_length=1_000)]


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
) -> list[Image | None]:
    """Return how each droplet's image describes itself, or None, once all have answered.

    All are waited for at the same time. Raises `HostError` with a sentence for each droplet that
    does not answer within ``seconds``. A droplet with a different key than the one sent to it
    fails at once: another machine answers there, or the image has no cloud-init.
    """
    begin = time.monotonic()

    async def one(droplet: Droplet) -> Image | str | None:
        reason = f"host {droplet.host} was not asked"
        while (left := begin + seconds - time.monotonic()) > 0:
            try:
                done = await droplet.access.shell(
                    READ_CONTRACT, timeout_seconds=min(left, ONE_TRY_SECONDS)
                )
                if done.exit == 0:
                    said(f"{droplet.host} answers after {time.monotonic() - begin:.1f} s")
                    return read_image(droplet.host, done.stdout)
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


def read_image(host: str, description: bytes) -> Image | str | None:
    """Return an image's description, None if it has none, or a sentence that says what is wrong."""
    try:
        return msgspec.json.decode(description, type=Image | None)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return (
            f"{CONTRACT} on host {host} is not what docs/images.md says of it: "
            f"{printable(error)}; build the image again, or choose another one"
        )


def host(droplet: Droplet, image: Image) -> Host:
    """Return the host for a droplet whose image is one of E3's."""
    return Host(
        name=droplet.host,
        region=droplet.region,
        system=image.system,
        underlay=droplet.address,
        reachability="public",
        python=image.python,
        tools=image.tools,
        access=replace(droplet.access, python=image.python, services=image.services),
    )
