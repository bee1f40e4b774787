#!/bin/sh
# Nebula on a host: sh nebula.sh SECRETS TOOLS
#
# Print the version of the program TOOLS/nebula, then the host's public key, made in the folder
# SECRETS with its private one if there is none.
set -eu
umask 077
mkdir -p "$1"
cd "$1"
rm -f debug debug.pub # of the SSH server by which E3 asked Nebula before it had `nebula ctl`
if [ ! -s host.pub ]; then
    rm -f new.key
    "$2/nebula-cert" keygen -out-key new.key -out-pub new.pub
    mv new.key host.key
    mv new.pub host.pub
fi
"$2/nebula" -version
cat host.pub
