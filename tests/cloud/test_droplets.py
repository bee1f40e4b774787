"""Droplets at the stand-in cloud, without overlay and session: one stack through its life.

Each test goes on from where the one before it left the stack, as only that keeps them short.
"""

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from e3.digitalocean.keys import fingerprint
from e3.lab.addresses import LAB_NETWORK
from tests.cloud.account import Account
from tests.cloud.stage import ANSWER_SECONDS, DESTROY, Stage, stage
from tests.stack import until

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="sshd needs a lab of root's")

FIRST, SECOND = os.urandom(20 << 20), b"another image"
NAMES = r"e3-(ams3-0|ams3-1|sgp1-0)-[0-9a-f]{8}"


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with stage(tmp_path_factory.mktemp("bare"), bare=True) as made:
        yield made


def test_an_upload_that_breaks_leaves_what_the_state_knows(bare: Stage) -> None:
    options = bare.image("nixos.qcow2.gz", FIRST)
    bare.cloud.digitalocean.spaces.take_next = 1  # the first name is somebody else's
    with bare.cloud.faults.on(upload_breaks_after=1):
        ended = bare.up(fleet_options=options)
    assert ended.exit != 0
    assert "nixos.qcow2.gz: 17 of 21 MB" in ended.said
    assert "upload of nixos.qcow2.gz to bucket e3-trial-" in ended.said
    assert bare.droplets() == {}
    bare.agree()


def test_the_next_up_goes_on_and_an_import_that_fails_is_told(bare: Stage) -> None:
    with bare.cloud.faults.on(import_fails=True):
        ended = bare.up(fleet_options=bare.image("nixos.qcow2.gz", FIRST))
    assert ended.exit != 0
    assert bare.cloud.digitalocean.spaces.parts == 2, "one was there already"
    assert re.search(r"waiting for image \(\d+\) to become ready: unsupported", ended.said)
    assert bare.droplets() == {}


def test_it_is_begun_anew_and_a_droplet_that_never_boots_is_named(bare: Stage) -> None:
    label = next(iter(bare.known()["digitalocean:index/spacesBucket:SpacesBucket"]))
    faults = {"busy": 7, "broken": 11, "never_boots": {f"e3-ams3-1-{label[-8:]}"}}
    with bare.cloud.faults.on(**faults):
        bare.stack.configure({"e3:fleet-options": bare.image("nixos.qcow2.gz", FIRST)})
        ended = bare.stack.pulumi("up --yes --skip-preview --refresh")
    assert ended.exit != 0
    assert "sgp1-0 answers after" in ended.said
    silent = rf"host ams3-1 .*\(after {ANSWER_SECONDS} s\).*; its console"
    assert re.search(silent, ended.said), ended.said
    bare.agree()


def test_a_droplet_removed_by_hand_is_made_anew(bare: Stage) -> None:
    before = bare.droplets()
    bare.cloud.digitalocean.account.delete_droplet(before["ams3-1"])
    bare.pulumi("refresh --yes --skip-preview")
    bare.agree()
    said = bare.up(fleet_options=bare.image("nixos.qcow2.gz", FIRST)).said
    assert "3 droplets of size s-1vcpu-1gb cost 0.027 USD an hour" in said
    bare.agree()
    after = bare.droplets()
    assert {name for name in before if before[name] != after[name]} == {"ams3-1"}
    account = bare.cloud.digitalocean.account
    assert all(re.fullmatch(NAMES, row["name"]) for row in account.droplets.values())
    assert len({row["tags"][0] for row in account.droplets.values()}) == 1
    assert [host["name"] for host in bare.stack.outputs["hosts"]] == ["ams3-0", "ams3-1", "sgp1-0"]


@pytest.mark.long
def test_another_region_and_image_move_nobody(bare: Stage) -> None:
    before = bare.droplets()
    values = {"regions": {"ams3": 3, "nyc3": 1}, "domain": "example.org"}
    options = bare.image("nixos.qcow2.gz", SECOND)
    with bare.cloud.faults.on(transfer_fails={"nyc3"}):
        ended = bare.up(fleet_options=options, **values)
    assert "Error distributing image" in ended.said
    bare.agree()
    assert len(bare.images()) == 2, "the one before stays meanwhile"
    bare.brought_up(fleet_options=options, **values)
    after = bare.droplets()
    assert set(after) == {"ams3-0", "ams3-1", "ams3-2", "nyc3-0"}
    assert all(after[name] == before[name] for name in ("ams3-0", "ams3-1"))
    [image] = bare.images()
    assert image["regions"] == ["ams3", "nyc3"]
    records = bare.cloud.digitalocean.account.records.values()
    assert {row["name"].partition(".")[0] for row in records} == set(after)


@pytest.mark.long
def test_a_droplet_that_a_killed_up_lost_is_removed_by_the_next(bare: Stage) -> None:
    account = bare.cloud.digitalocean.account
    options = bare.image("nixos.qcow2.gz", SECOND)
    before = len(account.droplets)
    bare.stack.configure({"e3:regions": {"ams3": 3, "nyc3": 2}, "e3:fleet-options": options})
    process = bare.stack.begin("up", "--yes", "--skip-preview")
    until(lambda: len(account.droplets) > before, "a droplet is on its way")
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    lost = max(account.droplets)
    name = account.droplets[lost]["name"]
    assert str(lost) not in bare.known()["digitalocean:index/droplet:Droplet"]
    bare.pulumi("cancel --yes")
    bare.pulumi("refresh --yes --skip-preview --clear-pending-creates")
    said = bare.up(regions={"ams3": 3, "nyc3": 2}, fleet_options=options).said
    assert f"removed a second droplet {name}" in said
    bare.agree()
    assert lost not in account.droplets


@pytest.mark.long
def test_a_rollout_replaces_and_lets_in_whom_the_options_name(bare: Stage, tmp_path: Path) -> None:
    before, account = bare.droplets(), bare.cloud.digitalocean.account
    own, other = (tmp_path / name for name in ("own", "other"))
    known = {add_key(account, key): key for key in (own, other)}
    options = {
        **bare.image("nixos.qcow2.gz", FIRST[:1000]),
        "key": str(own),
        "account-keys": [str(next(id_ for id_, key in known.items() if key == other))],
        "admit": [str(LAB_NETWORK)],
        "protect-image": True,
    }
    values = {"regions": {"ams3": 2}, "fleet_options": options, "image_rollout": True}
    outputs = bare.stack.brought_up(**values)
    after = bare.droplets()
    assert set(after) == {"ams3-0", "ams3-1"}
    assert not set(after.values()) & set(before.values())
    assert "digitalocean:index/sshKey:SshKey" not in bare.known()
    [wall] = account.firewalls.values()
    [ssh] = [rule for rule in wall["inbound_rules"] if rule["ports"] == "22"]
    assert ssh["sources"]["addresses"] == [str(LAB_NETWORK)]
    for key in (own, other):
        assert logs_in(bare, key, outputs["hosts"][0]["underlay"])

    bare.pulumi(DESTROY, "--exclude-protected")
    assert bare.droplets() == {}
    assert len(bare.images()) == 1
    assert bare.stack.pulumi(DESTROY).exit != 0
    assert len(bare.images()) == 1
    for id_ in known:
        del account.keys[id_]


def add_key(account: Account, path: Path) -> int:
    """Make an SSH key that the account knows; return its id there."""
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path], check=True)
    public = path.with_name(f"{path.name}.pub").read_text()
    id_ = account.next_id()
    account.keys[id_] = {
        "id": id_,
        "name": path.name,
        "public_key": public,
        "fingerprint": fingerprint(public),
    }
    return id_


def logs_in(bare: Stage, key: Path, address: str) -> bool:
    """Return whether root gets in at that address with this key."""
    options = ["IdentitiesOnly=yes", "StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null"]
    words = [word for option in options for word in ("-o", option)]
    done = subprocess.run(
        [*bare.cloud.prefix, "ssh", "-F", "none", "-i", key, *words, f"root@{address}", "true"],
        capture_output=True,
        check=False,
        timeout=600,
    )
    return done.returncode == 0


@pytest.mark.long
def test_without_hosts_the_image_stays(bare: Stage) -> None:
    options = bare.image("nixos.qcow2.gz", FIRST[:1000])
    bare.brought_up(regions={"ams3": 2}, fleet_options=options, hosts="none")
    assert bare.droplets() == {}
    assert len(bare.images()) == 1
    assert bare.stack.outputs["hosts"] == []


def test_what_expired_is_swept_and_nothing_else(bare: Stage) -> None:
    options = bare.image("nixos.qcow2.gz", FIRST[:1000])
    bare.brought_up(regions={"ams3": 2}, fleet_options=options)
    account = bare.cloud.digitalocean.account
    foreign = account.create_droplet(
        {"name": "mail", "region": "ams3", "size": "s-1vcpu-1gb", "image": "debian-12-x64"}
    )
    stays = bare.e3("sweep")
    assert (stays.exit, "stays for another " in stays.said) == (0, True), stays.said
    left = bare.e3("verify-gone", "trial")
    assert left.exit == 1
    assert "trial: droplet e3-ams3-0-" in left.said
    [until_tag] = [tag for tag in account.tags if ":until:" in tag]
    account.tags.remove(until_tag)
    account.tags.add(re.sub(r"\d+$", str(int(time.time()) - 1), until_tag))
    swept = bare.e3("sweep")
    assert swept.exit == 0, swept.said
    for what in ("droplet", "image", "firewall", "SSH key", "tag", "bucket"):
        assert f"removed: {what} e3-" in swept.said
    assert list(account.droplets) == [foreign["id"]]
    account.delete_droplet(foreign["id"])
    assert bare.cloud.inventory() == {}
    bare.pulumi(DESTROY, "--refresh")
    gone = bare.e3("verify-gone", "trial")
    assert (gone.exit, "DigitalOcean has nothing called e3-trial-" in gone.said) == (0, True)


@pytest.mark.long
def test_destroy_after_a_killed_first_up_leaves_nothing(bare: Stage) -> None:
    account = bare.cloud.digitalocean.account
    bare.stack.configure({"e3:regions": {"ams3": 2}})
    process = bare.stack.begin("up", "--yes", "--skip-preview")
    until(lambda: bool(account.droplets), "a droplet is on its way")
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    bare.pulumi("cancel --yes")
    bare.destroyed()


def test_no_secret_in_plain_text(bare: Stage) -> None:
    options = bare.image("nixos.qcow2.gz", SECOND)
    bare.brought_up(regions={"ams3": 2}, fleet_options=options)
    said = bare.pulumi("stack export", "--show-secrets")
    text = json.dumps(json.loads(said[said.index("{") :]))  # Pulumi may warn before it
    keys = re.findall(r"OPENSSH PRIVATE KEY-----(?:\\+n)(\S{60})", text)
    urls = re.findall(r"X-Amz-Signature=(\w+)", text)
    assert keys
    assert urls
    kept = [path for path in (bare.stack.folder / ".e3").rglob("*") if path.is_file()]
    login = bare.stack.folder / ".e3/trial/ssh/id_ed25519"
    assert login.stat().st_mode & 0o777 == 0o600
    for secret in {*keys, *urls}:
        assert [path for path in kept if secret.encode() in path.read_bytes()] in ([], [login])
    bare.destroyed()
    assert not login.exists()
