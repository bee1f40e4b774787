"""What a joint authority costs: signatures, keys, new shares; and a stack with one.

Five holders of whom three sign, on hosts of a lab without latency, and the same with each request
and answer delayed by half the round trip from Amsterdam to the default regions. The same batches
are signed by MPyC's own arithmetic (`bench.mpyc_signing`), in turn. A host is added to fifty, of
which seven hold the key, or all. Then the default stack comes up in turn with a local authority
and with a joint one.

    python -m bench.authority --repetitions 5 --many 3 --stacks 3
"""

import argparse
import asyncio
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from bench import stack
from bench.session import hosts_of_a_lab
from e3.authority import nebula_cert
from e3.authority.choices import majority
from e3.authority.joint.ed25519 import Point
from e3.authority.joint.messages import AnyAnswer, Ask, Header
from e3.authority.joint.policy import Scope
from e3.authority.joint.requests import NebulaHost
from e3.authority.joint.requests.nebula import fingerprint
from e3.ceremonies.assembly import Assembly, assemble
from e3.ceremonies.authority import Wanted, establish
from e3.ceremonies.making import make_key, renew_key
from e3.ceremonies.nebula import authority_request
from e3.ceremonies.removal import remove
from e3.ceremonies.signatures import archive, sign
from e3.ceremonies.signer import JointSigner
from e3.ceremonies.voices import Voice, attached
from e3.interfaces import Host

HOLDERS, THRESHOLD = 5, 3
DAY_SECONDS = 86_400
BATCHES = (1, 50)
FAR_MS = (0.5, 82.0, 145.0, 165.0, 82.0)
"""Round trips from Amsterdam to the holders; the first three sign."""

TWO_TRIPS_MS = 2 * max(FAR_MS[:THRESHOLD])
LIMITS_MS = {"one": 15.0, "each of 50": 10.0, "batch of 50 far": 1.25 * TWO_TRIPS_MS}
UP_SECONDS = 2.5
MANY, FEW = 50, 7
"""Hosts to which one is added, and holders of the key, if not all hold it."""

ADDED_SECONDS = 5.0
PARTS = ("new shares", "its certificate")
Made = TypeVar("Made")
BY_MPYC = Path(__file__).with_name("mpyc_signing.py")
MPYC_SECONDS = 60.0


@dataclass(frozen=True, kw_only=True)
class Delayed:
    """A holder that hears half a round trip later, and whose answers take the other half."""

    inner: Voice
    seconds: float

    @property
    def name(self) -> str:
        """The name of its host."""
        return self.inner.name

    async def ask(self, request: Ask) -> AnyAnswer:
        """Return the answer after the round trip, and after what the holder takes for it."""
        await asyncio.sleep(self.seconds / 2)
        answer = await self.inner.ask(request)
        await asyncio.sleep(self.seconds / 2)
        return answer


@dataclass
class Measurement:
    """Milliseconds of each repetition, by what was done; and seconds of stacks."""

    ms: dict[str, list[float]] = field(default_factory=dict)
    added_seconds: dict[str, list[float]] = field(default_factory=dict)
    up_seconds: dict[str, list[float]] = field(default_factory=dict)
    load: float = field(default_factory=lambda: os.getloadavg()[0])

    def add(self, name: str, began: float, shares: int = 1) -> None:
        """Note what was done since ``began``, divided by ``shares``."""
        took = 1000 * (time.perf_counter() - began) / shares
        self.ms.setdefault(name, []).append(round(took, 3))

    def __str__(self) -> str:
        """Return a line for each figure, with its target where there is one."""
        lines = []
        for name, values in self.ms.items():
            limit = f"  (at most {LIMITS_MS[name]:g})" if name in LIMITS_MS else ""
            lines.append(f"{name:28} {statistics.median(values):8.2f} ms{limit}")
        for name, seconds in self.added_seconds.items():
            limit = f"  (at most {ADDED_SECONDS:g})" if name.startswith("a host more") else ""
            lines.append(f"{name:28} {statistics.median(seconds):8.2f} s{limit}")
        for name, seconds in self.up_seconds.items():
            lines.append(f"{name:28} {statistics.median(seconds):8.2f} s")
        if self.up_seconds:
            lines.append(f"{'joint is slower by':28} {self.slower:8.2f} s  (at most {UP_SECONDS})")
        return "\n".join(lines)

    @property
    def slower(self) -> float:
        """The median of how much longer a stack takes with a joint authority, by pair."""
        pairs = zip(self.up_seconds["up, joint"], self.up_seconds["up, local"], strict=True)
        return statistics.median(joint - local for joint, local in pairs)


async def protocol(hosts: Sequence[Host], result: Measurement) -> None:
    """Make a key, sign batches near and far, and make new shares, once."""
    names = [host.name for host in hosts]
    scope = Scope(names=tuple(names), networks=("10.77.0.0/16",), most_seconds=DAY_SECONDS)
    began = time.perf_counter()
    async with attached(hosts) as (voices, absent):
        assembly = await assemble("nebula", voices, absent)
        result.add("programs start", began)
        began = time.perf_counter()
        header = await make_key(assembly, THRESHOLD, scope)
        result.add("key", began)
        assembly = await assembly.anew()
        own = authority_request("bench", 2 * DAY_SECONDS)
        began = time.perf_counter()
        signed = await sign(assembly, header, [own])
        result.add("one", began)
        await archive(assembly, header, own, signed.signatures[0])
        issuer = fingerprint(own, Point(header.public_key), signed.signatures[0])
        far = {
            name: Delayed(inner=voices[name], seconds=ms / 1000)
            for name, ms in zip(names, FAR_MS, strict=True)
        }
        for where, heard in (("", assembly), (" far", await assemble("nebula", far, {}))):
            await batches(heard, header, issuer, where, result)
        began = time.perf_counter()
        await renew_key(await assembly.anew(), header, names, THRESHOLD, scope, notes=[])
        result.add("new shares", began)


async def batches(
    assembly: Assembly, header: Header, issuer: bytes, where: str, result: Measurement
) -> None:
    """Sign certificates of hosts: one, and fifty at once."""
    for size in BATCHES:
        asked = [request(f"here-{number % HOLDERS}", issuer) for number in range(size)]
        began = time.perf_counter()
        await sign(assembly, header, asked)
        if where:
            result.add(f"batch of {size}{where}", began)
        else:
            result.add("one" if size == 1 else f"each of {size}", began, size)


def request(name: str, issuer: bytes) -> NebulaHost:
    """Return a request for a host."""
    now = int(time.time())
    return NebulaHost(
        version=2,
        name=name,
        networks=("10.77.0.9/16",),
        public_key=bytes([9, *bytes(31)]),
        issuer=issuer,
        not_before=now,
        not_after=now + DAY_SECONDS - 60,
    )


def many(hosts: Sequence[Host], holders: int, result: Measurement) -> None:
    """Add the last of the hosts to the others, of which some hold the key, and certify it."""
    *first, last = hosts
    held = hosts[:holders] if holders < len(hosts) else hosts

    def timed(name: str, work: Coroutine[Any, Any, Made]) -> Made:
        began = time.perf_counter()
        made = asyncio.run(work)
        known = result.added_seconds.setdefault(f"{name}, {len(held)} hold", [])
        known.append(round(time.perf_counter() - began, 3))
        return made

    with tempfile.TemporaryDirectory() as place:
        folder = Path(place, "authority")
        try:
            began = [host for host in held if host in first]
            wanted = _wanted(first, began)
            made = asyncio.run(establish(folder, wanted, began, None))
            key = made.header.public_key
            made = timed("new shares", establish(folder, _wanted(hosts, held), held, key))
            assert made.certificate is not None  # noqa: S101 - it was asked for
            signer = JointSigner(
                folder=folder,
                purpose="nebula",
                public_key=key,
                hosts=held,
                threshold=made.header.threshold,
            )
            issuer = asyncio.run(nebula_cert.read(made.certificate.text)).fingerprint
            asked = [request(last.name, bytes.fromhex(issuer))]
            timed("its certificate", signer.sign(asked))
        finally:
            asyncio.run(remove(hosts, "nebula"))
    parts = [result.added_seconds[f"{name}, {len(held)} hold"][-1] for name in PARTS]
    total = result.added_seconds.setdefault(f"a host more, {len(held)} hold", [])
    total.append(round(sum(parts), 3))


def _wanted(members: Sequence[Host], holders: Sequence[Host]) -> Wanted:
    names = [host.name for host in holders]
    return Wanted(
        purpose="nebula",
        threshold=majority(len(names)),
        holders=names,
        scope=Scope(
            names=tuple(host.name for host in members),
            networks=("10.77.0.0/16",),
            most_seconds=DAY_SECONDS,
        ),
        refresh_seconds=DAY_SECONDS,
        request=lambda: authority_request("bench", 2 * DAY_SECONDS),
    )


def by_mpyc(result: Measurement) -> None:
    """Sign the same batches by MPyC's arithmetic."""
    argv = [sys.executable, str(BY_MPYC), f"-M{HOLDERS}", "--no-log"]
    # MPyC starts the other parties by the file's name alone
    environment = {**os.environ, "PYTHONPATH": str(BY_MPYC.parents[1])}
    done = subprocess.run(
        argv, check=True, capture_output=True, text=True, timeout=MPYC_SECONDS, env=environment
    )
    said: Mapping[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    for name, ms in said.items():
        label = "key by MPyC" if name == "key" else f"each of {name} by MPyC"
        size = 1 if name == "key" else int(name)
        result.ms.setdefault(label, []).append(round(ms / size, 3))


def stacks(repetitions: int, result: Measurement) -> None:
    """Bring the default stack up with either authority, in turn."""
    with stack.stack():
        for _ in range(repetitions):
            for kind in ("local", "joint"):
                stack.pulumi("config", "set", "e3:authority", kind)
                up = stack.timed("up", "--yes", "--skip-preview")
                online = stack.parts(up)["session online"]
                result.up_seconds.setdefault(f"up, {kind}", []).append(round(up - online, 3))
                for name, seconds in ceremonies().items():
                    result.up_seconds.setdefault(f"of it, to {name}", []).append(seconds)
                stack.timed("destroy", "--yes", "--skip-preview")


def ceremonies() -> dict[str, float]:
    """Return the seconds of each ceremony of the stack, by its kind, and remove the records."""
    found = {}
    for path in Path(".e3", stack.STACK, "authority").glob("*-*/result.json"):
        said = json.loads(path.read_text())
        found[said["kind"]] = said["seconds"]
        shutil.rmtree(path.parent)
    return found


def main(argv: Sequence[str] | None = None) -> dict[str, object]:
    """Measure, print, and return what was measured."""
    parser = argparse.ArgumentParser(description="Measure what a joint authority costs.")
    parser.add_argument("--repetitions", type=int, default=5, metavar="N")
    parser.add_argument("--many", type=int, default=3, metavar="N")
    parser.add_argument("--stacks", type=int, default=3, metavar="N")
    arguments = parser.parse_args(argv)
    result = Measurement()
    with hosts_of_a_lab(HOLDERS) as hosts:
        for _ in range(arguments.repetitions):
            asyncio.run(protocol(hosts, result))
            asyncio.run(remove(hosts, "nebula"))
            by_mpyc(result)
    if arguments.many:
        with hosts_of_a_lab(MANY + 1) as hosts:
            for _ in range(arguments.many):
                for holders in (FEW, MANY + 1):
                    many(hosts, holders, result)
    if arguments.stacks:
        stacks(arguments.stacks, result)
    print(result)
    return {"authority": asdict(result)}


if __name__ == "__main__":
    main()
