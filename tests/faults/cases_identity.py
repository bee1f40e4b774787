"""Faults of clocks, keys and names, and malicious peers; see also `cases`."""

import textwrap
import time

from e3.session.results import SessionResult
from e3.session.verdicts import Verdict
from tests import authorities
from tests.authorities import Forging, Swapping
from tests.faults.case import case
from tests.faults.cases import HELLO, LOOP
from tests.faults.stage import Stage
from tests.unit.session.test_agreement import IMPOSTOR

SHOW_CLOCK = """
import sys, time
print(round((time.time() - float(sys.argv[-1])) / 86400))
"""


def shift_clock(stage: Stage, pid: int, days: int) -> None:
    """Shift the clock that a party's runner and its program read by so many days.

    The kernel has one CLOCK_REALTIME for all namespaces, so only the library call is changed. How
    overlays react to a wrong clock, as to a certificate's dates, cannot be tested in this way.
    """
    stage.start_through(
        pid,
        f"export LD_PRELOAD=$(echo /usr/lib/*/faketime/libfaketime.so.1) FAKETIME={days:+d}d",
        "export FAKETIME_DONT_FAKE_MONOTONIC=1",
        'exec "$@"',
    )


@case("a clock that is a day off", Verdict.COMPLETED, "all 3 parties completed")
def wrong_clock(stage: Stage) -> SessionResult:
    shift_clock(stage, 2, days=1)
    program = LOOP + SHOW_CLOCK
    result = stage.run(program, str(time.time()))
    assert [party.output.split()[-1] for party in result.parties] == ["0", "0", "1"]
    return result


@case(
    "a clock that is a day ahead, with TLS",
    Verdict.PARTY_FAILED,
    "party 2",
    "did not start: by its clock",
    "its certificate has expired; set the clock",
    concerned=(2,),
)
def clock_ahead_with_tls(stage: Stage) -> SessionResult:
    stage.authority = authorities.make()
    shift_clock(stage, 2, days=1)
    return stage.run(HELLO)


@case(
    "a clock that is a day behind, with TLS",
    Verdict.PARTY_FAILED,
    "party 0",
    "did not start: by its clock",
    "its certificate is not valid yet; set the clock",
    concerned=(0,),
)
def clock_behind_with_tls(stage: Stage) -> SessionResult:
    stage.authority = authorities.make()
    shift_clock(stage, 0, days=-1)
    return stage.run(HELLO)


@case(
    "another authority on one host, with TLS",
    Verdict.PARTY_FAILED,
    "party 1",
    "did not start: its certificate is not signed by the authority",
    concerned=(1,),
)
def wrong_authority(stage: Stage) -> SessionResult:
    stage.authority, other = authorities.make(), authorities.make()
    stage.tamper(1, stage.authority.certificate, other.certificate, below="tls")
    return stage.run(HELLO)


def unwary(stage: Stage, pid: int) -> None:
    """Make a party's own runner accept its certificate, as a runner of an attacker would."""
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
"""Party 2 sends a pickle that runs a command in the process that reads it."""


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
