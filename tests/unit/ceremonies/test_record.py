"""The evidence of ceremonies: what each leaves, and how it is read again."""

import asyncio
import json
import stat
from asyncio.subprocess import PIPE
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from e3.authority.joint.messages import Greet
from e3.ceremonies.record import KEEP, ceremonies, recorded
from e3.ceremonies.verdicts import CeremonyFailedError, CeremonyVerdict
from e3.ceremonies.voices import HostVoice
from e3.errors import HostError
from e3.session.evidence import LATEST

pytestmark = pytest.mark.unit

HOLDER = """while read question; do echo '{"answer":"failed","reason":"no"}'; done"""


async def ceremony(folder: Path, ended: CeremonyFailedError | None = None, *notes: str) -> None:
    """Let one holder answer one question, and end."""
    process = await asyncio.create_subprocess_exec("sh", "-c", HOLDER, stdin=PIPE, stdout=PIPE)
    host: Any = SimpleNamespace(name="ams3-0")
    voice = HostVoice(host, process, seconds=10)  # type: ignore[arg-type]
    try:
        async with recorded(folder, "nebula", "sign") as record:
            record.voices = {"ams3-0": voice}
            await voice.ask(Greet(purpose="nebula"))
            record.notes += notes
            record.step("asked")
            if ended is not None:
                raise ended
    finally:
        process.kill()
        await process.communicate()


def test_a_ceremony_leaves_a_folder_with_what_it_was_and_how_it_ended(tmp_path: Path) -> None:
    asyncio.run(ceremony(tmp_path / "authority"))
    (past,) = ceremonies(tmp_path / "authority")
    assert (past.kind, past.purpose, past.verdict, past.culprits) == (
        "sign",
        "nebula",
        "completed",
        [],
    )
    folder = tmp_path / "authority" / past.id
    assert (tmp_path / "authority" / LATEST).resolve() == folder
    assert sorted(each.name for each in folder.iterdir()) == [
        "ams3-0.log",
        "manifest.json",
        "result.json",
    ]
    (line,) = map(json.loads, (folder / "ams3-0.log").read_text().splitlines())
    assert (line["asked"], line["answered"]) == ("greet", "failed")
    assert "request" not in line
    assert {stat.S_IMODE(each.stat().st_mode) for each in folder.iterdir()} == {0o600}


CHEATED = CeremonyFailedError(CeremonyVerdict.CHEATED, "ams3-0 cheats", ["ams3-0"])


@pytest.mark.parametrize(("ended", "notes"), [(CHEATED, ()), (None, ("ams3-0 was left out",))])
def test_where_somebody_is_to_blame_each_word_is_kept(
    tmp_path: Path, ended: CeremonyFailedError | None, notes: tuple[str, ...]
) -> None:
    with nullcontext() if ended is None else pytest.raises(CeremonyFailedError, match="cheats"):
        asyncio.run(ceremony(tmp_path, ended, *notes))
    (past,) = ceremonies(tmp_path)
    assert past.verdict == ("completed" if ended is None else "holder cheated")
    assert past.culprits == ([] if ended is None else ["ams3-0"])
    assert past.notes == list(notes)
    (line,) = map(json.loads, (tmp_path / past.id / "ams3-0.log").read_text().splitlines())
    assert json.loads(line["request"]) == {"ask": "greet", "purpose": "nebula"}
    assert json.loads(line["answer"]) == {"answer": "failed", "reason": "no"}


def test_a_ceremony_that_was_killed_is_shown_as_interrupted(tmp_path: Path) -> None:
    asyncio.run(ceremony(tmp_path))
    (past,) = ceremonies(tmp_path)
    (tmp_path / past.id / "result.json").unlink()
    (killed,) = ceremonies(tmp_path)
    assert (killed.verdict, killed.seconds, killed.kind) == ("interrupted", None, "sign")


def test_a_ceremony_that_runs_is_shown_as_running(tmp_path: Path) -> None:
    async def look() -> list[str]:
        async with recorded(tmp_path, "tls", "establish"):
            return [each.verdict for each in ceremonies(tmp_path)]

    assert asyncio.run(look()) == ["running"]


@pytest.mark.parametrize("content", [b"", b"[]", b'{"id": 1}', b"\xff"])
def test_what_is_no_result_is_left_out(tmp_path: Path, content: bytes) -> None:
    asyncio.run(ceremony(tmp_path))
    (past,) = ceremonies(tmp_path)
    (tmp_path / past.id / "result.json").write_bytes(content)
    assert ceremonies(tmp_path) == []
    assert ceremonies(tmp_path / "nowhere") == []


def test_the_newest_are_kept(tmp_path: Path) -> None:
    for number in range(KEEP + 5):
        (tmp_path / f"20200101-{number:06d}-0000").mkdir()
    asyncio.run(ceremony(tmp_path))
    kept = sorted(each.name for each in tmp_path.iterdir() if each.is_dir() and "-" in each.name)
    assert len(kept) == KEEP
    assert kept[0] == "20200101-000006-0000"


def test_an_error_of_a_host_is_a_verdict_too(tmp_path: Path) -> None:
    async def go() -> None:
        async with recorded(tmp_path, "nebula", "sign"):
            raise HostError("host ams3-0 is gone")

    with pytest.raises(HostError):
        asyncio.run(go())
    (past,) = ceremonies(tmp_path)
    assert (past.verdict, past.reason) == ("holder failed", "host ams3-0 is gone")
