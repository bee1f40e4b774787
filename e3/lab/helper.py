"""Processes that serve in the namespace of a NAT. Each dies with the lab's daemon."""

import contextlib
import os
import signal
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from e3.lab import linux


class Helper(Protocol):
    """What a router runs besides forwarding packets."""

    def start(self) -> None:
        """Start it without any state of before; raise `LabError` if it cannot serve."""

    def stop(self) -> None:
        """End it; do nothing if it does not run."""


@dataclass
class HelperProcess:
    """A child of the daemon; ``daemon`` is a pidfd of it, ``network`` the NAT's namespace."""

    name: str
    network: int
    daemon: int
    pid: int = field(default=0, init=False)

    def start(self, kept: Sequence[int], run: Callable[[], None]) -> None:
        """Fork; the child keeps the descriptors ``kept``, runs ``run``, and then ends."""
        with linux.inside_network(self.network):
            self.pid = os.fork()
            if self.pid == 0:
                self._become(kept, run)

    def stop(self) -> None:
        """End the process; do nothing if it does not run."""
        if self.pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(self.pid, 0)
            self.pid = 0

    def _become(self, kept: Sequence[int], run: Callable[[], None]) -> None:
        """Run; never returns."""
        try:
            linux.die_with_parent(self.daemon)
            linux.set_process_name(self.name)
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            linux.close_all_but(kept)
            run()
        except BaseException:  # noqa: BLE001 - none may reach the daemon's code, of which this is a copy
            traceback.print_exc()
        finally:
            os._exit(1)
