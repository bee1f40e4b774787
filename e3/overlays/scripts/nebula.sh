#!/bin/sh
# Nebula on a host: sh nebula.sh SECRETS TOOLS
#
# Print the version of the program TOOLS/nebula, then the host's public key. If there is none, make
# it and its private key in the folder SECRETS.
set -eu
umask 077
mkdir -p "$1"
cd "$1"
rm -f debug debug.pub # keys of the SSH server that E3 used before `nebula ctl` existed
if [ ! -s host.pub ]; then
    rm -f new.key
    "$2/nebula-cert" keygen -out-key new.key -out-pub new.pub
    mv new.key host.key
    mv new.pub host.pub
fi
"$2/nebula" -version
cat host.pub
