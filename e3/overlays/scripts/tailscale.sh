#!/bin/sh
# Tailscale's client on a host: sh tailscale.sh VERB [ARGUMENT...].
#
# The key of a tailnet comes by standard input, so that no command line shows it. It is kept in the
# first folder that can be written to: some machines have /var read-only.
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

# Log in by the command $2... If $1 is "given", the key comes now and is removed in any case. Else
# the host has it already, and it is removed once the login succeeds.
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

# Remove the key, and its folders if they are empty.
forget() {
    for folder in $folders; do
        rm -f "$folder/$key"
        rmdir "$folder" 2>/dev/null || :
    done
}

# Undo what the program $3, tailscaled, has set in the kernel, then remove its folders $1 and $2.
clean() {
    [ ! -d "$1" ] || TS_LOGS_DIR="$1" "$3" --cleanup || :
    rm -rf "$1" "$2"
}

"$@"
