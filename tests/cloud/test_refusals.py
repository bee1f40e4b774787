"""What cannot work is one sentence with key, value and remedy, before anything is made."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from e3.config import parse
from e3.errors import E3Error
from e3.evaluation.campaign import estimate, matrix
from e3.fleets import FLEETS
from e3.registry import build
from tests.cloud.cloud import Cloud, running
from tests.commands import ROOT

QCOW2 = b"QFI\xfb" + bytes(100)


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    with running(tmp_path_factory.mktemp("cloud")) as made:
        yield made


@pytest.fixture
def folder(cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with an image, in the environment of the cloud."""
    for key, value in cloud.digitalocean.environment.items():
        monkeypatch.setenv(key, value)
    (tmp_path / "image.qcow2").write_bytes(QCOW2)
    (tmp_path / "image.txt").write_text("no image at all")
    (tmp_path / "id_ed25519").write_text("private")
    (tmp_path / "id_ed25519.pub").write_text("ssh-ed25519 AAAA somebody")
    return tmp_path


def refusal(cloud: Cloud, values: Mapping[str, str]) -> str:
    """Return what the fleet says of a configuration that it refuses."""
    experiment = parse("trial", {"fleet": "digitalocean", **values})
    with cloud.room.inside(), pytest.raises(E3Error) as refused:
        build(FLEETS, experiment.fleet, key="fleet").check(experiment)
    return str(refused.value)


CONFIGURATION = {
    "unknown region": (
        {"regions": '{"mars1": 2}'},
        "e3:regions: .* no droplets in 'mars1'; .*ams3",
    ),
    "closed region": ({"regions": '{"nyc2": 2}'}, "e3:regions: .* no droplets in 'nyc2'"),
    "size": ({"fleet-options": '{"size": "huge"}'}, "size is 'huge', .* choose one of s-1vcpu-1gb"),
    "slug": ({"fleet-options": '{"image": "debian"}'}, "image is 'debian', neither a file .*"),
    "region without the image": (
        {"fleet-options": '{"image": "rockylinux-9-x64"}'},
        "image rockylinux-9-x64 is not offered in region ams3, but in nyc3; choose another",
    ),
    "quota": ({"regions": '{"ams3": 26}'}, "may have 25 droplets and has 0 others, so that 26"),
    "price": (
        {"max-hourly-usd": "0.05"},
        "e3:max-hourly-usd: 6 droplets of size s-1vcpu-2gb cost 0.107 USD an hour, more than 0.05",
    ),
    "price as a word": ({"max-hourly-usd": "little"}, "max-hourly-usd is 'little': expected"),
    "no time": ({"expires-hours": "0"}, "e3:expires-hours: 0 must be above 0"),
    "domain": ({"domain": "example.com"}, "e3:domain: 'example.com' is not a domain"),
    "hosts": ({"hosts": "some"}, "hosts-wanted is 'some'"),
    "links": ({"links": '{"all": {"loss": 0.1}}'}, "e3:links: only the lab's links can be changed"),
    "nats": ({"nats": '{"ams3": "cgnat"}'}, "e3:nats: droplets have public addresses"),
    "image absent": ({"fleet-options": '{"image": "F/none.gz"}'}, "there is no such file; build"),
    "wrong kind": (
        {"fleet-options": '{"image": "F/image.txt"}'},
        "image.txt is not of a kind that DigitalOcean takes: raw, qcow2",
    ),
    "spaces": (
        {"fleet-options": '{"image": "F/image.qcow2", "spaces-region": "nyc1"}'},
        "spaces-region is 'nyc1', which has no Spaces; choose one of ams3",
    ),
    "key": ({"fleet-options": '{"key": "F/id_ed25519"}'}, "is not known to this account; add its"),
    "no public half": (
        {"fleet-options": '{"key": "F/image.txt"}'},
        "image.txt.pub does not",
    ),
}


@pytest.mark.parametrize("case", CONFIGURATION)
def test_configuration(cloud: Cloud, folder: Path, case: str) -> None:
    values, sentence = CONFIGURATION[case]
    placed = {key: value.replace("F/", f"{folder}/") for key, value in values.items()}
    before = cloud.inventory()
    said = refusal(cloud, placed)
    assert re.search(sentence, said), said
    assert cloud.inventory() == before


ENVIRONMENT = {
    "no token": ("DIGITALOCEAN_TOKEN", "", "DIGITALOCEAN_TOKEN is not set; make a token"),
    "token": ("DIGITALOCEAN_TOKEN", "dop_v1_x", "DIGITALOCEAN_TOKEN is not accepted by"),
    "no keys": ("SPACES_ACCESS_KEY_ID", "", "SPACES_ACCESS_KEY_ID is not set; an image"),
    "keys": ("SPACES_ACCESS_KEY_ID", "DO00X", "SPACES_ACCESS_KEY_ID is not a key of Spaces"),
    "no network": ("DIGITALOCEAN_API_URL", "http://127.0.0.1:1", "does not answer: "),
}


@pytest.mark.parametrize("case", ENVIRONMENT)
def test_environment(
    cloud: Cloud, folder: Path, case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, value, sentence = ENVIRONMENT[case]
    monkeypatch.setenv(name, value)
    options = f'{{"image": "{folder}/image.qcow2"}}'
    assert sentence in refusal(cloud, {"fleet-options": options})


def test_clock(cloud: Cloud, folder: Path) -> None:
    options = f'{{"image": "{folder}/image.qcow2"}}'
    with cloud.faults.on(skew_seconds=3600):
        said = refusal(cloud, {"fleet-options": options})
    assert "this machine's clock is off by more than 15 minutes" in said


def test_a_campaign_says_what_it_costs_and_no_more_is_spent(
    cloud: Cloud, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)

    def estimated(most_usd: float) -> list[str]:
        placed = {"fleet": "digitalocean", "regions": {"ams3": 3}, "max-hourly-usd": most_usd}
        asked = matrix.parse(
            {
                "name": "trial",
                "overlays": {"nebula": None},
                "scenarios": {"near": placed},
                "programs": {"hello": {"program": "demos/helloworld.py"}},
            },
            "trial.yaml",
        )
        with cloud.room.inside():
            return list(estimate.lines(asked, folder, jobs=1))

    before = cloud.inventory()
    assert re.search(r"money: at most 0\.\d\d USD: up to 0\.054 USD an hour", estimated(1)[-1])
    with pytest.raises(E3Error, match=r"3 droplets of size \S+ cost 0\.054 USD an hour, more"):
        estimated(0.05)
    assert cloud.inventory() == before
