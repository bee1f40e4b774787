"""The functions that a pickle may call to make values, each with arguments as a pickler sends them.

A pickle can call what it names with any arguments. So it does not get the named function itself,
but a `maker`: a function that first checks type and size of its arguments. So no call costs much
more than its arguments are long.
"""

from __future__ import annotations

import datetime as dt
import functools
import importlib
from collections.abc import Callable, Mapping
from decimal import Decimal
from fractions import Fraction
from types import FunctionType
from typing import Any, NoReturn

Attributes = Any
"""MPyC and gmpy2 have no types; their classes and functions are used by attribute."""

SMALL_BITS = 64
"""The most bits of a year, a number of days and the like."""

FRACTION_BITS = 10_000
"""The most bits of numerator and denominator, whose common divisor is computed."""

DECIMAL_LENGTH = 20_000
"""The most characters of a decimal number."""

DECIMAL_EXPONENT = 999_999
"""The largest exponent, as in the default context of `decimal`."""

MPZ = b"\1"
"""The first byte of a `gmpy2.mpz` as `gmpy2.to_binary` writes it; the others crash `gmpy2`."""


SPARE_BYTES = 4_000_000
FACTOR = 64
"""Bytes that values made by calls may take, for each byte of the pickle."""

MEMBER_BYTES = 64
"""The most bytes that a member of a set takes."""

CONTAINERS = (list, tuple, set, frozenset)
"""Types from which sets are made; they take their memory already."""


class RefusedPickleError(Exception):
    """A pickle holds what may not come from a peer; the message says what."""


def refuse(what: str) -> NoReturn:
    """Stop reading a pickle, which holds ``what``."""
    raise RefusedPickleError(what)


class Budget:
    """A limit on the bytes of values that one pickle makes by calls.

    Each value takes no more than its arguments, but a pickle can use the same arguments many times.
    """

    def __init__(self) -> None:
        """Permit nothing yet."""
        self._left = 0

    def renew(self, length: int) -> None:
        """Start with a pickle of so many bytes."""
        self._left = SPARE_BYTES + FACTOR * length

    def spend(self, amount: int) -> None:
        """Count the bytes of a value; refuse it where that is too much."""
        self._left -= amount
        if self._left < 0:
            refuse("values many times as large as itself")


BUDGET = Budget()
"""The budget of the pickle that is being read; threads that read at once share it."""


def maker(name: str, make: Callable[..., Any]) -> Callable[..., Any]:
    """Return ``make``, a function that a pickle may call as ``name``, and not change.

    No other code may use ``make``: it gets a ``__setstate__`` that refuses a pickle which tries to
    set its state.
    """

    def keep(_: object) -> NoReturn:
        refuse(f"changes of {name}")

    vars(make).update(__setstate__=keep, e3_name=name)
    return make


def is_maker(found: object) -> bool:
    """Return whether an object was returned by `maker`."""
    return type(found) is FunctionType and "e3_name" in vars(found)


def bytes_array(content: object = b"") -> bytearray:
    """Make a bytearray of bytes only; a number would be its size."""
    if type(content) is not bytes:
        refuse("a bytearray of no bytes")
    BUDGET.spend(len(content))
    return bytearray(content)


def complex_number(*parts: object) -> complex:
    """Make a complex number of its two parts."""
    if len(parts) != 2 or {type(part) for part in parts} != {float}:  # noqa: PLR2004 -- real, imaginary
        refuse("a complex number of no numbers")
    return complex(*parts)  # type: ignore[call-overload,no-any-return]  # they are floats


def members(items: object = ()) -> set[object]:
    """Make a set of values that exist already, and not of a range, for example."""
    if not isinstance(items, CONTAINERS):
        refuse("a set of no list")
    BUDGET.spend(MEMBER_BYTES * len(items))
    return set(items)


def frozen_members(items: object = ()) -> frozenset[object]:
    """Make a frozenset of values that exist already."""
    return frozenset(members(items))


def span(*bounds: object) -> range:
    """Make a range; it takes little memory, however long it is."""
    if {type(bound) for bound in bounds} != {int}:
        refuse("a range of no integers")
    return range(*bounds)  # type: ignore[call-overload,no-any-return]  # they are integers


def part(*bounds: object) -> slice[Any, Any, Any]:
    """Make a slice."""
    if not {type(bound) for bound in bounds} <= {int, type(None)}:
        refuse("a slice of no integers")
    return slice(*bounds)


def moment(kind: type) -> Callable[..., object]:
    """Return a function that makes a date, datetime or timedelta of bytes or small integers."""

    def make(*parts: object) -> object:
        for each in parts:
            if type(each) is not bytes and not (type(each) is int and is_small(each, SMALL_BITS)):
                refuse(f"a datetime.{kind.__name__} of no small integers")
        return kind(*parts)

    return make


def decimal(text: object) -> Decimal:
    """Make a decimal number of text of bounded length and exponent."""
    if type(text) is not str or len(text) > DECIMAL_LENGTH:
        refuse("a decimal.Decimal of no text, or a long one")
    BUDGET.spend(len(text))
    value = Decimal(text)
    if value.is_finite() and abs(value.adjusted()) > DECIMAL_EXPONENT:
        refuse("a decimal.Decimal with a large exponent")
    return value


def fraction(*parts: object) -> Fraction:
    """Make a fraction of two integers of bounded size."""
    for each in parts:
        if type(each) is not int or not is_small(each, FRACTION_BITS):
            refuse("a fractions.Fraction of no integers, or large ones")
    return Fraction(*parts)  # type: ignore[call-overload,no-any-return]  # they are integers


def mpz(content: object) -> object:
    """Make an integer of gmpy2, or of Python where gmpy2 is missing; no other gmpy2 number."""
    if type(content) is not bytes or content[:1] != MPZ:
        refuse("a gmpy2 number that is no mpz")
    return from_binary()(content)


@functools.cache
def from_binary() -> Callable[[bytes], object]:
    """Return the function that reads an `MPZ`."""
    try:
        read: Callable[[bytes], object] = importlib.import_module("gmpy2").from_binary
    except ImportError:
        return lambda content: int.from_bytes(content[2:], "little") * (-1) ** (content[1] // 2)
    return read


def is_small(value: int, bits: int) -> bool:
    """Return whether an integer has at most so many bits."""
    return value.bit_length() <= bits


MAKERS: Mapping[tuple[str, str], Callable[..., Any]] = {
    (module, name): maker(f"{module}.{name}", make)
    for module, name, make in (
        ("builtins", "bytearray", bytes_array),
        ("builtins", "complex", complex_number),
        ("builtins", "frozenset", frozen_members),
        ("builtins", "range", span),
        ("builtins", "set", members),
        ("builtins", "slice", part),
        ("datetime", "date", moment(dt.date)),
        ("datetime", "datetime", moment(dt.datetime)),
        ("datetime", "timedelta", moment(dt.timedelta)),
        ("decimal", "Decimal", decimal),
        ("gmpy2", "from_binary", mpz),
        ("gmpy2.gmpy2", "from_binary", mpz),
    )
}
"""The makers by module and name. Pickles do not name the plain types: int, str, list, ..."""
