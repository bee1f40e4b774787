#!/bin/sh
# OpenVPN on a host: sh openvpn.sh CONFIGURATION SECRETS VERB [ARGUMENT...]
#
# CONFIGURATION is the folder of OpenVPN's files, SECRETS the one of the host's key.
set -eu
umask 077
configuration=$1 secrets=$2
shift 2

# Print the host's certificate, signed with its own key; make both if there are none. The subject
# is the host's name $1, and the begin of the key's digest: another key has another subject.
make_keys() {
    mkdir -p "$secrets"
    cd "$secrets"
    if [ ! -s host.pem ]; then
        openssl genpkey -quiet -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out new.key
        digest=$(openssl pkey -in new.key -pubout -outform DER | openssl dgst -sha256 -r)
        openssl req -x509 -new -key new.key -sha256 -days 3650 -out new.pem \
            -subj "/CN=$1-$(printf %.16s "$digest")" \
            -addext keyUsage=critical,digitalSignature \
            -addext extendedKeyUsage=serverAuth,clientAuth
        mv new.key host.key
        mv new.pem host.pem
    fi
    cat host.pem
}

# On the hub: forget the files of members other than these, and print the subjects that are gone.
# OpenVPN reads both folders at each connection (--capath, --client-config-dir).
admit() {
    for file in "$configuration"/members/* "$configuration"/trusted/*.pem; do
        [ -e "$file" ] || continue
        name=${file##*/}
        case " $* " in
            *" ${name%.pem} "*) ;;
            *)
                rm -f "$file"
                case $file in "$configuration"/members/*) printf '%s\n' "$name" ;; esac
                ;;
        esac
    done
    openssl rehash "$configuration/trusted" >/dev/null
}

# Run the service, with the device $1 at the address $2, of MTU $3. The device is there whether or
# not the hub can be reached: parties listen at its address. The socket of a service that was killed
# would look as if this one were ready.
serve() {
    rm -f "$configuration/management"
    ip tuntap add dev "$1" mode tun 2>/dev/null || :
    ip address flush dev "$1"
    ip address add "$2" dev "$1"
    ip link set "$1" mtu "$3" up
    exec openvpn --config "$configuration/openvpn.conf"
}

# Remove the device $1, and all files.
clean() {
    ip link delete "$1" 2>/dev/null || :
    rm -rf "$configuration" "$secrets"
}

"$@"
