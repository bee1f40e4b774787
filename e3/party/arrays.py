"""NumPy's arrays and scalars in pickles: built again from their parts, not by NumPy's functions.

NumPy's own function to restore an array takes bytes for addresses if its dtype was crafted. So a
pickle that names it gets a `Kind` for a dtype and a `Pending` for an array; `settle` then returns
the array.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Mapping
from typing import Any

from e3.party.makers import BUDGET, maker, refuse
from e3.remote.text import printable

NUMBERS = re.compile(r"[?O]|[biufcSUO][0-9]{1,9}")
"""The dtypes that arrays may have: numbers, text and objects; no records."""

LAST_CHARACTER = 0x10FFFF

Attributes = Any
"""NumPy may be lacking on a host, so its types are not known here."""


class Kind:
    """Stands for a NumPy dtype while a pickle is read."""

    def __init__(self, code: object) -> None:
        """Stand for the dtype of that code."""
        if not isinstance(code, str) or not NUMBERS.fullmatch(code):
            refuse(f"a numpy.dtype of {printable(code, 40)!r}")
        self.dtype = numpy().dtype(code)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        """Apply the byte order, the only part of the state that numbers have."""
        if state[1] not in {"<", ">", "|", "="} or any(part is not None for part in state[2:5]):
            refuse("a numpy.dtype of records")
        if state[1] in "<>":
            self.dtype = self.dtype.newbyteorder(state[1])


class Pending:
    """Stands for a NumPy array while a pickle is read."""

    array: Attributes = None
    of_objects = False
    content: list[object] = []  # noqa: RUF012 -- replaced as a whole, never changed
    """The objects of an array of objects, as they were sent."""

    kinds: frozenset[type] = frozenset()
    """Their types."""

    __hash__ = None  # type: ignore[assignment]  # like an array, so that it can be in no set

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        """Make the array from version, shape, dtype, order and content."""
        _, shape, kind, by_columns, content = state
        self.make(content, kind, shape, "F" if by_columns else "C")

    def make(self, content: Any, kind: object, shape: object, order: str) -> None:  # noqa: ANN401 -- whatever was sent
        """Make a new array; raise NumPy's errors if its parts do not fit."""
        dtype = kind.dtype if isinstance(kind, Kind) else refuse("a numpy.ndarray without a dtype")
        if dtype.hasobject:
            if type(content) is not list:
                refuse("a numpy.ndarray of objects that are none")
            self.kinds = frozenset(map(type, content))
            self.of_objects, self.content = True, content
            if Pending in self.kinds:
                content = [each.settle() if type(each) is Pending else each for each in content]
            flat = numpy().fromiter(content, dtype, len(content))
        else:
            flat = clean(numpy().frombuffer(content, dtype))
        BUDGET.spend(int(flat.nbytes))
        self.array = flat.reshape(shape, order=order).copy(order)

    def settle(self) -> Attributes:
        """Return the array."""
        return self.array if self.array is not None else refuse("a numpy.ndarray without content")


def clean(flat: Attributes) -> Attributes:
    """Return the array without bytes that are no value of its type.

    NumPy counts truth values by adding them up, and a number that is no character cannot become
    text.
    """
    if flat.dtype.kind == "b":
        return flat.view("u1") != 0
    if flat.dtype.kind == "U":
        points = flat.view(f"{flat.dtype.byteorder}u4")
        if points.size and int(points.max()) > LAST_CHARACTER:
            refuse("a numpy.ndarray of text that is none")
    return flat


def reconstruct(*_: object) -> Pending:
    """Return a stand-in for an array whose state follows."""
    return Pending()


def from_buffer(content: object, kind: object, shape: object, order: str) -> Pending:
    """Return a stand-in for an array that comes in one piece."""
    pending = Pending()
    pending.make(content, kind, shape, order)
    return pending


def scalar(kind: object, content: object) -> Attributes:
    """Return a number of NumPy's."""
    if isinstance(kind, Kind) and kind.dtype.hasobject:
        refuse("a scalar of objects")
    return from_buffer(content, kind, (), "C").settle()[()]


def array_class(*_: object) -> None:
    """Refuse to make an array by its class, which is only an argument of `reconstruct`."""
    refuse("numpy.ndarray")


def numpy() -> Attributes:
    """Return NumPy, which a host may lack."""
    return importlib.import_module("numpy")


def make_kind(code: object, *_: object) -> Kind:
    """Return a stand-in for a dtype."""
    return Kind(code)


MODULES = ("numpy", "numpy.core.multiarray", "numpy._core.multiarray", "numpy._core.numeric")

ARRAYS: Mapping[tuple[str, str], Callable[..., Any]] = {
    (module, name): maker(f"numpy.{name}", make)
    for module in MODULES
    for name, make in (
        ("ndarray", array_class),
        ("dtype", make_kind),
        ("_reconstruct", reconstruct),
        ("_frombuffer", from_buffer),
        ("scalar", scalar),
    )
}
"""The functions that replace NumPy's names."""
