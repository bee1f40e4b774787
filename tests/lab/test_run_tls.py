"""`e3 run` on a stack with TLS: the stack's authority certifies, and its key stays secret."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.x509 import load_pem_x509_certificate

from tests.commands import Command
from tests.sessions import joined
from tests.stack import Stack, project

CERTIFIED = joined("""
    link = mpc.parties[(mpc.pid + 1) % len(mpc.parties)].protocol.transport
    print(dict(part[0] for part in link.get_extra_info("peercert")["issuer"])["commonName"])
    print(open(".config/party_%d.crt" % mpc.pid).read() if mpc.pid == 0 else "")
""")


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack with TLS whose own session failed, so that its state knows no rules."""
    with project(tmp_path_factory.mktemp("project")) as stack:
        stack.write("raise SystemExit('no')", "bad.py")
        ended = stack.up(overlay="plain", program="bad.py", tls="true")
        assert "party-failed" in ended.said, ended.said
        yield stack


@pytest.fixture
def e3(up: Stack) -> Command:
    return Command(folder=up.folder, environment=up.environment)


def secret(up: Stack) -> str:
    """Return the middle of the authority's key, as the engine decrypts it."""
    state = up.pulumi("stack export", "--show-secrets").said
    resources = json.loads(state)["deployment"]["resources"]
    up.log.unlink()
    made = next(r for r in resources if r["type"].endswith("e3:TlsAuthority"))
    pem: str = json.loads(made["outputs"]["key"]["plaintext"])
    return pem.splitlines()[1]


def shown(key: bytes) -> list[str]:
    """Return the processes whose arguments or environment have the key."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        for name in ("cmdline", "environ"):
            with contextlib.suppress(OSError):  # it ended meanwhile
                found += [f"{process.name} {name}"] * (key in (process / name).read_bytes())
    return found


def test_parties_are_certified_by_the_stacks_authority(up: Stack, e3: Command) -> None:
    up.write(CERTIFIED, "certified.py")
    key = secret(up).encode()
    seen: list[str] = []
    with e3.begin("run", "certified.py", "--stack", "trial", "--json", "--deadline", "60") as run:
        while run.poll() is None:
            seen += shown(key)
        answer, complaints = run.communicate(timeout=600)
    result = json.loads(answer)
    assert (result["verdict"], result["identity"]) == ("completed", "certificates"), result
    said = result["parties"][0]["output"]
    assert said.startswith("E3 trial\n-----BEGIN")
    certificate = load_pem_x509_certificate(said.partition("\n")[2].encode())
    life = certificate.not_valid_after_utc - certificate.not_valid_before_utc
    assert life.total_seconds() == 60 + 2 * 3600
    assert seen == []
    files = [file for file in up.folder.rglob("*") if file.is_file() and not file.is_symlink()]
    assert not [file for file in files if key in file.read_bytes()]
    assert key.decode() not in answer + complaints


def test_without_the_passphrase_nothing_runs(up: Stack, e3: Command) -> None:
    passphrase = up.folder / ".e3/passphrase"
    right = passphrase.read_text()
    before = sorted(up.sessions.iterdir())
    passphrase.write_text("another")
    try:
        answer = e3("run", "demos/helloworld.py", "--stack", "trial")
    finally:
        passphrase.write_text(right)
    assert (answer.returncode, answer.stdout) == (2, "")
    assert "e3:tls: the key that certifies the parties of stack trial" in answer.stderr
    assert "incorrect passphrase" in answer.stderr
    assert sorted(up.sessions.iterdir()) == before
