"""How commands and files reach a host: the registry, and hosts as plain JSON properties.

Pulumi's state holds a host as a mapping of plain values. Its access is a mapping too,
whose ``kind`` is a name of `ACCESSES`.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import msgspec

from e3.errors import HostError
from e3.interfaces import Access, Host
from e3.on_demand import OnDemand

ACCESSES: OnDemand[type[Access]] = OnDemand(
    {
        "namespace": "e3.access.namespace:NamespaceAccess",
        "ssh": "e3.access.ssh:SshAccess",
    }
)


def host_to_properties(host: Host) -> dict[str, Any]:
    """Return ``host`` as plain JSON values; `host_from_properties` is the inverse."""
    for kind, access in ACCESSES.items():
        if isinstance(host.access, access):
            properties = {f.name: getattr(host, f.name) for f in dataclasses.fields(host)}
            return {**properties, "access": {"kind": kind, **_fields(host.access)}}
    raise TypeError(f"{type(host.access).__name__} is not registered in e3.access.ACCESSES")


def host_from_properties(properties: Mapping[str, Any]) -> Host:
    """Return the host that ``properties`` describe, also if Pulumi's state made 3.0 of 3.

    Raises `HostError` unless `host_to_properties` made them.
    """
    access = dict(properties["access"])
    kind = access.pop("kind", None)
    if kind not in ACCESSES:
        choices = ", ".join(sorted(ACCESSES))
        raise HostError(
            f"host {properties.get('name')}: unknown access {kind!r}; choose one of {choices}"
        )
    try:
        types = {
            f.name: f.type
            for f in dataclasses.fields(Host)
            # fields with a default may be newer than the state
            if f.name != "access" and (f.name in properties or f.default is dataclasses.MISSING)
        }
        values = {name: msgspec.convert(properties[name], type_) for name, type_ in types.items()}
        return Host(**values, access=msgspec.convert(access, ACCESSES[kind], strict=False))
    except (KeyError, msgspec.ValidationError) as error:
        raise HostError(
            f"host {properties.get('name')}: its properties are wrong: {error}"
        ) from error


def _fields(access: Access) -> dict[str, Any]:
    return {f.name: getattr(access, f.name) for f in dataclasses.fields(access)}  # type: ignore[arg-type]
