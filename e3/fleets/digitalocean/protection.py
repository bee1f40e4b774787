"""The firewall of a stack, which DigitalOcean runs outside of the droplets."""

from collections.abc import Sequence

import pulumi_digitalocean as do
from pulumi import ResourceOptions

from e3.interfaces import Ingress
from e3.providers.cloud_mark import Mark

SSH = "22"
ANYWHERE = ["0.0.0.0/0", "::/0"]


def firewall(
    mark: Mark, ingress: Sequence[Ingress], *, admit: Sequence[str], opts: ResourceOptions
) -> do.Firewall:
    """Declare a firewall that lets in SSH from ``admit``, the rest from the stack alone.

    It applies to all that has the stack's tag, so to a droplet from its creation on.
    """
    inbound = [
        do.FirewallInboundRuleArgs(protocol="tcp", port_range=SSH, source_addresses=list(admit)),
        do.FirewallInboundRuleArgs(protocol="icmp", source_tags=[mark.label]),
        *(
            do.FirewallInboundRuleArgs(
                protocol=it.protocol, port_range=_range(it), source_tags=[mark.label]
            )
            for it in ingress
        ),
    ]
    outbound = [
        do.FirewallOutboundRuleArgs(
            protocol=protocol,
            port_range=None if protocol == "icmp" else "all",
            destination_addresses=ANYWHERE,
        )
        for protocol in ("icmp", "tcp", "udp")
    ]
    return do.Firewall(
        "firewall",
        name=mark.label,
        tags=[mark.label],
        inbound_rules=inbound,
        outbound_rules=outbound,
        opts=opts,
    )


def _range(ingress: Ingress) -> str:
    one = ingress.first == ingress.last
    return str(ingress.first) if one else f"{ingress.first}-{ingress.last}"
