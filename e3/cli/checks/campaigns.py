"""Stacks of campaigns that were killed: their hosts go on until somebody removes them."""

from collections.abc import Iterator

from e3.cli.checks import state
from e3.cli.checks.finding import Finding
from e3.cli.place import ROOT
from e3.evaluation.campaign import place


def check() -> Iterator[Finding]:
    """Yield a finding for each campaign that does not run and has stacks."""
    names = state.names()
    for path in sorted((ROOT / place.CAMPAIGNS).glob(f"*/{place.RESULTS}")):
        name = path.parent.name
        left = [stack for stack in names if stack.startswith(place.stack_of(name))]
        if left and place.doing(ROOT, name) is None:
            yield Finding(
                level="WARN",
                subject=f"campaign {name}",
                detail=f"it was killed, and {', '.join(left)} may still have hosts",
                remedy=f"`e3 campaign run` continues it, `e3 campaign clean {name}` removes them",
            )
