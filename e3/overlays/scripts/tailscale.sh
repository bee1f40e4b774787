#!/bin/sh
# Tailscale's client on a host: sh tailscale.sh VERB [ARGUMENT...].
#
# The key of a tailnet comes by standard input, as no command line shows it, and lies in the first
# folder that can be written to: some machines have /var read-only.
set -eu
umask 077
folders='/var/keys /run/keys'
key=tailnet

find_folder() {
    for folder in $folders; do
        if mkdir -p "$folder" 2>/dev/null && [ -w "$folder" ]; then break; fi
    done
}

# Keep the key until the host logs in.
receive() {
    find_folder
    cat >"$folder/$key"
}

# Log in by the command $2... If $1 is "given", the key comes now; else the host has it already,
# and it stays until it has served.
log_in() {
    given=$1
    shift
    find_folder
    [ -z "$given" ] || cat >"$folder/$key"
    status=0
    "$@" "--auth-key=file:$folder/$key" || status=$?
    if [ "$given" ] || [ $status = 0 ]; then forget; fi
    return $status
}

# Remove the key, and the folders if nothing else is there.
forget() {
    for folder in $folders; do
        rm -f "$folder/$key"
        rmdir "$folder" 2>/dev/null || :
    done
}

# Take back what the program $3, tailscaled, told the kernel, then remove its folders $1 and $2.
clean() {
    [ ! -d "$1" ] || TS_LOGS_DIR="$1" "$3" --cleanup || :
    rm -rf "$1" "$2"
}

"$@"
