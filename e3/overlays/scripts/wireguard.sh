#!/bin/sh
# WireGuard on a host: sh wireguard.sh CONFIGURATION SECRETS DEVICE VERB [ARGUMENT...]
#
# CONFIGURATION is the folder of peers.conf, interface.sh and wireguard.awk, SECRETS the folder of
# the keys. Secrets reach `wg` through a variable and a pipe of the shell: no command line and no
# other file shows them.
set -eu
umask 077
configuration=$1 secrets=$2 device=$3
shift 3

# Print the host's public key; make it and its private key if there is none.
make_keys() {
    mkdir -p "$secrets"
    cd "$secrets"
    if [ ! -s host.pub ]; then
        wg genkey >new.key
        wg pubkey <new.key >new.pub
        mv new.key host.key
        mv new.pub host.pub
    fi
    cat host.pub
}

# Make a pre-shared key in a file of each of these names, unless it exists.
make_preshared_keys() {
    mkdir -p "$secrets/psk"
    cd "$secrets/psk"
    for peer; do
        [ -s "$peer" ] || { wg genpsk >new; mv new "$peer"; }
    done
}

# Print the differences between peers.conf and what was applied: $1 is all, gone or keys.
news() {
    awk -v only="$1" -f wireguard.awk peers.conf
}

changed() {
    ! cmp -s "$1" "$1.applied"
}

# Apply what changed to WireGuard, and print the keys of new and changed peers.
apply() {
    cd "$configuration"
    if changed peers.conf; then
        # Not `wg syncconf`: for one new peer it would send WireGuard the settings of all.
        text=$(news all)
        printf '%s\n' "$text" | wg addconf "$device" /dev/stdin
        for key in $(news gone); do wg set "$device" peer "$key" remove; done
        text=$(cat peers.conf)
        for file in "$secrets"/psk/*; do
            case $text in *"$file"*) ;; *) rm -f "$file" ;; esac
        done
        news keys
        cp peers.conf peers.conf.applied
    fi
    if changed interface.sh; then
        # shellcheck source=/dev/null
        . ./interface.sh
        cp interface.sh interface.sh.applied
    fi
}

# Run the service: the kernel's WireGuard if it has one, else the program $1, wireguard-go.
serve() {
    cd "$configuration"
    rm -f ./*.applied
    ip link delete "$device" 2>/dev/null || : # a kernel's device outlives this service
    if ip link add "$device" type wireguard 2>/dev/null; then
        apply
        exec sleep infinity
    fi
    # Its parent ends at once, so that it is no child of wireguard-go, which reaps none.
    ({
        # `wg` deletes a socket that refuses it, so not before wireguard-go listens (net/unix.h).
        until grep -q " 00010000 .*/${device}[.]sock\$" /proc/net/unix; do
            kill -0 $$
            sleep 0.01
        done
        apply || kill $$
        # After a restart, peers believe for another 15 s that the old session lives.
        # shellcheck disable=SC2046  # a key has no spaces
        [ ! -e met ] || { dial "$2" $(wg show "$device" peers) && rest; }
    } &)
    exec "$1" -f "$device"
}

# Send a keepalive each $1 seconds to the peers of these keys, which starts a session at once.
dial() {
    seconds=$1
    shift
    for key; do
        shift
        set -- "$@" peer "$key" persistent-keepalive "$seconds"
    done
    [ $# = 0 ] || wg set "$device" "$@"
}

# Dial with a keepalive each $1 seconds, which stays unless $2 is "resting". 64 peers at a time, as
# what is lost is sent again only after 5 s; wait for them.
meet() {
    cd "$configuration"
    [ -e met ] || : >met
    seconds=$1 later=$2
    shift 2
    rm -f resting
    [ "$later" != resting ] || : >resting
    while [ $# -gt 64 ]; do
        first=$(printf '%s\n' "$@" | head -n 64)
        # shellcheck disable=SC2086  # a key has no spaces
        dial "$seconds" $first
        await "$first"
        shift 64
    done
    dial "$seconds" "$@"
    [ $# = 0 ] || await "$(printf '%s\n' "$@")"
    rest
}

# Send no more keepalives if that was asked for: a peer that needs them sends its own.
rest() {
    # shellcheck disable=SC2046  # a key has no spaces
    [ ! -e resting ] || dial 0 $(wg show "$device" peers)
}

# Wait until the peers of these keys, one a line, have answered, for 2 s at most.
await() {
    pause=0.02 tries=0
    while wg show "$device" latest-handshakes | grep '[[:space:]]0$' | grep -qF "$1" &&
        [ $tries -lt 30 ]; do
        tries=$((tries + 1))
        [ $tries -lt 15 ] || pause=0.1 # each look costs as much as some handshakes
        sleep $pause
    done
}

# Print the time, then each peer's key and its last handshake. `wg show dump` would show secrets.
sessions() {
    date +%s
    exec wg show "$device" latest-handshakes
}

# Remove the device, its rules, and all files.
clean() {
    ip link delete "$device" 2>/dev/null || :
    for rule in 5182 5183; do ip rule delete pref $rule 2>/dev/null || :; done
    rmdir /run/wireguard 2>/dev/null || :
    rm -rf "$configuration" "$secrets"
}

"$@"
