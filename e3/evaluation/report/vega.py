"""Vega, Vega-Lite and Vega-Embed as one script, which the package vl-convert-python brings along.

The script is made once a version, which takes seconds, and kept in ``.e3/cache``.
"""

import hashlib
from functools import lru_cache
from importlib import metadata
from pathlib import Path

from e3 import private
from e3.errors import PlatformError

PACKAGE = "vl-convert-python"
SNIPPET = "window.vegaEmbed = vegaEmbed;"
CACHE = Path(".e3/cache")

REMEDY = "type `scripts/setup --report`"


@lru_cache(maxsize=1)
def script() -> str:
    """Return the script; raise `PlatformError` if the package is not installed.

    The same package always makes the same script.
    """
    try:
        version = metadata.version(PACKAGE)
    except metadata.PackageNotFoundError:
        raise PlatformError(f"reports need the Python package {PACKAGE}; {REMEDY}") from None
    kept = private.folder(CACHE) / f"vega-{version}-{_digest(SNIPPET)[:8]}.js"
    try:
        text = kept.read_text()
        # a copy that a full disk or an editor has cut would leave every chart empty
        digest, _, body = text.partition("\n")
        if digest == f"//{_digest(body)}":
            return body
    except (OSError, UnicodeDecodeError):
        pass
    import vl_convert  # noqa: PLC0415 -- optional, and it starts a JavaScript engine

    body = str(vl_convert.javascript_bundle(SNIPPET))
    private.write(kept, f"//{_digest(body)}\n{body}")
    return body


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
