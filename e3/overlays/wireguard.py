"""WireGuard: each host knows the others' public keys, and each key has one address."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from typing import Annotated, ClassVar

import msgspec

from e3.access.together import together
from e3.errors import OverlayError
from e3.interfaces import (
    Authority,
    File,
    Host,
    Ingress,
    Needs,
    Network,
    PathClass,
    Relayed,
    Service,
)
from e3.overlays import addresses

SERVICE = "wireguard"
DEVICE = "e3-wireguard"
CONFIGURATION = "/run/e3/wireguard"
SECRETS = "/var/lib/e3/wireguard"
TIMEOUT_SECONDS = 30.0
SESSION_SECONDS = 180
"""After this time WireGuard itself takes a session for dead (REJECT_AFTER_TIME)."""

MAKE_KEYS = """
set -eu; umask 077; mkdir -p "$1"; cd "$1"
[ -s host.pub ] || {
  wg genkey >new.key; wg pubkey <new.key >new.pub
  mv new.key host.key; mv new.pub host.pub
}
cat host.pub
"""

MAKE_PRESHARED_KEYS = """
set -eu; umask 077; mkdir -p "$1"; cd "$1"; shift
for peer; do [ -s "$peer" ] || { wg genpsk >new; mv new "$peer"; }; done
"""

# Prints what differs from what was applied; secrets then go through a variable and a pipe of
# the shell to `wg`: by no command line and no other file. Who has no PresharedKey shall lose it.
NEWS = """
function key(text) { sub(/.*PublicKey = /, "", text); sub(/\\n.*/, "", text); return text }
function secret(file, text) { if ((getline text <file) < 1) exit 1; close(file); return text }
BEGIN {
  RS = ""; FS = "\\n"
  while ((getline text <"peers.conf.applied") > 0) was[text] = key(text)
}
{ stays[key($0)] }
($0 in was) || only == "gone" { next }
only == "keys" { print key($0); next }
{
  shared = $1 == "[Peer]" ? "PresharedKey = AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=" : ""
  for (i = 1; i <= NF; i++) {
    name = substr($i, 1, index($i, " = ") + 2)
    if (name == "PresharedKey = ") shared = ""
    if (name ~ /^P(rivate|reshared)Key/) print name secret(substr($i, length(name) + 1))
    else print $i
  }
  print shared
}
END { if (only == "gone") for (text in was) if (!(was[text] in stays)) print was[text] }
"""

SCRIPT = f"""\
set -eu; umask 077; cd {CONFIGURATION}
news() {{ awk -v only="$1" -f news.awk peers.conf; }}
changed() {{ ! cmp -s "$1" "$1.applied"; }}
apply() {{
  if changed peers.conf; then
    # Not `wg syncconf`: it would tell WireGuard all of every peer for one that is new.
    text=$(news all); printf '%s\\n' "$text" | wg addconf {DEVICE} /dev/stdin
    for key in $(news gone); do wg set {DEVICE} peer "$key" remove; done
    text=$(cat peers.conf)
    for file in {SECRETS}/psk/*; do case $text in *"$file"*) ;; *) rm -f "$file" ;; esac; done
    news keys; cp peers.conf peers.conf.applied
  fi
  if changed interface.sh; then . ./interface.sh; cp interface.sh interface.sh.applied; fi
}}
serve() {{
  rm -f ./*.applied
  ip link delete {DEVICE} 2>/dev/null || :  # a kernel's device outlives this service
  if ip link add {DEVICE} type wireguard 2>/dev/null; then apply; exec sleep infinity; fi
  # Its parent ends at once, so that it is not left to wireguard-go, which reaps nothing.
  ({{
    # `wg` deletes a socket that refuses it, so not before wireguard-go listens (net/unix.h).
    until grep -q ' 00010000 .*/{DEVICE}[.]sock$' /proc/net/unix; do kill -0 $$; sleep 0.01; done
    apply || kill $$
    # One that comes back finds the others at work, who take it for alive for another 15 s.
    [ ! -e met ] || dial "$2" $(wg show {DEVICE} peers)
  }} &)
  exec "$1" -f {DEVICE}
}}
dial() {{
  seconds=$1; shift
  for key; do shift; set -- "$@" peer "$key" persistent-keepalive "$seconds"; done
  [ $# = 0 ] || wg set {DEVICE} "$@"
}}
meet() {{
  dial "$@"; [ -e met ] || : >met; tries=0
  while wg show {DEVICE} latest-handshakes | grep -q '[[:space:]]0$' && [ $tries -lt 100 ]; do
    tries=$((tries + 1)); sleep 0.02
  done
}}
"$@"
"""

CLEAN = f"""
ip link delete {DEVICE} 2>/dev/null
for rule in 5182 5183; do ip rule delete pref $rule 2>/dev/null; done
rmdir /run/wireguard 2>/dev/null
rm -rf {CONFIGURATION} {SECRETS}
"""


@dataclass(frozen=True, kw_only=True)
class Memory:
    """What is kept between deployments: the hosts' public keys by name."""

    keys: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class WireGuard:
    """Full mesh of WireGuard tunnels with keys made on the hosts.

    A pair needs one host that the other can reach over UDP; two that nobody can reach meet
    through the hub, the public host that is there longest, and are then `relayed`. The kernel's
    WireGuard serves where there is one, else wireguard-go.
    """

    needs: ClassVar[Needs] = Needs(
        tools=("wireguard-go",),
        packages=("wireguard-tools",),
        udp=True,
        public_host=True,
        ipv6=True,
        tun=True,
        sources="proven",
    )

    range: str = "10.78.0.0/16"
    port: Annotated[int, msgspec.Meta(ge=1, le=65_535)] = 51_820
    mtu: Annotated[int, msgspec.Meta(ge=576, le=9000)] = 1420
    keepalive: Annotated[int, msgspec.Meta(ge=1, le=120)] = 25
    psk: bool = False

    def __post_init__(self) -> None:
        """Reject a range that is none."""
        addresses.network(self.range, key="range")

    def assign(self, names: Sequence[str], previous: Network | None) -> Mapping[str, str]:
        """Return an address of `range` for each host."""
        span = addresses.network(self.range, key="range")
        return addresses.assign(names, span, previous.addresses if previous else {})

    def ingress(self) -> Sequence[Ingress]:
        """Return the port at which WireGuard speaks UDP."""
        return (Ingress(protocol="udp", first=self.port, last=self.port),)

    async def connect(
        self, hosts: Sequence[Host], authority: Authority | None, previous: Network | None
    ) -> Network:
        """Have each host make its keys, and tell each the public keys of its peers."""
        del authority
        given = self.assign([host.name for host in hosts], previous)
        made = await together(_run(host, MAKE_KEYS, SECRETS) for host in hosts)
        keys = {host.name: key.strip() for host, key in zip(hosts, made, strict=True)}
        if self.psk:
            await together(_share(host, hosts, keys) for host in hosts)
        told = await together(self._serve(host, hosts, given, keys) for host in hosts)
        # Two first packets that cross each other undo each other, and one that comes too early
        # is lost: either way WireGuard tries again after 5 s. So one side of each pair begins,
        # once all are there.
        known = msgspec.convert(previous.memory, Memory).keys if previous else {}
        fresh = {name for name, key in keys.items() if known.get(name) != key}
        beginning = [
            host
            for host, news in zip(hosts, told, strict=True)
            if host.name in fresh
            or any(
                dials(host, peer, given) and (peer.name in fresh or keys[peer.name] in news)
                for peer in hosts
            )
        ]
        await together(self._meet(host, hosts, given, keys) for host in beginning or hosts)
        return Network(addresses=given, memory={"keys": keys})

    async def paths(
        self, hosts: Sequence[Host], network: Network
    ) -> Mapping[tuple[str, str], PathClass | Relayed]:
        """Ask each WireGuard for its sessions; a pair without a tunnel of its own is relayed."""
        names = {key: n for n, key in msgspec.convert(network.memory, Memory).keys.items()}
        ask = f"date +%s; exec wg show {DEVICE} latest-handshakes"  # not dump: it shows keys
        answers = await together(_run(host, ask) for host in hosts)
        alive = set()
        for host, answer in zip(hosts, answers, strict=True):
            now, *sessions = answer.splitlines()
            for key, last in (line.split() for line in sessions):
                if int(now) - int(last) < SESSION_SECONDS:
                    alive.add((host.name, names.get(key)))
        hub = _hub(hosts, network.addresses).name
        found: dict[tuple[str, str], PathClass | Relayed] = {}
        for a, b in ((a, b) for a in hosts for b in hosts if a != b):
            legs = [(a.name, b.name)] if _tunnel(a, b) else [(a.name, hub), (hub, b.name)]
            met: PathClass | Relayed = "direct" if _tunnel(a, b) else Relayed(by=hub)
            found[a.name, b.name] = met if alive.issuperset(legs) else "none"
        return found

    async def disconnect(self, hosts: Sequence[Host], network: Network) -> None:
        """Stop WireGuard and remove its files and keys."""
        del network

        async def one(host: Host) -> None:
            await host.access.stop(SERVICE, timeout_seconds=TIMEOUT_SECONDS)
            await _run(host, CLEAN)

        await together(map(one, hosts))

    async def _serve(
        self, host: Host, hosts: Sequence[Host], given: Mapping[str, str], keys: Mapping[str, str]
    ) -> Sequence[str]:
        """Have WireGuard run on ``host``; return the keys of peers of whom it was told now."""
        files = {
            **self.render(host, hosts, given, keys),
            "wireguard.sh": SCRIPT,
            "news.awk": NEWS,
        }
        await host.access.put(
            [File(path=f"{CONFIGURATION}/{n}", content=t.encode()) for n, t in files.items()],
            timeout_seconds=TIMEOUT_SECONDS,
        )
        service = Service(
            name=SERVICE,
            argv=(
                *("sh", f"{CONFIGURATION}/wireguard.sh", "serve"),
                *(f"{host.tools}/wireguard-go", str(self.keepalive)),
            ),
            environment={"WG_PROCESS_FOREGROUND": "1"},  # else it praises the kernel's at length
            ready=("test", "-e", f"{CONFIGURATION}/interface.sh.applied"),
        )
        await host.access.start(service, timeout_seconds=TIMEOUT_SECONDS)
        # Sessions with peers that stay live on through this; a restart would end them.
        return (await _run(host, SCRIPT, "apply")).splitlines()

    async def _meet(
        self, host: Host, hosts: Sequence[Host], given: Mapping[str, str], keys: Mapping[str, str]
    ) -> None:
        dialled = [keys[peer.name] for peer in hosts if dials(host, peer, given)]
        await _run(host, SCRIPT, "meet", str(self.keepalive), *dialled)

    def render(
        self, host: Host, hosts: Sequence[Host], given: Mapping[str, str], keys: Mapping[str, str]
    ) -> Mapping[str, str]:
        """Return the files of ``host`` by name; pure. A secret is the path of its file."""
        hub = _hub(hosts, given)
        hidden = [h for h in hosts if h.reachability != "public"]
        lines = ["[Interface]", f"PrivateKey = {SECRETS}/host.key", f"ListenPort = {self.port}"]
        for peer in hosts:
            if peer == host or not _tunnel(host, peer):
                continue
            # A packet is taken from a peer only if it comes from one of these addresses.
            behind = hidden if peer == hub and host in hidden else []
            allowed = [given[h.name] for h in (peer, *behind) if h != host]
            lines += ["", "[Peer]", f"PublicKey = {keys[peer.name]}"]
            if self.psk:
                lines.append(f"PresharedKey = {_preshared(keys[peer.name])}")
            lines.append(f"AllowedIPs = {', '.join(f'{address}/32' for address in allowed)}")
            if peer.reachability == "public":
                at = addresses.socket(peer.seen_from(host), self.port)
                lines.append(f"Endpoint = {at}")
        relays = host == hub and len(hidden) > 1
        return {
            "peers.conf": "\n".join([*lines, ""]),
            "interface.sh": self._interface(given[host.name], relays=relays),
        }

    def _interface(self, address: str, *, relays: bool) -> str:
        span = addresses.network(self.range, key="range")
        lines = [
            f"ip address flush dev {DEVICE}",
            f"ip address add {address}/{span.prefixlen} dev {DEVICE}",
            f"ip link set {DEVICE} mtu {self.mtu} up",
            f"echo {relays:d} >/proc/sys/net/ipv4/conf/{DEVICE}/forwarding",
            "for rule in 5182 5183; do ip rule delete pref $rule 2>/dev/null || :; done",
        ]
        if relays:  # between members, and to nothing else that the hub can reach
            lines += [
                f"ip rule add pref 5182 iif {DEVICE} to {span} lookup main",
                f"ip rule add pref 5183 iif {DEVICE} prohibit",
            ]
        return "\n".join([*lines, ""])


def _tunnel(one: Host, other: Host) -> bool:
    """Tell whether one of two hosts can reach the other."""
    return "public" in (one.reachability, other.reachability)


def dials(host: Host, peer: Host, given: Mapping[str, str]) -> bool:
    """Tell whether ``host`` begins: the hidden one, or the newcomer with the higher address."""
    if host.reachability == peer.reachability:
        below = IPv4Address(given[peer.name]) < IPv4Address(given[host.name])
        return _tunnel(host, peer) and below
    return peer.reachability == "public"


def _hub(hosts: Sequence[Host], given: Mapping[str, str]) -> Host:
    """Return the public host with the lowest address: newcomers get higher ones."""
    public = [host for host in hosts if host.reachability == "public"]
    if not public:
        raise OverlayError(
            "WireGuard needs a host that the others can reach from outside, and this fleet has "
            "none; make one host public or choose an overlay that brings its own relays"
        )
    return min(public, key=lambda host: IPv4Address(given[host.name]))


def _preshared(peer_key: str) -> str:
    """Return where a host keeps the secret that it shares with the holder of that public key."""
    return f"{SECRETS}/psk/{peer_key.replace('/', '_')}"


async def _share(host: Host, hosts: Sequence[Host], keys: Mapping[str, str]) -> None:
    """Have ``host`` make the secrets that it shares with peers of higher keys; carry them there.

    A pre-shared key is a second lock beside the key exchange, so it must not come out of one:
    it goes through the access to the hosts, in memory only.
    """
    own = keys[host.name]
    peers = [h for h in hosts if _tunnel(host, h) and own < keys[h.name]]
    places = [_preshared(keys[peer.name]) for peer in peers]
    names = [place.rpartition("/")[2] for place in places]
    await _run(host, MAKE_PRESHARED_KEYS, f"{SECRETS}/psk", *names)
    made = await host.access.get(places, timeout_seconds=TIMEOUT_SECONDS)
    for peer, place in zip(peers, places, strict=True):
        file = File(path=_preshared(own), content=made[place], mode=0o600)
        await peer.access.put([file], timeout_seconds=TIMEOUT_SECONDS)


async def _run(host: Host, script: str, *arguments: str) -> str:
    done = await host.access.run(
        ["sh", "-c", script, "sh", *arguments], timeout_seconds=TIMEOUT_SECONDS
    )
    if done.exit:
        raise OverlayError(f"WireGuard on {host.name}: {done.complaint}")
    return done.stdout.decode()
