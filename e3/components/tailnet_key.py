"""Make the key with which a stack's hosts join a tailnet of the user."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, cast

from pulumi import ComponentResource, Output, ResourceOptions

from e3.components.tailnet_enrolment import Enrolment
from e3.interfaces import LAST_PARTY_PORT, PARTY_PORT, PROBE_PORT, Overlay

DESCRIPTION_LENGTH = 50  # of a key, in characters; letters, digits, hyphens and spaces


class TailnetOptions(Protocol):
    """The options of an overlay that asks for the credential ``tailnet``."""

    @property
    def auth_key_file(self) -> str:
        """Where the user keeps a key of their own, if there is one."""

    @property
    def tag(self) -> str:
        """The tag of the hosts."""

    @property
    def key_minutes(self) -> int:
        """How long a key is valid."""

    @property
    def policy(self) -> str:
        """Whether the tailnet's policy is the stack's ``own``."""


class TailnetKey(ComponentResource):
    """A key with which the hosts of one stack, and no others, become devices of a tailnet.

    It is ephemeral (the tailnet removes devices that are gone), pre-authorised, tagged and valid
    only as long as joining takes. Another key is made only when another host joins: the
    description has a digest of the hosts. An expired key is made again after `pulumi refresh`.
    ``key`` is a secret.
    """

    key: Output[str]

    def __init__(
        self,
        name: str,
        *,
        stack: str,
        options: TailnetOptions,
        hosts: Sequence[Output[Mapping[str, Any]]],
    ) -> None:
        """Declare the key, and the tailnet's policy if the stack owns it."""
        # at the top it would cost each deployment half a second
        from pulumi_tailscale import Acl, TailnetKey  # noqa: PLC0415

        super().__init__("e3:tailnet:Key", name)
        policy = []
        if options.policy == "own":
            # the service refuses this unless the policy is that of a new tailnet
            acl = Acl(
                f"{name}-policy",
                acl=json.dumps(render_policy(options.tag), indent=2),
                reset_acl_on_destroy=True,
                opts=ResourceOptions(parent=self),
            )
            policy.append(acl)
        made = TailnetKey(
            name,
            description=Output.all(*hosts).apply(lambda known: describe(stack, known)),
            ephemeral=True,
            preauthorized=True,
            reusable=True,
            recreate_if_invalid="always",
            expiry=options.key_minutes * 60,
            tags=[options.tag],
            opts=ResourceOptions(parent=self, depends_on=policy),
        )
        self.key = Output.secret(made.key)
        self.register_outputs({})


def describe(stack: str, hosts: Sequence[Mapping[str, Any]]) -> str:
    """Return a key's description, which differs if the hosts do."""
    reached = sorted(json.dumps(host["access"], sort_keys=True) for host in hosts)
    digest = hashlib.sha256("\n".join(reached).encode()).hexdigest()[:8]
    label = re.sub("[^A-Za-z0-9]+", "-", stack)[: DESCRIPTION_LENGTH - len(f"e3  {digest}")]
    return f"e3 {label} {digest}"


def render_policy(tag: str) -> dict[str, object]:
    """Return a tailnet's policy: hosts of the tag reach each other, at the ports of sessions.

    https://tailscale.com/kb/1337/policy-syntax
    """
    ports = f"{PROBE_PORT},{PARTY_PORT}-{LAST_PARTY_PORT}"
    return {
        "tagOwners": {tag: ["autogroup:admin"]},
        "acls": [{"action": "accept", "proto": "tcp", "src": [tag], "dst": [f"{tag}:{ports}"]}],
    }


def tailnet_key(
    stack: str,
    overlay: Overlay,
    hosts: Mapping[str, Output[Mapping[str, Any]]],
    *,
    plain_ssh: bool,
) -> Mapping[str, Output[str]]:
    """Return the option ``auth_key`` of an overlay without a key in a file.

    It is ``""`` if the ``hosts`` have the key already, as pulumi-command reaches them
    (``plain_ssh``).
    """
    options = cast("TailnetOptions", overlay)
    if options.auth_key_file:
        return {}
    own = TailnetKey("tailnet", stack=stack, options=options, hosts=list(hosts.values()))
    if not plain_ssh:
        return {"auth_key": own.key}
    return {"auth_key": Enrolment("enrol", key=own.key, hosts=hosts).done}
