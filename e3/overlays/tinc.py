"""tinc 1.0: a mesh that finds ways of its own, over TCP where UDP does not pass."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from ipaddress import IPv4Address
from typing import Annotated, ClassVar

import msgspec

from e3.access.together import together
from e3.errors import OverlayError, ServiceError
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

SERVICE = "tinc"
DEVICE = "e3-tinc"
CONFIGURATION = "/run/e3/tinc"
SECRETS = "/var/lib/e3/tinc"
TIMEOUT_SECONDS = 30.0

KEY_SECONDS = 20
"""Where some hear of third members. With a new key a host behind a NAT learns the other's new
address, and a pair whose keys came in the wrong order talks again. But packets on the way are lost
then, and if tinc's own probes are among them, it sends through the hub for some 2.5 s until it has
found anew what passes (net_packet.c, send_mtu_probe): both begin with a second, on all hosts, so
that they do meet."""

RESTARTED_KEY_SECONDS = 4
"""Of one of these that was begun anew alone: it does not know the keys that those have who still
hear of it by ways of before. They ask for new ones when it changes its own, sooner than a session
ends."""

HEADER_BYTES = 14
"""Of Ethernet, which tinc counts as a part of a packet."""

REACHABLE = 0x10
"""The bit of a node's status in tinc's dump (its node.h)."""

MAKE_KEYS = """
set -eu; umask 077; mkdir -p "$1"; cd "$1"
[ -s rsa_key.pub ] || {
  rm -rf new; mkdir new
  tincd -c new -K 2048 </dev/null >new/log 2>&1 || { cat new/log >&2; exit 1; }
  mv new/rsa_key.priv .; mv new/rsa_key.pub .; rm -r new
}
cat rsa_key.pub
"""

# The files of those who left go before tinc reads its files again: by their full path.
FORGET = f"""
for file in {CONFIGURATION}/hosts/*; do
  case " $* " in *" ${{file##*/}} "*) ;; *) rm -f "$file" ;; esac
done
"""

# With the options $1 if it begins anew alone: all begin anew when the settings $2 are others. A
# process number of before may be another's by now, and tinc would not start.
BEGIN = f"""
cd {CONFIGURATION}; rm -f pid; again=
[ "$2" != "$(cat begun 2>/dev/null)" ] || again=$1
echo "$2" >begun; shift 2; exec "$@" $again
"""

# tinc answers USR2 in its log, from within the signal's handler: one that comes while tinc
# allocates memory would hang it. So it is stopped first, until that meets it in the system
# call in which it was seen asleep, waiting for packets.
ASK = f"""
set -eu; cd {CONFIGURATION}; read -r pid _ <pid; tries=0
trap 'kill -CONT $pid' EXIT
wait() {{
  tries=$((tries + 1)); [ $tries -lt 500 ] || {{ echo "$1 for 5 s" >&2; exit 1; }}
  sleep 0.01
}}
dump() {{
  asleep=; stopped=
  until [ "$asleep" ] && [ "$asleep" = "$stopped" ]; do
    kill -CONT $pid; wait "it is never idle"
    case $(cat /proc/$pid/stat) in *") S "*) read -r asleep _ </proc/$pid/syscall ;; esac
    kill -STOP $pid; read -r stopped _ </proc/$pid/syscall
  done
  : >log; kill -USR2 $pid; kill -CONT $pid
  until grep -q 'End of subnet list' log; do wait "it does not answer"; done
}}
"""

DUMP = f"{ASK} dump; cat log"

# Until $1 has $2 connections, for 5 s at most: that every pair talks is proved by others.
MEET = f"""{ASK}
met() {{ tries=0; dump; [ "$(grep -c " $1 to .* weight" log)" -ge "$2" ]; }}
end=$(($(date +%s) + 5))
until met "$@" || [ "$(date +%s)" -gt $end ]; do sleep 0.05; done
"""

NODE = re.compile(
    r"(?P<name>\w+) at .* status (?P<status>[0-9a-f]+) nexthop (?P<nexthop>\S+) via (?P<via>\S+)"
    r" pmtu (?P<mtu>\d+) \(min (?P<passed>\d+)"
)


@dataclass(frozen=True, kw_only=True)
class Memory:
    """What is kept between deployments: the names of those who hear of third members."""

    gossips: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Tinc:
    """A mesh of daemons that know each other's RSA keys, made on the hosts.

    Each host keeps a TCP connection to every public one, and sends packets over UDP as soon as
    that passes. Where it does not, packets go over TCP; two hosts that nobody can reach find
    each other through the hub, the public host that is there longest, and meet there at worst.
    """

    needs: ClassVar[Needs] = Needs(
        packages=("tinc",),
        public_host=True,
        punches=True,
        port_443_suffices=True,
        ipv6=True,
        tun=True,
    )

    range: str = "10.79.0.0/16"
    port: Annotated[int, msgspec.Meta(ge=1, le=65_535)] = 655
    mtu: Annotated[int, msgspec.Meta(ge=576, le=1500)] = 1420
    keepalive: Annotated[int, msgspec.Meta(ge=5, le=3600)] = 5

    def __post_init__(self) -> None:
        """Reject a range that is none."""
        addresses.network(self.range, key="range")

    def assign(self, names: Sequence[str], previous: Network | None) -> Mapping[str, str]:
        """Return an address of `range` for each host."""
        span = addresses.network(self.range, key="range")
        return addresses.assign(names, span, previous.addresses if previous else {})

    def ingress(self) -> Sequence[Ingress]:
        """Return the port at which tinc speaks TCP and UDP."""
        return (
            Ingress(protocol="tcp", first=self.port, last=self.port),
            Ingress(protocol="udp", first=self.port, last=self.port),
        )

    async def connect(
        self, hosts: Sequence[Host], authority: Authority | None, previous: Network | None
    ) -> Network:
        """Have each host make its keys, and run tinc with the public ones of all."""
        del authority
        given = self.assign([host.name for host in hosts], previous)
        if all(host.reachability != "public" for host in hosts):
            raise OverlayError(
                "tinc needs a host that the others can reach from outside, and this fleet has "
                "none; make one host public or choose an overlay that brings its own relays"
            )
        nodes = [node(host, given) for host in hosts]
        made = await together(_run(host, MAKE_KEYS + FORGET, SECRETS, *nodes) for host in hosts)
        keys = {host.name: key for host, key in zip(hosts, made, strict=True)}
        before = msgspec.convert(previous.memory, Memory) if previous else Memory()
        gossips = gossiping(hosts, given, before.gossips)
        told = await together(self._serve(host, hosts, given, keys, gossips) for host in hosts)
        # A packet that comes before its connection is lost, and sent again after whole seconds.
        changed = [host for host, news in zip(hosts, told, strict=True) if news]
        known = previous.addresses if previous else {}
        newcomers = [host for host in changed if host.name not in known]
        await together(_meet(host, hosts, given) for host in newcomers or changed)
        return Network(addresses=given, memory={"gossips": gossips})

    async def paths(
        self, hosts: Sequence[Host], network: Network
    ) -> Mapping[tuple[str, str], PathClass | Relayed]:
        """Ask each tinc by which way it sends to each other one."""
        dumps = await together(_run(host, DUMP) for host in hosts)
        names = {node(host, network.addresses): host.name for host in hosts}
        found: dict[tuple[str, str], PathClass | Relayed] = {}
        for host, dump in zip(hosts, dumps, strict=True):
            ways = read_ways(dump, node(host, network.addresses), self.mtu + HEADER_BYTES)
            for each, name in names.items():
                first = ways.get(each)
                way: PathClass | Relayed = "direct" if first == each else "none"
                if first is not None and first != each:
                    way = Relayed(by=names.get(first, ""))
                if name != host.name:
                    found[host.name, name] = way
        return found

    async def disconnect(self, hosts: Sequence[Host], network: Network) -> None:
        """Stop tinc and remove its files and keys."""
        del network

        async def one(host: Host) -> None:
            await host.access.stop(SERVICE, timeout_seconds=TIMEOUT_SECONDS)
            await _run(host, 'rm -rf "$@"', CONFIGURATION, SECRETS)

        await together(map(one, hosts))

    async def _serve(
        self,
        host: Host,
        hosts: Sequence[Host],
        given: Mapping[str, str],
        keys: Mapping[str, str],
        gossips: Sequence[str],
    ) -> bool:
        """Have tinc run on ``host``; return whether it was told anything new."""
        files = self.render(host, hosts, given, keys, gossips)
        changed = await host.access.put(
            [
                File(
                    path=f"{CONFIGURATION}/{name}",
                    content=text.encode(),
                    mode=0o755 if name == "tinc-up" else 0o644,
                )
                for name, text in files.items()
            ],
            timeout_seconds=TIMEOUT_SECONDS,
        )
        # HUP has it read hosts and whom to connect to again; connections to those that are
        # as they were stay.
        gossip = host.name in gossips
        again = f"-o KeyExpire={RESTARTED_KEY_SECONDS}" if gossip else ""
        fixed = [node(host, given), files["tinc-up"], gossip]
        service = Service(
            name=SERVICE,
            argv=("sh", "-c", BEGIN, "sh", again, _digest(asdict(self)), "tincd", *OPTIONS),
            environment={"E3_REVISION": _digest(fixed)},
            ready=("sh", "-c", f"ip -o link show up dev {DEVICE} | grep -q ."),
            revision=_digest(files),
            reload_signal="HUP",
        )
        try:
            await host.access.start(service, timeout_seconds=TIMEOUT_SECONDS)
        except ServiceError:
            await self._look_again(host, service)
        return bool(changed)

    async def _look_again(self, host: Host, service: Service) -> None:
        """Return if tinc, which has just died, is there anew.

        With dozens of connections tinc 1.0.36 now and then dies (SIGSEGV) of reading its files
        again; the next one has read them from the start.
        """
        try:
            await host.access.start(service, timeout_seconds=TIMEOUT_SECONDS)
        except ServiceError as error:
            said = await host.access.get([LOG], timeout_seconds=TIMEOUT_SECONDS)
            last = said.get(LOG, b"").decode(errors="replace").splitlines()[-5:]
            raise ServiceError(f"{error}; its own log: {' / '.join(last)}") from error

    def render(
        self,
        host: Host,
        hosts: Sequence[Host],
        given: Mapping[str, str],
        keys: Mapping[str, str],
        gossips: Sequence[str],
    ) -> Mapping[str, str]:
        """Return the files of ``host`` by name; pure. ``gossips`` is what `gossiping` returned."""
        span = addresses.network(self.range, key="range")
        settings = {
            "Name": node(host, given),
            "Interface": DEVICE,
            "PrivateKeyFile": f"{SECRETS}/rsa_key.priv",
            "Cipher": "aes-256-cbc",
            "Digest": "sha256",
            "MACLength": "16",  # else 4 bytes
            "StrictSubnets": "yes",  # only we say who has which address, no member does
            "TunnelServer": "no" if host.name in gossips else "yes",
            "Broadcast": "no",
            "PingInterval": str(self.keepalive),
            "MaxTimeout": "1",  # the pause between attempts to connect would grow by 5 s each time
        }
        if gossips:
            settings["KeyExpire"] = str(KEY_SECONDS)
        dialled = [peer for peer in hosts if dials(host, peer, given)]
        lines = [f"{key} = {value}" for key, value in settings.items()]
        lines += [f"ConnectTo = {node(peer, given)}" for peer in dialled]
        up = [
            "#!/bin/sh",
            f"ip address add {given[host.name]}/{span.prefixlen} dev $INTERFACE",
            f"ip link set $INTERFACE mtu {self.mtu} up",
        ]
        return {
            "tinc.conf": "\n".join([*lines, ""]),
            "tinc-up": "\n".join([*up, ""]),
            **{
                f"hosts/{node(peer, given)}": self._host(peer, peer.seen_from(host), given, keys)
                for peer in hosts
            },
        }

    def _host(
        self, host: Host, place: str, given: Mapping[str, str], keys: Mapping[str, str]
    ) -> str:
        reached = [f"Address = {place}"] if host.reachability == "public" else []
        subnet, key = f"{given[host.name]}/32", keys[host.name].strip()
        return "\n".join([*reached, f"Port = {self.port}", f"Subnet = {subnet}", key, ""])


LOG = f"{CONFIGURATION}/log"
OPTIONS = ("-D", "-c", CONFIGURATION, f"--pidfile={CONFIGURATION}/pid", f"--logfile={LOG}")


def read_ways(dump: str, own: str, largest: int) -> dict[str, str]:
    """Return the node that gets the packets for each that a dump of ``own`` calls reachable; pure.

    It is ``via``, over UDP, for packets up to the size that has passed there, and ``nexthop`` for
    larger ones (net_packet.c, send_udppacket). So while tinc still looks for that size, it is
    ``via`` only if the ``largest`` of the tunnel pass; a ``via`` that is the node itself means
    ``nexthop`` as well.
    """
    ways = {}
    for line in NODE.finditer(dump):
        all_pass = int(line["passed"]) >= min(int(line["mtu"]), largest)
        if int(line["status"], 16) & REACHABLE:
            over_udp = all_pass and line["via"] != own
            ways[line["name"]] = line["via"] if over_udp else line["nexthop"]
    return ways


def node(host: Host, given: Mapping[str, str]) -> str:
    """Return the host's name for tinc, of letters, digits and underscores, the hub's first; pure.

    Of two ways to a third member that are as long, tinc asks that for session keys whose first
    host comes first by name (graph.c, sssp_bfs); a host that does not gossip would not answer.
    """
    return f"{int(IPv4Address(given[host.name])):08x}_{host.name.replace('-', '_')}"


def gossiping(hosts: Sequence[Host], given: Mapping[str, str], before: Sequence[str]) -> list[str]:
    """Return who hears of third members: the hidden hosts, and the hub that tells them; pure.

    The others know only those to whom they have a connection (`TunnelServer`). With gossip,
    session keys go through whoever was there first, who could read them; and two keys on two
    ways can arrive in the wrong order, after which a pair is silent until the next exchange.
    Who did ``before`` goes on: only a start ends it, and that would end connections.
    """
    hidden = [h for h in hosts if h.reachability != "public"]
    public = [h for h in hosts if h.reachability == "public"]
    hub = min(public, key=lambda h: IPv4Address(given[h.name]))
    need = {h.name for h in (hub, *hidden)} if len(hidden) > 1 else set()
    return [h.name for h in hosts if h.name in need or h.name in before]


def dials(host: Host, peer: Host, given: Mapping[str, str]) -> bool:
    """Tell whether ``host`` connects to ``peer``: one side of each pair, the newcomer or hidden."""
    if host == peer or peer.reachability != "public":
        return False
    newer = IPv4Address(given[host.name]) > IPv4Address(given[peer.name])
    return newer or host.reachability != "public"


async def _meet(host: Host, hosts: Sequence[Host], given: Mapping[str, str]) -> None:
    pairs = [h for h in hosts if h != host and "public" in (h.reachability, host.reachability)]
    await _run(host, MEET, node(host, given), str(len(pairs)))


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


async def _run(host: Host, script: str, *arguments: str) -> str:
    done = await host.access.run(
        ["sh", "-c", script, "sh", *arguments], timeout_seconds=TIMEOUT_SECONDS
    )
    if done.exit:
        raise OverlayError(f"tinc on {host.name}: {done.complaint}")
    return done.stdout.decode()
