"""The program's own process: it becomes what ``python program.py -P ... -I pid`` would be."""

from __future__ import annotations

import builtins
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from functools import partial
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType, TracebackType

from e3.party import hooks, outputs, packages, standard_input
from e3.party.confine import confine
from e3.party.inputs import Input, InputError
from e3.party.protocol import NOTEBOOK, Spec
from e3.party.reports import TEXT_LENGTH
from e3.remote.linux import die_with_parent
from e3.remote.text import printable

OURS = str(Path(__file__).parent)

FEW = 100
"""The most reports of each kind of `CAUSED_BY_OTHERS`; the first ones say enough."""

CAUSED_BY_OTHERS = frozenset({"failed", "stranger"})
"""Reports that others could cause without end: they would count as the party's output."""


class Reporter:
    """Reports to the runner what the program does; a line is written at once, or not at all."""

    def __init__(self, fd: int) -> None:
        """Write to ``fd``, which programs started by this one do not inherit."""
        self._fd = fd
        self._left = dict.fromkeys(CAUSED_BY_OTHERS, FEW)

    def __call__(self, kind: str, **fields: object) -> None:
        """Report one event, see `e3.party.protocol`; a long text is shortened."""
        if kind in self._left:
            self._left[kind] -= 1
            if self._left[kind] < 0:
                return
        shortened = {
            name: printable(value, TEXT_LENGTH) if isinstance(value, str) else value
            for name, value in fields.items()
        }
        line = json.dumps({"e3": kind, "at": time.monotonic(), **shortened}) + "\n"
        try:
            os.write(self._fd, line.encode())
        except OSError:  # the runner is ending, and kills this process
            return


def run(  # noqa: PLR0913, PLR0917 -- all that the runner hands over, once
    spec: Spec,
    folder: str,
    inputs: tuple[Input, ...],
    listener: socket.socket | None,
    ends: dict[str, int],
    to_runner: socket.socket,
    unfenced: str,
) -> None:
    """Run the program as ``__main__``; raise `SystemExit` if it fails.

    ``unfenced`` is why its network is not restricted, empty where it is.
    """
    os.setsid()
    for number, action in (
        (signal.SIGINT, signal.default_int_handler),
        (signal.SIGTERM, signal.SIG_DFL),
        (signal.SIGHUP, signal.SIG_DFL),
    ):
        signal.signal(number, action)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # as on a terminal
    report = Reporter(ends["events"])
    runner = os.getppid()
    with to_runner:  # nothing of the program can send through it
        try:
            notes = confine(spec, folder, inputs, unfenced, to_runner)
        except InputError as error:
            report("confined", notes=[])
            report("raised", error=str(error))
            sys.exit(1)
    report("confined", notes=notes)
    standard_input.give(spec, folder)
    die_with_parent(runner)  # once more: the kernel forgets it when the user changes
    log = os.fdopen(ends["log"], "w", buffering=1)
    packages.enter(spec.packages)
    output_folder = Path(folder, outputs.FOLDER)
    hooks.install(report, log, listener, spec, output_folder)
    path = Path(folder, "program", spec.entry)
    execute = way_to_execute(path, report)
    main = become_main(path, spec.argv)
    try:
        execute(path, main)
    except SystemExit as leaving:
        if isinstance(leaving.code, str):
            report("raised", error=leaving.code)
        raise
    except BaseException as error:  # noqa: BLE001 -- whatever a program may raise
        report("raised", error=hooks.summary(error))
        forget_us(error)
        sys.excepthook(type(error), error, error.__traceback__)
        sys.exit(128 + signal.SIGINT if isinstance(error, KeyboardInterrupt) else 1)
    finally:
        report("leaving")


def way_to_execute(path: Path, report: Reporter) -> Callable[[Path, ModuleType], None]:
    """Return what runs this file in a module; it is loaded while E3's modules can be found."""
    if path.suffix != NOTEBOOK:
        return execute_file
    from e3.party.notebook import execute_notebook  # noqa: PLC0415 -- few programs need it

    return partial(execute_notebook, report)


def execute_file(path: Path, main: ModuleType) -> None:
    """Run a Python file in the module ``main``."""
    code = compile(path.read_bytes(), str(path), "exec", dont_inherit=True)
    exec(code, vars(main))  # noqa: S102 -- running it is the purpose


def become_main(path: Path, argv: list[str]) -> ModuleType:
    """Make this interpreter look as if started with the program; return the program's module."""
    os.chdir(path.parent)
    sys.dont_write_bytecode = False
    sys.argv = argv
    sys.path[0] = str(path.parent)
    main = ModuleType("__main__")
    main.__file__ = str(path)
    main.__loader__ = SourceFileLoader("__main__", str(path))
    vars(main).update(__annotations__={}, __builtins__=builtins, __cached__=None)
    for name in [name for name in sys.modules if name.partition(".")[0] == "e3"]:
        del sys.modules[name]  # the program's own modules may have that name
    sys.modules["__main__"] = main
    return main


def forget_us(error: BaseException) -> None:
    """Remove this package's frames from a traceback, so that it looks as it does without E3."""
    seen: set[int] = set()
    todo: list[BaseException | None] = [error]
    while todo:
        one = todo.pop()
        if one is not None and id(one) not in seen:
            seen.add(id(one))
            one.__traceback__ = without_us(one.__traceback__)
            todo += [one.__cause__, one.__context__]


def without_us(frames: TracebackType | None) -> TracebackType | None:
    """Return a chain of frames without those of this package."""
    kept: list[TracebackType] = []
    while frames is not None:
        if not str(frames.tb_frame.f_globals.get("__file__")).startswith(OURS):
            kept.append(frames)
        frames = frames.tb_next
    for frame, following in zip(kept, [*kept[1:], None], strict=True):
        frame.tb_next = following
    return kept[0] if kept else None
