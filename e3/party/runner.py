"""The runner: starts one party, reports on it, and ends the party with itself.

Each party has one runner, ``python -I -c START <folder of the session>`` (`e3.party.protocol`). It
forks the program's process from itself, so a party costs one start of the interpreter. Its
standard input is its lifeline: when that ends (the deployer is done, was interrupted, killed or
cut off), the runner kills the program and all its descendants, removes the session's folder, and
ends.
"""

from __future__ import annotations

import base64
import contextlib
import errno
import math
import os
import platform
import resource
import selectors
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

from e3.party import packages
from e3.party.agreement_step import agree
from e3.party.bounds import LOOK_SECONDS, Bounds
from e3.party.capture import Capture
from e3.party.confine import user_of
from e3.party.deployer_stream import DeployerStream
from e3.party.inputs import Input, InputError, find
from e3.party.loading import load
from e3.party.network import Fence
from e3.party.opening import Opened, listen
from e3.party.output_folder import OutputFolder
from e3.party.protocol import (
    BEAT_SECONDS,
    FOLDER_STAYS,
    OWNED,
    STATE,
    STREAMS,
    Exit,
    Spec,
    decode,
    decode_spec,
    silence_seconds,
)
from e3.party.removal import remove
from e3.party.reports import Report, ReportError, Reports
from e3.party.standard_input import TypedInput
from e3.party.streams import inherit, keep
from e3.party.tree import make_folders
from e3.remote.linux import die_with_parent
from e3.remote.processes import Family, adopt_orphans

LEAVING_SECONDS = 1.0
"""For a program that has begun to end by itself."""

LEAVE = (signal.SIGTERM, signal.SIGHUP)
"""Signals on which the runner ends the program and itself."""


class RefusedError(Exception):
    """The program cannot be started; the message says why."""


class ProgramMonitor:
    """The loop that watches a running program until it ends or must end."""

    def __init__(  # noqa: PLR0913, PLR0917 -- what a running party is made of
        self,
        spec: Spec,
        channel: DeployerStream,
        family: Family,
        inputs: dict[str, int],
        bounds: Bounds,
        output: OutputFolder,
        typed: TypedInput | None,
    ) -> None:
        """Watch ``family`` and read ``inputs``: its streams by name, and its ``events``."""
        self._output = output
        self._typed = typed
        self.bounds = bounds
        self.spec = spec
        self.channel = channel
        self.family = family
        self.why = ""
        self._began = time.monotonic()
        self._most_silence = silence_seconds(len(spec.parties))
        self._stop: float | None = None
        self._leaving = False
        self._reports = Reports(len(spec.parties), spec.pid)
        self._reported_bytes = 0
        self._reported_at = self._began
        self._fault = ""
        self._reading: Mapping[str, object] | None = None
        """The report of a large pickle that the program is just reading: the peer that sent it."""
        self._events = inputs["events"]
        self._captures = [Capture(name, inputs[name]) for name in STREAMS]
        self._selector = selectors.DefaultSelector()
        self._watch(os.pidfd_open(family.pid), self._check)
        self._watch(channel.fd_in, self._hear)
        self._watch(self._events, self._relay)
        for capture in self._captures:
            self._watch(capture.fd, partial(self._pass_on, capture))

    def run(self) -> None:
        """Return when the program has ended, or must end; `why` says which."""
        self._obey(self.channel.unread)
        while not self.why:
            for key, _ in self._selector.select(min(LOOK_SECONDS, self._patience())):
                key.data()
            if not self.channel.flush():
                self._await_channel()
            if self.channel.over:
                self.why = "end"
            elif not self._patience():
                self.why = self.why or "stop"
            elif time.monotonic() - self.channel.heard > self._most_silence:
                self.why = "silence"
            elif self.bounds.broken():
                self.why = self.why or "memory"

    def end(self) -> None:
        """Kill what is left of the program, and report how it ended."""
        self.why = self.why or "end"
        ended = time.monotonic()
        seconds = round(ended - self._began, 6)
        self.family.reap()
        natural = self.family.status
        strays = self.family.kill()
        os.set_blocking(self._events, False)
        with contextlib.suppress(BlockingIOError):
            while self._relay():
                pass
        if self._fault:
            natural, self.why = None, "report"
        if self.bounds.close():
            natural, self.why = None, "memory"
        if self._reading is not None and (self.why == "memory" or (natural or 0) < 0):
            natural = natural or -signal.SIGKILL
            what = f"content that ends whoever reads it ({signal.strsignal(-natural)})"
            self.channel.say("offended", what=what, peer=self._reading["peer"])
        for capture in self._captures:
            self._finish(capture)
        if natural is not None:
            self._send_output()
        written = {capture.stream: capture.total_bytes for capture in self._captures}
        why = "" if natural is not None else self.why
        used = resource.getrusage(resource.RUSAGE_CHILDREN)  # all have ended and were reaped
        end = Exit(
            exit=natural,
            why=why,
            seconds=seconds,
            written=written,
            strays=strays,
            fault=self._fault,
            cpu_seconds=round(used.ru_utime + used.ru_stime, 6),
            peak_bytes=used.ru_maxrss * 1024,
        )
        self.channel.say("exited", at=ended, **vars(end))

    def _send_output(self) -> None:
        """Send what is in the output folder, unless the session is stopped meanwhile."""
        for kind, fields in self._output.events():
            self.channel.say(kind, at=None, **fields)
            while not self.channel.flush() and not self.channel.over:
                self._await_channel()
                if time.monotonic() - self.channel.heard > self._most_silence:
                    return
            if self.channel.over or self._stop is not None:
                return

    def _watch(self, fd: int, act: Callable[[], object]) -> None:
        self._selector.register(fd, selectors.EVENT_READ, act)

    def _check(self) -> None:
        self.family.reap()
        if self.family.status is not None:
            self.why = "exit"

    def _hear(self) -> None:
        self._obey(self.channel.hear())

    def _obey(self, lines: list[bytes]) -> None:
        for line in lines:
            message = decode(line)
            if message is not None and message["e3"] == "beat":
                self.channel.say("alive")
            elif message is not None and message["e3"] == "stop":
                self._stop = time.monotonic()
            elif message is not None and message["e3"] == "typed" and self._typed is not None:
                self._typed.add(base64.b64decode(str(message["data"])))
                self._type()

    def _type(self) -> None:
        """Let the program have what was typed, as it reads it."""
        typed = self._typed
        if typed is None or typed.writing < 0:
            return
        waiting = typed.writing in self._selector.get_map()
        if typed.write():
            if waiting:
                self._selector.unregister(typed.writing)
            typed.close_at_end()
            self.channel.say("took")
        elif not waiting:
            self._selector.register(typed.writing, selectors.EVENT_WRITE, self._type)

    def _patience(self) -> float:
        """Return the seconds until a stop takes effect, infinite if none was requested.

        A program that is leaving may end by itself: its exit may be the first cause of a failure.
        """
        if self._stop is None:
            return math.inf
        return max(self._stop + (LEAVING_SECONDS if self._leaving else 0) - time.monotonic(), 0)

    def _relay(self) -> bool:
        """Pass on what the program's process reports; return whether more may come."""
        data = os.read(self._events, 65536)
        if not data and not self.why:
            self._selector.unregister(self._events)
        self._reported_bytes += len(data)
        if self._fault:
            return bool(data)
        try:
            for report in self._reports.feed(data):
                self._pass_on_report(report)
        except ReportError as error:
            self._fault = str(error)
            self.why = self.why or "report"
        self._check_flood()
        return bool(data)

    def _pass_on_report(self, report: Report) -> None:
        if report.kind == "leaving":
            self._leaving = True
            return
        if report.kind in {"reading", "read"}:
            self._reading = report.fields if report.kind == "reading" else None
            return
        # the program's process states the time itself, so it is bounded
        self._reported_at = min(max(report.at, self._reported_at), time.monotonic())
        self.channel.say(report.kind, at=self._reported_at, **report.fields)

    def _check_flood(self) -> None:
        printed = sum(capture.total_bytes for capture in self._captures)
        if printed + self._reported_bytes > self.spec.flood_bytes:
            self.why = self.why or "flood"

    def _pass_on(self, capture: Capture) -> None:
        fd = capture.fd
        text = capture.read()
        if text:
            self.channel.say("output", stream=capture.stream, text=text)
        if not capture.open:
            self._selector.unregister(fd)
        self._check_flood()

    def _finish(self, capture: Capture) -> None:
        """Read what ended processes have left in the pipe, and close it."""
        while capture.open and capture.total_bytes <= self.spec.flood_bytes:
            before = capture.total_bytes
            text = capture.read()
            if text:
                self.channel.say("output", stream=capture.stream, text=text)
            if capture.total_bytes == before:
                capture.close()
        if text := capture.finish():
            self.channel.say("output", stream=capture.stream, text=text)

    def _await_channel(self) -> None:
        """Wait until the deployer reads or sends something; the program's output waits too."""
        with selectors.DefaultSelector() as selector:
            selector.register(self.channel.fd_out, selectors.EVENT_WRITE)
            selector.register(self.channel.fd_in, selectors.EVENT_READ)
            if any(key.fd == self.channel.fd_in for key, _ in selector.select(BEAT_SECONDS)):
                self._hear()


def main(
    said: bytes, opened: Opened, folder: str, state: str = STATE, owned: str = OWNED
) -> Callable[[], object]:
    """Run one party from ``folder``; return what this process calls next: the program, or exit.

    ``said`` is what the deployer has said so far, ``opened`` what is open to other parties;
    ``state`` and ``owned`` are folders that outlive the session, see `e3.party.protocol`.
    """
    runner = os.getpid()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C is the deployer's to handle
    for number in LEAVE:
        signal.signal(number, lambda *_: sys.exit(1))
    adopt_orphans()
    channel = DeployerStream(said)
    try:
        spec = read_spec(channel)
        channel.say("ready", python=platform.python_version())
        lay(spec, folder)
        inputs = find_inputs(spec, folder, state, owned)
        spec = replace(spec, inputs=tuple(each.name for each in inputs if each.compared))
        listener, fence = opened.listener or listener_of(spec), Fence(spec)
        if not agree(spec, folder, channel, opened._replace(listener=listener), load()):
            return partial(os._exit, 0)
        bounds = Bounds(spec)
        channel.say("bounded", note=bounds.note)
        pipes = {name: os.pipe() for name in (*STREAMS, "events")}
        typed = TypedInput() if spec.typed else None
        here, there = socket.socketpair()
        if (pid := os.fork()) == 0:
            here.close()
            die_with_parent(runner)
            bounds.enter()
            fence.leave()
            ends = inherit(channel, pipes, typed)
            from e3.party import program  # noqa: PLC0415 -- loaded by now, see `e3.party.loading`

            return partial(program.run, spec, folder, inputs, listener, ends, there, fence.note)
        there.close()
        if typed is not None:
            typed.keep()
        family, output = Family(pid, user_of(spec)), OutputFolder(spec, state, here)
        ends = keep(listener, pipes)
        monitor(ProgramMonitor(spec, channel, family, ends, bounds, output, typed))
    except RefusedError as refusal:
        channel.say("refused", reason=str(refusal))
    finally:
        if os.getpid() == runner:
            channel.close()
            if not remove(folder):
                os._exit(FOLDER_STAYS)
    return partial(os._exit, 0)


def read_spec(channel: DeployerStream) -> Spec:
    """Return the deployer's first line: what is to be run."""
    if not channel.unread:
        raise RefusedError("the deployer went away")
    spec = decode_spec(channel.unread.pop(0))
    if spec is None:
        raise RefusedError("the runner and the deployer are of different versions of E3")
    return spec


def lay(spec: Spec, folder: str) -> None:
    """Add what no file of the program brings: its empty folders, and the packages it asks for."""
    if wrong := packages.add(spec.packages):
        raise RefusedError(wrong)
    try:
        make_folders(folder)
    except OSError as error:
        raise RefusedError(f"cannot make its folders: {error.strerror}") from None


def find_inputs(spec: Spec, folder: str, state: str, owned: str) -> tuple[Input, ...]:
    """Return the party's private inputs."""
    try:
        return tuple(find(spec, folder, state, owned))
    except InputError as error:
        raise RefusedError(str(error)) from None


def listener_of(spec: Spec) -> socket.socket | None:
    """Return the listener of a party that `e3.party.opening` could open none for."""
    if spec.pid == 0:
        return None
    address, port = spec.parties[spec.pid]
    try:
        return listen((address, port), len(spec.parties))
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            holder = f"port {port} of {address} is in use; end the program that listens there"
            raise RefusedError(holder) from None
        raise RefusedError(f"cannot listen at {address} port {port}: {error.strerror}") from None


def monitor(program_monitor: ProgramMonitor) -> None:
    """Watch the program until it ends; end it in any case, however this function is left."""
    try:
        program_monitor.channel.say("started")
        program_monitor.run()
    finally:
        for number in LEAVE:
            signal.signal(number, signal.SIG_IGN)  # the runner is ending already
        program_monitor.end()
