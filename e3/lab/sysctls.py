"""The network settings of a lab's namespaces: one table, with a reason for each group.

A new network namespace begins with the kernel's own defaults for most settings, but with the
machine's for interfaces (`net.core.devconf_inherit_init_net`: IPv4 by default, on some machines
IPv6 too), and for some others always. If Docker or a VPN makes the machine forward packets, every
host of a lab would be a router. So each namespace of a lab sets all that it depends on, and
all that can be inherited. Documentation/networking/ip-sysctl.rst in Linux says what each means.

The congestion control of TCP stays the machine's: only the machine may choose one.
"""

import os
from collections.abc import Mapping

from e3.errors import LabError

TCP_BUFFER_BYTES = 32 << 20  # a round trip of 230 ms at 1 Gbit/s


def _table(text: str) -> Mapping[str, str]:
    words = text.split()
    return dict(zip(words[::2], words[1::2], strict=True))


def _of_interfaces(family: str, table: Mapping[str, str]) -> dict[str, str]:
    """Return settings for present and future interfaces, by path below /proc/sys."""
    # Only the loopback exists before; over IPv6 it meets neither routers nor neighbours.
    places = ("all", "default", "lo") if family == "ipv4" else ("all", "default")
    return {f"net/{family}/conf/{at}/{name}": it for name, it in table.items() for at in places}


_IPV4_OF_INTERFACES = _table(
    # An answer may come by another interface than the one that leads to its sender: through a
    # tunnel, or from a neighbour by the delay line. No route is learned from a packet.
    """
    rp_filter 0  src_valid_mark 0  accept_redirects 0  secure_redirects 1  send_redirects 0
    shared_media 1  accept_source_route 0
    """
    # Only the owner of an address answers for it, on the interface that has it. Packets from
    # 127.0.0.0/8 or from a host's own addresses never come from a cable.
    """
    accept_local 0  route_localnet 0  proxy_arp 0  proxy_arp_pvlan 0  arp_accept 0  arp_announce 0
    arp_filter 0  arp_ignore 0  arp_notify 0  bootp_relay 0  bc_forwarding 0  medium_id 0
    """
    # Not used: the kernel's defaults.
    """
    arp_evict_nocarrier 1  drop_gratuitous_arp 0  drop_unicast_in_l2_multicast 0
    force_igmp_version 0  igmpv2_unsolicited_report_interval 10000
    igmpv3_unsolicited_report_interval 1000  ignore_routes_with_linkdown 0  log_martians 0
    promote_secondaries 0  tag 0
    """
)
_IPV6_OF_INTERFACES = _table(
    # Addresses and routes are those that the lab sets: no router announces any.
    """
    disable_ipv6 0  accept_ra 0  autoconf 0  use_tempaddr 0  accept_redirects 0
    accept_source_route 0  router_solicitations 0  proxy_ndp 0  accept_untracked_na 0
    drop_unsolicited_na 0  keep_addr_on_down 0
    """
    # An overlay's own interface has the link-local address that the kernel gives it.
    """
    addr_gen_mode 0  dad_transmits 1  enhanced_dad 1  optimistic_dad 0
    use_optimistic 0  hop_limit 64  max_addresses 16
    """
    # Not used: the kernel's defaults.
    """
    accept_ra_defrtr 1  accept_ra_from_local 0  accept_ra_min_hop_limit 1  accept_ra_min_lft 0
    accept_ra_mtu 1  accept_ra_pinfo 1  accept_ra_rt_info_max_plen 0  accept_ra_rt_info_min_plen 0
    accept_ra_rtr_pref 1  disable_policy 0  drop_unicast_in_l2_multicast 0  force_forwarding 0
    force_mld_version 0  force_tllao 0  ignore_routes_with_linkdown 0  ioam6_enabled 0
    ioam6_id 65535  ioam6_id_wide 4294967295  max_desync_factor 600
    mldv1_unsolicited_report_interval 10000  mldv2_unsolicited_report_interval 1000
    ndisc_evict_nocarrier 1  ndisc_notify 0  ndisc_tclass 0  ra_defrtr_metric 1024
    ra_honor_pio_life 0  ra_honor_pio_pflag 0  regen_max_retry 3  regen_min_advance 2
    router_probe_interval 60  router_solicitation_delay 1  router_solicitation_interval 4
    router_solicitation_max_interval 3600  rpl_seg_enabled 0  seg6_enabled 0
    seg6_require_hmac 0  suppress_frag_ndisc 1  temp_prefered_lft 86400  temp_valid_lft 604800
    use_oif_addrs_only 0
    """
)
_REST = {
    # A round trip of 230 ms needs large buffers: these are copied from the machine.
    "net/ipv4/tcp_rmem": f"4096 131072 {TCP_BUFFER_BYTES}",
    "net/ipv4/tcp_wmem": f"4096 65536 {TCP_BUFFER_BYTES}",
    # Outgoing connections take no port that a party, an overlay or a probe listens at.
    "net/ipv4/ip_local_port_range": "32768 60999",
    "net/ipv4/ip_unprivileged_port_start": "1024",
    "net/ipv4/ip_nonlocal_bind": "0",
    "net/ipv6/ip_nonlocal_bind": "0",
    # No packet is looked up in the rules of IPsec but by what an overlay asks; the loopback none.
    **{
        f"net/ipv4/conf/{place}/{name}": "0"
        for place in ("all", "default")
        for name in ("disable_policy", "disable_xfrm")
    },
    # An interface looks for duplicates if "all" or its own setting says so: here its own decides.
    "net/ipv6/conf/all/accept_dad": "0",
    "net/ipv6/conf/default/accept_dad": "1",
    # Also if the machine has disabled IPv6.
    "net/ipv6/conf/lo/disable_ipv6": "0",
    # An IPv6 socket serves IPv4 as well, as Nebula's does.
    "net/ipv6/bindv6only": "0",
    "net/core/somaxconn": "4096",
    # Dead peers are given up after the times that docs/verdicts.md and ADR 24 state.
    "net/ipv4/tcp_keepalive_time": "7200",
    "net/ipv4/tcp_keepalive_intvl": "75",
    "net/ipv4/tcp_keepalive_probes": "9",
    "net/ipv4/tcp_syn_retries": "6",
    "net/ipv4/tcp_synack_retries": "5",
    "net/ipv4/tcp_retries1": "3",
    "net/ipv4/tcp_retries2": "15",
    "net/ipv4/tcp_fin_timeout": "60",
    # Too large packets are reported, and pings are answered.
    "net/ipv4/ip_no_pmtu_disc": "0",
    "net/ipv4/ip_default_ttl": "64",
    "net/ipv4/icmp_echo_ignore_all": "0",
    "net/ipv4/icmp_echo_ignore_broadcasts": "1",
    "net/ipv4/icmp_errors_use_inbound_ifaddr": "0",
    "net/ipv4/icmp_ratelimit": "1000",
    "net/ipv4/icmp_ratemask": "6168",
    "net/ipv6/icmp/echo_ignore_all": "0",
    # TCP as MPyC's streams are measured with it.
    "net/ipv4/tcp_window_scaling": "1",
    "net/ipv4/tcp_timestamps": "1",
    "net/ipv4/tcp_sack": "1",
    "net/ipv4/tcp_ecn": "2",
    "net/ipv4/tcp_mtu_probing": "0",
    "net/ipv4/tcp_slow_start_after_idle": "1",
    "net/ipv4/tcp_moderate_rcvbuf": "1",
    # A bridge's frames do not pass the packet filter: Docker sets the opposite.
    "net/bridge/bridge-nf-call-iptables": "0",
    "net/bridge/bridge-nf-call-ip6tables": "0",
    "net/bridge/bridge-nf-call-arptables": "0",
}
FLOWS = {
    # How long a NAT keeps a mapping and a firewall lets answers in; kernels differ.
    "net/netfilter/nf_conntrack_udp_timeout": "30",
    "net/netfilter/nf_conntrack_udp_timeout_stream": "120",
    "net/netfilter/nf_conntrack_icmp_timeout": "30",
    "net/netfilter/nf_conntrack_icmpv6_timeout": "30",
    "net/netfilter/nf_conntrack_generic_timeout": "600",
    "net/netfilter/nf_conntrack_tcp_timeout_syn_sent": "120",
    "net/netfilter/nf_conntrack_tcp_timeout_syn_recv": "60",
    "net/netfilter/nf_conntrack_tcp_timeout_established": "432000",
    "net/netfilter/nf_conntrack_tcp_timeout_fin_wait": "120",
    "net/netfilter/nf_conntrack_tcp_timeout_close_wait": "60",
    "net/netfilter/nf_conntrack_tcp_timeout_last_ack": "30",
    "net/netfilter/nf_conntrack_tcp_timeout_time_wait": "120",
    "net/netfilter/nf_conntrack_tcp_timeout_close": "10",
    # A flow that existed before a NAT rebooted continues.
    "net/netfilter/nf_conntrack_tcp_loose": "1",
    "net/netfilter/nf_conntrack_tcp_be_liberal": "0",
    "net/netfilter/nf_conntrack_checksum": "1",
}
"""To be written once connections are tracked, after the first ruleset of a namespace."""

_EVERYWHERE = {
    **_of_interfaces("ipv4", _IPV4_OF_INTERFACES),
    **_of_interfaces("ipv6", _IPV6_OF_INTERFACES),
    **_REST,
}
CABLE6 = {
    # Neither link-local addresses nor a search for duplicates: all neighbours are known.
    "net/ipv6/conf/default/addr_gen_mode": "1",
    "net/ipv6/conf/default/accept_dad": "0",
}
"""For the lab's own cables; interfaces of overlays have the usual settings."""

USUAL6 = {name: _EVERYWHERE[name] for name in (*CABLE6, "net/ipv6/conf/default/disable_ipv6")}
NO_CABLE6 = {"net/ipv6/conf/default/disable_ipv6": "1"}


def _forwarding(ipv4: str, ipv6: str) -> dict[str, str]:
    """Return the forwarding settings; write them first, as they make the kernel change others."""
    return {
        **_of_interfaces("ipv4", {"forwarding": ipv4}),
        **_of_interfaces("ipv6", {"forwarding": ipv6}),
    }


HOST = {**_forwarding("0", "0"), **_EVERYWHERE, **FLOWS}
ROUTER = {**_forwarding("1", "1"), **_EVERYWHERE, **CABLE6}
ROUTER_OF_IPV4 = {**_forwarding("1", "0"), **_EVERYWHERE, **NO_CABLE6}


def write(values: Mapping[str, str]) -> None:
    """Set kernel parameters of the current network namespace, by path below /proc/sys.

    A setting that this kernel lacks is skipped; one that has its value already is not written.
    Raises `LabError` if the kernel refuses one.
    """
    for name, value in values.items():
        try:
            _write(name, value)
        except FileNotFoundError:
            continue
        except OSError as error:
            reason = f"the lab cannot set {name.replace('/', '.')} to {value}: {error.strerror}"
            raise LabError(reason) from error


def _write(name: str, value: str) -> None:
    descriptor = os.open(f"/proc/sys/{name}", os.O_RDONLY)
    try:
        if os.read(descriptor, 4096).decode().split() == value.split():
            return
    finally:
        os.close(descriptor)
    descriptor = os.open(f"/proc/sys/{name}", os.O_WRONLY)
    try:
        os.write(descriptor, value.encode())
    finally:
        os.close(descriptor)
