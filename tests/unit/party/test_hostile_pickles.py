"""Pickles of a hostile peer: they change nothing and cost little; errors name what they hold."""

import datetime as dt
import decimal
import enum
import fractions
import functools
import json
import math
import os
import pickle
import pickletools
import resource
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import BuiltinFunctionType, FunctionType
from typing import Any, NoReturn

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mpyc import finfields, fingroups, gfpx

from e3.party import cost, survey
from e3.party.unpickle import LARGE_BYTES, Receiver

pytestmark = pytest.mark.unit

FIELD = finfields.GF(2**61 - 1)
TERNARY = gfpx.GFpX(3)
BINARY = gfpx.GFpX(2)
NONARY = finfields.GF(TERNARY("x^2+1"))
CURVE = fingroups.EllipticCurve("Ed25519")
MERSENNE = 2**44_497 - 1
MPFR = bytes.fromhex("0441020035000080f500007f0080bc7d748265f8")


@dataclass
class Ballot:
    """A type of a program, which a user allows."""

    choice: Any = 0
    weight = 1

    def valid(self) -> bool:
        return self.choice in {0, 1}

    @property
    def twice(self) -> int:
        return 2 * self.weight

    @functools.cached_property
    def thrice(self) -> int:
        return 3 * self.weight


class Colour(enum.Enum):
    RED = 1


class Narrow:
    __slots__ = ("inner",)
    inner: Any

    def act(self) -> int:
        return 1


OWN = tuple(f"{__name__}.{name}" for name in ("Ballot", "Colour", "Narrow", "make"))


def make(value: object) -> Ballot:
    return Ballot(value)


class Refused(Exception):  # noqa: N818 -- what the receiver says, for a test
    pass


def refuse(_data: object, what: str) -> NoReturn:
    raise Refused(what)


def read(data: bytes, *allowed: str) -> Any:  # noqa: ANN401 -- whatever was sent
    return Receiver(allowed, refuse, lambda _: nullcontext()).loads(data)


# A pickle by its opcodes


def named(path: str) -> bytes:
    module, _, name = path.rpartition(".")
    if name == "createGF":
        module, _, kind = module.rpartition(".")
        name = f"{kind}.{name}"
    return b"\x80\x04" + plain(module) + plain(name) + b"\x93"


def plain(value: object) -> bytes:
    return pickletools.optimize(pickle.dumps(value, 3))[2:-1]  # remembers nothing


def called(path: str, *arguments: bytes) -> bytes:
    return named(path) + b"(" + b"".join(arguments) + b"tR"


def new(path: str) -> bytes:
    return named(path) + b")\x81"


def built(made: bytes, state: bytes) -> bytes:
    return made + state + b"b"


def by_slots(**state: bytes) -> bytes:
    return b"N}" + b"".join(plain(name) + value + b"s" for name, value in state.items()) + b"\x86"


def by_dict(**state: bytes) -> bytes:
    return b"}" + b"".join(plain(name) + value + b"s" for name, value in state.items())


def in_list(*values: bytes) -> bytes:
    return b"](" + b"".join(values) + b"e"


HERE = f"{__name__}."
ARRAY = f"mpyc.finfields.{FIELD.array.__name__}"
POLYNOMIAL = f"mpyc.gfpx.{TERNARY.__name__}"
POINT = f"mpyc.fingroups.{CURVE.__name__}"
PRIME = "mpyc.finfields.PrimeFieldElement.createGF"
EXTENSION = "mpyc.finfields.ExtensionFieldElement.createGF"
ELEMENT = called(PRIME, plain(FIELD.modulus), plain(FIELD.nth), plain(FIELD.root))
MODULUS = built(new(POLYNOMIAL), by_slots(value=plain([1, 0, 1])))
ARRAYS = "numpy._core.multiarray."
EMPTY = called(f"{ARRAYS}_reconstruct", named("numpy.ndarray"), plain((0,)), plain(b"b"))
NAMES = [
    "fractions.Fraction",
    "decimal.Decimal",
    "datetime.date",
    "datetime.datetime",
    "datetime.timedelta",
    "builtins.set",
    "builtins.frozenset",
    "builtins.range",
    "builtins.slice",
    "builtins.complex",
    "builtins.bytearray",
    "gmpy2.from_binary",
    "numpy.ndarray",
    "numpy.dtype",
    f"{ARRAYS}_reconstruct",
    f"{ARRAYS}scalar",
    "numpy._core.numeric._frombuffer",
    PRIME,
    EXTENSION,
    ARRAY,
    POLYNOMIAL,
    POINT,
    f"{HERE}Ballot",
    f"{HERE}Colour",
    f"{HERE}Narrow",
    f"{HERE}make",
    "builtins.getattr",
]


def kind(code: str) -> bytes:
    return called("numpy.dtype", plain(code), plain(False), plain(True))  # noqa: FBT003 -- as NumPy sends it


def array(code: str, content: bytes, *, shape: object = (1,), order: str = "<") -> bytes:
    dtype = built(kind(code), plain((3, order, None, None, None, -1, -1, 0)))
    state = b"(" + plain(1) + plain(shape) + dtype + plain(False) + content + b"t"  # noqa: FBT003 -- as above
    return built(EMPTY, state)


def reused(once: bytes, path: str, times: int) -> bytes:
    """Return a list of what a function makes, again and again, of the same arguments."""
    begun = once + b"\x940" + named(path) + b"\x940"
    return begun + b"](" + b"h\x01h\x00\x85R" * times + b"e"


CHANGES = [
    pytest.param(built(named(name), state), id=f"{name} by {how}")
    for name in NAMES
    for how, state in (
        ("slots", by_slots(numerator=plain(42), valid=plain(1), zzz=plain(1))),
        ("bases", by_slots(__bases__=named(f"{HERE}Narrow") + b"\x85")),
        ("name", by_slots(__name__=plain("other"))),
        ("dict", by_dict(zzz=plain(1))),
        ("tuple", plain((1, (0,), 2, 3, b""))),
        ("defaults", by_slots(__defaults__=plain((1,)), __code__=plain(1))),
    )
]


@contextmanager
def unchanged() -> Iterator[None]:
    """Check that a pickle changes nothing that it can reach."""
    kinds = (Ballot, Colour, Narrow, fractions.Fraction, FIELD, FIELD.array, TERNARY, CURVE)
    before = [(each.__name__, each.__bases__, dict(vars(each))) for each in kinds]
    members = dict(vars(Colour.RED))
    yield
    assert [(each.__name__, each.__bases__, dict(vars(each))) for each in kinds] == before
    assert dict(vars(Colour.RED)) == members
    assert fractions.Fraction(3, 4).numerator == 3
    assert decimal.Decimal("1.5").as_tuple() == (0, (1, 5), -1)
    assert dt.timedelta(1).days == 1


@pytest.fixture
def restored() -> Iterator[None]:
    """Undo the changes of a refused pickle, after which a party's process would have ended."""
    kinds = (Ballot, Colour, Narrow, FIELD, FIELD.array, TERNARY, CURVE)
    before = [(each, each.__name__, each.__bases__, dict(vars(each))) for each in kinds]
    members = dict(vars(Colour.RED))
    yield
    vars(Colour.RED).clear()
    vars(Colour.RED).update(members)
    for each, name, bases, attributes in before:
        each.__name__ = name
        if each.__bases__ != bases:
            each.__bases__ = bases
        for other in vars(each).keys() - attributes.keys():
            delattr(each, other)
        for attribute, value in attributes.items():
            if vars(each)[attribute] is not value:
                setattr(each, attribute, value)


@pytest.mark.parametrize("data", CHANGES)
@pytest.mark.usefixtures("restored")
def test_nothing_that_is_named_can_be_changed(data: bytes) -> None:
    with pytest.raises(Refused):
        read(data + b".", *OWN)


@pytest.mark.parametrize("data", CHANGES)
@pytest.mark.usefixtures("restored")
def test_nor_when_something_else_is_handed_over(data: bytes) -> None:
    with pytest.raises(Refused):
        read(data + b"0N.", *OWN)


FRACTION = called("fractions.Fraction", plain(1), plain(3))


@pytest.mark.parametrize(
    "made",
    [
        pytest.param(built(FRACTION, by_slots(_numerator=plain(42))), id="a fraction"),
        pytest.param(
            built(FRACTION, by_slots(_numerator=plain(True))),  # noqa: FBT003 -- equal to 1, and no integer
            id="a fraction, by an equal value",
        ),
        pytest.param(
            built(called("decimal.Decimal", plain("1")), by_slots(_exp=plain(3))), id="a decimal"
        ),
        pytest.param(
            built(called("datetime.timedelta", plain(1)), by_dict(days=plain(3))), id="a timedelta"
        ),
        pytest.param(
            built(called(f"{HERE}Colour", plain(1)), by_dict(_value_=plain(3))), id="a member"
        ),
        pytest.param(built(ELEMENT, by_slots(value=plain("3"))), id="an element of text"),
        pytest.param(built(ELEMENT, by_slots(value=plain(3.0))), id="an element of a float"),
        pytest.param(built(ELEMENT, by_slots(other=plain(3))), id="an element's other attribute"),
        pytest.param(ELEMENT, id="an element of nothing"),
        pytest.param(built(ELEMENT, by_slots(value=ELEMENT)), id="an element of an element"),
        pytest.param(
            built(ELEMENT, by_slots(value=named("builtins.set"))), id="an element of a function"
        ),
        pytest.param(built(new(POLYNOMIAL), by_slots(value=plain([3]))), id="a coefficient of 3"),
        pytest.param(built(new(POLYNOMIAL), by_slots(value=plain([1, 0]))), id="a leading zero"),
        pytest.param(built(new(POLYNOMIAL), by_slots(value=plain(["1"]))), id="text"),
        pytest.param(built(new(POLYNOMIAL), by_slots(value=plain(7))), id="a number for a list"),
        pytest.param(built(new(ARRAY), by_slots(value=plain([1]))), id="a list for an array"),
        pytest.param(built(new(ARRAY), by_slots(value=array("i8", plain(b"12345678")))), id="int8"),
        pytest.param(
            built(new(ARRAY), by_slots(value=array("O8", plain(["1"])))), id="an array of text"
        ),
        pytest.param(built(new(POINT), by_slots(value=plain("1"))), id="a point of text"),
        pytest.param(
            built(new(POINT), by_slots(value=in_list(named("builtins.set")))),
            id="a point of functions",
        ),
        pytest.param(
            built(new(f"{HERE}Ballot"), by_dict(valid=named("builtins.set"))), id="a function"
        ),
        pytest.param(built(new(f"{HERE}Ballot"), by_dict(valid=plain(1))), id="for a method"),
        pytest.param(built(new(f"{HERE}Ballot"), by_slots(valid=plain(1))), id="for it, by slots"),
        pytest.param(built(new(f"{HERE}Ballot"), by_dict(twice=plain(1))), id="for a property"),
        pytest.param(
            built(new(f"{HERE}Ballot"), by_dict(__reduce_ex__=plain(1))), id="for object's own"
        ),
        pytest.param(
            built(new(f"{HERE}Ballot"), by_dict(choice=named(f"{HERE}Narrow"))), id="of a type"
        ),
        pytest.param(
            built(new(f"{HERE}Ballot"), by_dict(choice=in_list(named("builtins.set")))),
            id="of a list of functions",
        ),
        pytest.param(
            built(new(f"{HERE}Narrow"), by_slots(inner=named("builtins.set"))), id="in a slot"
        ),
        pytest.param(
            built(called(f"{HERE}make", plain(1)), by_dict(valid=plain(1))), id="of what is made"
        ),
    ],
)
@pytest.mark.usefixtures("restored")
def test_no_state_is_set_but_data_of_its_kind(made: bytes) -> None:
    with pytest.raises(Refused):
        read(in_list(in_list(plain(1), made)) + b".", *OWN)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_only_named_is_no_value(name: str) -> None:
    for data in (named(name), in_list(named(name)), b"}" + plain(1) + named(name) + b"s"):
        with pytest.raises(Refused):
            read(data + b".", *OWN)


def test_an_object_of_a_type_that_is_allowed_comes_through() -> None:
    sent = [Ballot(1), Ballot([np.arange(3), (2, fractions.Fraction(1, 3))]), Colour.RED]
    assert sent[0].thrice == 3  # type: ignore[attr-defined]  # keeps its value under its own name
    narrow = Narrow()
    narrow.inner = np.arange(2)
    one, two, red, slotted = read(pickle.dumps([*sent, narrow]), *OWN)
    assert (one.choice, one.thrice, one.valid(), red) == (1, 3, True, Colour.RED)
    assert two.choice[0].tolist() == [0, 1, 2]
    assert two.choice[1] == (2, fractions.Fraction(1, 3))
    assert slotted.inner.tolist() == [0, 1]


def test_a_field_has_a_modulus_of_its_own() -> None:
    """Otherwise the pickle that made a field could change it for all later pickles."""
    memo = MODULUS + b"\x940"
    element = named(EXTENSION) + b"h\x00\x85R" + by_slots(value=MODULUS) + b"b"
    later = b"h\x00" + by_slots(value=plain([2])) + b"b0"
    value = read(memo + element + later + b".")
    assert type(value) is NONARY
    assert NONARY.modulus == TERNARY("x^2+1")


BOMBS = {
    "bytearray(10**10)": called("builtins.bytearray", plain(10**10)),
    "set(range(10**9))": called("builtins.set", called("builtins.range", plain(10**9))),
    "frozenset(range(10**9))": called("builtins.frozenset", called("builtins.range", plain(10**9))),
    "Fraction(Decimal)": called(
        "fractions.Fraction", called("decimal.Decimal", plain("1e99999999"))
    ),
    "Fraction('1e99999999')": called("fractions.Fraction", plain("1e99999999")),
    "Fraction of large integers": called(
        "fractions.Fraction", plain(MERSENNE), plain(2**44_496 + 1)
    ),
    "Decimal('1e99999999')": called("decimal.Decimal", plain("1e99999999")),
    "Decimal of many digits": called("decimal.Decimal", plain("9" * 50_000)),
    "Decimal of a large integer": called("decimal.Decimal", plain(10**100_000)),
    "timedelta(10**1000)": called("datetime.timedelta", plain(10**1000)),
    "timedelta(1e300)": called("datetime.timedelta", plain(1e300)),
    "a large field": called(PRIME, plain(MERSENNE), plain(1), plain(1)),
    "many fields": in_list(
        *(
            called(PRIME, plain(p), plain(2), plain(p - 1))
            for p in (10007, 10009, 10037, 10039, 10061)
        )
    ),
    "a field of no prime": called(PRIME, plain(2**4000 + 1), plain(1), plain(1)),
    "a large extension field": called(
        EXTENSION, built(new(POLYNOMIAL), by_slots(value=plain([1] * 5000)))
    ),
    "a memo of 2**31": plain(1) + b"r\xff\xff\xff\x7f",
    "bytes announced": b"\x8e" + (2**60).to_bytes(8, "little"),
    "text announced": b"\x8d" + (2**60).to_bytes(8, "little"),
    "bytearray announced": b"\x96" + (2**60).to_bytes(8, "little"),
    "a frame announced": b"\x95" + (2**60).to_bytes(8, "little"),
    "an integer announced": b"\x8b" + (2**31 - 1).to_bytes(4, "little"),
    "digits": b"I" + b"9" * 60_000 + b"\n",
    "more digits": b"L" + b"9" * 60_000 + b"L\n",
    "tuples in one another": b"N" + b"\x85" * 60_000,
    "lists in one another": b"]" * 30_000 + b"a" * 29_999,
    "tuples, with a short way to each": b"](N\x85\x94"
    + b"".join(b"j" + k.to_bytes(4, "little") + b"\x85\x94" for k in range(10_000))
    + b"e",
    "a tuple in a set": b"\x8f(" + b"N" + b"\x85" * 60_000 + b"\x90",
    "sets of one list": reused(plain(list(range(5000))), "builtins.set", 8000),
    "bytearrays of one content": reused(plain(b"x" * 20_000), "builtins.bytearray", 8000),
    "arrays of one content": (
        plain(b"x" * 20_000)
        + b"\x940"
        + kind("u1")
        + b"\x940"
        + named("numpy._core.numeric._frombuffer")
        + b"\x940]("
        + b"h\x02(h\x00h\x01"
        + plain((20_000,))
        + plain("C")
        + b"tR"
        + b"h\x02(h\x00h\x01"
        + plain((20_000,))
        + plain("C")
        + b"tR" * 800
        + b"e"
    ),
    "mpq": called("gmpy2.from_binary", plain(bytes.fromhex("03010203"))),
    "mpfr": called("gmpy2.from_binary", plain(MPFR)),
    "mpc": called("gmpy2.from_binary", plain(b"\x05" + bytes(30))),
    "xmpz": called("gmpy2.from_binary", plain(b"\x02\x01\x05")),
    "gmpy2 of no bytes": called("gmpy2.from_binary", plain(3)),
    "a dtype of 10**9 characters": array("U999999999", plain(b"")),
    "a shape of 2**62": array("i8", plain(b""), shape=(2**62, 2**62)),
    "no character": array("U1", plain(b"\xff" * 4)),
    "no character, the other way": array("U1", plain(b"\xff\xff\xff\x7f"), order=">"),
    "a number of text": called(f"{ARRAYS}scalar", kind("U1"), plain(b"\xff" * 4)),
    "bytes for objects": array("O8", plain(bytes(8))),
    "an array in a set": b"\x8f(" + array("i8", plain(bytes(8))) + b"\x90",
}


SAID_BYTES = 50_000
"""What a pipe takes before anybody reads."""

PROCESSOR_SECONDS = 30.0
"""Hundreds of times what they take, and far less than what they took if they were obeyed."""


@contextmanager
def little_memory(most_bytes: int = 200_000_000) -> Iterator[None]:
    with cost.memory(most_bytes):
        yield


@pytest.mark.parametrize("data", [pytest.param(data, id=name) for name, data in BOMBS.items()])
def test_a_small_pickle_costs_little(data: bytes) -> None:
    assert len(data) < 3 * LARGE_BYTES
    began = resource.getrusage(resource.RUSAGE_SELF).ru_utime
    with unchanged(), little_memory(), pytest.raises(Refused) as refused:
        read(b"\x80\x04" + data + b".")
    assert str(refused.value).isprintable()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_utime - began < PROCESSOR_SECONDS


def test_lists_that_hold_each_other_many_times_are_looked_at_once() -> None:
    doubled = b"](" + array("i8", plain(bytes(8))) + b"e\x94"
    data = doubled + b"".join(b"](h%sh%se\x94" % (bytes([i]), bytes([i])) for i in range(60))
    value = read(b"\x80\x04" + data + b".")
    for _ in range(60):
        assert value[0] is value[1]
        value = value[0]
    assert value[0].tolist() == [0]


def test_what_holds_itself_is_looked_at_once() -> None:
    loop = read(b"\x80\x04]\x94h\x00a.")
    assert loop[0] is loop


def test_truth_values_are_0_or_1() -> None:
    value = read(array("?", plain(b"\x05\x00\xff"), shape=(3,), order="|") + b".")
    assert value.view("u1").tolist() == [1, 0, 1]


def test_an_integer_of_gmpy2_where_it_lacks_is_one_of_pythons() -> None:
    code = "import sys; sys.modules['gmpy2'] = None\nfrom e3.party.makers import mpz\n"
    code += "print([mpz(bytes(b)) for b in ([1, 0], [1, 1, 5], [1, 2, 0, 1])])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[0, 5, -256]\n"


# Large pickles, which may kill the process; it has reported their sender before

CHILD = """
import json, pickle, sys
import mpyc.finfields
mpyc.finfields.GF(2**61 - 1).array  # as a program has them by then
from functools import partial
from e3.party import cost, peers
from e3.party.unpickle import Receiver

def report(kind, **fields):
    print(json.dumps([kind, fields]), flush=True)

def refuse(data, what):
    report("offended", what=what)
    sys.exit(70)

watch = partial(cost.bounded, report, spare_seconds=1.0, spare_bytes=20_000_000)
letter = peers.letters(2)(sys.stdin.buffer.read())
Receiver((), refuse, watch).loads(letter)
report("done")
"""


def read_apart(data: bytes) -> tuple[int, list[Any]]:
    """Read a pickle in a process of its own; return its exit status and its reports."""
    done = subprocess.run(
        [sys.executable, "-c", CHILD], input=data, capture_output=True, check=False
    )
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()]


def test_a_large_pickle_is_announced_and_read() -> None:
    status, said = read_apart(pickle.dumps(FIELD.array(list(range(2**40, 2**40 + 20_000)))))
    assert said == [["reading", {"peer": 2}], ["read", {}], ["done", {}]]
    assert status == 0


def test_one_that_takes_too_long_ends_while_its_sender_is_known() -> None:
    alike = b"".join(plain(k * (2**61 - 1)) for k in range(60_000))  # their hashes are all 0
    status, said = read_apart(b"\x80\x04\x8f(" + alike + b"\x90.")
    assert said == [["reading", {"peer": 2}]]
    assert status == -26  # SIGVTALRM


def test_one_that_takes_too_much_memory_is_refused() -> None:
    status, said = read_apart(b"\x80\x04(" + b"\x8f" * 2_000_000 + b"t.")
    assert said[0] == ["reading", {"peer": 2}]
    assert said[-1] == ["offended", {"what": "more than there is memory for"}]
    assert status == 70


def test_one_that_overflows_the_stack_ends_while_its_sender_is_known() -> None:
    status, said = read_apart(b"\x80\x04\x8f(N" + b"\x85" * 400_000 + b"\x90.")
    assert said == [["reading", {"peer": 2}]]
    assert status < 0


# Any other pickles

opcodes = st.one_of(
    st.sampled_from(b"N\x88]})\x8f(aesu\x85\x86\x87tld\x90\x91012\x94RR\x81\x81\x92bbb").map(
        lambda opcode: bytes([opcode])
    ),
    st.sampled_from([b"K\x05", b"h\x00", b"h\x01", b"h\x02"]),
    st.sampled_from(["value", "choice", "valid", "inner", b"\x01\x01\x05"]).map(plain),
    st.sampled_from([ELEMENT, MODULUS, EMPTY, kind("O8"), kind("i8"), FRACTION]),
    st.sampled_from(NAMES).map(named),
    st.binary(max_size=4),
)


def is_clean(value: object, depth: int = 6) -> bool:
    """Return whether a value has no code and no stand-in in it."""
    if type(value).__module__.startswith("e3.") or isinstance(value, type) or not depth:
        return not depth
    if isinstance(value, FunctionType | BuiltinFunctionType):
        return False
    if isinstance(value, dict):
        return all(is_clean(each, depth - 1) for pair in value.items() for each in pair)
    if isinstance(value, list | tuple | set | frozenset):
        return all(is_clean(each, depth - 1) for each in value)
    if isinstance(value, Ballot):
        return all(is_clean(each, depth - 1) for each in vars(value).values())
    return True


def apart(check: Callable[[], None]) -> None:
    """Run a check in a copy of this process: what no list foresees may damage the interpreter.

    Python 3.11 then counts its recursion wrongly, and pytest dies of the next failure.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        said = b""
        try:
            check()
        except BaseException:  # noqa: BLE001 -- whatever it is, it is told
            said = traceback.format_exc().encode(errors="replace")[-SAID_BYTES:]
        finally:
            os.write(writing, said)
            os._exit(0)
    os.close(writing)
    with open(reading, "rb") as pipe:  # noqa: PTH123 -- a descriptor
        said = pipe.read()
    _, status = os.waitpid(child, 0)
    assert (status, said.decode()) == (0, "")


# Python 3.12 warns of threads that do not come along: a pickle is read without them
FORKS = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")


@FORKS
@given(st.lists(opcodes, max_size=25).map(b"".join))
def test_any_pickle_is_refused_or_data(data: bytes) -> None:
    apart(partial(check_any, data))


def check_any(data: bytes) -> None:
    kinds = (Ballot, Colour, Narrow, FIELD, FIELD.array, TERNARY, CURVE)
    before = [(each, dict(vars(each))) for each in kinds]
    try:
        value = read(b"\x80\x04" + data + b".", *OWN)
    except Refused as refused:
        what = str(refused)
        assert what.isprintable()
        for each, attributes in before:  # the process would have ended
            for name in vars(each).keys() - attributes.keys():
                delattr(each, name)
        return
    assert is_clean(value)
    assert [(each, dict(vars(each))) for each in kinds] == before


@FORKS
@given(
    st.sampled_from(
        [
            pickle.dumps(value)
            for value in (
                FIELD.array([1, 2, 3]),
                [NONARY(5), TERNARY(7), BINARY(9)],
                CURVE.generator,
                np.arange(6).reshape(2, 3),
                {"a": (fractions.Fraction(1, 3), decimal.Decimal("1.5"), dt.datetime(2026, 1, 2))},  # noqa: DTZ001 -- as it comes
            )
        ]
    ),
    st.lists(st.tuples(st.integers(0, 500), st.integers(0, 255)), min_size=1, max_size=4),
)
def test_a_garbled_pickle_is_refused_or_data(whole: bytes, garbled: list[tuple[int, int]]) -> None:
    data = bytearray(whole)
    for at, byte in garbled:
        data[at % len(data)] = byte
    apart(partial(check_garbled, bytes(data)))


def check_garbled(data: bytes) -> None:
    with unchanged():
        try:
            value = read(data)
        except Refused:
            return
    assert is_clean(value)
    repr(value)


def test_a_value_as_deep_as_a_pickler_goes_comes_through() -> None:
    deep: list[Any] = []
    for _ in range(survey.DEPTH - 2):
        deep = [deep]
    data = b"]" * (survey.DEPTH - 1) + b"a" * (survey.DEPTH - 2)
    assert math.isclose(len(data), 2 * survey.DEPTH, abs_tol=3)
    value = read(b"\x80\x04" + data + b".")
    depth = 0
    while value:
        (value,) = value
        depth += 1
    assert depth == survey.DEPTH - 2


def test_what_is_allowed_and_what_is_not_is_the_same_for_every_way_to_call() -> None:
    for data in (
        b"cposix\nsystem\n(Vid\ntR.",
        b"(cposix\nsystem\nVid\no.",
        b"(Vid\niposix\nsystem\n.",
    ):
        with pytest.raises(Refused, match=r"posix\.system"):
            read(data)
    assert Path(os.devnull).exists()
