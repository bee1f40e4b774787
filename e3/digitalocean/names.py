"""The names and tags of what a stack has at the account. Pure.

Everything of a stack carries its *label* as name or tag, so that it is found without the
state: ``<project>-<stack>-<8 hex digits>``. The digits are drawn once for each stack. A second
tag has the time until which it may stay: ``<label>:until:<Unix time>``. A third has the region of
its bucket: ``<label>:spaces:<region>``. Tags may have letters, digits, colons, hyphens and
underscores (openapi, tags/models/tags.yml), names of buckets lower-case letters, digits and
hyphens.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

MOST_STACK = 30
DIGITS = 8
UNTIL = re.compile(r"(?P<label>[a-z0-9-]+-[0-9a-f]{8}):until:(?P<until>\d+)")


@dataclass(frozen=True, kw_only=True)
class Lease:
    """A label and the Unix time until which what carries it may stay."""

    label: str
    until: int

    @property
    def tag(self) -> str:
        """The lease as a tag."""
        return f"{self.label}:until:{self.until}"


def spaces_tag(label: str, region: str) -> str:
    """Return the tag that says in which region's Spaces the stack has its bucket."""
    return f"{label}:spaces:{region}"


def spaces_region(label: str, tags: Iterable[str]) -> str:
    """Return the region of the bucket, as tags have it, or "" if there is none."""
    begin = spaces_tag(label, "")
    return next((tag.removeprefix(begin) for tag in tags if tag.startswith(begin)), "")


def label(project: str, stack: str, digits: str) -> str:
    """Return the label of a stack with these hexadecimal digits."""
    plain = re.sub(r"[^a-z0-9]+", "-", stack.lower())[:MOST_STACK].strip("-")
    return f"{project}-{plain}-{digits}"


def droplet(project: str, host: str, label: str) -> str:
    """Return the name of the droplet that is ``host``."""
    return f"{project}-{host}-{label[-DIGITS:]}"


def leases(tags: Iterable[str]) -> list[Lease]:
    """Return the leases among tags."""
    found = [UNTIL.fullmatch(tag) for tag in tags]
    return [Lease(label=m["label"], until=int(m["until"])) for m in found if m]


def subdomain(label: str) -> str:
    """Return the part between a host's name and the domain in its records."""
    return label.partition("-")[2]
