"""How people find one another: on one network, and by the domain of a company."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from e3.interfaces import File
from e3.lab.client import HostHandle, Lab
from tests.adhoc import LINK, PersonAtHome, acquainted, mediator, rooms_work
from tests.certificates import certificate
from tests.commands import ROOT
from tests.lab.test_adhoc import AUCTION, person
from tests.labs import running

pytestmark = [
    pytest.mark.lab,
    pytest.mark.skipif(
        not rooms_work() or os.geteuid() != 0,
        reason="needs user namespaces, /dev/net/tun, e3-tunnel, and a lab of root's",
    ),
]

COMPANY = "company.example"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with running(tmp_path_factory.mktemp("found"), {("a", "b"): 20.0}, ["a", "b"]) as made:
        made.add_hosts([("a-0", "a"), ("a-1", "a"), ("b-0", "b")], {})
        yield made


@pytest.fixture
def hosts(lab: Lab) -> dict[str, HostHandle]:
    return {each.host().name: each for each in lab.hosts()}


def there(host: HostHandle) -> list[str]:
    return [*host.access.nsenter(), "--"]


def join_by_a_cable(one: HostHandle, other: HostHandle) -> None:
    """Put two hosts on a network of their own: on those of a lab no multicast passes."""
    pids = [str(each.access.pid) for each in (one, other)]
    inside = [["nsenter", "--target", pid, "--net"] for pid in pids]
    ends = ["link", "add", "lan", "type", "veth", "peer", "name", "lan", "netns", pids[1]]
    subprocess.run([*inside[0], "ip", *ends], check=True)
    for number, enter in enumerate(inside, 1):
        address = ["address", "add", f"198.19.200.{number}/24", "dev", "lan"]
        subprocess.run([*enter, "ip", *address], check=True)
        subprocess.run([*enter, "ip", "link", "set", "lan", "up"], check=True)


@pytest.mark.long
def test_people_on_one_network_find_each_other(hosts: dict[str, HostHandle]) -> None:
    pytest.importorskip("zeroconf")
    public = hosts["b-0"]
    with mediator(Path("/root"), 8450, host=public.host().underlay, inside=there(public)) as (
        url,
        _,
    ):
        alice, bob = person(hosts["a-0"], "nora", url), person(hosts["a-1"], "nils", url)
        afar = person(public, "olga", url)
        acquainted([alice, bob])
        join_by_a_cable(hosts["a-0"], hosts["a-1"])
        asked = ("invite", AUCTION, "--parties", "2", "--yes", "--nearby")
        with alice.typing(*asked) as a:
            link = a.await_text(LINK.pattern)[1]
            a.await_text("announced on the local network")
            found = json.loads(bob.run("nearby", "--json").stdout)
            assert [(it["name"], it["program"], it["link"]) for it in found] == [
                ("nora", "auction", link)
            ]
            assert "nobody nearby" in afar.run("nearby").stdout
            with bob.typing("join", link, "--yes") as b:
                for each in (a, b):
                    each.await_text("wins and pays")
                    assert each.end() == 0
        assert json.loads(bob.run("nearby", "--json").stdout) == []


SITE = "/tmp/company"  # noqa: S108 - the host's own
CERTIFICATE, NAMES = f"{SITE}-certificate", f"{SITE}-hosts"


def tell(host: HostHandle, files: Mapping[str, bytes]) -> None:
    sent = [File(path=path, content=content, mode=0o644) for path, content in files.items()]
    asyncio.run(host.access.put(sent, timeout_seconds=30))


def knowing(person: PersonAtHome) -> PersonAtHome:
    """Return the same person where the company is found, and its authority trusted."""
    cut = person.inside.index("--") + 1
    mounted = f'mount --bind {NAMES} /etc/hosts && exec "$@"'
    inside = [*person.inside[:cut], "unshare", "--mount", "sh", "-c", mounted, "sh"]
    more = {"SSL_CERT_FILE": CERTIFICATE}
    return replace(person, inside=[*inside, *person.inside[cut:]], more=more)


@contextmanager
def published(host: HostHandle, document: str, folder: Path) -> Iterator[bytes]:
    """Serve the document of the company from a host; yield the certificate to be trusted."""
    certificate(folder, COMPANY)
    files = {name: (folder / name).read_bytes() for name in ("certificate", "key")}
    files[".well-known/did.json"] = document.encode()
    tell(host, {f"{SITE}/{name}": content for name, content in files.items()})
    argv = [*there(host), sys.executable, str(ROOT / "tests/https.py"), SITE]
    process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    out = process.stdout
    assert out is not None
    try:
        assert out.readline() == b"ready\n"
        yield files["certificate"]
    finally:
        process.terminate()
        process.wait(timeout=20)
        out.close()


def test_a_company_is_invited_by_its_domain(hosts: dict[str, HostHandle], tmp_path: Path) -> None:
    """The document of the domain names its inbox, where its E3 waits; nobody sends a link."""
    web, public = hosts["a-1"], hosts["b-0"]
    address = public.host().underlay
    with mediator(Path("/root"), 8451, host=address, inside=there(public)) as (url, _):
        alice, company = person(hosts["a-0"], "anne", url), person(web, "company", url)
        assert company.run("id", "--did", f"did:web:{COMPANY}").returncode == 0
        document = company.run("id", "--document", "--mediator", url).stdout
        acquainted([alice, company])
        with published(web, document, tmp_path) as trusted:
            names = f"127.0.0.1 localhost\n{web.host().underlay} {COMPANY}\n".encode()
            for host in (web, hosts["a-0"]):
                tell(host, {CERTIFICATE: trusted, NAMES: names})
            alice, company = knowing(alice), knowing(company)
            asked = ("invite", AUCTION, "--parties", "2", "--yes", "--with", COMPANY)
            with company.typing("inbox", "--yes") as c, alice.typing(*asked) as a:
                c.await_text("waiting for invitations")
                for each in (a, c):
                    each.await_text("wins and pays")
                    assert each.end() == 0
