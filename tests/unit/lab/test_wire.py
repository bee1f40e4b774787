import socket
from pathlib import Path

import pytest

from e3.errors import LabError, PlatformError
from e3.lab import wire

pytestmark = pytest.mark.unit


def test_a_message_arrives_whole_and_a_leaver_says_nothing() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        message = {"hosts": [["a-0", "a"]] * 1000, "rtt_ms": 0.5}
        wire.send(ours, message)
        assert wire.receive(theirs) == message
        ours.sendall(b'{"half')
        ours.close()
        assert wire.receive(theirs) is None


@pytest.mark.parametrize(
    ("error", "kind", "said"),
    [
        (PlatformError("run this"), PlatformError, "run this"),
        (KeyError("name"), LabError, "KeyError: 'name'"),
    ],
)
def test_an_error_is_the_same_on_the_other_side(
    error: Exception, kind: type[Exception], said: str
) -> None:
    with pytest.raises(kind, match=said):
        wire.raise_error(wire.from_error(error))


def test_a_folder_deeper_than_a_socket_address_is_long(tmp_path: Path) -> None:
    deep = tmp_path / ("x" * 100) / ("y" * 100)
    deep.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as client:
        with wire.short_path(deep) as path:
            listener.bind(path)
            listener.listen()
        with wire.short_path(deep) as path:
            client.connect(path)
    assert (deep / wire.SOCKET).is_socket()
