"""A whole stack with a joint authority for all that it can certify: overlay, TLS, SSH, credentials.

Three hosts hold each key, and any two of them sign.
"""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from e3 import pulumi_state
from e3.authority.credential_check import RevokedError, verify
from e3.deployed import joined as joined_hosts
from tests.ceremony_malice import spellings
from tests.commands import Command
from tests.joint_hosts import shares_on
from tests.schemas import conforming
from tests.sessions import joined
from tests.stack import Stack, project

OPTIONS = {"ssh": True, "claims": {"role": ["auditor"]}}
SUBJECT = "did:key:z6MkpTHR8VNsBxYAAWHut2Geadd9jSwuBV8xRoAnwWsdvktH"
KEYS = ("credentials", "nebula", "ssh", "tls")
SUM = joined("""
    print(await mpc.output(sum(mpc.input(mpc.SecInt()(mpc.pid)))))
""")


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with project(tmp_path_factory.mktemp("project")) as stack:
        stack.write(SUM, "sum.py")
        stack.brought_up(
            overlay="nebula",
            tls="true",
            authority="joint",
            authority_options=OPTIONS,
            program="sum.py",
        )
        yield stack


@pytest.fixture
def e3(up: Stack) -> Command:
    return Command(folder=up.folder, environment=up.environment)


def test_the_session_is_certified_by_nobody_alone(up: Stack) -> None:
    session = up.outputs["session"]
    assert session["verdict"] == "completed", session
    state = up.pulumi("stack export", "--show-secrets").said
    assert "PRIVATE KEY" not in state
    assert "ciphertext" not in state


def test_each_purpose_has_a_key_of_its_own(e3: Command) -> None:
    shown = e3("authority", "--json", "--stack", "trial")
    said = conforming("authority show", shown.stdout)
    found = {each["purpose"]: each for each in said["authorities"]}
    assert sorted(found) == list(KEYS)
    assert len({each["public_key"] for each in found.values()}) == 4
    assert found["credentials"]["certificate"].startswith("did:key:z6Mk")
    assert found["ssh"]["certificate"].startswith("ssh-ed25519 ")
    for each in found.values():
        assert (each["able"], each["threshold"], len(each["holders"])) == (True, 2, 3)
        assert len({holder["transcript"] for holder in each["holders"]}) == 1
    past = conforming(
        "authority ceremonies", e3("authority", "ceremonies", "--json", "--stack", "trial").stdout
    )
    assert {each["verdict"] for each in past} == {"completed"}
    assert {each["kind"] for each in past} == {"establish", "sign"}
    assert said["ceremonies"] == past[-10:]
    log = e3("authority", "log", "--json", "--stack", "trial")
    assert log.returncode == 0, log.stderr
    assert not conforming("authority log", log.stdout)["unread"]


def test_no_share_is_in_the_state_or_in_any_file_of_the_project(up: Stack) -> None:
    path = pulumi_state.checkpoint(up.folder / ".e3", up.name)
    assert path is not None
    known = joined_hosts(pulumi_state.read(path))
    assert known is not None
    shares = [each for purpose in KEYS for each in shares_on(known.hosts, purpose)]
    assert len(set(shares)) == len(KEYS) * 3
    kept = [each.read_bytes() for each in (up.folder / ".e3").rglob("*") if each.is_file()]
    everything = b"".join([*kept, up.pulumi("stack export", "--show-secrets").said.encode()])
    for share in shares:
        assert not [each for each in spellings(share) if each in everything]
    assert (
        known.joint["nebula"]["joint"]["publicKey"].encode() in everything
    )  # what is there is found


def test_new_shares_are_of_the_same_keys(e3: Command) -> None:
    before = conforming("authority show", e3("authority", "--json", "--stack", "trial").stdout)
    renewed = e3("authority", "refresh", "--json", "--stack", "trial")
    after = conforming("authority refresh", renewed.stdout)
    for old, new in zip(before["authorities"], after["authorities"], strict=True):
        same = ("purpose", "public_key", "certificate", "threshold")
        assert [old[key] for key in same] == [new[key] for key in same]
        assert new["epoch"] == old["epoch"] + 1


@pytest.mark.skipif(os.geteuid() != 0, reason="SSH needs a lab of root's")
def test_ssh_knows_the_hosts_by_the_authority(up: Stack) -> None:
    config = Path(up.folder, up.outputs["ssh_config"])
    assert "@cert-authority" in config.read_text()
    done = subprocess.run(
        ["ssh", "-F", config, "-o", "BatchMode=yes", "ams3-1", "hostname"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=up.folder,
        stdin=subprocess.DEVNULL,
    )
    assert done.stdout == "ams3-1\n", done.stderr


def test_credentials_are_issued_and_revoked_by_the_command(e3: Command) -> None:
    to = ["--to", SUBJECT, "--stack", "trial", "--json"]
    issued = conforming(
        "authority issue", e3("authority", "issue", "--claim", "role=auditor", *to).stdout
    )
    listed = e3("authority", "revocations", "--stack", "trial", "--json")
    known = conforming("authority revocations", listed.stdout)["list"]
    said = verify(issued["credential"], issuer=issued["issuer"], subject=SUBJECT, revocations=known)
    assert said.claims == {"role": "auditor"}
    refused = e3("authority", "issue", "--claim", "role=root", *to)
    assert refused.returncode == 2
    assert "refuses (claim): role: 'root' is none of 'auditor'" in refused.stderr
    revoked = e3("authority", "revoke", issued["identifier"], "--stack", "trial", "--json")
    with pytest.raises(RevokedError):
        verify(
            issued["credential"],
            issuer=issued["issuer"],
            subject=SUBJECT,
            revocations=conforming("authority revoke", revoked.stdout)["list"],
        )
    shown = e3("authority", "credentials", "--stack", "trial", "--json")
    (only,) = conforming("authority credentials", shown.stdout)
    assert (only["identifier"], only["revoked"]) == (issued["identifier"], True)


def test_nothing_is_left_of_it(up: Stack, e3: Command) -> None:
    """The last test: it removes the stack."""
    down = up.pulumi("destroy", "--yes", "--skip-preview")
    assert down.exit == 0, down.said
    gone = e3("verify-gone", "trial", "--json")
    assert conforming("verify-gone", gone.stdout)["gone"], gone.stdout
