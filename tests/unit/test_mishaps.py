"""Any error is a sentence for a person; a traceback is kept aside."""

import errno
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from e3 import mishaps
from e3.errors import HostError
from tests.commands import Command, private

CODES = sorted(errno.errorcode)


@pytest.fixture(autouse=True)
def _project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(mishaps.DEBUG, raising=False)


def raised(error: Exception) -> Exception:
    """Return the error as one that was raised, with its traceback."""
    try:
        raise error  # noqa: TRY301 -- to have a traceback
    except Exception as caught:  # noqa: BLE001 -- of any kind
        return caught


@pytest.mark.parametrize("code", CODES)
def test_each_error_of_the_system_names_file_cause_and_remedy(code: int) -> None:
    said = mishaps.told(raised(OSError(code, os.strerror(code), "/some/file")))
    if code != errno.ETIMEDOUT:
        assert said.startswith(f"/some/file: {os.strerror(code)}")
    assert "; " in said
    assert "Traceback" not in said
    assert "\n" not in said
    assert "Traceback" in mishaps.LOG.read_text()
    assert stat.S_IMODE(mishaps.LOG.stat().st_mode) == 0o600


@given(
    error=st.builds(
        lambda kind, text: kind(text),
        st.sampled_from(
            [ValueError, KeyError, RuntimeError, RecursionError, MemoryError, AttributeError]
        ),
        st.text(),
    )
)
def test_any_error_is_one_printable_line(error: Exception) -> None:
    said = mishaps.told(raised(error))
    assert said.isprintable()
    assert type(error).__name__ in said
    said.encode()


def test_what_is_meant_is_said_as_it_is() -> None:
    for error in (HostError("ams3-0 is gone"), TimeoutError("ams3-0 does not answer")):
        assert mishaps.told(raised(error)) == str(error)
    assert not mishaps.LOG.exists()


def test_a_group_says_what_each_of_it_says_once() -> None:
    group = ExceptionGroup(
        "unhandled errors in a TaskGroup",
        [HostError("a is gone"), HostError("a is gone"), ExceptionGroup("x", [HostError("b")])],
    )
    assert mishaps.told(raised(group)) == "a is gone; b"


def test_a_full_disk_says_where_room_lacks(tmp_path: Path) -> None:
    error = OSError(errno.ENOSPC, "No space left on device", str(tmp_path / "no/such/file"))
    assert f"MB free in {tmp_path}); make room" in mishaps.told(raised(error))
    assert "MB free in" in mishaps.told(raised(OSError(errno.ENOSPC, "No space left on device")))


def test_the_traceback_is_shown_where_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(mishaps.DEBUG, "1")
    assert "Traceback (most recent call last)" in mishaps.told(raised(KeyError("x")))


def test_the_log_is_bounded_and_its_lack_no_error(tmp_path: Path) -> None:
    mishaps.told(raised(KeyError("x")))
    with mishaps.LOG.open("a") as log:
        log.write("x" * (mishaps.LOG_BYTES + 1))
    mishaps.told(raised(KeyError("x")))
    assert mishaps.LOG.stat().st_size < 5000
    mishaps.LOG.unlink()
    (tmp_path / ".e3").rmdir()
    (tmp_path / ".e3").write_text("no folder")
    assert "E3_DEBUG=1 shows its traceback" in mishaps.told(raised(KeyError("x")))


class TestCommand:
    @pytest.fixture
    def e3(self, tmp_path: Path) -> Command:
        return private(tmp_path)

    def test_says_which_file_and_what_helps(self, e3: Command) -> None:
        (e3.folder / "hosts.ini").mkdir()
        answer = e3("inventory", "import", "hosts.ini")
        assert answer.returncode == 2
        assert "Traceback" not in answer.stderr
        assert "hosts.ini" in answer.stderr

    def test_works_from_a_folder_that_was_removed(self, e3: Command, tmp_path: Path) -> None:
        gone = tmp_path / "gone"
        gone.mkdir()
        done = subprocess.run(
            [
                "sh",
                "-c",
                'cd gone && rmdir ../gone && exec "$0" runs',
                e3.folder / "scripts/bin/e3",
            ],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert "Traceback" not in done.stderr
        assert (done.returncode, done.stdout) == (
            0,
            "No runs yet; `pulumi up` and `e3 run PROGRAM` make one.\n",
        )

    def test_says_that_its_output_cannot_be_written(self, e3: Command) -> None:
        with Path("/dev/full").open("w") as full:
            done = subprocess.run(
                [e3.folder / "scripts/bin/e3", "runs"],
                stdout=full,
                stderr=subprocess.PIPE,
                text=True,
                check=False,
            )
        assert done.returncode == 2
        assert "No space left on device" in done.stderr
        assert "Traceback" not in done.stderr
        assert "Exception ignored" not in done.stderr


PROVIDER = """
import traceback
from e3 import providers
try:
    open("/nonexistent/file")
except OSError:
    print(traceback.format_exc())
"""


def test_a_provider_answers_with_a_sentence(tmp_path: Path) -> None:
    root = Path(mishaps.__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-c", PROVIDER],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith("/nonexistent/file: No such file or directory; ")
    assert "Traceback" not in done.stdout
