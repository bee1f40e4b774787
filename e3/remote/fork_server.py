"""A program that is loaded once and runs on many hosts of this machine: it forks onto each.

Its caller (`e3.access.forks`) sends a message for each host, with descriptors: what the program
reads and writes there, and the host's namespaces.
"""

from __future__ import annotations

import gc
import os
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Sequence

from e3.remote.linux import PR_SET_PDEATHSIG, prctl, setns

MOST_DESCRIPTORS = 16
FORKED = b"."


def serve(control: int, run: Callable[[], None]) -> None:
    """Run ``run`` on each host that is asked for, until the socket ``control`` is closed.

    This process needs a single thread, and nothing secret or random in its memory: each host gets
    a copy.
    """
    gc.collect()
    gc.freeze()  # else the first collection would write to all memory that hosts share
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # so that nobody has to wait for children
    with socket.socket(fileno=control) as asked:
        while True:
            data, descriptors, _, _ = socket.recv_fds(asked, 1, MOST_DESCRIPTORS)
            if not data:
                return
            if os.fork() == 0:
                _enter(descriptors, run)
            for each in descriptors:
                os.close(each)
            asked.send(FORKED)


def _enter(descriptors: Sequence[int], run: Callable[[], None]) -> None:
    """Run the program in the namespaces; never return."""
    status = 1
    try:
        stdin, stdout, *namespaces = descriptors
        os.dup2(stdin, 0)
        os.dup2(stdout, 1)
        os.dup2(stdout, 2)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for each in namespaces:
            setns(each, 0)
        os.closerange(3, os.sysconf("SC_OPEN_MAX"))
        if child := os.fork():  # it is in the process namespace, which this process is not
            os.waitpid(child, 0)
            os._exit(0)
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        os.setsid()  # as each attached command: the kernel shares processors among sessions
        os.chdir("/")
        run()
        status = 0
    except BaseException:  # noqa: BLE001 -- written as an end of Python would write it
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(status)
