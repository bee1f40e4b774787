"""What OpenSSH's client reads, as E3 takes it."""

import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from e3.access import openssh
from e3.errors import HostError

pytestmark = pytest.mark.unit


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tmp_path / "config"


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("gate", ("gate", "", 0)),
        ("me@gate:22", ("gate", "me", 22)),
        ("me@corp@gate", ("gate", "me@corp", 0)),
        ("[::1]:2222", ("::1", "", 2222)),
        ("me@[fe80::1%eth0]", ("fe80::1%eth0", "me", 0)),
        ("ssh://me%40corp@gate:22/", ("gate", "me@corp", 22)),
        ("ssh://[::1]", ("::1", "", 0)),
    ],
)
def test_a_jump_is_read(text: str, meant: tuple[str, str, int]) -> None:
    assert openssh.jump(text) == meant


@given(text=st.text())
def test_what_is_no_jump_is_refused(text: str) -> None:
    try:
        name, _, port = openssh.jump(text)
    except HostError as error:
        assert str(error).isprintable()  # noqa: PT017 -- either is right
    else:
        assert name
        assert port >= 0


def test_a_way_has_the_own_entry_of_each_host(config: Path) -> None:
    config.write_text(
        "Host a\n  HostName 192.0.2.1\n  User one\nHost b\n  HostName 192.0.2.2\n  ProxyJump a\n"
        "Host c\n  ProxyJump b\nHost d\n  ProxyJump two@x,b\nHost x\n ProxyCommand nc %h %p\n"
    )
    hops = openssh.route(str(config), "c")
    assert [hop.name for hop in hops] == ["192.0.2.1", "192.0.2.2", "c"]
    through = openssh.route(str(config), "d", port=77)
    # what b says of its way does not count where another host stands before it, as with ssh -J
    assert [(each.name, each.user) for each in through[:1]] == [("x", "two")]
    assert [each.alias for each in through] == ["x", "b", "d"]
    assert through[0].get("proxycommand") == "nc %h %p"
    assert through[2].port == 77


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Host a\n  ProxyJump b\nHost b\n  ProxyJump a\n", "leads in a circle: a -> b -> a"),
        ("Host *\n  ProxyJump gate\n", "ssh says jumphost loop via gate"),
        ("Host a\n  Colour red\n", "ssh says line 2: Bad configuration option: colour"),
        ("Host a\n  IdentityFile %q\n", "%q is not known there"),
        ("Host a\n  IdentityFile ${E3_NOWHERE}/x\n", "variable E3_NOWHERE is not set"),
    ],
)
def test_what_cannot_be_read_is_said(config: Path, text: str, said: str) -> None:
    config.write_text(text)
    with pytest.raises(HostError) as caught:
        openssh.route(str(config), "a")[-1].paths("identityfile")
    assert said in str(caught.value)


@pytest.mark.parametrize(
    "alias", ["-oProxyCommand=x", "a b", "me@a", "ssh://a", "a\nb", "", "$(id)"]
)
def test_what_is_no_alias_never_reaches_ssh(config: Path, alias: str) -> None:
    config.touch()
    with pytest.raises(HostError, match="cannot be a host"):
        openssh.entry(str(config), alias)


def test_paths_have_their_tokens_and_spaces(config: Path, tmp_path: Path) -> None:
    folder = tmp_path / "a b"
    folder.mkdir()
    (folder / "k-one").touch()
    config.write_text(
        f'Host one\n  IdentityFile "{folder}/k-%n"\n  IdentityFile {tmp_path}/none\n'
        f'  UserKnownHostsFile "{folder}/k-%n" {tmp_path}/none ~/x\n'
        "  GlobalKnownHostsFile none\n  User me\n"
    )
    found = openssh.entry(str(config), "one")
    assert found.files("identityfile") == [folder / "k-one"]
    assert found.paths("userknownhostsfile") == [
        folder / "k-one",
        tmp_path / "none",
        Path.home() / "x",
    ]
    assert found.paths("globalknownhostsfile") == []
    assert "user" in found.changed
    assert "ciphers" not in found.changed
    said = subprocess.run(["hostname"], capture_output=True, check=True, text=True).stdout.strip()
    assert found.expanded("X", "%% %h %n %p %r %i %l") == f"% one one 22 me {os.getuid()} {said}"


@pytest.mark.parametrize("change", ["+ssh-rsa", "-ssh-ed25519", "rsa-sha2-512,ssh-ed25519"])
def test_a_list_of_algorithms_is_a_change_where_it_was_one(config: Path, change: str) -> None:
    config.write_text(f"Host a\n  HostKeyAlgorithms {change}\n")
    assert openssh.entry(str(config), "a").difference("hostkeyalgorithms") == change
