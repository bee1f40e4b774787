"""MPyC's values in pickles: elements of fields and groups, polynomials, and arrays.

A pickle sets their only attribute, ``value``. Whether it suits their class is checked when all has
been read, for many at a time.
"""

from __future__ import annotations

import functools
import importlib
import itertools
import sys
from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any

from e3.party.arrays import Pending
from e3.party.makers import maker, refuse
from e3.remote.text import printable

Attributes = Any
"""MPyC has no types; its classes are used by attribute."""

FIELD_BITS = 4096
"""The largest order of a prime field that the program has not made: its modulus is tested."""

EXTENSION_BITS = 512
"""The same for an extension field, whose modulus must be irreducible."""

NEW_FIELDS = 4
"""The most new fields that one pickle may make."""

MODULES = frozenset({"mpyc.finfields", "mpyc.fingroups", "mpyc.gfpx"})
"""The modules in which MPyC makes classes when a program needs them, such as ``GF(3)[x]``."""

INTEGERS = frozenset({int})

Check = Callable[[Any, Sequence[Any]], "list[object]"]
"""Checks the objects of one class, see `checker`."""

value_of = attrgetter("value")


def find(module: str, name: str) -> type | None:
    """Return the class of that name in a module of MPyC, None if peers may not send its objects."""
    home = sys.modules.get(module) or importlib.import_module(module)
    found = vars(home).get(name)
    return found if isinstance(found, type) and checker(found) is not None else None


class Fields:
    """Makes elements of MPyC's finite fields; their values are set and checked afterwards."""

    def __init__(self) -> None:
        """Start without fields."""
        self._prime: dict[tuple[int, int, int], Attributes] = {}
        self._extension: dict[int, tuple[object, Attributes]] = {}
        self._left = NEW_FIELDS

        def prime(p: Any, n: Any, w: Any) -> Any:  # noqa: ANN401 -- whatever was sent
            field = self._prime.get((p, n, w)) or self._find_prime(p, n, w)
            return field.__new__(field)

        def extension(modulus: Any) -> Any:  # noqa: ANN401 -- whatever was sent
            _, field = self._extension.get(id(modulus)) or self._find_extension(modulus)
            return field.__new__(field)

        self.makers = {
            f"{kind}.createGF": maker(f"mpyc.finfields.{kind}.createGF", make)
            for kind, make in (("PrimeFieldElement", prime), ("ExtensionFieldElement", extension))
        }
        """Stand-ins for the functions that make an element from its field: from the order with a
        root of unity, or from the modulus."""

    def renew(self) -> None:
        """Start with another pickle."""
        self._extension.clear()
        self._left = NEW_FIELDS

    def _find_prime(self, p: Any, n: Any, w: Any) -> Attributes:  # noqa: ANN401 -- whatever was sent
        if not all(map(is_integral, map(type, (p, n, w)))):
            refuse("a field of no integers")
        finfields = sys.modules["mpyc.finfields"]
        if not any(
            (known.modulus, known.nth, known.root) == (p, n, w)
            for known in finfields.PrimeFieldElement.__subclasses__()
        ):
            self._spend(max(each.bit_length() for each in (p, n, w)), FIELD_BITS)
        field = self._prime[p, n, w] = finfields.pGF(int(p), int(n), int(w))
        return field

    def _find_extension(self, modulus: Attributes) -> tuple[object, Attributes]:
        finfields = sys.modules["mpyc.finfields"]
        kind = type(modulus)
        if not issubclass(kind, finfields.gfpx.Polynomial):
            refuse("a field of no polynomial")
        check_polynomials(kind, [modulus])
        # a copy: the pickle can still change the polynomial that it has sent
        own = kind(modulus.value if kind.p == 2 else list(modulus.value), check=False)  # noqa: PLR2004 -- binary
        below = finfields.ExtensionFieldElement
        if not any(own == known.modulus for known in descendants(below)):
            self._spend(own.degree() * kind.p.bit_length(), EXTENSION_BITS)
        # kept, so that no other object gets its id
        found = self._extension[id(modulus)] = modulus, finfields.xGF(own)
        return found

    def _spend(self, bits: int, most: int) -> None:
        self._left -= 1
        if bits > most or self._left < 0:
            refuse("fields that are unknown here, and large or many")


def descendants(kind: Attributes) -> list[Attributes]:
    """Return the fields that are subclasses of a class of MPyC."""
    below = [each for sub in kind.__subclasses__() for each in (sub, *descendants(sub))]
    return [each for each in below if hasattr(each, "modulus")]


@functools.cache
def checker(kind: type) -> Check | None:
    """Return the function that checks objects of a class; None if the class is not MPyC's.

    That function returns what remains to be checked. It raises if an attribute was never set.
    """
    for module, base, look in (
        ("mpyc.finfields", "FiniteFieldElement", check_elements),
        ("mpyc.finfields", "FiniteFieldArray", check_arrays),
        ("mpyc.gfpx", "Polynomial", check_polynomials),
        ("mpyc.fingroups", "FiniteGroupElement", check_group),
    ):
        known = getattr(sys.modules.get(module), base, None)
        if known is not None and issubclass(kind, known):
            return look
    return None


def check_elements(kind: Attributes, found: Sequence[Attributes]) -> list[object]:
    """Check elements of one field: integers, or polynomials of its own."""
    return check_values(kind, list(map(value_of, found)))


def check_arrays(kind: Attributes, found: Sequence[Attributes]) -> list[object]:
    """Check arrays over one field, and replace stand-ins by the arrays."""
    left: list[object] = []
    for each in found:
        pending = each.value
        if type(pending) is not Pending or not pending.of_objects:
            refuse(f"{printable(kind.__name__)} that is no array")
        if not pending.kinds <= INTEGERS:
            left += check_values(kind.field, pending.content)
        each.value = pending.settle()
    return left


def check_values(field: Attributes, values: Sequence[Attributes]) -> list[object]:
    """Check values of elements of one field."""
    kinds = set(map(type, values))
    if getattr(field, "ext_deg", 1) == 1:
        if not all(map(is_integral, kinds)):
            refuse(f"{printable(field.__name__)} of no integers")
        return []
    if kinds - {type(field.modulus)}:
        refuse(f"{printable(field.__name__)} of other polynomials")
    return check_polynomials(type(field.modulus), values)


def check_polynomials(kind: Attributes, found: Sequence[Attributes]) -> list[object]:
    """Check polynomials: an integer over GF(2), else a list of coefficients."""
    values = list(map(value_of, found))
    if kind.p != 2:  # noqa: PLR2004 -- binary
        if set(map(type, values)) - {list} or any(value and not value[-1] for value in values):
            refuse(f"{printable(kind.__name__)} of no coefficients")
        values = list(itertools.chain.from_iterable(values))
    if not all(map(is_integral, set(map(type, values)))):
        refuse(f"{printable(kind.__name__)} of no integers")
    if values and not (min(values) >= 0 and (kind.p == 2 or max(values) < kind.p)):  # noqa: PLR2004 -- as above
        refuse(f"{printable(kind.__name__)} of integers out of range")
    return []


def check_group(kind: Attributes, found: Sequence[Attributes]) -> list[object]:
    """Check elements of one group: integers, elements of a field, and tuples of them."""
    for value in map(value_of, found):
        parts = value if type(value) in {tuple, list} else [value]
        for each in set(map(type, parts)) - {tuple, list, type(None)}:
            if not is_integral(each) and checker(each) is None:
                refuse(f"{printable(kind.__name__)} of no numbers")
    return [value_of(each) for each in found]


def is_integral(kind: type) -> bool:
    """Return whether a class is that of Python's or gmpy2's integers."""
    return kind is int or (kind.__name__ == "mpz" and kind.__module__.startswith("gmpy2"))
