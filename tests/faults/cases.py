"""What goes wrong, one function each: it runs a session on a stage and returns its result."""

import textwrap
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from e3.session.results import SessionResult
from e3.session.verdicts import Verdict
from tests import authorities
from tests.authorities import Forging, Swapping
from tests.faults.stage import DEMOS, Stage, all_print
from tests.overlays import ask
from tests.sessions import joined
from tests.unit.session.test_agreement import IMPOSTOR

HELLO = DEMOS / "helloworld.py"
CASES: "dict[str, Case]" = {}


@dataclass(frozen=True, kw_only=True)
class Case:
    """A fault, and what must come of it.

    ``reason`` are words of the sentence, in their order; ``concerned`` are the parties that it
    is about. ``slow`` cases begin first: they wait for a limit.
    """

    act: Callable[[Stage], SessionResult]
    verdict: Verdict
    reason: tuple[str, ...]
    concerned: tuple[int, ...]
    slow: bool


def case(
    name: str,
    verdict: Verdict,
    *reason: str,
    concerned: tuple[int, ...] = (),
    slow: bool = False,
) -> Callable[[Callable[[Stage], SessionResult]], Callable[[Stage], SessionResult]]:
    """Register a case under the words of the table."""

    def register(act: Callable[[Stage], SessionResult]) -> Callable[[Stage], SessionResult]:
        CASES[name] = Case(act=act, verdict=verdict, reason=reason, concerned=concerned, slow=slow)
        return act

    return register


LOOP = """
from mpyc.runtime import mpc

LIMIT = 10

async def main():
    async with mpc:
        for i in range(3):
            print(await mpc.output(mpc.SecInt()(LIMIT) + i))

mpc.run(main())
"""

WAITING = "import asyncio, os, signal, time\n" + joined("""
    print('on', flush=True)
    await asyncio.sleep(4)
    print(await mpc.output(mpc.input(mpc.SecInt()(1), senders=0)))
""")


@case("another constant in one program", Verdict.INCOMPATIBLE, "would run program", concerned=(2,))
def another_constant(stage: Stage) -> SessionResult:
    stage.tamper(2, "LIMIT = 10", "LIMIT = 11")
    return stage.run(LOOP)


@case(
    "another loop count in one program", Verdict.INCOMPATIBLE, "would run program", concerned=(1,)
)
def another_loop_count(stage: Stage) -> SessionResult:
    stage.tamper(1, "range(3)", "range(4)")
    return stage.run(LOOP)


@case("-L64 on one party", Verdict.INCOMPATIBLE, "bit length 64", concerned=(1,))
def another_bit_length(stage: Stage) -> SessionResult:
    stage.tell(1, "-L64")
    return stage.run(HELLO)


@case("-T0 on one party", Verdict.INCOMPATIBLE, "threshold 0", concerned=(1,))
def another_threshold(stage: Stage) -> SessionResult:
    stage.tell(1, "-T0")
    return stage.run(HELLO)


@case("--no-prss on one party", Verdict.INCOMPATIBLE, "--no-prss", concerned=(0,))
def without_prss(stage: Stage) -> SessionResult:
    stage.tell(0, "--no-prss")
    return stage.run(HELLO)


@case("--mix32-64bit on one party", Verdict.INCOMPATIBLE, "--mix32-64bit", concerned=(2,))
def mixed_words(stage: Stage) -> SessionResult:
    stage.tell(2, "--mix32-64bit")
    return stage.run(HELLO)


@case("--ssl on two of three", Verdict.INCOMPATIBLE, "--ssl", concerned=(2,))
def tls_on_two(stage: Stage) -> SessionResult:
    stage.tell(0, "--ssl")
    stage.tell(1, "--ssl")
    return stage.run(HELLO)


@case("SIGKILL of one party", Verdict.PARTY_FAILED, "party 2", "SIGKILL", concerned=(2,))
def killed(stage: Stage) -> SessionResult:
    body = """
        if mpc.pid == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        await mpc.output(mpc.input(mpc.SecInt()(mpc.pid)))
        await asyncio.sleep(1000)
    """
    return stage.run("import asyncio, os, signal\n" + joined(body))


@case(
    "a program that never starts MPyC",
    Verdict.TIMED_OUT,
    "not connected 24 s after",
    "party 2",
    "not yet at mpc.start",
    concerned=(2,),
    slow=True,
)
def never_starts(stage: Stage) -> SessionResult:
    return stage.run("""
import time
from mpyc.runtime import mpc
if mpc.pid == 2:
    time.sleep(1000)
mpc.run(mpc.start())
""")


@case("a runner that never starts", Verdict.UNREACHABLE, "party 1", concerned=(1,), slow=True)
def runner_never_starts(stage: Stage) -> SessionResult:
    stage.start_through(1, "exec sleep 1000")
    return stage.run(HELLO)


@case("a party that starts 20 s late", Verdict.COMPLETED, "all 3 parties completed", slow=True)
def late(stage: Stage) -> SessionResult:
    late = "import time\nfrom mpyc.runtime import mpc\nif mpc.pid == 2: time.sleep(20)\n"
    return stage.run(late + LOOP)


@case("a host that died before", Verdict.UNREACHABLE, "party 1", "is gone", concerned=(1,))
def dead_before(stage: Stage) -> SessionResult:
    stage.lab.remove_host(stage.hosts[1].name)
    return stage.run(HELLO)


@case("a host that dies during the agreement", Verdict.UNREACHABLE, "party 2", concerned=(2,))
def dies_agreeing(stage: Stage) -> SessionResult:
    stage.start_through(1, "sleep 3", 'exec "$@"')
    return stage.run(
        HELLO,
        when=lambda parties, _: len(parties) > 2 and parties[2].phase.startswith("comparing"),
        then=lambda: stage.lab.remove_host(stage.hosts[2].name),
    )


@case("a host that dies mid-computation", Verdict.UNREACHABLE, "party 2", concerned=(2,))
def dies_computing(stage: Stage) -> SessionResult:
    def die() -> None:
        stage.lab.remove_host(stage.hosts[2].name)

    return stage.run(WAITING, when=all_print("on"), then=die)


@case("a host that dies after its result", Verdict.COMPLETED, "all 3 parties completed")
def dies_done(stage: Stage) -> SessionResult:
    program = "import time\n" + LOOP + "if mpc.pid != 2: time.sleep(3)\n"
    return stage.run(
        program,
        when=lambda parties, _: len(parties) > 2 and parties[2].state == "done",
        then=lambda: stage.lab.remove_host(stage.hosts[2].name),
    )


def pull(stage: Stage, pid: int) -> Callable[[], None]:
    """Pull the cable of a host; return what plugs it in again."""
    host = stage.hosts[pid]
    routes = ask(host, "ip", "route", "show", "dev", "eth0").splitlines()
    gateway = next(line.split()[2] for line in routes if line.startswith("default"))
    neighbour = ask(host, "ip", "neigh", "show", gateway, "dev", "eth0").split()
    ask(host, "ip", "link", "set", "eth0", "down")

    def plug() -> None:
        ask(host, "ip", "link", "set", "eth0", "up")
        mac = neighbour[neighbour.index("lladdr") + 1]
        ask(host, "ip", "route", "replace", gateway, "dev", "eth0", "scope", "link")
        ask(
            host,
            "ip",
            "neigh",
            "replace",
            gateway,
            "lladdr",
            mac,
            "dev",
            "eth0",
            "nud",
            "permanent",
        )
        ask(host, "ip", "route", "replace", "default", "via", gateway, "dev", "eth0")

    return plug


@case("a cable that is out for 3 s", Verdict.COMPLETED, "all 3 parties completed")
def cable_out_shortly(stage: Stage) -> SessionResult:
    def pull_and_plug() -> None:
        plug = pull(stage, 2)
        time.sleep(3)  # that is the fault
        plug()

    return stage.run(WAITING, when=all_print("on"), then=pull_and_plug)


@case(
    "a cable that is out for a minute",
    Verdict.UNREACHABLE,
    "connection between",
    "party 2",
    concerned=(0, 1, 2),
    slow=True,
)
def cable_out(stage: Stage) -> SessionResult:
    program = "import asyncio\n" + joined("""
        print('on', flush=True)
        while True:
            await mpc.output(mpc.input(mpc.SecInt()(1), senders=0))
            await asyncio.sleep(0.1)
    """)
    plugs: list[Callable[[], None]] = []
    try:
        return stage.run(program, when=all_print("on"), then=lambda: plugs.append(pull(stage, 2)))
    finally:
        for plug in plugs:
            plug()


@case("a full disk", Verdict.PARTY_FAILED, "party 1", "No space left", concerned=(1,))
def full_disk(stage: Stage) -> SessionResult:
    fill = "head -c 3G /dev/zero > /run/full || true; head -c 1M /dev/zero >> /run/full || true"
    ask(stage.hosts[1], "sh", "-c", f"({fill}) 2>&1")
    try:
        return stage.run(HELLO)
    finally:
        ask(stage.hosts[1], "rm", "/run/full")


SHOW_CLOCK = """
import sys, time
print(round((time.time() - float(sys.argv[-1])) / 86400))
"""

A_DAY_AHEAD = (
    "export LD_PRELOAD=$(echo /usr/lib/*/faketime/libfaketime.so.1) FAKETIME=+1d",
    "export FAKETIME_DONT_FAKE_MONOTONIC=1",
    'exec "$@"',
)
"""Starts a runner whose clock, and its program's, is a day ahead.

The kernel has one CLOCK_REALTIME for all namespaces, so the library call is what is wrong. What
overlays make of a wrong clock, such as of a certificate's dates, cannot be tried in this way.
"""


@case("a clock that is a day off", Verdict.COMPLETED, "all 3 parties completed")
def wrong_clock(stage: Stage) -> SessionResult:
    stage.start_through(2, *A_DAY_AHEAD)
    program = LOOP + SHOW_CLOCK
    result = stage.run(program, str(time.time()))
    assert [party.output.split()[-1] for party in result.parties] == ["0", "0", "1"]
    return result


@case(
    "a clock that is a day off, with TLS",
    Verdict.PARTY_FAILED,
    "party 2",
    "did not start: by its clock",
    "its certificate has expired; set the clock",
    concerned=(2,),
)
def wrong_clock_with_tls(stage: Stage) -> SessionResult:
    stage.authority = authorities.make()
    stage.start_through(2, *A_DAY_AHEAD)
    return stage.run(HELLO)


@case(
    "another authority on one host, with TLS",
    Verdict.PARTY_FAILED,
    "party 1",
    "did not start: its certificate is not of the authority",
    concerned=(1,),
)
def wrong_authority(stage: Stage) -> SessionResult:
    stage.authority, other = authorities.make(), authorities.make()
    stage.tamper(1, stage.authority.certificate, other.certificate, below="tls")
    return stage.run(HELLO)


def unwary(stage: Stage, pid: int) -> None:
    """Have a party's own runner find no fault with its certificate: it belongs to an attacker."""
    stage.tamper(pid, "(wrong := fault(folder))", "(wrong := '')", below="runner")


@case(
    "a forged certificate, calling",
    Verdict.INCOMPATIBLE,
    "party 0",
    "shows a certificate that is refused: unable to get local issuer certificate",
    concerned=(0,),
)
def forger_calls(stage: Stage) -> SessionResult:
    stage.authority = Forging(inner=authorities.make(), pid=0)
    unwary(stage, 0)
    return stage.run(HELLO)


@case(
    "a forged certificate, being called",
    Verdict.INCOMPATIBLE,
    "party 2",
    "shows a certificate that is refused: unable to get local issuer certificate",
    concerned=(2,),
)
def forger_is_called(stage: Stage) -> SessionResult:
    stage.authority = Forging(inner=authorities.make(), pid=2)
    unwary(stage, 2)
    return stage.run(HELLO)


@case(
    "another pid's certificate, calling",
    Verdict.INCOMPATIBLE,
    "party 0",
    "its certificate is for 'MPyC party 1'",
    concerned=(0,),
)
def swapper_calls(stage: Stage) -> SessionResult:
    stage.authority = Swapping(inner=authorities.make(), pid=0, other=1)
    return stage.run(HELLO)


@case(
    "another pid's certificate, being called",
    Verdict.INCOMPATIBLE,
    "party 2",
    "certificate is not valid for 'MPyC party 2'",
    concerned=(2,),
)
def swapper_is_called(stage: Stage) -> SessionResult:
    stage.authority = Swapping(inner=authorities.make(), pid=2, other=1)
    return stage.run(HELLO)


@case("a program that forks daemons", Verdict.COMPLETED, "all 3 parties completed")
def daemons(stage: Stage) -> SessionResult:
    program = """
import os, signal, time
for _ in range(3):
    if os.fork() == 0:
        os.setsid()
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if os.fork() == 0:
            time.sleep(1000)
        time.sleep(1000)
"""
    result = stage.run(program + LOOP)
    assert "processes left behind were killed" in stage.log(result, 0)
    return result


@case("daemons when another party fails", Verdict.PARTY_FAILED, "party 2", concerned=(2,))
def daemons_of_victims(stage: Stage) -> SessionResult:
    program = """
import os, signal, sys, time
from mpyc.runtime import mpc
if os.fork() == 0:
    os.setsid()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(1000)
mpc.run(mpc.start())
if mpc.pid == 2:
    sys.exit('no')
time.sleep(1000)
"""
    return stage.run(program)


MALICE = """
import os
from mpyc.runtime import mpc

class Order:
    def __reduce__(self):
        return os.system, ('echo OBEYED by party $MPYC_PARTY',)

os.environ['MPYC_PARTY'] = str(mpc.pid)
mpc.run(mpc.start())
mpc.run(mpc.transfer(Order() if mpc.pid == 2 else None))
mpc.run(mpc.shutdown())
"""
"""Party 2 sends a pickle that has whoever reads it run a command."""


@case(
    "a malicious pickle",
    Verdict.PARTY_FAILED,
    "party 2",
    "sent party",  # 0 or 1, whoever reads it first
    "posix.system",
    concerned=(2,),
)
def malice(stage: Stage) -> SessionResult:
    result = stage.run(MALICE)
    assert not any("OBEYED by" in stage.log(result, pid) for pid in (0, 1))
    return result


@case("an impostor of another pid", Verdict.INCOMPATIBLE, "claims to be party 0", concerned=(2,))
def impostor(stage: Stage) -> SessionResult:
    return stage.run(textwrap.dedent(IMPOSTOR.format(source="own.host")))


@case("outputs that differ", Verdict.DIVERGED, "party 2", "line 1 is '2'", concerned=(2,))
def diverged(stage: Stage) -> SessionResult:
    stage.rules = replace(stage.rules, compare="same")
    return stage.run("from mpyc.runtime import mpc\nprint(max(mpc.pid, 1))")


@case("more memory than allowed", Verdict.PARTY_FAILED, "MemoryError")
def memory(stage: Stage) -> SessionResult:
    stage.rules = replace(stage.rules, limits=replace(stage.rules.limits, memory_mb=200))
    return stage.run("x = b'x' * 300_000_000")


@case(
    "more memory than allowed, in many processes",
    Verdict.PARTY_FAILED,
    "party 2",
    "its processes took more than 400 MB together",
    concerned=(2,),
)
def memory_of_children(stage: Stage) -> SessionResult:
    stage.rules = replace(stage.rules, limits=replace(stage.rules.limits, memory_mb=400))
    return stage.run("""
import os, time
from mpyc.runtime import mpc
if mpc.pid == 2:
    for _ in range(8):
        if os.fork() == 0:
            taken = b'x' * 100_000_000
            time.sleep(1000)
time.sleep(1000)
""")


@case("a worker that shares much memory with others", Verdict.COMPLETED, "all 3 parties completed")
def memory_that_is_shared(stage: Stage) -> SessionResult:
    stage.rules = replace(stage.rules, limits=replace(stage.rules.limits, memory_mb=400))
    return stage.run("""
import os, time
taken = b'x' * 100_000_000
children = [os.fork() or time.sleep(2) or os._exit(0) for _ in range(6)]
for child in children:
    os.waitpid(child, 0)
print(len(taken))
""")


@case("more output than allowed", Verdict.PARTY_FAILED, "printed more than 1 MB")
def flood(stage: Stage) -> SessionResult:
    stage.rules = replace(stage.rules, limits=replace(stage.rules.limits, output_mb=1))
    return stage.run("while True: print('x' * 10_000)")
