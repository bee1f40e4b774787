"""The nft rulesets of NATs and firewalls. Pure.

Linux keeps a source port that is free, and gives a second flow of the same inside endpoint the
same outside port. So ``masquerade`` maps endpoint-independently, and as its flows are known by all
of their addresses and ports, it filters by address and port: the usual home router. Any other
behaviour takes rules:

- Ports that are drawn are computed by a hash of what the mapping depends on. Where it depends on
  address and port, Linux draws them itself (``fully-random``), from all unprivileged ones: by
  default it draws from 600 to 1023 for tinc's 655, where two draws agree once in 424 times, and
  then hole punching succeeds by chance.
- For a filter that is less strict, and for hairpinning, ``mapped`` keeps which inside endpoint each
  outside port stands for, as packets leave, and ``contacted`` to which addresses it has sent.
- What a host has asked for by NAT-PMP or PCP (`e3.lab.port_mapping`) is in ``forwarded``, by
  outside port, and in ``forwarders``, by inside endpoint: it holds both ways.
- Of two hosts behind one NAT that use the same port the second gets another outside port. Linux
  alone would give both the same one until they send to the same destination.

The router itself (chain ``input``) accepts only answers and pings. If it accepted more, a peer's
early packet would count as a flow of the router, its port as in use, and the host's own packets
would leave from another port: hole punching would fail.
"""

from collections.abc import Sequence
from ipaddress import IPv4Network

from e3.lab.http_proxy import PORT as PROXY_PORT
from e3.lab.port_requests import PORT
from e3.nats import USUAL_MTU_BYTES, NatBehaviour, Passing

# nft hands the hash over in the machine's byte order and Linux reads a port in that of networks:
# any value from 1024 to 65535 is a port, though not always an unprivileged one
_DRAWN = "mod 64512 seed {seed} offset 1024"
_ANY = "1024-65535 fully-random"

_PASSING: dict[Passing, Sequence[str]] = {
    "all": ("",),
    "tcp": ("meta l4proto != udp",),
    "web": ("tcp dport { 80, 443 }", "udp dport 53"),
    "tcp-443": ("tcp dport 443",),
    "proxy": (),
}


def nat_rules(behaviour: NatBehaviour, inside: IPv4Network, *, seed: int) -> str:
    """Return the ruleset of a NAT before the network ``inside``, whose first address is its own.

    ``seed`` determines the ports that it draws.
    """
    learning = behaviour.filtering != "address-and-port-dependent" or behaviour.hairpinning
    restricted = behaviour.filtering == "address-dependent"
    life = f"timeout {behaviour.udp_timeout_seconds}s"
    return f"""
table ip nat {{
    map forwarded {{ type inet_proto . inet_service : ipv4_addr . inet_service; }}
    map forwarders {{ type inet_proto . ipv4_addr . inet_service : inet_service; }}
    map mapped {{
        type inet_service : ipv4_addr . inet_service; flags dynamic,timeout; {life};
    }}
    set contacted {{ type inet_service . ipv4_addr; flags dynamic,timeout; {life}; }}
    set used {{ type inet_service; flags dynamic,timeout; {life}; }}
    set users {{ type inet_service . ipv4_addr; flags dynamic,timeout; {life}; }}
    chain input {{
        type filter hook input priority filter; policy drop;
        ct state established,related accept
        icmp type echo-request accept
        {f'iifname "lan" udp dport {PORT} accept' if behaviour.port_mapping else ""}
        {_PROXY if behaviour.passes == "proxy" else ""}
    }}
    chain output {{
        type filter hook output priority filter;
        {_silence(behaviour, "icmp type destination-unreachable icmp code frag-needed drop")}
    }}
    chain forward {{
        type filter hook forward priority filter; policy drop;
        ct state established,related accept
        iifname "lan" oifname "lan" accept
        {_passing(behaviour)}
        ct status dnat accept
    }}
    chain prerouting {{
        type nat hook prerouting priority dstnat;
        {_lines(*_inbound(behaviour, inside))}
    }}
    chain postrouting {{
        type nat hook postrouting priority srcnat;
        {_lines(*_outbound(behaviour, inside, seed))}
    }}
    chain leaving {{
        type filter hook postrouting priority srcnat + 10;
        oifname != "wan" accept
        {_lines(*(_LEARN_MAPPED if learning else ()))}
        {"meta l4proto udp update @contacted { udp sport . ip daddr }" if restricted else ""}
        {_lines(*(_LEARN_USED if behaviour.shared else ()))}
    }}
}}
"""


def firewall_rules(behaviour: NatBehaviour) -> str:
    """Return the ruleset of a router for IPv6, which translates nothing.

    It lets only new flows from inside pass, as in RFC 6092, 3.2 and 3.3, though Linux filters UDP
    by address and port, more strictly than required there. ICMPv6 errors about known flows
    (``related``) and echo requests pass, as in RFC 4890, 4.3.1. What a NAT64 has translated to
    IPv4 leaves from the router's address.
    """
    return f"""{_NAT64 if behaviour.ip == "nat64" else ""}
table ip6 filter {{
    chain input {{
        type filter hook input priority filter; policy drop;
        ct state established,related accept
        icmpv6 type echo-request accept
    }}
    chain output {{
        type filter hook output priority filter;
        {_silence(behaviour, "icmpv6 type packet-too-big drop")}
    }}
    chain forward {{
        type filter hook forward priority filter; policy drop;
        ct state established,related accept
        iifname "lan" accept
        icmpv6 type echo-request accept
    }}
}}
"""


# the daemon asks whether it serves by the loopback
_PROXY = f'iifname {{ "lan", "lo" }} tcp dport {PROXY_PORT} accept'
_NAT64 = """
table ip nat {
    chain input {
        type filter hook input priority filter; policy drop;
        ct state established,related accept
        icmp type echo-request accept
    }
    chain forward {
        type filter hook forward priority filter; policy drop;
        ct state established,related accept
        iifname "nat64" accept
    }
    chain postrouting {
        type nat hook postrouting priority srcnat;
        oifname "wan" masquerade
    }
}
"""

_ORIGINAL, _REPLY = (f"meta l4proto udp ct direction {it} update" for it in ("original", "reply"))
_LEARN_MAPPED = (
    f"{_ORIGINAL} @mapped {{ udp sport : ct original ip saddr . ct original proto-src }}",
    f"{_REPLY} @mapped {{ udp sport : ct reply ip saddr . ct reply proto-src }}",
)
_LEARN_USED = (
    f"{_ORIGINAL} @used {{ udp sport }}",
    f"{_ORIGINAL} @users {{ udp sport . ct original ip saddr }}",
)


def _inbound(behaviour: NatBehaviour, inside: IPv4Network) -> Sequence[str]:
    """Return the rules that forward what comes to an outside port to the host inside."""
    forward = "dnat ip to udp dport map @mapped"
    rules = []
    if behaviour.port_mapping:
        rules.append('iifname "wan" dnat ip to meta l4proto . th dport map @forwarded')
    rules += {
        "endpoint-independent": [f'iifname "wan" {forward}'],
        "address-dependent": [f'iifname "wan" udp dport . ip saddr @contacted {forward}'],
        "address-and-port-dependent": [],
    }[behaviour.filtering]
    if behaviour.hairpinning:
        own = inside.network_address + 1
        rules.append(f'iifname "lan" ip daddr != {own} fib daddr type local {forward}')
    return rules


def _outbound(behaviour: NatBehaviour, inside: IPv4Network, seed: int) -> Sequence[str]:
    """Return the rules that translate what leaves."""
    drawn = {
        "endpoint-independent": f"jhash ip saddr . th sport {_DRAWN.format(seed=seed)}",
        "address-dependent": f"jhash ip saddr . th sport . ip daddr {_DRAWN.format(seed=seed)}",
        "address-and-port-dependent": _ANY,
    }[behaviour.mapping]
    ports = f": {drawn}" if behaviour.ports == "random" else ""
    ways = [("meta l4proto { tcp, udp }", ports)]
    if behaviour.shared and not ports:
        ways = [("udp sport . ip saddr @users", ""), ("udp sport @used", f": {drawn}"), *ways]
    if behaviour.port_mapping:
        known = "meta l4proto . ip saddr . th sport map @forwarders"
        ways = [(ways[-1][0], f": {known}"), *ways]
    rules = []
    for flows, to in ways:
        if behaviour.hairpinning:  # RFC 4787, REQ-9: from the outside endpoint of its sender
            inner = f'oifname "lan" ct status dnat ip saddr {inside} {flows}'
            rules.append(f"{inner} snat ip to ct original ip daddr {to}")
        rules.append(f'oifname "wan" {flows} masquerade {f"to {to}" if to else ""}')
    return [*rules, 'oifname "wan" masquerade']


def _passing(behaviour: NatBehaviour) -> str:
    return _lines(*(f'iifname "lan" {each} accept' for each in _PASSING[behaviour.passes]))


def _silence(behaviour: NatBehaviour, rule: str) -> str:
    """Return the rule against errors about large packets, if they are not to be told."""
    return rule if behaviour.mtu_bytes < USUAL_MTU_BYTES else ""


def _lines(*rules: str) -> str:
    return "\n        ".join(rules)
