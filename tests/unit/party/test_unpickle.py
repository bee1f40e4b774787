"""The content of a peer's pickle: all that MPyC sends is accepted, and nothing else."""

import datetime as dt
import decimal
import fractions
import os
import pickle
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NoReturn

import numpy as np
import pytest
from mpyc import finfields, fingroups, gfpx

from e3.party.unpickle import Receiver

pytestmark = pytest.mark.unit

FIELD = finfields.GF(2**61 - 1)
EXTENSION = finfields.GF(gfpx.GFpX(3)("x^2+1"))

VALUES: list[Any] = [
    None,
    [1, (2.5, "x"), {"a": b"y"}, True],
    {1, 2},
    bytearray(b"z"),
    dt.date(2026, 1, 2),
    decimal.Decimal("1.5"),
    fractions.Fraction(1, 3),
    FIELD(3),
    EXTENSION(5),
    gfpx.GFpX(2)(7),
    fingroups.EllipticCurve("Ed25519").generator,
    fingroups.QuadraticResidues(l=32).identity,
    fingroups.SymmetricGroup(3).identity,
    fingroups.ClassGroup(l=32).identity,
    np.int64(3),
    np.bool_(1),
]
ARRAYS: list[Any] = [
    np.arange(6).reshape(2, 3),
    np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    np.array([2**70, -1], dtype=object),
    np.array(3),
    np.zeros((0, 3)),
    np.arange(5, dtype=">i4"),
    np.array(["a", "bc"]),
]


class Refused(Exception):  # noqa: N818 -- what the receiver says, for a test
    pass


def refuse(_data: object, what: str) -> NoReturn:
    raise Refused(what)


def unwatched(_data: bytes) -> AbstractContextManager[None]:
    return nullcontext()


def read(data: bytes, *allowed: str) -> Any:  # noqa: ANN401 -- whatever was sent
    return Receiver(allowed, refuse, unwatched).loads(data)


@pytest.mark.parametrize("protocol", [4, 5])
@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_what_mpyc_sends(value: object, protocol: int) -> None:
    back = read(pickle.dumps(value, protocol))
    assert back == value
    assert type(back) is type(value)


@pytest.mark.parametrize("protocol", [4, 5])
@pytest.mark.parametrize("array", ARRAYS, ids=repr)
def test_arrays(array: object, protocol: int) -> None:
    for value in (array, [array, (1, array)], {"a": array}):
        assert repr(read(pickle.dumps(value, protocol))) == repr(value)
    back = read(pickle.dumps(array, protocol))
    assert type(back) is np.ndarray
    assert back.flags.writeable


def test_arrays_over_a_field() -> None:
    back = read(pickle.dumps(FIELD.array([1, 2, 3])))
    assert (back == FIELD.array([1, 2, 3])).all()
    assert type(back.value) is np.ndarray


class Calls:
    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call

    def __repr__(self) -> str:
        return f"Calls({self.call[0].__name__})"


@pytest.mark.parametrize(
    ("value", "what"),
    [
        (Calls(os.system, "true"), "posix.system"),
        (Calls(eval, "1"), "builtins.eval"),
        (Calls(getattr, "x", "y"), "builtins.getattr"),
        (Calls(np.load, "x"), "numpy.load"),
        ([1, {"a": Calls(os.getcwd)}], "posix.getcwd"),
        (np.zeros(1, [("a", "i4")]), "a numpy.dtype of 'V4'"),
        (Refused, f"{__name__}.Refused"),
    ],
    ids=repr,
)
def test_what_is_refused(value: object, what: str) -> None:
    with pytest.raises(Refused) as refused:
        read(pickle.dumps(value))
    assert str(refused.value) == what


def test_what_cannot_be_read_is_refused() -> None:
    with pytest.raises(Refused, match="something unreadable"):
        read(b"no pickle")


def test_an_array_of_objects_takes_no_bytes_for_addresses() -> None:
    whole = pickle.dumps(np.array([1, 2], dtype=object))
    state = (1, (1,), np.dtype("O"), False, b"\0" * 8)
    crafted = pickle.dumps(Calls(np.ndarray, (0,)))
    assert read(whole).tolist() == [1, 2]
    with pytest.raises(Refused):
        read(crafted[:-1] + pickle.dumps(state)[2:-1] + b"b.")


def test_a_class_of_mpyc_cannot_be_changed() -> None:
    cls = type(gfpx.GFpX(2)(7))
    name = f"c{cls.__module__}\n{cls.__qualname__}\n".encode()
    order = name + b"(N}(V_mpyc_test\nK\x01utb."  # sets an attribute of the class
    try:
        with pytest.raises(Refused, match=r"changes of mpyc\.gfpx"):
            read(order)
    finally:
        if "_mpyc_test" in vars(cls):
            delattr(cls, "_mpyc_test")


def test_a_user_allows_a_type_by_its_name() -> None:
    data = pickle.dumps(Calls(os.getcwd))
    assert read(data, "posix.getcwd") == os.getcwd()  # noqa: PTH109 -- what was called
