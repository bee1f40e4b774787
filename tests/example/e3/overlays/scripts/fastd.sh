#!/bin/sh
# fastd on a host: sh fastd.sh CONFIGURATION SECRETS NAME...
#
# Print the host's public key, made with its secret one in the folder SECRETS if there is none.
# Forget the peers of CONFIGURATION that are not named: fastd reads all files that are there.
set -eu
umask 077
configuration=$1 secrets=$2
shift 2
mkdir -p "$secrets"
if [ ! -s "$secrets/secret.conf" ]; then
    secret=$(fastd --machine-readable --generate-key 2>/dev/null)
    echo "secret \"$secret\";" >"$secrets/new"
    mv "$secrets/new" "$secrets/secret.conf"
fi
for file in "$configuration"/peers/*; do
    case " $* " in *" ${file##*/} "*) ;; *) rm -f "$file" ;; esac
done
exec fastd --machine-readable --config "$secrets/secret.conf" --show-key
