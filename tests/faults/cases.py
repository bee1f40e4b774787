"""One function for each fault: it runs a session on a stage and returns its result."""

import time
from collections.abc import Callable
from dataclasses import replace

from e3.session.results import SessionResult
from e3.session.verdicts import Verdict
from tests.faults.case import case
from tests.faults.stage import DEMOS, LONG_STOP_SECONDS, Stage, all_print
from tests.overlays import ask, processes
from tests.sessions import joined

HELLO = DEMOS / "helloworld.py"


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
    program = """
import time
from mpyc.runtime import mpc
if mpc.pid == 2:
    time.sleep(1000)
print('starting', flush=True)
mpc.run(mpc.start())
"""
    return stage.run(program, when=all_print("starting", times=2))


@case(
    "a runner that never starts",
    Verdict.UNREACHABLE,
    "party 1",
    "starting the runner",
    concerned=(1,),
    slow=True,
    stop_seconds=LONG_STOP_SECONDS,
)
def runner_never_starts(stage: Stage) -> SessionResult:
    stage.start_through(1, "exec sleep 1000")
    return stage.run(HELLO)


@case(
    "a runner that is frozen",
    Verdict.UNREACHABLE,
    "party 2",
    "is silent while computing",
    concerned=(2,),
    slow=True,
    stop_seconds=LONG_STOP_SECONDS,
)
def runner_frozen(stage: Stage) -> SessionResult:
    def freeze() -> None:
        pythons = [line.split() for line in processes(stage.hosts[2])]
        runner, _program = sorted(int(pid) for pid, name, *_ in pythons if name.endswith("python"))
        ask(stage.hosts[2], "kill", "-STOP", str(runner))

    return stage.run(WAITING.replace("sleep(4)", "sleep(1000)"), when=all_print("on"), then=freeze)


@case("a party that starts 20 s late", Verdict.COMPLETED, "all 3 parties completed", slow=True)
def late(stage: Stage) -> SessionResult:
    late = "import time\nfrom mpyc.runtime import mpc\nif mpc.pid == 2: time.sleep(20)\n"
    return stage.run(late + LOOP)


@case("a host that died before", Verdict.UNREACHABLE, "party 1", "is gone", concerned=(1,))
def dead_before(stage: Stage) -> SessionResult:
    stage.lab.remove_host(stage.hosts[1].name)
    return stage.run(HELLO)


@case(
    "a host that dies during the agreement",
    Verdict.UNREACHABLE,
    "party 2",
    concerned=(2,),
    stop_seconds=LONG_STOP_SECONDS,
)
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
    """Disconnect a host; return a function that connects it again."""
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


@case(
    "a full disk",
    Verdict.PARTY_FAILED,
    "party 1",
    "No space left",
    concerned=(1,),
    stop_seconds=LONG_STOP_SECONDS,
)
def full_disk(stage: Stage) -> SessionResult:
    fill = "head -c 3G /dev/zero > /run/full || true; head -c 1M /dev/zero >> /run/full || true"
    ask(stage.hosts[1], "sh", "-c", f"({fill}) 2>&1")
    try:
        return stage.run(HELLO)
    finally:
        ask(stage.hosts[1], "rm", "/run/full")


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
