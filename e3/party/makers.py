"""How a pickle may make values by calling: each from arguments of the form that a pickler gives.

A pickle can call what it names with anything. So what it names is not handed out itself: a `maker`
stands for it, a function that looks at kind and size of its arguments first. What costs more than
its arguments are long is so bounded.
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
"""Of a year, a number of days and the like."""

FRACTION_BITS = 10_000
"""Of numerator and denominator: their common divisor is sought."""

DECIMAL_LENGTH = 20_000
"""Characters of a decimal number."""

DECIMAL_EXPONENT = 999_999
"""As `decimal` itself has it in its default context."""

MPZ = b"\1"
"""The first byte of a `gmpy2.mpz` as `gmpy2.to_binary` writes it; the others crash `gmpy2`."""


SPARE_BYTES = 4_000_000
FACTOR = 64
"""Bytes that values may take which a pickle makes by calling, for each of its own."""

MEMBER_BYTES = 64
"""That a member of a set takes at most."""

CONTAINERS = (list, tuple, set, frozenset)
"""Of which sets are made; they have their size already."""


class RefusedPickleError(Exception):
    """A pickle holds what may not come from a peer; the message says what."""


def refuse(what: str) -> NoReturn:
    """End the reading of a pickle that holds ``what``."""
    raise RefusedPickleError(what)


class Budget:
    """Bytes that values may take which one pickle has made by calling.

    Each takes no more than its arguments; but the same arguments can be used again and again.
    """

    def __init__(self) -> None:
        """Permit nothing yet."""
        self._left = 0

    def renew(self, length: int) -> None:
        """Begin a pickle of so many bytes."""
        self._left = SPARE_BYTES + FACTOR * length

    def spend(self, amount: int) -> None:
        """Note that a value takes so many bytes; refuse it where that is too much."""
        self._left -= amount
        if self._left < 0:
            refuse("values many times as large as itself")


BUDGET = Budget()
"""Of the pickle that is being read; threads that read at once share it."""


def maker(name: str, make: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that a pickle may call as ``name``, and can do nothing else with.

    It must be one of its own: a pickle that sets its state, to change it, is refused by an
    attribute that pickles ask for.
    """

    def keep(_: object) -> NoReturn:
        refuse(f"changes of {name}")

    vars(make).update(__setstate__=keep, e3_name=name)
    return make


def is_maker(found: object) -> bool:
    """Return whether that is what `maker` returned."""
    return type(found) is FunctionType and "e3_name" in vars(found)


def bytes_array(content: object = b"") -> bytearray:
    """Make a bytearray of bytes; a number would be its size."""
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
    """Make a set of what is there already, and not of a range, say."""
    if not isinstance(items, CONTAINERS):
        refuse("a set of no list")
    BUDGET.spend(MEMBER_BYTES * len(items))
    return set(items)


def frozen_members(items: object = ()) -> frozenset[object]:
    """Make a frozenset of what is there already."""
    return frozenset(members(items))


def span(*bounds: object) -> range:
    """Make a range; it takes no place, however long it is."""
    if {type(bound) for bound in bounds} != {int}:
        refuse("a range of no integers")
    return range(*bounds)  # type: ignore[call-overload,no-any-return]  # they are integers


def part(*bounds: object) -> slice[Any, Any, Any]:
    """Make a slice."""
    if not {type(bound) for bound in bounds} <= {int, type(None)}:
        refuse("a slice of no integers")
    return slice(*bounds)


def moment(kind: type) -> Callable[..., object]:
    """Return what makes a date, a datetime or a timedelta, of bytes or small integers."""

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
    """Make an integer of gmpy2, and nothing else of it; an integer of Python's where it lacks."""
    if type(content) is not bytes or content[:1] != MPZ:
        refuse("a gmpy2 number that is no mpz")
    return from_binary()(content)


@functools.cache
def from_binary() -> Callable[[bytes], object]:
    """Return what reads an `MPZ`."""
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
"""Without the plain types, which a pickle does not name: int, float, str, bytes, list, ..."""
