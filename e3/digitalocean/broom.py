"""What a stack has at the account, found by its label and not by the state, and its removal."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from e3.digitalocean import names
from e3.digitalocean.api import Api


@dataclass(frozen=True, kw_only=True)
class Thing:
    """Something at the account: what it is, as a person would say, and where the API has it."""

    what: str
    path: str


def find(api: Api, label: str) -> list[Thing]:
    """Return all that carries a stack's label, in the order in which it can be removed.

    Buckets are Spaces' own and not found here; records of domains neither.
    """
    return [
        *_tagged(api, label),
        *_named(api, label),
        *(
            Thing(what=f"tag {tag}", path=f"tags/{tag}")
            for tag in _tags(api)
            if tag == label or tag.startswith(f"{label}:")
        ),
    ]


def find_records(api: Api, domain: str, suffix: str) -> list[Thing]:
    """Return the records of a domain whose names end with ``.suffix``."""
    return [
        Thing(what=f"record {row['name']}.{domain}", path=f"domains/{domain}/records/{row['id']}")
        for row in api.all(f"domains/{domain}/records", "domain_records")
        if row["name"].endswith(f".{suffix}")
    ]


def remove(
    api: Api, things: list[Thing], said: Callable[[str], object] = lambda _: None
) -> list[Thing]:
    """Remove these things; return those that there still were."""
    removed = []
    for thing in things:
        if api.delete(thing.path):
            said(thing.what)
            removed.append(thing)
    return removed


def leases(api: Api) -> list[names.Lease]:
    """Return the leases of all stacks at the account; of one label, the latest only."""
    latest: dict[str, names.Lease] = {}
    for lease in names.leases(_tags(api)):
        known = latest.get(lease.label)
        if known is None or known.until < lease.until:
            latest[lease.label] = lease
    return sorted(latest.values(), key=lambda lease: lease.until)


def _tags(api: Api) -> list[str]:
    return [str(row["name"]) for row in api.all("tags", "tags")]


def _tagged(api: Api, label: str) -> Iterator[Thing]:
    for row in api.all(f"droplets?tag_name={label}", "droplets"):
        yield Thing(what=f"droplet {row['name']}", path=f"droplets/{row['id']}")
    for row in api.all(f"images?private=true&tag_name={label}", "images"):
        yield Thing(what=f"image {row['name']}", path=f"images/{row['id']}")


def _named(api: Api, label: str) -> Iterator[Thing]:
    for row in api.all("firewalls", "firewalls"):
        if row["name"] == label:
            yield Thing(what=f"firewall {label}", path=f"firewalls/{row['id']}")
    for row in api.all("account/keys", "ssh_keys"):
        if row["name"] == label:
            yield Thing(what=f"SSH key {label}", path=f"account/keys/{row['id']}")
