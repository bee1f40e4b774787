#!/bin/sh
# Headscale's server on a host: sh headscale.sh FOLDER ADDRESS [IPV6-ADDRESS]
#
# Make a key and a certificate for these addresses in FOLDER, unless they exist.
set -eu
umask 077
mkdir -p "$1"
cd "$1"
if [ ! -s "$2.crt" ]; then
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 \
        -subj "/CN=$2" -addext "subjectAltName=IP:$2${3:+,IP:$3}" -keyout "$2.key" -out new
    mv new "$2.crt"
fi
cat "$2.crt"
