import asyncio
import os
import subprocess
from typing import Any

import pytest

from e3.access import host_from_properties, host_to_properties
from e3.access.identity import ProcessIdentity, boot_id, identify
from e3.access.namespace import NamespaceAccess
from e3.errors import HostError
from e3.interfaces import File, Service
from tests.hosts import host

pytestmark = pytest.mark.unit


def test_a_host_survives_being_kept_in_state() -> None:
    made = host("ams3-0", "198.18.0.2")
    properties = host_to_properties(made)
    assert properties["access"]["kind"] == "namespace"
    # Pulumi's state gives every number back as a float
    properties["access"] |= {"pid": 1.0, "started": 0.0}
    again = host_from_properties(properties)
    assert again == made
    assert isinstance(again.access, NamespaceAccess)
    assert isinstance(again.access.pid, int)
    del properties["underlay6"]  # a state of before there was any
    assert host_from_properties(properties) == made


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"access": {"kind": "telepathy"}}, "unknown access 'telepathy'; choose one of namespace"),
        ({"access": {"kind": "namespace", "host": "x", "pid": "?"}}, "pid"),
        ({"reachability": "nowhere"}, "nowhere"),
    ],
)
def test_properties_of_something_else_are_refused(change: dict[str, Any], said: str) -> None:
    with pytest.raises(HostError, match=said):
        host_from_properties({**host_to_properties(host("a-0", "198.18.0.2")), **change})


def test_a_process_is_itself_and_nobody_else() -> None:
    own = identify(os.getpid())
    assert own is not None
    assert own.alive()
    assert not ProcessIdentity(pid=own.pid, started=own.started + 1, boot=own.boot).alive()
    assert not ProcessIdentity(pid=own.pid, started=own.started, boot="another").alive()


def test_a_dead_process_is_not_alive_also_before_it_is_reaped() -> None:
    with subprocess.Popen(["sleep", "60"]) as process:
        identity = identify(process.pid)
        assert identity is not None
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert not identity.alive()
    assert identify(process.pid) is None


def test_every_verb_says_that_the_host_is_gone() -> None:
    gone = NamespaceAccess(host="ams3-0", pid=os.getpid(), started=1, boot=boot_id())

    async def attach() -> None:
        async with gone.attach(["true"]):
            pass

    verbs = [
        gone.run(["true"], timeout_seconds=1),
        gone.put([File(path="/tmp/x", content=b"")], timeout_seconds=1),  # noqa: S108
        gone.get(["/tmp/x"], timeout_seconds=1),  # noqa: S108
        gone.start(Service(name="x", argv=["true"]), timeout_seconds=1),
        gone.stop("x", timeout_seconds=1),
        attach(),
    ]
    for verb in verbs:
        with pytest.raises(HostError, match="host ams3-0 is gone; `pulumi refresh`"):
            asyncio.run(verb)
