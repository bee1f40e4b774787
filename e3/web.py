"""Calls of web APIs: which failures are retried, and the error if there is no answer."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import msgspec

from e3.remote.text import printable

if TYPE_CHECKING:
    import urllib3

TRY_AGAIN = (429, 500, 502, 503, 504)
RETRIES = 6
PAUSE_SECONDS = 0.2
NOT_FOUND, FIRST_ERROR = 404, 300


class SilentError(Exception):
    """A server gave no answer; the text says why."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a server answered; ``reason`` is the phrase that belongs to its ``status``."""

    status: int
    reason: str
    data: bytes

    def fields(self) -> dict[str, Any]:
        """Return the content, a JSON object, or no fields for ``null`` or nothing.

        Anything else raises `SilentError`.
        """
        try:
            data = self.data.strip() or b"{}"
            return msgspec.json.decode(data, type=dict[str, Any] | None) or {}
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise SilentError(f"what it sent is no JSON object: {printable(error)}") from None

    @property
    def message(self) -> str:
        """The message of a failure, or else the ``reason``."""
        try:
            return printable(self.fields().get("message", self.reason))
        except SilentError:
            return printable(self.reason)


@dataclass(frozen=True)
class Web:
    """Connections to servers, kept open; temporary failures are retried.

    After an answer 429 the call is repeated after the time that it states (``retry-after``), after
    5xx with a pause that doubles. So a call that creates something may create it twice.
    """

    timeout_seconds: float

    def ask(
        self, method: str, url: str, *, headers: Mapping[str, str], body: bytes | None = None
    ) -> Answer:
        """Return the answer, whatever its status; raises `SilentError` if there is none."""
        import urllib3  # noqa: PLC0415 - slow to load, and most stacks make no such calls

        try:
            said = self._pool.request(method, url, headers=dict(headers), body=body)
        except urllib3.exceptions.HTTPError as error:
            reason = str(getattr(error, "reason", None) or error)
            raise SilentError(reason.rpartition(": ")[2]) from error
        return Answer(status=said.status, reason=said.reason or "", data=said.data)

    @cached_property
    def _pool(self) -> "urllib3.PoolManager":
        import urllib3  # noqa: PLC0415 - as above

        again = urllib3.Retry(
            RETRIES,
            status_forcelist=TRY_AGAIN,
            allowed_methods=None,
            backoff_factor=PAUSE_SECONDS,
            raise_on_status=False,
        )
        return urllib3.PoolManager(retries=again, timeout=self.timeout_seconds)
