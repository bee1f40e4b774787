"""Random lives of an authority: whatever happens, it is the same one, and all certificates hold."""

import asyncio
import itertools
import tempfile
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from e3.authority.joint.ed25519 import Point
from e3.authority.joint.messages import Ask, Begin, Commit, Deal, Draw, Receive, Sign
from e3.authority.joint.requests import NebulaHost
from e3.authority.joint.requests.fields import verify
from e3.authority.joint.store import Store
from e3.ceremonies.verdicts import CeremonyFailedError
from tests.ceremonies import JointKey, enter, voices_in

pytestmark = [pytest.mark.unit, pytest.mark.slow, pytest.mark.hypothesis]

KILLS: tuple[type[Ask], ...] = (Begin, Deal, Receive, Commit, Draw, Sign)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.just(0)),
        st.tuples(st.just("remove"), st.integers(0, 5)),
        st.tuples(st.just("refresh"), st.integers(0, 5)),
        st.tuples(st.just("kill"), st.integers(0, 5 * len(KILLS))),
        st.tuples(st.just("lose"), st.integers(0, 5)),
        st.tuples(st.just("sign"), st.just(0)),
    ),
    min_size=3,
    max_size=9,
)


class Life:
    """An authority, the hosts that hold it, and every certificate that it ever issued."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.counter = itertools.count(3)
        self.key = asyncio.run(JointKey.made(folder, ("h-0", "h-1", "h-2"), 2))
        self.public_key = Point(self.key.header.public_key)
        self.own = Store(folder / "h-0").certificate("nebula")
        self.issued: list[tuple[NebulaHost, bytes]] = []

    def step(self, act: str, which: int) -> None:
        names = sorted(self.key.voices)
        chosen = names[which % len(names)]
        threshold = max(2, which % len(names))
        match act:
            case "add":
                name = f"h-{next(self.counter)}"
                self.key.voices |= voices_in(self.folder, (name,))
                self.renew([*names, name], len(names) // 2 + 1)
            case "remove" if len(names) > 2:
                staying = [name for name in names if name != chosen]
                self.renew(staying, max(2, len(staying) // 2 + 1))
                self.retire()
            case "refresh":
                self.renew(names, min(threshold, len(names)))
            case "kill":
                self.key.voices[chosen].dies_at = KILLS[which % len(KILLS)]
            case "lose":
                self.lose(chosen)
            case "sign":
                self.sign()

    def renew(self, names: list[str], threshold: int) -> None:
        with suppress(CeremonyFailedError):
            asyncio.run(self.key.renew(names, threshold))
        self.recover()

    def lose(self, name: str) -> None:
        """Lose a host's disk, unless too few would be left for it to be made anew."""
        having = asyncio.run(enter(self.key.voices)).having(self.key.header)
        if len(having) > self.key.header.threshold:
            folder = self.folder / f"disk-{next(self.counter)}"
            self.key.voices |= voices_in(folder, (name,))
            self.renew(sorted(self.key.voices), self.key.header.threshold)

    def recover(self) -> None:
        """Start all holders again, and see which shares there are now."""
        for voice in self.key.voices.values():
            voice.dies_at = None
            voice.restart()
        newest = asyncio.run(enter(self.key.voices)).newest()
        assert newest is not None, "the key is lost"
        self.key.header = newest

    def retire(self) -> None:
        held = {each.name for each in self.key.header.holders.values()}
        self.key.voices = {name: each for name, each in self.key.voices.items() if name in held}

    def sign(self) -> None:
        members = set(self.key.header.scope.names) & set(self.key.voices)
        request = self.key.host_request(min(members))
        try:
            made = asyncio.run(self.key.sign(request))
        except CeremonyFailedError:
            self.recover()  # those who were killed
            made = asyncio.run(self.key.sign(request))
        self.issued.append((request, made.signatures[0]))


@settings(max_examples=15, deadline=None)
@given(STEPS)
def test_the_authority_stays_the_same_and_its_certificates_hold(
    steps: list[tuple[str, int]],
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        life = Life(Path(folder))
        for act, which in steps:
            life.step(act, which)
        life.recover()
        life.sign()
        assert life.key.header.public_key == life.public_key
        for request, signature in life.issued:
            verify(life.public_key, request.to_be_signed(life.public_key), signature)
        assembly = asyncio.run(enter(life.key.voices))
        assert assembly.certificate(life.key.header) == life.own
