"""A check of all that a pickle has made, before a program gets it.

It finds stand-ins, which only the reader uses, invalid values of MPyC's types, attributes that must
not be set, and nesting that is deeper than any pickler goes. Containers of plain values cost one
pass over their types.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Iterator
from decimal import Decimal
from enum import EnumMeta
from fractions import Fraction
from functools import cached_property
from operator import is_
from types import BuiltinFunctionType, FunctionType, MemberDescriptorType, MethodType
from typing import Any, TypeVar

from e3.party.arrays import Kind, Pending
from e3.party.elements import checker
from e3.party.makers import is_maker, maker, refuse
from e3.remote.text import printable

DEPTH = 1000
"""The deepest nesting of values: Python's own pickler goes no deeper."""

PLAIN = frozenset(
    {type(None), bool, int, float, complex, str, bytes, bytearray, range, slice}
    | {dt.date, dt.datetime, dt.timedelta, Decimal, Fraction}
)
CONTAINERS = frozenset({list, tuple, dict, set, frozenset})
FUNCTIONS = frozenset({FunctionType, BuiltinFunctionType, MethodType})
"""No pickle makes them: an object has some only if a type that the user allows made them."""

Known = TypeVar("Known")

State = tuple[list[str], tuple[object, ...]]
"""The parts of an object: names, and the objects under them."""


class PickleSurvey:
    """The check of one pickle."""

    def __init__(self) -> None:
        """Start without objects that must not change."""
        self._before: list[tuple[Any, State]] = []
        self._types: set[type] = set()
        """Types that the user allows, and types of what functions returned that the user allows."""
        self._enumerations: set[type] = set()
        self._pending = False
        self._heights: dict[int, int] = {}

    def know(self, found: Known) -> Known:
        """Record a class, or another object, that the pickle must not change, and return it."""
        if type(found) is FunctionType:
            return found  # a maker, which cannot be changed
        self._before.append((found, state(found)))
        return found

    def allow(self, found: type) -> type:
        """Record a class whose objects the user allows, and return it."""
        if isinstance(found, EnumMeta):  # its members exist already, and are shared
            self._enumerations.add(found)
            members: list[object] = [*found.__members__.values()]
            for member in members:
                self.know(member)
        else:
            self._types.add(found)
        return self.know(found)

    def maker(
        self, name: str, make: Callable[..., object], *, allowed: bool = False
    ) -> Callable[..., object]:
        """Return a function that calls ``make`` for this pickle alone.

        A pickle could change a fraction, so that is recorded. If the user has ``allowed`` the
        function, it may return an object of any type.
        """

        def made(*arguments: object) -> object:
            value = make(*arguments)
            if allowed:
                self._types.add(type(value))
            return self.know(value) if type(value) is Fraction else value

        return maker(name, made)

    def member(self, kind: object, name: object) -> object:
        """Return a member of an enumeration that the user allows, by its name."""
        if not isinstance(kind, EnumMeta) or kind not in self._enumerations:
            refuse("builtins.getattr")
        return kind.__members__[str(name)]

    def settle(self, value: Any) -> Any:  # noqa: ANN401 -- whatever was sent
        """Return the value with arrays in place of their stand-ins; refuse an invalid one."""
        for found, before in self._before:
            if not same(state(found), before):
                refuse(f"changes of {name_of(found)}")
        if type(value) is Pending and value.kinds <= PLAIN:
            return value.settle()
        if type(value) in CONTAINERS and PLAIN.issuperset(map(type, flattened(value))):
            return value
        held = [value]
        if self._among(held):
            self._look(held)
        if self._pending:
            Settling(frozenset(self._types)).settle(held)
        return held[0]

    def _look(self, value: object) -> None:
        """Check a value and all within it, without recursion; each object once."""
        heights = self._heights
        heights[id(value)] = 0
        path: list[tuple[int, Iterator[object]]] = [(id(value), iter(self._within(value)))]
        while path:
            if len(path) > DEPTH:
                refuse("values nested too deeply")
            key, rest = path[-1]
            for each in rest:
                if id(each) not in heights:
                    heights[id(each)] = 0
                    path.append((id(each), iter(self._within(each))))
                    break
                self._raise(key, id(each))
            else:
                path.pop()
                if path:
                    self._raise(path[-1][0], key)

    def _raise(self, key: int, below: int) -> None:
        """Record that a value is at least one level higher than a value within it."""
        self._heights[key] = max(self._heights[key], self._heights[below] + 1)
        if self._heights[key] > DEPTH:
            refuse("values nested too deeply")

    def _within(self, value: Any) -> Iterable[object]:  # noqa: ANN401 -- whatever was sent
        """Return what is to be checked within a value that is not plain."""
        kind = type(value)
        if kind in CONTAINERS:
            return self._among(flattened(value))
        if kind is Pending:
            self._pending = True
            return [] if value.kinds <= PLAIN else self._among(value.content)
        if kind in self._types:
            return self._among([*self._attributes(value), *contained(value)])
        return self._among([value])  # a value of MPyC's

    def _among(self, items: Iterable[Any]) -> list[object]:
        """Check items by type; return those that are to be checked one by one."""
        found: list[object] = []
        kinds: set[Any] = set(map(type, items))
        for kind in kinds - PLAIN:
            alike = [each for each in items if type(each) is kind]
            if kind is Kind:
                refuse("numpy.dtype itself")
            elif kind is FunctionType or issubclass(kind, type):
                self._refuse_the_named(alike)
            elif (check := checker(kind)) is not None:
                found += [each for each in check(kind, alike) if type(each) not in PLAIN]
            elif kind in CONTAINERS or kind is Pending or kind in self._types:
                found += alike
        return found

    def _refuse_the_named(self, found: Iterable[Any]) -> None:
        """Refuse classes and functions that the pickle names but does not call."""
        named = {id(each) for each, _ in self._before}
        for each in found:
            if is_maker(each) or id(each) in named:
                refuse(f"{name_of(each)} itself")

    def _attributes(self, value: Any) -> Iterator[object]:  # noqa: ANN401 -- of a type that is allowed
        """Yield an object's attributes; refuse those that replace methods or descriptors."""
        kind = type(value)
        for name, each in getattr(value, "__dict__", {}).items():
            if type(each) not in FUNCTIONS and overrides(kind, name):
                refuse(f"{printable(name, 40)!r} in place of what {name_of(kind)} has")
            yield each
        for _, each in slots(value):
            yield each


class Settling:
    """Replaces the stand-ins of arrays by the arrays, wherever they are."""

    def __init__(self, types: frozenset[type]) -> None:
        """Go into objects of ``types`` as well as into containers."""
        self._types = types
        self._done: dict[int, object] = {}

    def settle(self, value: Any) -> Any:  # noqa: ANN401 -- whatever was sent
        """Return the replacement of a value: itself, a new tuple, or an array."""
        if type(value) is Pending:
            return value.settle()
        if id(value) in self._done:
            return self._done[id(value)]
        kind = type(value)
        if kind not in CONTAINERS and kind not in self._types:
            return value
        self._done[id(value)] = value
        if isinstance(value, list):
            value[:] = map(self.settle, list.__iter__(value))
        elif isinstance(value, dict):
            for key in [*dict.keys(value)]:
                dict.__setitem__(value, key, self.settle(dict.__getitem__(value, key)))
        elif isinstance(value, tuple):
            self._done[id(value)] = value = self._settle_tuple(value)
        if kind in self._types:
            self._settle_attributes(value)
        return value

    def _settle_tuple(self, value: tuple[Any, ...]) -> Any:  # noqa: ANN401 -- of its own kind
        items = [self.settle(each) for each in tuple.__iter__(value)]
        if all(new is old for new, old in zip(items, tuple.__iter__(value), strict=True)):
            return value
        return tuple.__new__(type(value), items)

    def _settle_attributes(self, value: Any) -> None:  # noqa: ANN401 -- of a type that is allowed
        held = getattr(value, "__dict__", {})
        for name in held:
            held[name] = self.settle(held[name])
        for slot, each in [*slots(value)]:
            if (settled := self.settle(each)) is not each:
                slot.__set__(value, settled)


def flattened(value: Any) -> Iterable[Any]:  # noqa: ANN401 -- a container
    """Return the items of a container, in a form that can be iterated twice."""
    return [*value.keys(), *value.values()] if type(value) is dict else value


def contained(value: Any) -> Iterator[object]:  # noqa: ANN401 -- of a type that is allowed
    """Yield the items of an object whose type is derived from a container."""
    if isinstance(value, dict):
        yield from dict.keys(value)
        yield from dict.values(value)
    elif isinstance(value, list):
        yield from list.__iter__(value)
    elif isinstance(value, tuple):
        yield from tuple.__iter__(value)
    elif isinstance(value, set):
        yield from set.__iter__(value)
    elif isinstance(value, frozenset):
        yield from frozenset.__iter__(value)


def slots(value: object) -> Iterator[tuple[MemberDescriptorType, object]]:
    """Yield an object's slots that are set, and their values."""
    for base in type(value).__mro__:
        for slot in vars(base).values():
            if type(slot) is MemberDescriptorType:
                try:
                    yield slot, slot.__get__(value, base)
                except AttributeError:
                    continue


def overrides(kind: type, name: object) -> bool:
    """Return whether an attribute hides a method or descriptor of its class, or is no name."""
    if not isinstance(name, str):
        return True
    for base in kind.__mro__:
        if name in vars(base):
            hidden = vars(base)[name]
            # it keeps its value under its own name
            kept = isinstance(hidden, cached_property)
            return not kept and (callable(hidden) or hasattr(type(hidden), "__get__"))
    return False


def state(found: Any) -> State:  # noqa: ANN401 -- a class or an object
    """Return the parts of a class or an object."""
    if isinstance(found, type):
        held = {**vars(found)}
        return [found.__name__, found.__qualname__, *held], (
            type(found),
            *found.__bases__,
            *held.values(),
        )
    held = getattr(found, "__dict__", {})
    return [*held], (type(found), *held.values(), *(each for _, each in slots(found)))


def same(one: State, other: State) -> bool:
    """Return whether two states have the same names and the very same objects."""
    return one[0] == other[0] and len(one[1]) == len(other[1]) and all(map(is_, one[1], other[1]))


def name_of(found: Any) -> str:  # noqa: ANN401 -- whatever was named
    """Return the name of a class, or of an object's class."""
    if is_maker(found):
        return printable(found.e3_name, 200)
    kind = found if isinstance(found, type) else type(found)
    return printable(f"{kind.__module__}.{kind.__qualname__}", 200)
