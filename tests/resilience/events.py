"""What happens to an overlay, one function each; it leaves what came of it in `Arena.facts`."""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from ipaddress import IPv4Address

from e3.interfaces import File, SigningRequest
from e3.overlays.nebula import CONFIGURATION as NEBULA
from tests.overlays import COMMAND_SECONDS, ask
from tests.resilience.arena import PEER, Arena, readdressed
from tests.resilience.standin import headscale
from tests.stack import until

Event = Callable[[Arena], None]
EVENTS: dict[str, Event] = {}
LONG = 40.0
"""For sessions to go on: what is silently lost may be noticed only after 25 s or 30 s."""

OUT_SECONDS = 60.0
BACK_SECONDS = 15.0
VALID_SECONDS = 8

KILL = "for s in /run/service/*; do s6-svc -k $s; done"
DAEMONS = """
for s in /run/service/*/run; do
  s=${s%/run}; [ ! -d $s ] || echo "${s##*/} $(s6-svstat -o pid,up $s)"
done
"""

KEEP = """
mkdir -p /root/kept/service; cp -a /run/e3 /root/kept/run
[ ! -d /var/lib/e3 ] || cp -a /var/lib/e3 /root/kept/lib
for s in $(ls /run/service); do
  s=/run/service/$s; mkdir -p /root/kept/service/${s##*/}/log
  cp $s/run /root/kept/service/${s##*/}/; cp $s/log/run /root/kept/service/${s##*/}/log/
done
"""
COME_BACK = """
set -e; rm -rf /run/e3 /var/lib/e3; cp -a /root/kept/run /run/e3
[ ! -d /root/kept/lib ] || cp -a /root/kept/lib /var/lib/e3
cp -a /root/kept/service/. /run/service/; s6-svscanctl -a /run/service
for s in $(ls /root/kept/service); do
  until s6-svok /run/service/$s; do sleep 0.1; done
done
"""


def event(name: str) -> Callable[[Event], Event]:
    """Register an event under its name in the data file."""

    def register(act: Event) -> Event:
        EVENTS[name] = act
        return act

    return register


def kill_daemons(made: Arena, name: str) -> Callable[[], None]:
    """Return what kills every daemon on a host, and asserts that each is back."""

    def kill() -> None:
        host = made.mesh.host(name)
        before = ask(host, "sh", "-c", DAEMONS).splitlines()
        assert before, f"there are daemons on {name}"
        assert all(line.endswith(" true") for line in before), before
        ask(host, "sh", "-c", KILL)

        def back() -> bool:
            now = ask(host, "sh", "-c", DAEMONS).splitlines()
            alive = [line for line in now if line.endswith(" true")]
            return len(alive) == len(before) and not set(now) & set(before)

        until(back, lambda: f"daemons are back: {ask(host, 'sh', '-c', DAEMONS)}", BACK_SECONDS)

    return kill


@event("daemon-killed")
def daemon_killed(made: Arena) -> None:
    made.through(kill_daemons(made, "home-0"))


@event("server-killed")
def server_killed(made: Arena) -> None:
    made.through(kill_daemons(made, made.server), seconds=LONG)


@event("server-gone")
def server_gone(made: Arena) -> None:
    made.names = [name for name in made.names if name != made.server]

    def vanish() -> None:
        made.lab.set_cable(made.server, whole=False)  # else its kernel would close connections
        made.lab.remove_host(made.server)

    made.through(vanish, seconds=LONG)


def renumber(made: Arena, name: str) -> None:
    """Give a host another address; whether or not that was noticed, `pulumi up` repairs it."""

    def repair() -> None:
        readdressed(made, name)
        made.join(made.names)

    def move() -> None:
        made.lab.renumber_host(name)

    made.through(move, seconds=LONG, repair=repair)
    if made.facts["after"] == "itself":
        repair()


@event("home-renumbered")
def home_renumbered(made: Arena) -> None:
    renumber(made, "home-0")


@event("host-renumbered")
def host_renumbered(made: Arena) -> None:
    renumber(made, PEER)


@event("server-renumbered")
def server_renumbered(made: Arena) -> None:
    renumber(made, made.server)


@event("nat-rebooted")
def nat_rebooted(made: Arena) -> None:
    def reboot() -> None:
        for name in made.homes:
            made.lab.reboot_nat(name)

    made.through(reboot, seconds=LONG)


def cut(made: Arena, seconds: float) -> None:
    """Cut home-0 off for a while, during sessions that last longer."""

    def cut_and_mend() -> None:
        made.lab.set_cable("home-0", whole=False)
        time.sleep(seconds)  # that is the event
        made.lab.set_cable("home-0", whole=True)

    made.through(cut_and_mend, seconds=seconds + 8)


@event("cut-3s")
def cut_shortly(made: Arena) -> None:
    cut(made, 3)


@event("cut-30s")
def cut_long(made: Arena) -> None:
    cut(made, 30)


def restarted(made: Arena, before: Mapping[str, list[str]]) -> list[str]:
    """Return the hosts whose daemons are not those of before."""
    return [
        name
        for name, known in before.items()
        if ask(made.mesh.host(name), "sh", "-c", DAEMONS).splitlines() != known
    ]


def membership(made: Arena, staying: list[str], change: Callable[[], None]) -> None:
    """Add or remove members while the others compute; no daemon is restarted."""
    before = {n: ask(made.mesh.host(n), "sh", "-c", DAEMONS).splitlines() for n in staying}
    made.through(change, direct=staying)
    again = restarted(made, before)
    made.facts["services"] = f"restarted on {', '.join(again)}" if again else "kept"


@event("host-added")
def host_added(made: Arena) -> None:
    staying = list(made.names)
    made.add("core-3")
    membership(made, staying, lambda: made.join([*staying, "core-3"]))


def remove(made: Arena, name: str) -> None:
    """Remove a host as `pulumi up` does."""
    made.mesh.disconnect(name)
    made.join([n for n in made.names if n != name])


@event("host-removed")
def host_removed(made: Arena) -> None:
    staying = [name for name in made.names if name != "home-1"]
    membership(made, staying, lambda: remove(made, "home-1"))


def closed(made: Arena, outsider: str, insider: str) -> None:
    """Note whether an outsider is kept out: it opens no connection, with time for retries."""
    reached = made.mesh.reaches(outsider, insider)
    made.facts["access"] = "admitted" if reached else "refused"


@event("removed-returns")
def removed_returns(made: Arena) -> None:
    leaving = made.mesh.host(PEER)
    address = made.mesh.joined.addresses[leaving.name]
    services = ask(leaving, "sh", "-c", DAEMONS).splitlines()
    ask(leaving, "sh", "-c", KEEP)
    remove(made, leaving.name)
    assert not ask(leaving, "sh", "-c", DAEMONS)
    ask(leaving, "sh", "-c", COME_BACK)
    assert len(ask(leaving, "sh", "-c", DAEMONS).splitlines()) == len(services)
    began = time.monotonic()
    inside = "core-0"
    while time.monotonic() - began < BACK_SECONDS:
        closed(made, leaving.name, inside)
        if made.facts["access"] == "admitted":
            break
    made.facts["reached"] = called_at(made, inside, leaving.name, address)


def called_at(made: Arena, caller: str, called: str, address: str) -> str:
    """Return whether a member reaches a listener at an overlay address."""
    # a host that was shut out may have lost the address with its interface
    ask(made.mesh.host(called), "ip", "address", "replace", f"{address}/32", "dev", "lo")
    network = made.mesh.joined
    made.mesh.network = replace(network, addresses={**network.addresses, called: address})
    try:
        return "admitted" if made.mesh.reaches(caller, called) else "refused"
    finally:
        made.mesh.network = network


@event("stranger")
def stranger(made: Arena) -> None:
    made.add("core-3")
    member = made.mesh.host("core-0")
    across = made.mesh.reaches("core-3", "core-0", across=member.underlay)
    made.facts["access"] = "admitted" if across else "refused"
    addresses = made.mesh.joined.addresses
    if addresses["core-0"] == member.underlay:  # an overlay that adds nothing
        free = made.mesh.host("core-3").underlay
    else:
        free = str(max(map(IPv4Address, addresses.values())) + 50)
    made.facts["reached"] = called_at(made, "core-0", "core-3", free)


def expire_certificate(made: Arena, name: str) -> None:
    """Give a host a certificate that ends within seconds."""
    mesh, network = made.mesh, made.mesh.joined
    assert mesh.authority is not None
    members = network.memory["members"]
    assert isinstance(members, dict)
    request = SigningRequest(
        name=name,
        address=members[name]["address"],
        public_key=members[name]["public_key"],
        groups=("party",),
        valid_seconds=VALID_SECONDS,
    )
    (certificate,) = asyncio.run(mesh.authority.sign([request]))
    file = File(path=f"{NEBULA}/host.crt", content=certificate.encode())
    asyncio.run(mesh.host(name).access.put([file], timeout_seconds=COMMAND_SECONDS))
    mesh.restart_services(name)
    until(lambda: mesh.reaches(name, made.server), "the certificate is good", VALID_SECONDS)
    time.sleep(VALID_SECONDS)  # that is the event


def expire_node(made: Arena, name: str) -> None:
    """Let the control server expire a host's key."""
    server = made.mesh.host(made.server)
    nodes = headscale(server, "nodes", "list")
    assert isinstance(nodes, list)
    number = next(str(node["id"]) for node in nodes if node["given_name"] == name)
    headscale(server, "nodes", "expire", "--identifier", number)


EXPIRE: Mapping[str, Callable[[Arena, str], None]] = {
    "nebula": expire_certificate,
    "headscale": expire_node,
    "tailscale": expire_node,
}
"""How an identity comes to its end, for those overlays whose identities do."""


@event("identity-expired")
def identity_expired(made: Arena) -> None:
    inside = PEER
    EXPIRE[made.name](made, "home-0")
    began = time.monotonic()
    until(lambda: not made.mesh.reaches("home-0", inside), "who is expired is out", OUT_SECONDS)
    made.seconds = time.monotonic() - began
    made.mesh.restart_services("home-0")
    closed(made, "home-0", inside)
    address = made.mesh.joined.addresses["home-0"]
    made.facts["reached"] = called_at(made, inside, "home-0", address)
    ask(made.mesh.host("home-0"), "ip", "address", "del", f"{address}/32", "dev", "lo")
    made.join(made.names)  # which also says that pulumi up repairs it
    made.facts["after"] = "up"
