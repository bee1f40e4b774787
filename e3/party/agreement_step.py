"""The agreement as a step of the runner, which meanwhile obeys the deployer and reports to it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from e3.party.agreement import Agreement
from e3.party.certificates import fault, lay
from e3.party.deployer_stream import DeployerStream
from e3.party.fields import Groups, Value
from e3.party.opening import Opened
from e3.party.protocol import Exit, Spec, decode
from e3.party.statement import make

REPORTED_FIELDS = 8
REPORTED_GROUPS = 8
REPORTED_LENGTH = 200
"""Limits of the differences in a report, which must stay short whatever peers state."""


def agree(
    spec: Spec,
    folder: str,
    channel: DeployerStream,
    opened: Opened,
    meanwhile: Iterator[object],
) -> bool:
    """Agree with the other parties and report it; return whether the program is to start.

    While it waits for them, it takes steps of ``meanwhile``.
    """
    if len(spec.parties) == 1:
        return True
    if spec.tls and (wrong := fault(folder)):
        channel.say("refused", reason=wrong)
        return False
    channel.say("agreeing")
    agreement = Agreement(spec, make(spec, folder), opened, channel.fd_in)

    def hear() -> bool:
        return obey(channel, channel.hear())

    outcome = agreement.run(hear, meanwhile) if obey(channel, channel.unread) else None
    channel.unread = []
    if outcome is None or outcome.kind == "stopped":
        never = Exit(exit=None, why="stop", seconds=0.0, written={}, strays=0)
        channel.say("exited", **vars(never))
        return False
    if outcome.kind == "agreed":
        if spec.tls:
            lay(spec, folder)
        channel.say("agreed", noted=reported(outcome.noted), strangers=outcome.strangers)
        return True
    channel.say(
        "disagreed",
        result=outcome.kind,
        peer=outcome.peer,
        by=outcome.by,
        detail=outcome.detail,
        found=reported(outcome.found),
        strangers=outcome.strangers,
    )
    return False


def obey(channel: DeployerStream, lines: list[bytes]) -> bool:
    """Obey the deployer's messages; return whether to go on."""
    for line in lines:
        message = decode(line)
        if message is not None and message["e3"] == "beat":
            channel.say("alive")
        elif message is not None and message["e3"] == "stop":
            return False
    return not channel.over


def reported(found: Mapping[str, Groups]) -> dict[str, Groups]:
    """Return differences cut to the limits of a report."""

    def cut(value: Value) -> Value:
        long = isinstance(value, str) and len(value) > REPORTED_LENGTH
        return f"{str(value)[:REPORTED_LENGTH]}..." if long else value

    return {
        name[:REPORTED_LENGTH]: [(cut(value), pids) for value, pids in groups[:REPORTED_GROUPS]]
        for name, groups in list(found.items())[:REPORTED_FIELDS]
    }
