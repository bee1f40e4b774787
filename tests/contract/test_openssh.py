"""Configurations of OpenSSH's client: where ssh gets in, E3 does, and so does what E3 writes.

Each case is a configuration and an alias in it; ``ssh -F`` is the judge. HERE is a folder, KEY and
KNOWN are the client's key and its known_hosts file, PORT is the gate's on loopback (PORT6 on that
of IPv6), A1 and A2 are servers that only hosts of the lab reach.
"""

import asyncio
import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from e3.access import client_config
from e3.access.ssh import SshAccess
from e3.errors import HostError
from e3.inventory import survey
from e3.inventory.machines import Machine as Listed
from e3.lab.client import HostHandle, Lab
from e3.lab.host import SSH_FOLDER
from e3.lab.ssh import CLIENT_KEY, HOST_KEY, KNOWN_HOSTS
from tests import machines
from tests.labs import running

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="SSH needs a lab of root's")

ALL = "Host *\n  User root\n  IdentityFile KEY\n  UserKnownHostsFile KNOWN\n"
GATE = "Host gate\n  HostName 127.0.0.1\n  Port PORT\n"
MID = "Host mid\n  HostName A1\n  Port 2022\n  ProxyJump gate\n"
INNER = "Host inner\n  HostName A2\n  Port 2022\n"
UP = ("gate", "a-0"), ("mid", "a-1"), ("inner", "a-2")
ODD = (
    "Host\tgate # home\r\n\tHostName=127.0.0.1 # here\r\n\tPort = PORT   # odd\r\nHost *\r\n"
    ' User root # always\r\n IdentityFile "KEY"\r\n UserKnownHostsFile "KNOWN"\r\n'
)
NO_FILES = "UserKnownHostsFile none\n  GlobalKnownHostsFile none"
HARDENED = (
    "  KexAlgorithms sntrup761x25519-sha512@openssh.com,curve25519-sha256\n"
    "  Ciphers aes256-gcm@openssh.com,aes256-ctr\n"
    "  MACs hmac-sha2-512-etm@openssh.com,umac-128-etm@openssh.com\n"
    "  HostKeyAlgorithms sk-ssh-ed25519-cert-v01@openssh.com,ssh-ed25519,rsa-sha2-512\n"
    "  PubkeyAcceptedAlgorithms sk-ssh-ed25519@openssh.com,ssh-ed25519\n"
    "  CASignatureAlgorithms ssh-ed25519\n  RequiredRSASize 3072\n"
)
FOR_TERMINALS = (
    "  AddKeysToAgent yes\n  ControlMaster auto\n  ControlPath HERE/%C\n  ControlPersist 2\n"
    "  ServerAliveInterval 30s\n  ConnectTimeout 1m\n  RekeyLimit 1G 1h\n  VisualHostKey yes\n"
    '  SetEnv A="b c" D=e\n  SendEnv LANG LC_*\n  RequestTTY auto\n  ForwardAgent no\n'
)
GETS_IN: dict[str, tuple[str, str]] = {
    "an alias": (GATE + ALL, "gate"),
    "a jump": (GATE + MID + ALL, "mid"),
    "ProxyJump none": (GATE.replace("Port", "ProxyJump none\n  Port") + ALL, "gate"),
    "a jump for all but itself": (
        GATE.replace("Port", "ProxyJump none\n  Port")
        + MID.replace("  ProxyJump gate\n", "")
        + "Host *\n  ProxyJump gate\n"
        + ALL,
        "mid",
    ),
    "ProxyCommand none": (GATE.replace("Port", "ProxyCommand none\n  Port") + ALL, "gate"),
    "a jump of the jump": (GATE + MID + INNER + "  ProxyJump mid\n" + ALL, "inner"),
    "two jumps in a line": (GATE + MID + INNER + "  ProxyJump gate,A1:2022\n" + ALL, "inner"),
    "the entries of two jumps in a line": (
        GATE + MID + INNER + " ProxyJump gate,mid\n" + ALL,
        "inner",
    ),
    "a jump as a URI": (MID.replace("gate", "ssh://root@127.0.0.1:PORT") + ALL, "mid"),
    "two URIs": (INNER + "  ProxyJump ssh://root@127.0.0.1:PORT,ssh://A1:2022\n" + ALL, "inner"),
    "user@host:port": (MID.replace("gate", "root@127.0.0.1:PORT") + ALL, "mid"),
    "[host]:port": (MID.replace("gate", "[127.0.0.1]:PORT") + ALL, "mid"),
    "a jump over IPv6": (MID.replace("gate", "root@[::1]:PORT6") + ALL, "mid"),
    "user@alias": (GATE + "  User nobody\n" + MID.replace("gate", "root@gate") + ALL, "mid"),
    "hardened algorithms": (GATE + ALL + HARDENED, "gate"),
    "a known key of another kind": (
        GATE
        + "  UserKnownHostsFile KNOWN\n"
        + MID
        + "  HostKeyAlgorithms +ssh-rsa\n"
        + ALL.replace("KNOWN", "HERE/rsa"),
        "mid",
    ),
    "unknown algorithms beside known": (
        GATE + ALL + "  KexAlgorithms ^ecdh-sha2-nistp256\n  Ciphers -aes128-ctr\n",
        "gate",
    ),
    "tokens and variables": (
        GATE.replace("gate", "g-*") + "  IdentityFile ${E3_KEYS}/client_key\n"
        "  UserKnownHostsFile %d/none HERE/%n-known KNOWN\nHost *\n  User root\n",
        "g-one",
    ),
    "%h in HostName": ("Host 127\n  HostName %h.0.0.1\n  Port PORT\n" + ALL, "127"),
    "comments, quotes, = and tabs": (ODD, "gate"),
    "Match exec": (GATE + 'Match originalhost gate exec "test -d /"\n  User root\n' + ALL, "gate"),
    "Match final": (GATE + "Match final all\n  Compression yes\n" + ALL, "gate"),
    "Match user": (GATE + "  User root\nMatch user root\n  IdentityFile KEY\n" + ALL, "gate"),
    "what is for terminals": (
        "IgnoreUnknown UseKeychain\n" + GATE + ALL + "  UseKeychain yes\n" + FOR_TERMINALS,
        "gate",
    ),
    "RemoteCommand": (GATE + ALL + "  RequestTTY no\n  LocalForward 1 a:2\n", "gate"),
    "HostKeyAlias": (GATE + "  HostKeyAlias other\n" + ALL.replace("KNOWN", "HERE/other"), "gate"),
    "a name with a port in known_hosts": (GATE + ALL.replace("KNOWN", "HERE/port"), "gate"),
    "hashed known_hosts": (GATE + ALL.replace("KNOWN", "HERE/hashed"), "gate"),
    "known_hosts with odd lines": (GATE + ALL.replace("KNOWN", "HERE/odd"), "gate"),
    "an authority of hosts": (GATE + ALL.replace("KNOWN", "HERE/authority"), "gate"),
    "an Include": ("Include HERE/conf.d/*.conf HERE/none/*.conf\n" + ALL, "gate"),
    "no agent": (GATE + "  IdentityAgent none\n  IdentitiesOnly yes\n" + ALL, "gate"),
    "a missing known_hosts": (GATE + ALL.replace("KNOWN", "/nonexistent KNOWN"), "gate"),
    "a path with spaces": (GATE + ALL.replace("KNOWN", '"HERE/a b/known" HERE/none'), "gate"),
    "a missing IdentityFile": (GATE + "  IdentityFile /nonexistent\n" + ALL, "gate"),
    "a locked IdentityFile": (GATE + "  IdentityFile HERE/locked\n" + ALL, "gate"),
    "a certificate": (
        GATE + "  IdentityFile KEY\n" + MID + "  CertificateFile HERE/other-key-cert.pub\n"
        "  IdentityFile HERE/other-key\n" + ALL.replace("  IdentityFile KEY\n", ""),
        "mid",
    ),
    "a certificate beside its key": (
        GATE + "  IdentityFile KEY\n" + MID + "  IdentityFile HERE/other-key\n"
        "" + ALL.replace("  IdentityFile KEY\n", ""),
        "mid",
    ),
    "an agent": (GATE + "  IdentityAgent HERE/agent\n" + ALL.replace("KEY", "HERE/locked"), "gate"),
    "a key that an agent holds": (
        GATE
        + "  IdentityAgent HERE/agent\n  IdentitiesOnly yes\n"
        + ALL.replace("KEY", "HERE/public"),
        "gate",
    ),
    "an agent of the environment": (
        GATE + "  IdentityAgent $E3_AGENT\n" + ALL.replace("KEY", "HERE/locked"),
        "gate",
    ),
    "an address of this machine's": (
        GATE + ALL + "  AddressFamily inet\n  BindAddress 127.0.0.1\n",
        "gate",
    ),
    "global known_hosts": (
        GATE + ALL.replace("File KNOWN", "File none\n  GlobalKnownHostsFile KNOWN"),
        "gate",
    ),
    "KnownHostsCommand": (
        GATE
        + ALL.replace(
            "UserKnownHostsFile KNOWN", f"{NO_FILES}\n  KnownHostsCommand /bin/cat KNOWN"
        ),
        "gate",
    ),
    "ProxyCommand with tokens": (
        GATE
        + MID.replace(
            "ProxyJump gate", "ProxyCommand ssh -F HERE/config -W %h:%p -l %r gate # 100%%"
        )
        + ALL,
        "mid",
    ),
    "RevokedHostKeys of others": (GATE + "  RevokedHostKeys HERE/other-key.pub\n" + ALL, "gate"),
    "CanonicalizeHostname": (
        "CanonicalizeHostname yes\nCanonicalDomains lan\n" + GATE + ALL,
        "gate",
    ),
    "a path through a folder with spaces": (
        GATE + MID + ALL.replace("KEY", '"HERE/a b/key"'),
        "mid",
    ),
}
REFUSED: dict[str, tuple[str, str, str]] = {
    "an unknown option": (
        GATE + "  Colour red\n" + ALL,
        "gate",
        "line 4: Bad configuration option",
    ),
    "nobody vouches": (
        GATE + "  StrictHostKeyChecking no\n" + ALL.replace("KNOWN", "/dev/null"),
        "gate",
        "shows a key that no known_hosts file vouches for",
    ),
    "nobody vouches for the jump": (
        GATE + "  StrictHostKeyChecking no\n  UserKnownHostsFile none\n" + MID + ALL,
        "mid",
        "at gate, on the way to it, shows a key that no known_hosts file vouches for",
    ),
    "a revoked key": (
        GATE + ALL.replace("KNOWN", "HERE/revoked KNOWN"),
        "gate",
        "shows a key that no known_hosts file vouches for",
    ),
    "RevokedHostKeys": (
        GATE + "  RevokedHostKeys HERE/host-key.pub\n" + ALL,
        "gate",
        "shows a key that no known_hosts file vouches for",
    ),
    "RevokedHostKeys that cannot be read": (
        GATE + "  RevokedHostKeys HERE/none\n" + ALL,
        "gate",
        "RevokedHostKeys of gate is .*/none, of which E3 reads public keys alone",
    ),
    "another name": (
        GATE + "  HostKeyAlias foreign\n" + ALL.replace("KNOWN", "HERE/other"),
        "gate",
        "shows a key that no known_hosts file vouches for",
    ),
    "a circle": (GATE + "  ProxyJump mid\n" + MID + ALL, "mid", "circle: mid -> gate -> mid"),
    "PubkeyAuthentication no": (GATE + "  PubkeyAuthentication no\n" + ALL, "gate", "PubkeyAuth"),
    "a short key": (
        GATE
        + "  UserKnownHostsFile KNOWN\n"
        + MID
        + "  RequiredRSASize 4096\n"
        + ALL.replace("KNOWN", "HERE/rsa"),
        "mid",
        "mid has a host key of 3072 bits, and RequiredRSASize is 4096",
    ),
    "BindInterface": (GATE + "  BindInterface lo\n" + ALL, "gate", "has BindInterface; name the"),
    "an unknown token": (
        GATE + "  ProxyCommand nc %T %p\n" + ALL,
        "gate",
        "ProxyCommand of gate: %T is not known there",
    ),
    "no key": (GATE + ALL.replace("KEY", "HERE/locked"), "gate", r"not usable: \S+/locked: Pass"),
    "a key that an agent does not hold": (
        GATE
        + "  IdentityAgent HERE/agent\n  IdentitiesOnly yes\n"
        + ALL.replace("KEY", "HERE/locked"),
        "gate",
        "refuses to let user root in with the keys of OpenSSH",
    ),
    "a broken key": (GATE + ALL.replace("KEY", "HERE/odd"), "gate", r"not usable: \S+/odd: "),
}


class Site:
    """A lab with servers, and the files that cases name."""

    def __init__(self, folder: Path, lab: Lab, words: dict[str, str]) -> None:
        self.folder, self.lab, self.words = folder, lab, words
        self.config = folder / "config"

    def write(self, text: str) -> Path:
        names = "|".join(sorted(self.words, key=len, reverse=True))
        made = re.sub(rf"\b(?:{names})\b", lambda found: self.words[found[0]], text)
        self.config.write_bytes(made.encode())
        return self.config


@contextmanager
def listening(handle: HostHandle) -> Iterator[None]:
    sshd = ["/usr/sbin/sshd", "-D", "-e", "-f", f"{SSH_FOLDER}/sshd_config", "-p", "2022"]
    sshd += ["-o", f"ListenAddress={handle.underlay}", "-o", "LogLevel=INFO"]
    sshd += ["-h", f"{SSH_FOLDER}/rsa", "-h", f"{SSH_FOLDER}/{HOST_KEY}"]
    sshd += ["-o", f"TrustedUserCAKeys={SSH_FOLDER}/{CLIENT_KEY}.pub"]
    argv = [*handle.access.nsenter(), "--", *sshd]
    with subprocess.Popen(argv, stderr=subprocess.PIPE) as server:
        assert server.stderr is not None
        while b"listening" not in server.stderr.readline():
            assert server.poll() is None
        try:
            yield
        finally:
            machines.Machine(handle.access, None).do("pkill", "-x", "sshd")  # type: ignore[arg-type]
            server.communicate()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("openssh")
    with running(tmp_path_factory.mktemp("lab"), regions=["a"]) as lab, ExitStack() as stack:
        machines.keys(lab.folder)
        keygen("-t", "rsa", "-b", "3072", "-N", "", "-f", lab.folder / "ssh" / "rsa")
        gate, first, second = lab.add_hosts([(f"a-{i}", "a") for i in range(3)])
        for handle in (first, second):
            stack.enter_context(listening(handle))
        opened = stack.enter_context(machines.opened(gate.access))
        opened6 = stack.enter_context(machines.opened(gate.access, address="::1"))
        words = {
            "HERE": str(folder),
            "KEY": str(lab.folder / "ssh" / CLIENT_KEY),
            "KNOWN": str(lab.folder / "ssh" / KNOWN_HOSTS),
            "PORT": str(opened.port),
            "PORT6": str(opened6.port),
            "A1": first.underlay,
            "A2": second.underlay,
        }
        files(folder, lab.folder, opened.port)
        stack.enter_context(agent(folder / "agent", lab.folder / "ssh" / CLIENT_KEY))
        yield Site(folder, lab, words)


def keygen(*words: str | Path) -> None:
    subprocess.run(["ssh-keygen", "-q", *words], check=True, capture_output=True, timeout=600)


def files(folder: Path, lab: Path, port: int) -> None:
    """Make what the cases name."""
    host_key = machines.host_key(lab)
    (folder / "conf.d").mkdir()
    (folder / "conf.d" / "a.conf").write_text(GATE.replace("PORT", str(port)))
    (folder / "a b").mkdir()
    (folder / "a b" / "known").write_text(f"* {host_key}\n")
    (folder / "a b" / "key").write_bytes((lab / "ssh" / CLIENT_KEY).read_bytes())
    (folder / "a b" / "key").chmod(0o600)
    (folder / "other").write_text(f"other {host_key}\n")
    (folder / "port").write_text(f"[127.0.0.1]:{port} {host_key}\n")
    (folder / "hashed").write_text(f"[127.0.0.1]:{port} {host_key}\n")
    keygen("-H", "-f", folder / "hashed")
    odd = b"only-a-name\n@unknown * ssh-rsa AAAA\n# \xe9t\xe9\n|1|x|y ssh-rsa AAAA\n* ssh-rsa !\n"
    (folder / "odd").write_bytes(odd + f"* {host_key}\n".encode())
    (folder / "revoked").write_text(f"@revoked * {host_key}\n")
    (folder / "host-key.pub").write_text(f"# one\n\n{host_key}\n")
    keygen("-t", "ed25519", "-N", "secret", "-f", folder / "locked")
    keygen("-t", "ed25519", "-N", "", "-f", folder / "other-key")
    # servers behind the gate trust the client's key as an authority
    keygen("-s", lab / "ssh" / CLIENT_KEY, "-I", "x", "-n", "root", folder / "other-key.pub")
    rsa = (lab / "ssh" / "rsa.pub").read_text()
    (folder / "rsa").write_text(f"* {rsa}")
    public = (lab / "ssh" / f"{CLIENT_KEY}.pub").read_bytes()
    (folder / "public").write_bytes(public)
    (folder / "authority").write_text(f"* {host_key}\n@cert-authority * {host_key}\n")


@contextmanager
def agent(path: Path, key: Path) -> Iterator[None]:
    """Start an agent that holds a key."""
    with subprocess.Popen(["ssh-agent", "-D", "-a", path], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()  # it listens
            environment = {**os.environ, "SSH_AUTH_SOCK": str(path)}
            subprocess.run(
                ["ssh-add", "-q", key],
                env=environment,
                capture_output=True,
                check=True,
                timeout=600,
            )
            yield
        finally:
            process.terminate()


def ssh(config: Path, alias: str) -> str:
    argv = ["ssh", "-F", str(config), "-o", "BatchMode=yes", "-o", "ConnectTimeout=9", alias]
    done = subprocess.run(
        [*argv, "hostname; id -un"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    return done.stdout or done.stderr


def log_in(config: Path, alias: str) -> tuple[SshAccess, str]:
    async def go() -> tuple[SshAccess, str]:
        access = await survey.login("home-0", Listed(host=alias, ssh_config=str(config)))
        done = await access.run(["sh", "-c", "hostname; id -un"], timeout_seconds=60)
        return access, done.stdout.decode()

    return asyncio.run(go())


@pytest.mark.parametrize("case", GETS_IN)
def test_where_ssh_gets_in_e3_does(site: Site, case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("E3_KEYS", str(site.lab.folder / "ssh"))
    monkeypatch.setenv("E3_AGENT", str(site.folder / "agent"))
    text, alias = GETS_IN[case]
    config = site.write(text)
    wanted = f"{dict(UP).get(alias, 'a-0')}\nroot\n"
    assert ssh(config, alias) == wanted
    access, said = log_in(config, alias)
    assert said == wanted
    written = site.folder / "written"
    written.write_text(client_config.block(access) + client_config.on_the_way([access]))
    assert ssh(written, "home-0") == wanted


@pytest.mark.parametrize("case", REFUSED)
def test_what_e3_cannot_or_must_not_do_is_refused_with_its_name(site: Site, case: str) -> None:
    text, alias, said = REFUSED[case]
    config = site.write(text)
    with pytest.raises(HostError, match=said) as caught:
        log_in(config, alias)
    assert str(caught.value).startswith("host home-0")


def test_a_host_on_the_way_is_checked_by_what_e3_writes_as_well(site: Site) -> None:
    careless = GATE + "  StrictHostKeyChecking no\n  UserKnownHostsFile /dev/null\n" + MID + ALL
    config = site.write(careless)
    assert ssh(config, "mid") == "a-1\nroot\n"
    access = SshAccess(host="home-0", address="mid", port=0, ssh_config=str(config))
    written = site.folder / "written"
    written.write_text(client_config.block(access) + client_config.on_the_way([access]))
    assert "Host key verification failed" in ssh(written, "home-0")
