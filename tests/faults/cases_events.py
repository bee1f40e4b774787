"""Programs that send forged reports to their runner, and hosts that send forged events.

The culprit is named, or nobody is; never an innocent party.
"""

import json
import textwrap
from dataclasses import replace

from e3.session.results import SessionResult
from e3.session.verdicts import Verdict
from tests.faults.case import case
from tests.faults.stage import Stage

FORGE = """
import os, sys, time
from mpyc.runtime import mpc

def pipes():
    for fd in map(int, os.listdir("/proc/self/fd")):
        try:
            if fd > 2 and os.readlink(f"/proc/self/fd/{fd}").startswith("pipe:"):
                yield fd
        except OSError:
            pass

def say(line):
    os.write(max(pipes()), line)

mpc.run(mpc.start())
if mpc.pid == 0:
    FORGERY
time.sleep(2)
mpc.run(mpc.shutdown())
"""
"""Party 0 writes to the pipe of E3's reports, once all are connected."""


def forging(acts: str) -> str:
    return FORGE.replace("FORGERY", textwrap.indent(textwrap.dedent(acts), "    ").strip())


def saying(**report: object) -> str:
    line = json.dumps({**report, "at": 0}) + "\n"
    return f"say({line.encode()!r})"


@case(
    "a program that says that it has ended",
    Verdict.PARTY_FAILED,
    "party 0",
    "sent a forbidden report",
    "'exited'",
    concerned=(0,),
)
def forged_exit(stage: Stage) -> SessionResult:
    end = {"exit": 0, "why": "", "seconds": 1.0, "written": {}, "strays": 0, "fault": ""}
    return stage.run(forging(saying(e3="exited", **end)))


@case(
    "a program that says that others do not agree",
    Verdict.PARTY_FAILED,
    "party 0",
    "'disagreed'",
    concerned=(0,),
)
def forged_disagreement(stage: Stage) -> SessionResult:
    return stage.run(forging('say(b\'{"e3":"disagreed"}\\n\')'))


@case(
    "a report about a party that does not exist",
    Verdict.PARTY_FAILED,
    "party 0",
    "not another party's index",
    concerned=(0,),
)
def forged_index(stage: Stage) -> SessionResult:
    return stage.run(forging(saying(e3="impostor", peer=99, detail="is evil")))


@case(
    "a report without an end",
    Verdict.PARTY_FAILED,
    "party 0",
    "a line of more than 65536 bytes",
    concerned=(0,),
)
def endless_report(stage: Stage) -> SessionResult:
    return stage.run(forging("while True: say(b'z' * 65536)"))


@case(
    "a flood of reports",
    Verdict.PARTY_FAILED,
    "party 0",
    "printed more than 1 MB",
    concerned=(0,),
)
def report_flood(stage: Stage) -> SessionResult:
    stage.rules = replace(stage.rules, limits=replace(stage.rules.limits, output_mb=1))
    return stage.run(forging(f"while True: {saying(e3='failed', error='x' * 30_000)}"))


@case(
    "a forged offence of another party",
    Verdict.PARTY_FAILED,
    "party 0",
    "exited with status 1",
    concerned=(0,),
)
def forged_offence(stage: Stage) -> SessionResult:
    forged = saying(e3="offended", peer=2, what="os.system")
    return stage.run(forging(f"{forged}; os._exit(1)"))


@case(
    "a forged offence of another party, ending as its victim would",
    Verdict.PARTY_FAILED,
    "party 0",
    "says, and nobody else, that party 2",
)
def perfectly_forged_offence(stage: Stage) -> SessionResult:
    forged = saying(e3="offended", peer=2, what="os.system")
    result = stage.run(forging(f"{forged}; os._exit(70)"))
    assert result.concerned == (), result.reason
    return result


@case("a forged impostor", Verdict.COMPLETED, "all 3 parties completed")
def forged_impostor(stage: Stage) -> SessionResult:
    result = stage.run(forging(saying(e3="impostor", peer=2, detail="is evil \x1b[31m")))
    assert r"is evil \x1b[31m, as party 0" in stage.log(result, 0)
    return result


@case(
    "a forged loss of another party",
    Verdict.UNREACHABLE,
    "party 0",
)
def forged_loss(stage: Stage) -> SessionResult:
    result = stage.run(forging(f"{saying(e3='lost', peer=2, why='')}; os._exit(1)"))
    if result.concerned:  # the others have told, in time, that they lost the one that is gone
        assert result.reason.startswith("the connection between party 0"), result.reason
    else:
        assert "says, and nobody else, that its connection to party 2" in result.reason
        assert "exited with status 1" in result.reason
    return result


@case(
    "a forged loss of another party by one that goes on",
    Verdict.UNREACHABLE,
    "party 0",
    "says, and nobody else, that its connection to party 2",
)
def forged_loss_going_on(stage: Stage) -> SessionResult:
    result = stage.run(forging(f"{saying(e3='lost', peer=2, why='')}; time.sleep(1000)"))
    assert result.concerned == (), result.reason
    return result


@case(
    "an error of 1.2 MB",
    Verdict.PARTY_FAILED,
    "party 0",
    "exited with status 1: xxx",
    "...",
    concerned=(0,),
)
def long_error(stage: Stage) -> SessionResult:
    result = stage.run(forging("sys.exit('x' * 1_200_000)"))
    assert len(result.reason) < 1000
    return result


@case(
    "an error that commands a terminal",
    Verdict.PARTY_FAILED,
    "party 0",
    r"[/tmp/x] [bold red]\x1b]0;owned\x07\u202e",
    concerned=(0,),
)
def foul_error(stage: Stage) -> SessionResult:
    return stage.run(forging(r"raise ValueError('[/tmp/x] [bold red]\x1b]0;owned\x07\u202e')"))


@case("output that is no text", Verdict.COMPLETED, "all 3 parties completed")
def foul_output(stage: Stage) -> SessionResult:
    raw = r"sys.stdout.buffer.write(b'\xff\xfe\x00\xed\xa0\x80ok\n'); sys.stdout.flush()"
    result = stage.run(forging(raw))
    assert result.parties[0].output.endswith("ok\n")
    return result


def speak(stage: Stage, pid: int, *lines: str) -> None:
    """Make a party's runner send these lines to the deployer in place of `started`."""
    said = "".join(f"{line}\n" for line in lines).encode()
    changed = f"program_monitor.channel._outgoing += {said!r}; program_monitor.channel.flush()"
    stage.tamper(pid, 'program_monitor.channel.say("started")', changed, below="runner")


LIES = {
    "no kind at all": ('{"e3":"x","at":1}',),
    "a time that is none": ('{"e3":"started","at":null}',),
    "a party that does not exist": (
        '{"e3":"started","at":1}',
        '{"e3":"connecting","at":1}',
        '{"e3":"impostor","peer":99,"detail":"is evil","at":1}',
    ),
    "half a character": (
        '{"e3":"started","at":1}',
        '{"e3":"output","stream":"stdout","text":"\\ud800","at":1}',
    ),
    "a line of 2 MB": ('{"e3":"refused","reason":"' + "x" * 2_000_000 + '","at":1}',),
}


def lie(stage: Stage, lines: tuple[str, ...]) -> SessionResult:
    speak(stage, 1, *lines)
    return stage.run("import time\ntime.sleep(1000)")


for what, said in LIES.items():
    case(
        f"a runner that says {what}",
        Verdict.PARTY_FAILED,
        "party 1",
        "its runner broke the protocol",
        concerned=(1,),
    )(lambda stage, said=said: lie(stage, said))  # type: ignore[misc]  # bound now


@case(
    "a runner whose every claim is made up",
    Verdict.PARTY_FAILED,
    "party 1",
    "exited with status 1",
)
def framing(stage: Stage) -> SessionResult:
    end = '"written":{},"strays":0,"fault":""'
    speak(
        stage,
        1,
        '{"e3":"started","at":1}',
        '{"e3":"connecting","at":1}',
        '{"e3":"connected","at":1}',
        '{"e3":"impostor","peer":2,"detail":"is evil","at":1}',
        '{"e3":"offended","peer":2,"what":"posix.system","at":1}',
        '{"e3":"exited","at":1,"exit":1,"why":"","seconds":1,' + end + "}",
    )
    result = stage.run("import time\ntime.sleep(1000)")
    assert result.concerned == (1,)
    return result
