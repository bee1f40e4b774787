"""What a peer may send as a pickle: values that MPyC itself sends, and nothing that acts.

MPyC unpickles what peers send in `transfer`, with which it also shuts down, and in its
protocols over arrays. A pickle can call anything that can be imported; here it names a type of
the list, or the reading ends. The list was measured over MPyC's own demos and tests. What is on
it is harmless whatever its arguments are: so NumPy's own way to restore arrays is not, since a
crafted dtype makes it take bytes for addresses, and arrays are made by `Pending` instead.
"""

from __future__ import annotations

import functools
import importlib
import io
import pickle
import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NoReturn

BUILTINS = frozenset({"bytearray", "complex", "frozenset", "range", "set", "slice"})
"""Without the plain ones, which a pickle does not name: int, float, str, bytes, list, ..."""

STANDARD = frozenset(
    {
        ("datetime", "date"),
        ("datetime", "datetime"),
        ("datetime", "timedelta"),
        ("decimal", "Decimal"),
        ("fractions", "Fraction"),
    }
)

FIELDS = frozenset({"PrimeFieldElement.createGF", "ExtensionFieldElement.createGF"})

BASES = {
    "mpyc.finfields": ("FiniteFieldArray",),
    "mpyc.fingroups": ("FiniteGroupElement",),
    "mpyc.gfpx": ("Polynomial",),
}
"""MPyC makes classes as a program asks for them, of names such as ``GF(3)[x]``, below these."""

ARRAY_MODULES = ("numpy", "numpy.core.multiarray", "numpy._core.multiarray", "numpy._core.numeric")
GMPY2_MODULES = ("gmpy2", "gmpy2.gmpy2")
NUMBERS = re.compile(r"[?O]|[biufcSUO][0-9]{1,9}")
"""The dtypes of arrays that may come: numbers, text and objects; no records."""


class RefusedPickleError(Exception):
    """A pickle holds what may not come from a peer; the message says what."""


class Receiver:
    """Reads pickles as `pickle.loads` does, as far as they may come from a peer."""

    def __init__(self, allowed: tuple[str, ...], refuse: Callable[[object, str], NoReturn]) -> None:
        """Take ``allowed`` as ``module.name`` too; ``refuse`` is told of a pickle and its fault."""
        self._allowed = frozenset(allowed)
        self._refuse = refuse

    def loads(self, data: bytes, /, **options: Any) -> Any:  # noqa: ANN401 -- as pickle.loads
        """Return the value; a pickle that holds anything else does not return."""
        try:
            return _Reading(data, self._allowed, options).load()
        except RefusedPickleError as refused:
            self._refuse(data, str(refused))
        except Exception as error:  # whatever its content makes the reading raise
            if isinstance(error, MemoryError):
                raise
            self._refuse(data, f"something unreadable ({type(error).__name__}: {error})"[:200])


class Kind:
    """Stands for a NumPy dtype while a pickle is read."""

    def __init__(self, code: object, *_: object) -> None:
        """Stand for the dtype of that code."""
        if not isinstance(code, str) or not NUMBERS.fullmatch(code):
            raise RefusedPickleError(f"a numpy.dtype of {str(code)[:40]!r}")
        self.dtype = _numpy().dtype(code)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        """Take over the byte order, the one part of the state that numbers have."""
        if state[1] not in {"<", ">", "|", "="} or any(part is not None for part in state[2:5]):
            raise RefusedPickleError("a numpy.dtype of records")
        if state[1] in "<>":
            self.dtype = self.dtype.newbyteorder(state[1])


class Pending:
    """Stands for a NumPy array while a pickle is read."""

    array: Any = None

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        """Make the array from version, shape, dtype, order and content."""
        _, shape, kind, by_columns, content = state
        self.array = _array(content, _dtype(kind), shape, "F" if by_columns else "C")


class _Reading(pickle.Unpickler):
    """One pickle being read."""

    def __init__(self, data: bytes, allowed: frozenset[str], options: dict[str, Any]) -> None:
        super().__init__(io.BytesIO(data), **options)
        self._allowed = allowed
        self._pending = False
        self._classes: dict[type, Mapping[str, object]] = {}

    def load(self) -> Any:  # noqa: ANN401 -- whatever was sent
        value = super().load()
        for known, before in self._classes.items():
            # a pickle can also set attributes, of a class as of an object
            after = vars(known)
            if after.keys() != before.keys() or any(after[k] is not before[k] for k in before):
                raise RefusedPickleError(f"changes of {known.__module__}.{known.__name__}")
        return settle(value) if self._pending else value

    def find_class(self, module: str, name: str) -> Any:  # noqa: ANN401 -- whatever was sent
        if module in ARRAY_MODULES:
            self._pending = True
            return _ARRAYS.get(name) or _forbid(module, name)
        if module in BASES:
            return self._find_mpyc(module, name)
        if module in GMPY2_MODULES and name == "from_binary":
            return functools.partial(super().find_class("gmpy2", name))
        if (module == "builtins" and name in BUILTINS) or (module, name) in STANDARD:
            return super().find_class(module, name)
        if f"{module}.{name}" in self._allowed:
            return super().find_class(module, name)
        return _forbid(module, name)

    def _find_mpyc(self, module: str, name: str) -> Any:  # noqa: ANN401 -- a class or function
        if module == "mpyc.finfields" and name in FIELDS:
            # in a shell of its own, so that a pickle cannot set attributes of the function
            return functools.partial(super().find_class(module, name))
        home = importlib.import_module(module)
        found = vars(home).get(name)
        bases = tuple(getattr(home, base) for base in BASES[module] if hasattr(home, base))
        if not (isinstance(found, type) and issubclass(found, bases)):
            _forbid(module, name)
        self._classes.setdefault(found, MappingProxyType(dict(vars(found))))
        return found


def settle(value: Any) -> Any:  # noqa: ANN401 -- whatever was sent
    """Return ``value`` with the arrays in place of what stood for them."""
    if isinstance(value, Pending):
        return value.array
    if type(value) is list:
        value[:] = [settle(item) for item in value]
    elif type(value) is tuple:
        return tuple(settle(item) for item in value)
    elif type(value) is dict:
        value.update({key: settle(item) for key, item in value.items()})
    elif isinstance(getattr(value, "value", None), Pending):  # an array over a finite field
        value.value = value.value.array
    return value


def _reconstruct(*_: object) -> Pending:
    return Pending()


def _frombuffer(content: bytes, kind: object, shape: object, order: str) -> Pending:
    pending = Pending()
    pending.array = _array(content, _dtype(kind), shape, order)
    return pending


def _scalar(kind: object, content: object) -> Any:  # noqa: ANN401 -- a number of NumPy
    return _array(content, _dtype(kind), (), "C")[()]


def _array(content: Any, dtype: Any, shape: Any, order: str) -> Any:  # noqa: ANN401 -- NumPy's
    """Return a new array; whatever does not fit raises as NumPy does."""
    numpy = _numpy()
    if dtype.hasobject:
        if not isinstance(content, list):
            raise RefusedPickleError("a numpy.ndarray of objects that are none")
        if Pending in set(map(type, content)):
            content = settle(content)
        flat = numpy.fromiter(content, dtype, len(content))
    else:
        flat = numpy.frombuffer(content, dtype)
    return flat.reshape(shape, order=order).copy(order)


def _dtype(kind: object) -> Any:  # noqa: ANN401 -- NumPy's
    if not isinstance(kind, Kind):
        raise RefusedPickleError("a numpy.ndarray without a dtype")
    return kind.dtype


def _numpy() -> Any:  # noqa: ANN401 -- a module that a host may lack
    return importlib.import_module("numpy")


def _forbid(module: str, name: str) -> NoReturn:
    raise RefusedPickleError(f"{module}.{name}"[:200])


_ARRAYS: Mapping[str, object] = {
    "ndarray": Pending,
    "dtype": Kind,
    "_reconstruct": _reconstruct,
    "_frombuffer": _frombuffer,
    "scalar": _scalar,
}
