"""What E3 writes into a configuration of OpenSSH, read by OpenSSH's own client."""

import subprocess
import tempfile
from pathlib import Path

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from e3.access import client_config
from e3.access.ssh import SshAccess
from e3.errors import ConfigurationError
from e3.lab import ssh as lab_ssh
from tests.examples import FEWER

pytestmark = pytest.mark.unit

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ0"
OPTIONS = ("HostName", "User", "HostKeyAlias", "IdentityFile", "UserKnownHostsFile")
SYNTAX = st.sampled_from([*"\"'\\%$ \t\n\r#=,*?![]{}-~`;|&\x00\u2028", "%h", "${HOME}", "pi"])
TEXT = st.lists(st.one_of(SYNTAX, st.characters()), min_size=1, max_size=12).map("".join)
EVIL = [
    "x\n  ProxyCommand touch PWNED",
    'x"\n  ProxyCommand touch PWNED\n  IdentityFile "y',
    "pi\n  LocalCommand touch PWNED\n  PermitLocalCommand yes",
    f"{KEY}\n  ProxyCommand touch PWNED",
    "-oProxyCommand=touch PWNED",
    "a\rb",
    "",
]


def effective(config: str, name: str) -> dict[str, str]:
    """Return what OpenSSH's client reads for a name, by option in lower case."""
    with tempfile.NamedTemporaryFile("w") as file:
        file.write(config)
        file.flush()
        command = ["ssh", "-G", "-F", file.name, "--", name]
        said = subprocess.run(command, capture_output=True, check=True, timeout=600)
    return dict(line.split(" ", 1) for line in said.stdout.decode().splitlines() if " " in line)


@pytest.mark.parametrize("keyword", OPTIONS)
@FEWER
@given(word=TEXT)
@example(word="a b")
@example(word="a # b")
@example(word="it's")
@example(word="=a")
@example(word="%h")
@example(word="%%h")
@example(word="\u00fc")
def test_a_word_is_read_as_itself_or_refused(keyword: str, word: str) -> None:
    assume(not word.startswith("~"))  # that is somebody's home
    if keyword == "HostName":
        word = f"h{word}"  # OpenSSH writes numbers as addresses: 0 is 0.0.0.0
    try:
        line = client_config.option(keyword, word)
    except ConfigurationError as error:
        assert str(error).isprintable()  # noqa: PT017 -- which words these are is tested below
        return
    read = effective(client_config.entry("home-0", [line, "Port 4711"]), "home-0")
    plain = effective("Host home-0\n  Port 4711\n", "home-0")
    # tokens are expanded in some options by now, in others later; names are compared without case
    meant = {word.lower(), word.replace("%", "%%").lower()}
    assert read[keyword.lower()].lower() in meant
    for key in (keyword.lower(), "hostname", "hostkeyalias", "updatehostkeys"):
        read.pop(key, None)
        plain.pop(key, None)
    assert read == plain


@FEWER
@given(argv=st.lists(TEXT, min_size=1, max_size=4))
@example(argv=["echo", "%h", "%%", "a'b", "a b", "$HOME", "`id`", "#"])
def test_a_command_is_one_line_and_runs_with_these_words(argv: list[str]) -> None:
    try:
        line = client_config.command("ProxyCommand", argv)
    except ConfigurationError:
        return
    read = effective(client_config.entry("home-0", [line, "Port 4711"]), "home-0")
    assert read["port"] == "4711"
    words = ["sh", "-c", read["proxycommand"].replace("%%", "%").replace(argv[0], "", 0)]
    shown = ["sh", "-c", f"printf '%s\\0' {words[2]}"]
    said = subprocess.run(shown, capture_output=True, check=True, timeout=600).stdout
    assert said.decode().split("\0")[:-1] == argv


@pytest.mark.parametrize("field", ["host", "address", "user", "key", "host_key"])
@pytest.mark.parametrize("evil", EVIL)
def test_no_field_of_an_access_becomes_another_option(field: str, evil: str) -> None:
    known = {"host": "home-0", "address": "192.0.2.1", "user": "pi", "host_key": KEY}
    access = SshAccess(**{**known, field: evil})  # type: ignore[arg-type]
    try:
        text = client_config.block(access)
    except ConfigurationError as error:
        assert "use another name or path" in str(error)  # noqa: PT017 -- either is right
        return
    assert "\n  ProxyCommand" not in text
    assert "\n  LocalCommand" not in text
    assert "proxycommand" not in effective(text, "home-0")


@pytest.mark.parametrize("place", ["it's here", "50 % of it", "a #b", "\u00fcber"])
def test_a_lab_may_lie_in_any_folder_that_can_be_written(tmp_path: Path, place: str) -> None:
    files = lab_ssh.SshFiles(client_key=tmp_path / place / "k", known_hosts=tmp_path / place / "h")
    lines = [client_config.option("IdentityFile", str(files.client_key))]
    read = effective(client_config.entry("a-0", lines), "a-0")
    assert read["identityfile"].replace("%%", "%") == str(files.client_key)


def test_only_one_name_is_an_entry() -> None:
    for name in ("*", "a b?", "!a", "[ab]"):
        with pytest.raises(ConfigurationError, match="a pattern"):
            client_config.entry(name, [])


def test_a_certified_host_is_known_by_the_authority_alone() -> None:
    access = SshAccess(host="pi", address="198.51.100.7", user="root", host_key=KEY, key="/k")
    config = client_config.certified("pi", f"{KEY}A comment") + client_config.block(access)
    found = effective(config, "pi")
    assert found["knownhostscommand"] == f"/bin/echo @cert-authority pi {KEY}A"
    assert found["hostkeyalgorithms"] == "ssh-ed25519-cert-v01@openssh.com"
    assert found["hostkeyalias"] == "pi"
    assert found["userknownhostsfile"] == "none"
    assert found["hostname"] == "198.51.100.7"
