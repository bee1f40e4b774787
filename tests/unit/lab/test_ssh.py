from pathlib import Path

import pytest

from e3.access.namespace import NamespaceAccess
from e3.errors import PlatformError
from e3.lab import ssh

pytestmark = pytest.mark.unit


def test_keys_and_configuration_are_private_and_stay(tmp_path: Path) -> None:
    files = ssh.prepare(tmp_path)
    first = {path.name: path.read_bytes() for path in (tmp_path / "ssh").iterdir()}
    assert ssh.prepare(tmp_path) == files
    assert {path.name: path.read_bytes() for path in (tmp_path / "ssh").iterdir()} == first
    assert (tmp_path / "ssh").stat().st_mode & 0o777 == 0o700
    private = ("client_key", "host_key", "sshd_config", "known_hosts")
    assert all((tmp_path / "ssh" / name).stat().st_mode & 0o077 == 0 for name in private)


def test_a_host_is_reached_through_its_namespaces(tmp_path: Path) -> None:
    access = NamespaceAccess(host="ams3-0", pid=4711, started=1, boot="b")
    files = ssh.SshFiles(client_key=tmp_path / "k", known_hosts=tmp_path / "h")
    config = ssh.client_config(files, [access])
    assert config.startswith("Host ams3-0\n")
    assert "ProxyCommand nsenter -t 4711 -m -u -i -n -p -- " in config


def test_a_host_in_a_user_namespace_has_no_ssh() -> None:
    access = NamespaceAccess(host="a-0", pid=1, started=1, boot="b", in_user_namespace=True)
    with pytest.raises(PlatformError, match="run the lab as root"):
        ssh.proxy_command(access)
