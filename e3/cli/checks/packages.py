"""The packages of programs that this checkout keeps, and what killed installations left of them."""

import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from e3.cli.checks.finding import Finding
from e3.session.layers import KEPT, Store

SUBJECT = "packages"


def check(store: Store | None = None) -> Iterator[Finding]:
    """Yield what the store of packages has, and what is half-made in it."""
    store = store or Store()
    halves = [] if store.busy() else store.halves()
    for half in halves:
        yield Finding(
            level="WARN",
            subject=SUBJECT,
            detail=f"{half} was left by an installation that was killed",
            remedy="`e3 doctor --fix` removes it, and so does the next installation",
            fix=partial(shutil.rmtree, half),
        )
    layers = store.layers()
    if layers and not halves:
        size = sum(map(_bytes, layers)) / 1e6
        yield Finding(
            level="OK",
            subject=SUBJECT,
            detail=f"{size:,.0f} MB of programs' packages in {store.folder}; of {len(layers)} sets "
            f"those used longest ago go when there are more than {KEPT}",
        )


def _bytes(layer: Path) -> int:
    return sum(path.lstat().st_size for path in layer.rglob("*"))
