#!/bin/sh
# The strong host model for an overlay's addresses: sh strong_host.sh TABLE VERB [ADDRESS]
#
# Linux accepts a packet for any of its addresses on any interface (RFC 1122, 3.3.4.2, calls that
# the weak model), so whoever shares a network with a host could reach its overlay address past the
# tunnel. These rules, in an nftables table of their own, drop such packets.
set -eu
table=$1
shift

# Drop what comes for the addresses of the device that has ADDRESS, unless by this device.
enforce() {
    found=$(ip -o address show to "$1/32")
    device=${found#*: }
    device=${device%% *}
    [ "$device" ] || { echo "no interface has the overlay address $1" >&2; exit 1; }
    rules=
    while read -r _ _ family address _; do
        case $family:$address in
            inet:*) match="ip daddr" ;;
            inet6:fe80:*) continue ;; # each link has its own
            inet6:*) match="ip6 daddr" ;;
            *) continue ;;
        esac
        rules="$rules
        $match ${address%/*} iifname != { \"lo\", \"$device\" } drop"
    done <<EOF
$(ip -o address show dev "$device")
EOF
    # The first two lines make loading it again replace it, as one transaction.
    nft -f - <<EOF
table inet $table
delete table inet $table
table inet $table {
    chain arriving {
        type filter hook prerouting priority raw; policy accept;$rules
    }
}
EOF
}

# Remove the rules, if there are any.
lift() {
    ! nft list table inet "$table" >/dev/null 2>&1 || nft delete table inet "$table"
}

"$@"
