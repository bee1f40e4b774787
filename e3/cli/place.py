"""Where verbs work: in a checkout, or in a folder of the user's if E3 is a package."""

import argparse
from pathlib import Path
from typing import TypeAlias

from e3 import private

Verbs: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"  # noqa: SLF001 - has no other name

CHECKOUT = Path(__file__).resolve().parents[2]
IS_PACKAGE = CHECKOUT.name in {"site-packages", "dist-packages"}
ROOT = private.user_folder() if IS_PACKAGE else CHECKOUT
"""The project; every verb changes to it, wherever it was called. A package has no project: there
it is the user's own folder, for what sessions without a deployer keep."""
