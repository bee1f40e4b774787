#!/bin/sh
# tinc on a host: sh tinc.sh CONFIGURATION SECRETS VERB [ARGUMENT...]
#
# CONFIGURATION is the folder that tincd reads, SECRETS the folder of the keys.
set -eu
umask 077
configuration=$1 secrets=$2
shift 2

# Print the host's public key; make it and its private key if there is none. Remove the files of
# nodes that are not among the arguments: tinc would read them again.
make_keys() {
    mkdir -p "$secrets"
    cd "$secrets"
    if [ ! -s rsa_key.pub ]; then
        rm -rf new
        mkdir new
        tincd -c new -K 2048 </dev/null >new/log 2>&1 || { cat new/log >&2; exit 1; }
        mv new/rsa_key.priv .
        mv new/rsa_key.pub .
        rm -r new
    fi
    cat rsa_key.pub
    for file in "$configuration"/hosts/*; do
        case " $* " in *" ${file##*/} "*) ;; *) rm -f "$file" ;; esac
    done
}

# Run the service: $3..., with the options $1 if this host restarts alone. When the settings $2 have
# changed, all hosts restart.
serve() {
    cd "$configuration"
    rm -f pid # an old process number may now be another process's, and tinc would not start
    again=
    [ "$2" != "$(cat begun 2>/dev/null)" ] || again=$1
    echo "$2" >begun
    shift 2
    # shellcheck disable=SC2086  # none, or one word with its value
    exec "$@" $again
}

# Print tinc's list of nodes and connections.
#
# tinc answers USR2 in its log, from within the signal's handler: a signal that comes while tinc
# allocates memory would hang it. So tinc is stopped first, until it is stopped in the same system
# call in which it was seen asleep, waiting for packets.
dump() {
    cd "$configuration"
    # shellcheck disable=SC2094  # a file and a variable of one name
    read -r pid _ <pid
    trap 'kill -CONT $pid' EXIT
    asleep='' stopped=''
    until [ "$asleep" ] && [ "$asleep" = "$stopped" ]; do
        kill -CONT "$pid"
        pause "it is never idle"
        case $(cat "/proc/$pid/stat") in *") S "*) read -r asleep _ <"/proc/$pid/syscall" ;; esac
        kill -STOP "$pid"
        read -r stopped _ <"/proc/$pid/syscall"
    done
    : >log
    kill -USR2 "$pid"
    kill -CONT "$pid"
    until grep -q 'End of subnet list' log; do pause "it does not answer"; done
    cat log
}

# Sleep for a moment; fail with the message $1 after 500 times.
tries=0
pause() {
    tries=$((tries + 1))
    [ $tries -lt 500 ] || { echo "$1 for 5 s" >&2; exit 1; }
    sleep 0.01
}

# Wait until the node $1 has $2 connections, and packets pass over UDP to the nodes $4 $6..., for 5 s
# at most; every pair is verified later. $5 $7... are their addresses within the network, to which
# datagrams are sent by Python, $3: tinc looks for a path when there is something to send.
meet() {
    end=$(($(date +%s) + 5))
    until met "$@" || [ "$(date +%s)" -gt $end ]; do sleep 0.05; done
}

met() {
    tries=0
    dump >/dev/null
    [ "$(grep -c " $1 to .* weight" log)" -ge "$2" ] || return 1
    python=$3 silent=''
    shift 3
    while [ $# -gt 0 ]; do
        grep -q " $1 at .* (min [1-9]" log || silent="$silent $2"
        shift 2
    done
    # shellcheck disable=SC2086  # an address has no spaces
    [ -z "$silent" ] || { "$python" -I -S -c "$greet" $silent; return 1; }
}

# To the port of the discard protocol (RFC 863).
greet='
import socket, sys
datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for address in sys.argv[1:]:
    datagrams.sendto(b"", (address, 9))
'

"$@"
