"""How APIs of the web are called: what is tried again, and how a silent one is told of."""

import urllib3

TRY_AGAIN = (429, 500, 502, 503, 504)
RETRIES = 6
PAUSE_SECONDS = 0.2
NOT_FOUND, FIRST_ERROR = 404, 300


def pool(timeout_seconds: float) -> urllib3.PoolManager:
    """Return connections that try again what failed for the moment.

    An answer 429 is tried again after what it says (``retry-after``), 5xx after a pause that
    doubles; so a creation may create twice.
    """
    again = urllib3.Retry(
        RETRIES,
        status_forcelist=TRY_AGAIN,
        allowed_methods=None,
        backoff_factor=PAUSE_SECONDS,
        raise_on_status=False,
    )
    return urllib3.PoolManager(retries=again, timeout=timeout_seconds)


def reason(error: urllib3.exceptions.HTTPError) -> str:
    """Return why there was no answer, without the library's own names."""
    return str(getattr(error, "reason", None) or error).rpartition(": ")[2]
