"""Where a stand-in cloud is: a lab with the regions of the cloud, and a desk to work from.

The desk is a host of the lab of which only the network is used: Pulumi runs there, and the
stand-ins of the cloud's services listen at its loopback address. So the machine's own network
has no part in any of it.
"""

import os
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from werkzeug.serving import WSGIRequestHandler, make_server

from e3.lab import linux
from e3.lab.client import HostHandle, Lab
from tests import labs

HOME = "home"
BACKLOG = 128


@dataclass(frozen=True)
class Room:
    """A lab that runs, and the desk in it."""

    lab: Lab
    desk: HostHandle

    @property
    def prefix(self) -> tuple[str, ...]:
        """What precedes a command that is to run at the desk."""
        return ("nsenter", "-t", str(self.desk.identity.pid), "-n", "--")

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Be in the desk's network, this thread alone; sockets made there stay there."""
        network = os.open(f"/proc/{self.desk.identity.pid}/ns/net", os.O_RDONLY)
        try:
            with linux.inside_network(network):
                yield
        finally:
            os.close(network)

    @contextmanager
    def serving(self, app: Callable[..., Any]) -> Iterator[str]:
        """Serve a WSGI application at the desk's loopback address; yield its URL."""
        with self.inside(), socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen(BACKLOG)
            port = listener.getsockname()[1]
            server = make_server(
                "127.0.0.1", port, app, threaded=True, request_handler=_Quiet, fd=listener.fileno()
            )
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            server.shutdown()
            thread.join()
            server.server_close()


class _Quiet(WSGIRequestHandler):
    """Answers without a line for each request."""

    protocol_version = "HTTP/1.1"

    def log(self, type: str, message: str, *args: object) -> None:  # noqa: A002 - werkzeug's name
        """Write nothing."""


@contextmanager
def room(
    folder: Path, regions: Sequence[str], rtt_ms: Mapping[tuple[str, str], float] | None = None
) -> Iterator[Room]:
    """Run a lab with these regions and the desk; it ends with the context."""
    with labs.running(folder, rtt_ms, [HOME, *regions]) as lab:
        yield Room(lab, lab.add_host("desk", HOME))
