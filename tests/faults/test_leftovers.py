"""Many sessions in a row leave nothing; tests/lab has four stacks at once."""

import tempfile
from pathlib import Path

import pytest

from e3.overlays.plain import Plain
from e3.session.verdicts import Verdict
from tests.faults.cases import HELLO
from tests.faults.stage import Stage
from tests.labs import Traces, running
from tests.overlays import Mesh, files, processes

NAMES = ("ams3-0", "ams3-1", "ams3-2")


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.parametrize("sessions", [5, pytest.param(20, marks=pytest.mark.long)])
def test_sessions_one_after_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sessions: int
) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setattr(tempfile, "tempdir", None)  # asked for anew
    with running(tmp_path / "lab", {("ams3", "ams3"): 0.0}, ("ams3",)) as lab:
        mesh = Mesh(lab, Plain())
        mesh.add(*NAMES)
        addresses = mesh.connect(*NAMES).addresses
        stage = Stage(tmp_path, lab, list(mesh.hosts), addresses, "plain")
        stage.run(HELLO)  # what a first session leaves for all others, such as folders

        def held() -> tuple[object, ...]:
            alive = [processes(host) for host in mesh.hosts]
            return descriptors(), alive, [files(host, "%p\n") for host in mesh.hosts]

        before = held()
        for _ in range(sessions):
            assert stage.run(HELLO).verdict is Verdict.COMPLETED
        assert held() == before
        assert list(temporary.iterdir()) == []
        traces = Traces.of(lab, lab.hosts())
    assert traces.left() == []
