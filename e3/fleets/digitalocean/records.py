"""Records of a domain for the hosts of a stack: ``HOST.STACK`` and ``HOST.overlay.STACK``."""

import ipaddress
from collections.abc import Mapping
from functools import partial

import pulumi_digitalocean as do
from pulumi import Input, Output, ResourceOptions

from e3.digitalocean import names
from e3.outputs import TTL_SECONDS
from e3.providers.cloud_mark import Mark


def records(
    domain: str,
    mark: Mark,
    addresses: Mapping[str, Input[str]],
    opts: ResourceOptions,
) -> None:
    """Declare a record for each address by its name; one without an address gets none."""
    for name, address in addresses.items():
        do.DnsRecord(
            name,
            domain=domain,
            type=Output.from_input(address).apply(_type),
            name=mark.label.apply(partial(_name, name)),
            value=address,
            ttl=TTL_SECONDS,
            opts=opts,
        )


def _name(host: str, label: str) -> str:
    return f"{host}.{names.subdomain(label)}"


def _type(address: str) -> str:
    """Return the type of a record; a name, as of an onion service, is a TXT (RFC 1035)."""
    try:
        return "AAAA" if ipaddress.ip_address(address).version == 6 else "A"  # noqa: PLR2004
    except ValueError:
        return "TXT"
