"""The runner alone, controlled over its pipes as by the deployer."""

import array
import fcntl
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import termios
import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pytest

from e3.party.opening import call, listen
from e3.party.protocol import START, Spec, decode, encode, encode_spec
from e3.session.runner_files import runner_files

pytestmark = pytest.mark.unit

WAIT_SECONDS = 60.0


class Runner:
    """A runner in a folder of its own, as `e3.session.party` starts it."""

    def __init__(self, folder: Path, program: str) -> None:
        self.folder = folder / "session"
        for file in runner_files():
            path = self.folder / file.path
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(file.content)
        (self.folder / "program").mkdir()
        (self.folder / "program" / "p.py").write_text(textwrap.dedent(program))
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-c", START, str(self.folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.stdin: IO[bytes] = self.process.stdin
        self.stdout: IO[bytes] = self.process.stdout

    def say(self, data: bytes) -> None:
        self.stdin.write(data)
        self.stdin.flush()

    def begin(self, **changes: object) -> None:
        fields: dict[str, Any] = {
            "session": "s",
            "pid": 0,
            "parties": (("127.0.0.1", 11365),),
            "entry": "p.py",
            "args": (),
        }
        self.say(encode_spec(Spec(**{**fields, **changes})))

    def events(self, until: str = "") -> Iterator[dict[str, Any]]:
        """Yield what the runner says, up to its end or the first event of a kind."""
        for line in self.stdout:
            message = decode(line)
            assert message is not None, line
            yield message
            if message["e3"] == until:
                return

    def await_event(self, kind: str) -> dict[str, Any]:
        *_, last = self.events(kind)
        assert last["e3"] == kind
        return last

    def await_output(self, text: str) -> str:
        found = ""
        for event in self.events():
            found += str(event.get("text", ""))
            if text in found:
                return found
        raise AssertionError(found)

    def is_gone(self) -> bool:
        """Wait for the runner to end; return whether it removed its folder."""
        self.process.wait(WAIT_SECONDS)
        return not self.folder.exists()


@contextmanager
def running(folder: Path, program: str) -> Iterator[Runner]:
    runner = Runner(folder, program)
    try:
        yield runner
    finally:
        runner.process.kill()
        runner.process.wait()
        runner.stdin.close()
        runner.stdout.close()
        shutil.rmtree(runner.folder, ignore_errors=True)


def is_over(pid: int) -> bool:
    """Wait for a process that is no child of ours to end; return whether it did."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([pidfd], [], [], WAIT_SECONDS)[0])
    finally:
        os.close(pidfd)


def unread(pipe: IO[bytes]) -> int:
    """Return the bytes that wait in a pipe."""
    count = array.array("i", [0])
    fcntl.ioctl(pipe, termios.FIONREAD, count)
    return count[0]


FOREVER = """
    import os, time
    print(os.getpid(), flush=True)
    time.sleep(1000)
"""


def test_a_life_from_spec_to_exit(tmp_path: Path) -> None:
    with running(tmp_path, "import sys; print('out'); print('err', file=sys.stderr)") as runner:
        runner.begin()
        events = list(runner.events())
        kinds = [event["e3"] for event in events]
        assert kinds[:3] == ["ready", "bounded", "started"]
        assert kinds[-1] == "exited"
        assert {event["stream"]: event["text"] for event in events if event["e3"] == "output"} == {
            "stdout": "out\n",
            "stderr": "err\n",
        }
        assert events[-1]["exit"] == 0
        assert events[-1]["written"] == {"log": 0, "stderr": 4, "stdout": 4}
        times = [event["at"] for event in events]
        assert min(times) >= 0
        assert runner.is_gone()


def test_no_spec_comes(tmp_path: Path) -> None:
    with running(tmp_path, "") as runner:
        runner.stdin.close()
        assert runner.is_gone()


@pytest.mark.parametrize(
    "line", [b"hello\n", b'{"e3":"spec"}\n', b'{"e3":"spec","version":0}\n', b'{"e3":\n', b"\xff\n"]
)
def test_a_spec_that_is_none_is_refused(tmp_path: Path, line: bytes) -> None:
    with running(tmp_path, "") as runner:
        runner.say(line)
        (refused,) = runner.events()
        assert "different versions of E3" in refused["reason"]
        assert runner.is_gone()


def test_a_stop_that_comes_with_the_spec(tmp_path: Path) -> None:
    with running(tmp_path, FOREVER) as runner:
        spec = Spec(session="s", pid=0, parties=(("::1", 1),), entry="p.py", args=())
        runner.say(encode_spec(spec) + encode("stop"))
        exited = runner.await_event("exited")
        assert (exited["exit"], exited["why"]) == (None, "stop")
        assert runner.is_gone()


def test_a_beat_is_answered(tmp_path: Path) -> None:
    with running(tmp_path, FOREVER) as runner:
        runner.begin()
        runner.await_event("started")
        runner.say(encode("beat"))
        assert runner.await_event("alive")


def test_the_end_of_input_is_the_end_of_all(tmp_path: Path) -> None:
    program = """
        import os, signal, time
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if os.fork() == 0:
            os.setsid()
        if os.fork() == 0:
            os.setsid()
        os.write(1, b'%d\\n' % os.getpid())
        time.sleep(1000)
    """
    with running(tmp_path, program) as runner:
        runner.begin()
        pids: set[str] = set()
        while len(pids) < 4:
            pids |= set(runner.await_event("output")["text"].split())
        runner.stdin.close()
        assert runner.is_gone()
        assert all(is_over(int(pid)) for pid in pids)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_runner_and_its_program(tmp_path: Path, number: int) -> None:
    with running(tmp_path, FOREVER) as runner:
        runner.begin()
        pid = int(runner.await_output("\n"))
        runner.process.send_signal(number)
        assert runner.is_gone()
        assert is_over(pid)


def test_an_interrupt_from_the_terminal_is_the_deployers_to_handle(tmp_path: Path) -> None:
    with running(tmp_path, FOREVER) as runner:
        runner.begin()
        runner.await_output("\n")
        runner.process.send_signal(signal.SIGINT)
        runner.say(encode("beat"))
        assert runner.await_event("alive")


def test_a_killed_runner_ends_the_program(tmp_path: Path) -> None:
    with running(tmp_path, FOREVER) as runner:
        runner.begin()
        pid = int(runner.await_output("\n"))
        runner.process.kill()
        assert is_over(pid)


def test_a_deployer_that_reads_nothing_delays_no_end(tmp_path: Path) -> None:
    program = "while True: print('x' * 1000)"
    with running(tmp_path, program) as runner:
        runner.begin()
        full = fcntl.fcntl(runner.stdout, fcntl.F_GETPIPE_SZ)
        deadline = time.monotonic() + WAIT_SECONDS
        while unread(runner.stdout) < full // 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        runner.stdin.close()
        assert runner.is_gone()


def test_a_program_that_ends_by_itself_is_not_cut_off_by_a_stop(tmp_path: Path) -> None:
    program = """
        import atexit, sys, time

        @atexit.register
        def leave():
            print('leaving', flush=True)
            time.sleep(0.3)

        sys.exit(7)
    """
    with running(tmp_path, program) as runner:
        runner.begin()
        runner.await_output("leaving")
        runner.say(encode("stop"))
        exited = runner.await_event("exited")
        assert exited["exit"] == 7


def test_what_a_program_leaves_in_a_cycle_is_still_finalized_at_its_end(tmp_path: Path) -> None:
    program = """
        from mpyc.runtime import mpc
        class Last:
            def __init__(self):
                self.me = self
            def __del__(self):
                print('finalized', flush=True)
        Last()
    """
    with running(tmp_path, program) as runner:
        runner.begin()
        assert "finalized" in runner.await_output("finalized")


FORGE = """
    import os, time

    def say(line):
        pipes = [int(fd) for fd in os.listdir("/proc/self/fd") if is_pipe(fd)]
        os.write(max(pipes), line)

    def is_pipe(fd):
        try:
            return int(fd) > 2 and os.readlink("/proc/self/fd/" + fd).startswith("pipe:")
        except OSError:
            return False

"""
"""Writes to the pipe of E3's reports, which a program can find."""


@pytest.mark.parametrize(
    ("acts", "fault"),
    [
        (r"""say(b'{"e3":"exited","exit":0,"at":0}\n'); time.sleep(100)""", "'exited'"),
        (r"""say(b'{"e3":"agreed","at":0}\n'); os._exit(0)""", "'agreed'"),
        (
            r"""say(b'{"e3":"lost","peer":1,"why":"","at":0}\n'); time.sleep(100)""",
            "another party's index",
        ),
        (r"""while True: say(b"z" * 65536)""", "a line of more than 65536 bytes"),
    ],
    ids=["exited", "agreed", "lost", "endless"],
)
def test_a_forged_report_ends_the_party(tmp_path: Path, acts: str, fault: str) -> None:
    with running(tmp_path, FORGE + textwrap.indent(acts, " " * 4)) as runner:
        runner.begin()
        *_, exited = runner.events()
        assert (exited["e3"], exited["exit"], exited["why"]) == ("exited", None, "report")
        assert fault in exited["fault"]
        assert runner.is_gone()


def test_reports_count_as_output(tmp_path: Path) -> None:
    acts = r"""while True: say(b'{"e3":"failed","error":"' + b"x" * 60_000 + b'","at":0}\n')"""
    with running(tmp_path, FORGE + textwrap.indent(acts, " " * 4)) as runner:
        runner.begin(flood_bytes=1_000_000)
        events = list(runner.events())
        assert events[-1]["why"] == "flood"
        assert len(events) < 30
        assert max(len(event["error"]) for event in events if event["e3"] == "failed") < 510


def test_a_long_word_of_an_honest_program_is_shortened(tmp_path: Path) -> None:
    with running(tmp_path, "import sys; sys.exit('y' * 1_200_000)") as runner:
        runner.begin()
        events = list(runner.events())
        assert events[-1]["exit"] == 1
        (raised,) = (event["error"] for event in events if event["e3"] == "raised")
        assert raised == "y" * 500 + "..."


def test_the_time_of_a_report_is_not_before_the_program_nor_to_come(tmp_path: Path) -> None:
    acts = r"""[say(b'{"e3":"connecting","at":%d}\n' % at) for at in (10**9, -(10**9))]"""
    with running(tmp_path, FORGE + textwrap.indent(acts, " " * 4)) as runner:
        runner.begin()
        events = list(runner.events())
        forged = [event["at"] for event in events if event["e3"] == "connecting"]
        assert len(forged) == 2
        assert 0 <= forged[0] <= forged[1] <= events[-1]["at"] < WAIT_SECONDS


def test_the_argv_of_a_party() -> None:
    spec = Spec(
        session="s",
        pid=1,
        parties=(("10.0.0.1", 1), ("fd00::1", 2)),
        entry="p.py",
        args=("--", "-x"),
    )
    assert spec.argv == ["p.py", "-P", "10.0.0.1:1", "-P", "fd00::1:2", "-I", "1", "--", "-x"]
    assert json.loads(encode_spec(spec))["pid"] == 1


def test_small_messages_do_not_wait_for_acknowledgements() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    own = ("127.0.0.1", port)
    with listen(own, 2) as listener, call(own, "127.0.0.2") as caller:
        accepted, source = listener.accept()
        with accepted:
            assert source == caller.getsockname()
            assert source[0] == "127.0.0.2"
            for end in (accepted, caller):
                assert end.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
