"""What a peer may send as a pickle: values that MPyC itself sends, and nothing that acts.

MPyC unpickles what peers send in `transfer`, with which it also shuts down, and in its
protocols over arrays. A pickle can call anything that can be imported; here it names what is on
a list, or the reading ends. The list was measured over MPyC's own demos and tests. What it makes
is of bounded size (`e3.party.makers`), arrays are made anew (`e3.party.arrays`), and all that was
made is looked at before the program gets it (`e3.party.survey`).
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, NoReturn

from e3.party import elements
from e3.party.arrays import ARRAYS
from e3.party.makers import BUDGET, MAKERS, RefusedPickleError, fraction
from e3.party.survey import Survey
from e3.remote.text import printable

LARGE_BYTES = 65_536
"""Of a pickle that could cost more than a second, or end the process: 80,000 tuples in one another
need as many bytes, and overflow the stack when they are hashed."""

Watch = Callable[[bytes], AbstractContextManager[None]]
"""Bounds what reading a large pickle may cost."""


class Receiver:
    """Reads pickles as `pickle.loads` does, as far as they may come from a peer."""

    def __init__(
        self,
        allowed: tuple[str, ...],
        refuse: Callable[[object, str], NoReturn],
        watch: Watch,
    ) -> None:
        """Take ``allowed`` as ``module.name`` too; ``refuse`` is told of a pickle and its fault."""
        self._allowed = frozenset(allowed)
        self._refuse = refuse
        self._watch = watch
        self._fields = elements.Fields()

    def loads(self, data: bytes, /, **options: Any) -> Any:  # noqa: ANN401 -- as pickle.loads
        """Return the value; a pickle that holds anything else does not return."""
        try:
            if len(data) < LARGE_BYTES:
                return _Reading(data, self._allowed, self._fields, options).load()
            with self._watch(data):
                return _Reading(data, self._allowed, self._fields, options).load()
        except RefusedPickleError as refused:
            self._refuse(data, str(refused))
        except MemoryError:
            self._refuse(data, "more than there is memory for")
        except Exception as error:  # noqa: BLE001 -- whatever its content makes the reading raise
            what = f"something unreadable ({type(error).__name__}: {error})"
            self._refuse(data, printable(what, 200))


class _Reading(pickle.Unpickler):
    """One pickle being read."""

    def __init__(
        self, data: bytes, allowed: frozenset[str], fields: elements.Fields, options: dict[str, Any]
    ) -> None:
        super().__init__(io.BytesIO(data), **options)
        self._length = len(data)
        self._allowed = allowed
        self._fields = fields
        self._survey: Survey | None = None

    def load(self) -> Any:  # noqa: ANN401 -- whatever was sent
        value = super().load()
        if type(value) in _NOTHING_IN_IT and self._survey is None:
            return value
        return self._surveyed.settle(value)

    @property
    def _surveyed(self) -> Survey:
        if self._survey is None:
            self._survey = Survey()
            BUDGET.renew(self._length)
            self._fields.renew()
        return self._survey

    def find_class(self, module: str, name: str) -> Any:  # noqa: ANN401 -- whatever was sent
        """Return what stands for a name of the list, or the class itself where that is safe.

        A pickle can set attributes of what is returned: a `maker` refuses that, and a class is
        compared with what it was before.
        """
        survey = self._surveyed
        if (module, name) in _STANDING:
            return _STANDING[module, name]
        if module in elements.MODULES:
            found = self._fields.makers.get(name) or elements.find(module, name)
            return survey.know(found) if found is not None else _forbid(module, name)
        if (module, name) == ("fractions", "Fraction"):
            return survey.maker("fractions.Fraction", fraction)
        if (module, name) == ("builtins", "getattr"):
            return survey.maker("builtins.getattr", survey.member)
        if f"{module}.{name}" in self._allowed:
            return self._find_allowed(module, name)
        return _forbid(module, name)

    def _find_allowed(self, module: str, name: str) -> object:
        found = super().find_class(module, name)
        if not isinstance(found, type):
            return self._surveyed.maker(f"{module}.{name}", found, allowed=True)
        return self._surveyed.allow(found)


def _forbid(module: str, name: str) -> NoReturn:
    raise RefusedPickleError(printable(f"{module}.{name}", 200))


_STANDING = {**ARRAYS, **MAKERS}
"""What is the same in all pickles."""

_NOTHING_IN_IT = frozenset({type(None), bool, int, float, str, bytes, bytearray})
