"""The example stack do-nebula at the stand-in cloud, to an MPyC result and to nothing left."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.cloud.stage import Stage, stage
from tests.stack import ROOT

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="sshd needs a lab of root's")

EXAMPLE = yaml.safe_load((ROOT / "Pulumi.do-nebula.yaml").read_text())["config"]
HELLO = "demos/helloworld.py"
PRIVATE = "only the party of this host knows it"
SUMS = """
import os
from mpyc.runtime import mpc

async def main():
    mine = int(open(os.environ["E3_INPUT"] + "/number").readline()) + int(input())
    async with mpc:
        print(await mpc.output(mpc.sum(mpc.input(mpc.SecInt()(mine)))))

mpc.run(main())
"""
"""Each party adds the private numbers of its own host."""


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with stage(tmp_path_factory.mktemp("full"), base=EXAMPLE) as made:
        yield made


def test_the_example_can_be_previewed(full: Stage) -> None:
    full.stack.configure({})
    said = full.pulumi("preview")
    assert "6 droplets of size s-1vcpu-2gb cost 0.107 USD an hour, 0.43 USD until they" in said
    assert full.cloud.inventory() == {}


def test_it_ends_with_a_session_and_its_hosts_are_reached_by_ssh(full: Stage) -> None:
    options = full.image()
    regions = {"ams3": 1, "nyc3": 1, "sgp1": 1}
    with full.cloud.faults.on(busy=9, broken=13):
        outputs = full.brought_up(regions=regions, fleet_options=options, domain="example.org")
    assert outputs["session"]["verdict"] == "completed"
    assert [host["overlay"] for host in outputs["hosts"]] == ["10.77.0.1", "10.77.0.2", "10.77.0.3"]
    records = full.cloud.digitalocean.account.records.values()
    names = {row["name"].rpartition(".")[0] for row in records}
    assert names == {*full.droplets(), *(f"{name}.overlay" for name in full.droplets())}
    command = "hostname; ls /var/lib/e3/host/tools"
    ssh = ["ssh", "-F", outputs["ssh_config"], "sgp1-0", command]
    reached = subprocess.run(
        [*full.cloud.prefix, *ssh],
        cwd=full.stack.folder,
        capture_output=True,
        text=True,
        check=True,
        timeout=600,
    )
    host_name, *sent = reached.stdout.splitlines()
    assert host_name.startswith("e3-sgp1-0-")
    assert sent == ["nebula", "nebula-cert"], "what the image does not carry is sent"


def test_a_host_that_lost_its_ssh_is_named(full: Stage) -> None:
    account = full.cloud.digitalocean.account
    account.lose(account.droplets[full.droplets()["sgp1-0"]]["name"])
    ended = full.e3("run", HELLO, "--deadline", "40")
    assert ended.exit == 2, ended.said
    assert "1 of 3 hosts cannot be used (sgp1-0 " in ended.said


@pytest.mark.long
def test_hosts_come_go_and_come_back(full: Stage) -> None:
    before = full.droplets()
    full.cloud.digitalocean.account.delete_droplet(before["nyc3-0"])
    for number, name in enumerate(("ams3-0", "ams3-1", "nyc3-0")):
        give(full.stack.folder / "inputs" / name, number)
    values = {
        "regions": {"ams3": 2, "nyc3": 1},
        "fleet_options": full.image(),
        "program": full.stack.write(SUMS),
        "inputs": "inputs",
    }
    outputs = full.brought_up("--refresh", **values)
    assert outputs["session"]["verdict"] == "completed"
    assert [party["output"] for party in outputs["session"]["parties"]] == ["33\n"] * 3
    kept = [path for path in (full.stack.folder / ".e3").rglob("*") if path.is_file()]
    assert not [path for path in kept if PRIVATE.encode() in path.read_bytes()]
    assert [host["name"] for host in outputs["hosts"]] == ["ams3-0", "ams3-1", "nyc3-0"]
    after = full.droplets()
    assert after["ams3-0"] == before["ams3-0"]
    assert after["nyc3-0"] != before["nyc3-0"]


def give(folder: Path, number: int) -> None:
    """Write the private inputs of a host: its party computes with 10 + ``number``."""
    folder.mkdir(parents=True)
    (folder / "number").write_text(f"{number}\n{PRIVATE}\n")
    (folder / "stdin").write_text("10\n")


@pytest.mark.long
def test_inputs_are_put_on_droplets_by_command_and_by_their_owner(full: Stage) -> None:
    folder = full.stack.folder
    config = str(folder / full.stack.outputs["ssh_config"])
    for number, name in enumerate(("ams3-0", "ams3-1", "nyc3-0")):
        give(folder / "put" / name, 100 + number)
        files = [str(folder / "put" / name / each) for each in ("number", "stdin")]
        if number:
            put = full.e3("input", "put", name, *files)
            assert put.exit == 0, put.said
            continue
        place = "/var/lib/e3-inputs"
        own = [f"install -d -m 700 {place}; cd {place}", "umask 077", "printf '100\\n' > number"]
        script = "; ".join([*own, "echo 10 > stdin"])
        argv = [*full.cloud.prefix, "ssh", "-F", config, name, script]
        subprocess.run(argv, cwd=folder, check=True, timeout=600)
    listed = full.e3("input", "list")
    assert listed.said.count("the host's owner") == 2, listed.said
    assert listed.said.count("e3 input put") == 4, listed.said
    full.stack.write(SUMS, "again.py")
    ran = full.e3("run", "again.py")
    assert ran.exit == 0, ran.said
    assert "all 3 parties:\n  333\n" in ran.said


@pytest.mark.long
def test_a_plain_image_gets_the_party_environment(full: Stage, tmp_path: Path) -> None:
    lock = ROOT / "e3" / "party" / "requirements.txt"
    pip = [sys.executable, "-m", "pip", "--quiet", "download", "--no-deps", "--require-hashes"]
    command = [*pip, "--requirement", str(lock), "--dest", str(tmp_path)]
    subprocess.run(command, check=True, timeout=600)
    full.cloud.digitalocean.account.packages = tmp_path
    options = {"size": "s-1vcpu-1gb", "image": "debian-12-x64"}
    ended = full.up(regions={"sfo3": 2}, fleet_options=options, program=HELLO)
    assert ended.exit == 0, ended.said
    assert "2 droplets get the party environment" in ended.said
    parties = full.stack.outputs["session"]["parties"]
    assert all(party["output"].startswith("Hello world from 2 parties") for party in parties)
    full.agree()


def test_destroy_leaves_nothing(full: Stage) -> None:
    full.destroyed()
    gone = full.e3("verify-gone", "trial")
    assert gone.exit == 0, gone.said
    assert "DigitalOcean has nothing called e3-trial-" in gone.said
