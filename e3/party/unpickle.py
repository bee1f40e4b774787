"""What a peer may send as a pickle: values that MPyC itself sends, and no code.

MPyC unpickles what peers send in `transfer`, which it also uses to shut down, and in its protocols
over arrays. A pickle can call anything that can be imported; here the reading stops if it names
what is not on a list. The list was measured over MPyC's own demos and tests. The values that a
pickle makes are of bounded size (`e3.party.makers`), arrays are built again from their parts
(`e3.party.arrays`), and everything is checked before the program gets it (`e3.party.survey`).
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
from e3.party.survey import PickleSurvey
from e3.remote.text import printable

LARGE_BYTES = 65_536
"""The size from which a pickle could cost more than a second, or crash the process: 80,000 nested
tuples need as many bytes, and overflow the stack when they are hashed."""

Watch = Callable[[bytes], AbstractContextManager[None]]
"""Limits the cost of reading a large pickle."""


class Receiver:
    """Reads pickles as `pickle.loads` does, but only what a peer may send."""

    def __init__(
        self,
        allowed: tuple[str, ...],
        refuse: Callable[[object, str], NoReturn],
        watch: Watch,
    ) -> None:
        """Read types of ``allowed`` (``module.name``) too; ``refuse`` gets a bad pickle and why."""
        self._allowed = frozenset(allowed)
        self._refuse = refuse
        self._watch = watch
        self._fields = elements.Fields()

    def loads(self, data: bytes, /, **options: Any) -> Any:  # noqa: ANN401 -- as pickle.loads
        """Return the value; for a pickle with anything else ``refuse`` is called instead."""
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
        self._survey: PickleSurvey | None = None

    def load(self) -> Any:  # noqa: ANN401 -- whatever was sent
        value = super().load()
        if type(value) in _NOTHING_IN_IT and self._survey is None:
            return value
        return self._surveyed.settle(value)

    @property
    def _surveyed(self) -> PickleSurvey:
        if self._survey is None:
            self._survey = PickleSurvey()
            BUDGET.renew(self._length)
            self._fields.renew()
        return self._survey

    def find_class(self, module: str, name: str) -> Any:  # noqa: ANN401 -- whatever was sent
        """Return the stand-in for a name on the list, or the class itself where that is safe.

        A pickle can set attributes of what is returned. A `maker` refuses that; a class is compared
        afterwards with what it was before.
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
"""The stand-ins that are the same for all pickles."""

_NOTHING_IN_IT = frozenset({type(None), bool, int, float, str, bytes, bytearray})
