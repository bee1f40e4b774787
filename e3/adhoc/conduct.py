"""Run this machine's own party, by E3's runner, once all parties are connected."""

import asyncio
import contextlib
import shutil
from pathlib import Path

from e3.adhoc.links import endpoint
from e3.adhoc.meeting import Meeting, host_name
from e3.adhoc.people import People
from e3.adhoc.scratch import scratch
from e3.adhoc.setting import Own
from e3.didcomm.session.bodies import Roster
from e3.errors import SessionError
from e3.experiment import Rules
from e3.paths import PairPath
from e3.session.alone import Alone
from e3.session.plan import Plan, Seat
from e3.session.progress import Observer
from e3.session.results import SessionResult
from e3.session.run_session import SessionSpec, run_session
from e3.session.verdicts import Verdict

OVERLAY = "didcomm"

OTHERS_SECONDS = 3.0
"""For the others to complete once this party has: until then it keeps its tunnels."""


async def conduct(
    meeting: Meeting, roster: Roster, own: Own, people: People, observer: Observer
) -> SessionResult:
    """Run this party to its end, and tell the others how it ended."""
    room, links = meeting.room, meeting.links
    if room is None or links is None:
        raise SessionError("there is no room for the program")
    pid = meeting.pid
    seats = tuple(
        Seat(
            pid=each.pid,
            host=host_name(roster, each.pid),
            endpoint=endpoint(each.pid),
            private=tuple(own.private) if each.pid == pid else (),
        )
        for each in roster.members
    )
    with scratch(people.folder) as place:
        inputs = inputs_of(place, own.inputs, host_name(roster, pid))
        spec = SessionSpec(
            plan=Plan(program=own.program, seats=seats),
            hosts=(room.host,),
            overlay=OVERLAY,
            sessions=people.sessions,
            deadline_seconds=own.deadline_seconds,
            address_trust="authenticated",
            paths=_paths(meeting, roster),
            rules=Rules(dependencies="none", input_names="any"),
            alone=Alone(
                pid=pid,
                session=roster.session,
                others=meeting.others,
                queue=place / "queue",
            ),
            inputs=inputs,
            observer=observer,
        )
        async with links.reaching(pid, room, len(seats)):
            return await _run(meeting, roster, spec)


async def _run(meeting: Meeting, roster: Roster, spec: SessionSpec) -> SessionResult:
    try:
        result = await run_session(spec)
    except asyncio.CancelledError:
        meeting.leave("cancelled", "its user ended the session")
        raise
    done = result.verdict is Verdict.COMPLETED
    meeting.leave("done" if done else "failed", "" if done else result.reason)
    if done:
        await _wait_for_others(meeting, roster)
    return result


async def _wait_for_others(meeting: Meeting, roster: Roster) -> None:
    """Keep the tunnels until all others are done: their last messages may be on their way."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(OTHERS_SECONDS):
            await meeting.until(lambda: len(meeting.others) >= len(roster.members) - 1)


def _paths(meeting: Meeting, roster: Roster) -> list[PairPath]:
    if meeting.links is None:
        return []
    own = host_name(roster, meeting.pid)
    return [
        PairPath(
            source=own,
            target=host_name(roster, pid),
            path_class="relayed" if "relay" in path.kind else "direct",
            rtt_ms=path.rtt_ms,
        )
        for pid, path in sorted(meeting.links.driver.paths.items())
    ]


def inputs_of(place: Path, given: Path | None, host: str) -> Path | None:
    """Return a folder with the inputs of this party as sessions have them, by the name of its host.

    ``given`` is a file or a folder of the user's; what is returned is a copy below ``place``.
    """
    if given is None:
        return None
    copy = place / "inputs" / host
    copy.parent.mkdir()
    if given.is_dir():
        shutil.copytree(given, copy)
    else:
        copy.mkdir()
        shutil.copyfile(given, copy / given.name)
    return copy.parent
