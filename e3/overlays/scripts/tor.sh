#!/bin/sh
# Tor on a host: sh tor.sh VERB [ARGUMENT...]. Paths are arguments: on a host without root they
# differ.
set -eu
umask 077

# Print the digest of an authority's identity, for the directory at address $2. Make its keys in the
# folder $1 if there are none.
make_authority() {
    mkdir -p "$1/keys"
    cd "$1"
    [ -s keys/authority_certificate ] || head -c 24 /dev/urandom | base64 | tor-gencert \
        --create-identity-key -m 12 -a "$2" -i keys/authority_identity_key \
        -s keys/authority_signing_key -c keys/authority_certificate --passphrase-fd 0 >&2
    sed -n 's/^fingerprint //p' keys/authority_certificate
}

# Print the digest of a relay's identity, for the address $2 and the port $3. Make its keys in the
# folder $1 if there are none.
make_relay() {
    mkdir -p "$1"
    [ -s "$1/fingerprint" ] || echo | tor --quiet -f - --DataDirectory "$1" --ORPort "$3" \
        --Address "$2" --Nickname e3 --list-fingerprint >&2
    sed 's/^[^ ]* //; s/ //g' "$1/fingerprint"
}

# Exit 0 if the consensus in the file $1 lists all relays $2...
lists() {
    consensus=$1
    shift
    for relay; do grep -q "^r [^ ]* $relay " "$consensus"; done
}

# Run Tor with configuration $1, data folder $2, SOCKS socket $3 and control socket $4.
serve() {
    exec tor -f "$1" --DataDirectory "$2" --SocksPort "unix:$3" --ControlSocket "$4"
}

# Run a program that reloads its configuration on HUP. HUP is ignored until the program handles it,
# as it would end the program before; a program that starts reads the configuration anyway.
ignore_hup() {
    trap "" HUP
    exec "$@"
}

"$@"
