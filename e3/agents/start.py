"""Where the programs begin on a host: ``main(SECRETS, CONFIGURATION, VERB, ...)``.

Each verb is a module of its own, which is loaded once the packages that it needs are known to be
there.
"""

import importlib
from pathlib import Path

VERBS = ("agent", "invite", "mediator", "prepare")


def main(secrets: str, configuration: str, verb: str, *arguments: str) -> None:
    """Run a verb; the folders are those of keys and of settings."""
    if verb not in VERBS:
        raise SystemExit(f"{verb} is none of {', '.join(VERBS)}")
    module = importlib.import_module(f"e3.agents.{verb}")
    module.main(Path(secrets), Path(configuration), *arguments)
