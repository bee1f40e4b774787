"""The hosts of stacks that are up: whether they answer, and whether their clocks are right."""

import asyncio
import time
from collections.abc import Iterator

from e3.cli.checks import labs, state
from e3.cli.checks.finding import Finding
from e3.deployed import Stack, joined
from e3.errors import E3Error, HostError
from e3.interfaces import Host
from e3.pulumi_state import UnreadableError
from e3.remote.tasks import gather_or_cancel

ANSWER_SECONDS = 2.0
SKEW_SECONDS = 5.0
"""The most that a clock may be off: certificates are valid from when they are signed."""


def check() -> Iterator[Finding]:
    """Yield one finding for each stack that is up."""
    stacks = []
    for name in sorted({*state.names()} - labs.lost()):
        try:
            stack = joined(state.resources(name))
        except UnreadableError:
            continue  # which `store.check` tells
        except (E3Error, KeyError, ValueError) as error:
            yield Finding(
                level="FAIL",
                subject=f"stack {name}",
                detail=f"its state cannot be read: {error}",
                remedy="it is of another version: `pulumi destroy` with that, then `pulumi up`",
            )
            continue
        if stack is not None:
            stacks.append(stack)
    yield from asyncio.run(_ask(stacks))


async def _ask(stacks: list[Stack]) -> list[Finding]:
    return await gather_or_cancel(map(_answers, stacks))


async def _answers(stack: Stack) -> Finding:
    subject = f"stack {stack.name}"
    answers = await gather_or_cancel(map(_wrong, stack.hosts))
    wrong = [answer for answer in answers if answer]
    if not wrong:
        return Finding(level="OK", subject=subject, detail=f"all {len(answers)} hosts answer")
    return Finding(
        level="FAIL",
        subject=subject,
        detail=f"{len(wrong)} of {len(answers)} hosts have problems: {', '.join(wrong)}",
        remedy=f"`pulumi refresh --stack {stack.name}`, then `pulumi up --stack {stack.name}`",
    )


async def _wrong(host: Host) -> str | None:
    """Return what is wrong with a host, if anything is."""
    asked = time.time()
    try:
        done = await host.access.run(["date", "+%s"], timeout_seconds=ANSWER_SECONDS)
    except HostError:
        return f"{host.name} is gone"
    except TimeoutError:
        return f"{host.name} does not answer within {ANSWER_SECONDS:g} s"
    if done.exit:
        return f"{host.name} runs no commands"
    skew = float(done.stdout) - asked
    if abs(skew) > SKEW_SECONDS:
        return f"the clock of {host.name} is off by {skew:+.0f} s"
    return None
