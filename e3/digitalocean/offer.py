"""Check before creation whether an account offers what an experiment asks for, and the price."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from e3.digitalocean.api import Api
from e3.errors import CloudError, ConfigurationError

SHOWN = 12


@dataclass(frozen=True, kw_only=True)
class Request:
    """Number of droplets by region, their size, and the image: a slug, or "" for our own."""

    regions: Mapping[str, int]
    size: str
    slug: str
    domain: str
    limit_hourly_usd: float


def check(api: Api, request: Request, held: Collection[str] = ()) -> float:
    """Return the hourly price in US dollars; raise an `E3Error` for what is not available.

    ``held`` are labels of the stack. Its own droplets do not count against the quota.
    """
    _check_regions(api, request)
    hourly = _price(api, request)
    if request.slug:
        _check_slug(api, request)
    if request.domain and api.get(f"domains/{request.domain}") is None:
        raise ConfigurationError(
            f"e3:domain: {request.domain!r} is not a domain of this account; add it at "
            "https://cloud.digitalocean.com/networking/domains, or leave the key out"
        )
    _check_quota(api, request, held)
    if hourly > request.limit_hourly_usd:
        raise ConfigurationError(
            f"e3:max-hourly-usd: {sum(request.regions.values())} droplets of size {request.size} "
            f"cost {hourly:.3f} USD an hour, more than {request.limit_hourly_usd:g}; ask for fewer "
            "or smaller ones, or raise the limit"
        )
    return hourly


def _check_regions(api: Api, request: Request) -> None:
    offered = {row["slug"] for row in api.all("regions", "regions") if row["available"]}
    for region in request.regions:
        if region not in offered:
            raise ConfigurationError(
                f"e3:regions: DigitalOcean offers this account no droplets in {region!r}; "
                f"choose from {', '.join(sorted(offered))}"
            )


def _price(api: Api, request: Request) -> float:
    sizes = {row["slug"]: row for row in api.all("sizes", "sizes") if row["available"]}
    if request.size not in sizes:
        raise ConfigurationError(
            f"e3:fleet-options: size is {request.size!r}, which DigitalOcean does not offer; "
            f"choose one of {_some(sizes)}"
        )
    size = sizes[request.size]
    for region in request.regions:
        if region not in size["regions"]:
            raise ConfigurationError(
                f"e3:fleet-options: size {request.size} is not offered in region {region}, but in "
                f"{', '.join(sorted(size['regions']))}; choose another size or region"
            )
    return float(size["price_hourly"]) * sum(request.regions.values())


def _check_slug(api: Api, request: Request) -> None:
    found = api.get(f"images/{request.slug}")
    if found is None:
        raise ConfigurationError(
            f"e3:fleet-options: image is {request.slug!r}, neither a file here nor an image of "
            "DigitalOcean's; such a one is debian-12-x64"
        )
    for region in request.regions:
        if region not in found["image"]["regions"]:
            raise ConfigurationError(
                f"e3:fleet-options: image {request.slug} is not offered in region {region}, but in "
                f"{', '.join(sorted(found['image']['regions']))}; choose another image or region"
            )


def _check_quota(api: Api, request: Request, held: Collection[str]) -> None:
    limit = int(((api.get("account") or {}).get("account") or {}).get("droplet_limit", 0))
    droplets = api.all("droplets", "droplets")
    others = [row for row in droplets if not set(held) & set(row["tags"])]
    wanted = sum(request.regions.values())
    if limit and len(others) + wanted > limit:
        raise CloudError(
            f"this account may have {limit} droplets and has {len(others)} others, so that "
            f"{wanted} more are too many; ask for fewer in e3:regions, remove others, or have "
            "the limit raised at https://cloud.digitalocean.com/account/team"
        )


def _some(names: Collection[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(sorted(names)[:SHOWN]) + more
