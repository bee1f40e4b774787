"""The local authority of a stack as a resource: made once, its key a Pulumi secret."""

import time
from typing import Any

from pulumi import Input, Output, ResourceOptions
from pulumi.dynamic import CreateResult, DiffResult, Resource, ResourceProvider

from e3.authority import nebula_cert
from e3.providers import run

VALID_SECONDS = 10 * 365 * 86_400
RENEWAL_SECONDS = 365 * 86_400

FIRST_VERSION = 2
"""Of certificates of authorities in states that do not say it."""


class AuthorityProvider(ResourceProvider):
    """Makes an authority; another is made a year before the old one expires."""

    def create(self, props: dict[str, Any]) -> CreateResult:
        """Make key and certificate; the id is the certificate's fingerprint."""

        async def make() -> tuple[str, str, nebula_cert.CertificateFacts]:
            certificate, key = await nebula_cert.make_authority(
                props["name"], VALID_SECONDS, int(props["version"])
            )
            return certificate, key, await nebula_cert.read(certificate)

        certificate, key, facts = run(make())
        return CreateResult(
            facts.fingerprint,
            {**props, "certificate": certificate, "key": key, "notAfter": facts.not_after},
        )

    def diff(self, id: str, olds: dict[str, Any], news: dict[str, Any]) -> DiffResult:  # noqa: A002 - Pulumi's name
        """Replace the authority when its name or encoding changes, or its end is near."""
        del id
        due = time.time() > olds["notAfter"] - RENEWAL_SECONDS
        # a refresh compares with inputs of the state, which may be of before there were versions
        other = olds.get("version", FIRST_VERSION) != news.get("version", FIRST_VERSION)
        anew = due or other or olds["name"] != news["name"]
        return DiffResult(changes=anew, replaces=["name"] if anew else [])


class NebulaAuthority(Resource, module="e3", name="NebulaAuthority"):
    """An authority for Nebula's certificates."""

    certificate: Output[str]
    key: Output[str]

    def __init__(
        self, name: str, *, title: Input[str], version: int, opts: ResourceOptions | None = None
    ) -> None:
        """Declare the authority; ``title`` is the name in its certificate, of this ``version``."""
        super().__init__(
            AuthorityProvider(),
            name,
            {
                "name": title,
                "version": version,
                "certificate": None,
                "key": None,
                "notAfter": None,
            },
            ResourceOptions.merge(opts, ResourceOptions(additional_secret_outputs=["key"])),
        )
