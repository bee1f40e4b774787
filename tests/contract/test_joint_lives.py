"""Lives of an authority on real hosts: whatever happens, it is the same one, and it signs."""

import asyncio
import itertools
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from e3.authority import nebula_cert
from e3.ceremonies.removal import remove
from e3.ceremonies.signer import JointSigner
from e3.ceremonies.voices import SHARES
from e3.errors import E3Error
from e3.interfaces import Host
from tests.ceremonies import DAY_SECONDS, host_request
from tests.joint_hosts import established, establishing, files_with, shares_on, tell_holder
from tests.labs import running
from tests.overlays import ask

pytestmark = pytest.mark.contract

NAMES = ("ams3-0", "ams3-1", "ams3-2", "sgp1-0", "sgp1-1")
FIRST, FEWEST = 3, 2
ACTS = ("add", "remove", "kill", "refresh", "sign", "lose")
STEPS = st.lists(
    st.tuples(st.sampled_from(ACTS), st.integers(0, 4), st.floats(0.0, 0.6)),
    min_size=3,
    max_size=5,
)
VERIFY_SECONDS = 30


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sequence[Host]]:
    folder = tmp_path_factory.mktemp("lives")
    with running(folder / "lab", {}, ("ams3", "sgp1")) as lab:
        handles = lab.add_hosts([(name, name.partition("-")[0]) for name in NAMES])
        yield [handle.host() for handle in handles]


class Life:
    """An authority held by some of the hosts, and every certificate that it ever issued."""

    def __init__(self, folder: Path, hosts: Sequence[Host]) -> None:
        self.folder, self.hosts = folder, hosts
        self.members = list(hosts[:FIRST])
        self.first = established(folder / "authority", self.members, None)
        self.header = self.first.header
        assert self.first.certificate is not None
        self.certificate = self.first.certificate.text
        self.issuer = bytes.fromhex(asyncio.run(nebula_cert.read(self.certificate)).fingerprint)
        self.issued: list[str] = []
        self.old: list[bytes] = []

    def step(self, act: str, which: int, seconds: float) -> None:
        chosen = self.members[which % len(self.members)]
        others = [host for host in self.hosts if host not in self.members]
        match act:
            case "add" if others:
                self.members.append(others[which % len(others)])
                self.renew()
            case "remove" if len(self.members) > FEWEST:
                self.members.remove(chosen)
                self.renew(leaving=[chosen])
                asyncio.run(remove([chosen], "nebula"))
            case "refresh":
                self.renew(due=0)
            case "kill":
                self.kill(chosen, seconds)
            case "lose" if len(self.members) > self.header.threshold:
                ask(chosen, "rm", "-r", SHARES)
                self.renew()
            case "sign":
                self.sign()

    def renew(self, *, due: float = DAY_SECONDS, leaving: Sequence[Host] = ()) -> None:
        self.old += shares_on([host for host in self.members if self.holds(host)])
        made = established(
            self.folder / "authority", self.members, self.header, seconds=due, leaving=leaving
        )
        assert made.certificate == self.first.certificate
        assert made.header.public_key == self.first.header.public_key
        self.header = made.header

    def holds(self, host: Host) -> bool:
        return ask(host, "sh", "-c", f"ls {SHARES}/nebula 2>/dev/null || true").count("share") > 0

    def kill(self, host: Host, seconds: float) -> None:
        """Kill the holder's program on a host while shares are made; then go on as a user does."""

        async def kill_within() -> None:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._renew_if_it_can())
                await asyncio.sleep(seconds)
                await tell_holder(host, "KILL")

        asyncio.run(kill_within())
        self.renew()

    async def _renew_if_it_can(self) -> None:
        with suppress(E3Error):
            await establishing(self.folder / "authority", self.members, self.header, seconds=0)

    def sign(self) -> None:
        signer = JointSigner(
            folder=self.folder / "authority",
            purpose="nebula",
            public_key=self.header.public_key,
            hosts=self.members,
            threshold=self.header.threshold,
        )
        request = host_request(self.members[0].name, self.issuer)
        self.issued += asyncio.run(signer.sign([request]))

    def ends_well(self) -> None:
        """Every certificate verifies under the authority's, and no old share is anywhere."""
        self.sign()
        current = shares_on(self.members)
        for number, certificate in enumerate(self.issued):
            (self.folder / "ca").write_text(self.certificate)
            (self.folder / "crt").write_text(certificate)
            files = ["-ca", str(self.folder / "ca"), "-crt", str(self.folder / "crt")]
            argv = [tool(), "verify", *files]
            done = subprocess.run(argv, capture_output=True, timeout=VERIFY_SECONDS, check=False)
            assert done.returncode == 0, (number, done)
        gone = [each for each in self.old if each not in current]
        for host in self.hosts:
            assert files_with(host, gone) == set()


def tool() -> str:
    found = shutil.which("nebula-cert") or shutil.which("nebula-cert", path=".tools/bin")
    assert found is not None
    return found


def lived(folder: Path, hosts: Sequence[Host], steps: Sequence[tuple[str, int, float]]) -> None:
    folder.mkdir()
    try:
        life = Life(folder, hosts)
        for act, which, seconds in steps:
            life.step(act, which, seconds)
        life.ends_well()
    finally:
        asyncio.run(remove(hosts, "nebula"))


def test_a_life_with_each_event(hosts: Sequence[Host], tmp_path: Path) -> None:
    steps = [
        ("sign", 0, 0.0),
        ("add", 0, 0.0),
        ("kill", 1, 0.25),
        ("sign", 0, 0.0),
        ("lose", 2, 0.0),
        ("remove", 0, 0.0),
        ("refresh", 0, 0.0),
    ]
    lived(tmp_path / "life", hosts, steps)


COUNTER = itertools.count()


@pytest.mark.long
@settings(
    max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(steps=STEPS)
def test_random_lives(
    hosts: Sequence[Host], tmp_path: Path, steps: list[tuple[str, int, float]]
) -> None:
    lived(tmp_path / f"life-{next(COUNTER)}", hosts, steps)
