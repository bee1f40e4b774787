"""The first contact with droplets: until each answers by SSH, with the key sent to it."""

import asyncio
import time
from collections.abc import Callable, Sequence

from e3.access.ssh import SshAccess
from e3.errors import HostError

PAUSE_SECONDS = 0.5
ONE_TRY_SECONDS = 30.0
DISTRUST = "host key"


async def meet(
    accesses: Sequence[SshAccess],
    *,
    seconds: float,
    said: Callable[[str], object] = lambda _: None,
) -> None:
    """Return once every host has run a command; all are waited for at the same time.

    Raises `HostError` with a sentence for each host that does not within ``seconds``. A host
    that answers with another key than the one sent to it is not waited for: somebody else is
    there, or the image has no cloud-init.
    """
    begin = time.monotonic()

    async def one(access: SshAccess) -> str | None:
        reason = "it was not asked"
        while (left := begin + seconds - time.monotonic()) > 0:
            try:
                done = await access.shell("true", timeout_seconds=min(left, ONE_TRY_SECONDS))
            except (HostError, TimeoutError) as error:
                reason = str(error)
                if DISTRUST in reason:
                    return reason
            else:
                if done.exit == 0:
                    said(f"{access.host} answers after {time.monotonic() - begin:.1f} s")
                    return None
                reason = f"host {access.host} runs no commands: {done.stderr.decode().strip()}"
            await asyncio.sleep(PAUSE_SECONDS)
        return f"{reason} (after {seconds:g} s)"

    wrong = [reason for reason in await asyncio.gather(*map(one, accesses)) if reason]
    if wrong:
        raise HostError(
            "; ".join(wrong) + "; its console at https://cloud.digitalocean.com/droplets tells "
            "more, `pulumi up` tries again"
        )
