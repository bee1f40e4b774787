"""Compare the packages of a Python environment with a lock; standard library only.

The set-up and `e3 doctor` ask the same question: whether what is installed is still what
requirements.txt names. `pip install X` by hand may have replaced any of it.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

REQUIREMENT = re.compile(
    r"(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)==(?P<version>[^\s;\\]+)\s*(?P<marker>;)?"
)


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A package that is not as the lock has it; ``installed`` is empty if it is missing."""

    name: str
    installed: str
    locked: str

    def __str__(self) -> str:
        """Return it in words."""
        if not self.installed:
            return f"{self.name} is missing (locked: {self.locked})"
        return f"{self.name} is {self.installed} (locked: {self.locked})"


def differences(lock: Path, environment: Path) -> list[Difference]:
    """Return each package of the lock that is missing from an environment or of another version.

    A package may be in the lock twice, for different versions of Python; either version counts as
    right there. Further packages make no difference. Takes milliseconds.
    """
    present = installed(environment)
    found = []
    for name, (versions, everywhere) in locked(lock).items():
        ours = present.get(name, set())
        if ours - versions or (everywhere and not ours):
            shown, wanted = " and ".join(sorted(ours)), " or ".join(sorted(versions))
            found.append(Difference(name=name, installed=shown, locked=wanted))
    return found


def locked(lock: Path) -> Mapping[str, tuple[set[str], bool]]:
    """Return the versions that a lock has of each package, and whether every machine needs it."""
    packages: dict[str, tuple[set[str], bool]] = {}
    for line in lock.read_text(encoding="utf-8").splitlines():
        if (found := REQUIREMENT.match(line)) is None:
            continue
        versions, everywhere = packages.get(normal(found["name"]), (set(), False))
        everywhere = everywhere or found["marker"] is None
        packages[normal(found["name"])] = ({*versions, found["version"]}, everywhere)
    return packages


def installed(environment: Path) -> Mapping[str, set[str]]:
    """Return the versions of each package in an environment: two if an installation was cut off."""
    packages: dict[str, set[str]] = {}
    # as the folders' names say: to read the metadata in them would take a second
    for path in environment.glob("lib/python*/site-packages/*.dist-info"):
        name, _, version = path.name.removesuffix(".dist-info").partition("-")
        packages.setdefault(normal(name), set()).add(version)
    return packages


def normal(name: str) -> str:
    """Return the name of a package as indexes compare it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()
