"""Attacks on the agreement by the owner of one host: the culprit is named, or nobody."""

from e3.session.results import SessionResult
from e3.session.verdicts import Verdict
from tests.faults.case import case
from tests.faults.cases import HELLO
from tests.faults.stage import LONG_STOP_SECONDS, Stage
from tests.malice import ATTACKS, HONEST, WAITING, hostile_agree

REASONS = {
    "another-pid": "claims to be party 1",
    "large": "announced a message of 4294967295 bytes",
    "garbage": "speaks something unknown",
    "mpyc": "speaks MPyC without E3",
    "half": "sent half a message",
    "silence": "party 0",
    "drip": "party 0",
    "flood": "opened more than 500 connections and stated nothing",
    "deep": "sent a message that says nothing readable",
    "many-facts": "stated facts that no version of E3 has",
    "template": "stated facts that no version of E3 has",
    "large-number": "stated",
    "surrogate": "stated what nobody can compare",
    "truth-for-a-pid": "stated nothing",
    "called-off": "called the agreement off and named no difference",
    "called-off-blaming": "called the agreement off and named no difference",
    "two-faces": "would run program 000000000000",
    "agrees-with-one": "never said whether it agrees",
    "accuses": "sent half a message",
}


def register(attack: str) -> None:
    """Register the case of one attack by party 0."""
    unreachable = attack in {"agrees-with-one", "silence"}
    nobody = attack == "accuses"

    def act(stage: Stage) -> SessionResult:
        stage.tamper(0, HONEST, hostile_agree(attack), below="runner")
        result = stage.run(HELLO)
        assert 1 not in result.concerned, result.reason
        assert 2 not in result.concerned, result.reason
        return result

    case(
        f"a hostile host in the agreement, {attack.replace('-', ' ')}",
        Verdict.UNREACHABLE if unreachable else Verdict.INCOMPATIBLE,
        REASONS[attack],
        concerned=() if nobody else (0,),
        slow=attack in WAITING or attack == "flood",
        stop_seconds=LONG_STOP_SECONDS,
    )(act)


for name in ATTACKS:
    register(name)


OVERFLOWING = """
import time
from types import SimpleNamespace
import mpyc.runtime
from mpyc.runtime import mpc

DEEP = b'\\x80\\x04\\x8f(N' + b'\\x85' * 400_000 + b'\\x90.'
mpc.run(mpc.start())
if mpc.pid == 2:
    mpyc.runtime.pickle = SimpleNamespace(dumps=lambda _: DEEP, loads=lambda _: None)
mpc.run(mpc.transfer(1))
time.sleep(5 if mpc.pid == 2 else 0)
mpc.run(mpc.shutdown())
"""
"""Party 2 sends nested tuples, which overflow the stack of a party that puts them in a set."""


@case(
    "a pickle that kills whoever reads it",
    Verdict.PARTY_FAILED,
    "party 2",
    "content that ends whoever reads it (Segmentation fault)",
    concerned=(2,),
)
def overflowing(stage: Stage) -> SessionResult:
    return stage.run(OVERFLOWING)
