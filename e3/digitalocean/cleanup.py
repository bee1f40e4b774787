"""Find what a stack has at the account, by its label and not by the state, and remove it."""

from collections.abc import Iterator
from dataclasses import dataclass

from e3.digitalocean import names, spaces
from e3.digitalocean.api import Api


@dataclass(frozen=True, kw_only=True)
class AccountResource:
    """Something at the account: its description for a person, and its path in the API."""

    what: str
    path: str


def find(api: Api, label: str) -> list[AccountResource]:
    """Return all that carries a stack's label, except the bucket, which Spaces lists.

    They are in the order in which they can be removed; tags are last, as the rest is found by
    them.
    """
    return [
        *_tagged(api, label),
        *_named(api, label),
        *_records(api, names.subdomain(label)),
        *(AccountResource(what=f"tag {tag}", path=f"tags/{tag}") for tag in _tags(api, label)),
    ]


def sweep(api: Api, label: str, region: str = "") -> list[str]:
    """Remove all that carries a label, and its bucket; return what was removed.

    ``region`` is that of the bucket, if the caller knows it; otherwise the tags tell.
    """
    resources = find(api, label)
    removed = [resource.what for resource in _all_but_tags(resources) if api.delete(resource.path)]
    bucket_region = region or names.spaces_region(label, _tags(api, label))
    if bucket_region and spaces.remove_bucket(bucket_region, label):
        removed.append(f"bucket {label}")
    return removed + [
        resource.what for resource in _only_tags(resources) if api.delete(resource.path)
    ]


def left(api: Api, label: str, region: str = "") -> list[str]:
    """Return all that carries a label, and its bucket; remove nothing."""
    found = [resource.what for resource in find(api, label)]
    bucket_region = region or names.spaces_region(label, _tags(api, label))
    if bucket_region and not spaces.is_free(bucket_region, label):
        found.append(f"bucket {label}")
    return found


def leases(api: Api) -> list[names.Lease]:
    """Return the leases of all stacks at the account; of one label, the latest only."""
    latest: dict[str, names.Lease] = {}
    for lease in names.leases(_all_tags(api)):
        known = latest.get(lease.label)
        if known is None or known.until < lease.until:
            latest[lease.label] = lease
    return sorted(latest.values(), key=lambda lease: lease.until)


def _all_but_tags(resources: list[AccountResource]) -> list[AccountResource]:
    return [resource for resource in resources if not resource.path.startswith("tags/")]


def _only_tags(resources: list[AccountResource]) -> list[AccountResource]:
    return [resource for resource in resources if resource.path.startswith("tags/")]


def _all_tags(api: Api) -> list[str]:
    return [str(row["name"]) for row in api.all("tags", "tags")]


def _tags(api: Api, label: str) -> list[str]:
    return [tag for tag in _all_tags(api) if tag == label or tag.startswith(f"{label}:")]


def _records(api: Api, subdomain: str) -> Iterator[AccountResource]:
    for domain in [str(row["name"]) for row in api.all("domains", "domains")]:
        for row in api.all(f"domains/{domain}/records", "domain_records"):
            if row["name"].endswith(f".{subdomain}"):
                path = f"domains/{domain}/records/{row['id']}"
                yield AccountResource(what=f"record {row['name']}.{domain}", path=path)


def _tagged(api: Api, label: str) -> Iterator[AccountResource]:
    for row in api.all(f"droplets?tag_name={label}", "droplets"):
        yield AccountResource(what=f"droplet {row['name']}", path=f"droplets/{row['id']}")
    for row in api.all(f"images?private=true&tag_name={label}", "images"):
        yield AccountResource(what=f"image {row['name']}", path=f"images/{row['id']}")


def _named(api: Api, label: str) -> Iterator[AccountResource]:
    for row in api.all("firewalls", "firewalls"):
        if row["name"] == label:
            yield AccountResource(what=f"firewall {label}", path=f"firewalls/{row['id']}")
    for row in api.all("account/keys", "ssh_keys"):
        if row["name"] == label:
            yield AccountResource(what=f"SSH key {label}", path=f"account/keys/{row['id']}")
