"""Write a file whole or not at all: a reader never sees a part of it, and a failure leaves none."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from e3.errors import ResultsError


@contextmanager
def aside(target: Path) -> Iterator[IO[bytes]]:
    """Yield a new file that becomes ``target`` if nothing is raised, and else is removed.

    Raise `ResultsError`, which names ``target``, for what the system refuses.
    """
    new = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    try:
        with new.open("xb") as file:
            yield file
        new.replace(target)
    except OSError as error:
        new.unlink(missing_ok=True)
        raise ResultsError(f"{target}: {error.strerror}") from None
    except BaseException:
        new.unlink(missing_ok=True)
        raise
