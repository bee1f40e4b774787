"""The X.509 authority of a stack as a resource: made once, its key a Pulumi secret."""

import time
from typing import Any

from pulumi import Input, Output, ResourceOptions
from pulumi.dynamic import CreateResult, DiffResult, Resource, ResourceProvider

VALID_SECONDS = 10 * 365 * 86_400
RENEWAL_SECONDS = 365 * 86_400


class TlsAuthorityProvider(ResourceProvider):
    """Makes an authority; another is made a year before the old one expires."""

    def create(self, props: dict[str, Any]) -> CreateResult:
        """Make key and certificate; the id is the certificate's fingerprint."""
        from e3.authority import x509  # noqa: PLC0415 -- most stacks need no cryptography

        certificate, key = x509.make_authority(props["name"], VALID_SECONDS)
        return CreateResult(
            x509.fingerprint(certificate),
            {
                **props,
                "certificate": certificate,
                "key": key,
                "notAfter": x509.not_after(certificate),
            },
        )

    def diff(self, id: str, olds: dict[str, Any], news: dict[str, Any]) -> DiffResult:  # noqa: A002 - Pulumi's name
        """Replace the authority when its name changes or its end is near."""
        del id
        due = time.time() > olds["notAfter"] - RENEWAL_SECONDS
        changed = olds["name"] != news["name"]
        return DiffResult(changes=changed or due, replaces=["name"] if changed or due else [])


class TlsAuthority(Resource, module="e3", name="TlsAuthority"):
    """An authority for the certificates of MPyC's own TLS."""

    certificate: Output[str]
    key: Output[str]

    def __init__(
        self, name: str, *, title: Input[str], opts: ResourceOptions | None = None
    ) -> None:
        """Declare the authority; ``title`` is the name in its certificate."""
        super().__init__(
            TlsAuthorityProvider(),
            name,
            {"name": title, "certificate": None, "key": None, "notAfter": None},
            ResourceOptions.merge(opts, ResourceOptions(additional_secret_outputs=["key"])),
        )
