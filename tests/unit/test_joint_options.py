"""Options of a joint authority: what cannot be is named, before anything is made."""

import json

import pytest

from e3 import deployment
from e3.authority.choices import AUTHORITIES, Joint, agreed
from e3.components import joint
from e3.config import parse
from e3.errors import ConfigurationError
from e3.experiment import Experiment
from e3.fleets import Made
from e3.registry import build

pytestmark = pytest.mark.unit


def experiment(**options: object) -> Experiment:
    values = {
        "program": "demos/helloworld.py",
        "regions": '{"ams3": 3}',
        "authority": "joint",
        "authority-options": json.dumps(options),
    }
    return parse("trial", values)


def options(made: Experiment) -> Joint:
    kind = build(AUTHORITIES, made.authority, key="authority")
    assert isinstance(kind, Joint)
    return kind


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        pytest.param({"holders": ["mars1-0"]}, "'mars1-0', and there is no such host", id="host"),
        pytest.param({"threshold": 4}, "threshold is 4 for 3 holders", id="many"),
        pytest.param({"threshold": 1}, "threshold is 1 for 3 holders", id="one alone"),
    ],
)
def test_holders_and_threshold_that_cannot_be_are_named(
    given: dict[str, object], reason: str
) -> None:
    made = experiment(**given)
    with pytest.raises(ConfigurationError, match=reason):
        agreed(options(made), made.host_names)


@pytest.mark.parametrize("name", ["Role", "id", "type", "a b", "", "r\n"])
def test_claims_that_no_credential_can_have_are_named(name: str) -> None:
    made = experiment(claims={name: ["x"]})
    with pytest.raises(ConfigurationError, match="e3:authority-options: claims has"):
        joint.credential_scope(made, options(made))


def test_claims_become_what_holders_agree_on() -> None:
    made = experiment(claims={"role": ["auditor"], "note": []})
    scope = joint.credential_scope(made, options(made))
    assert scope["claims"] == {"role": ["auditor"], "note": []}
    assert scope["status_url"] == "urn:e3:status:trial"


def test_hosts_whose_sshd_is_not_ours_are_not_certified() -> None:
    with pytest.raises(ConfigurationError, match="e3:authority-options: ssh is true"):
        deployment.ssh_certificates(experiment(ssh=True), Made(hosts=[]))
    assert deployment.ssh_certificates(experiment(), Made(hosts=[])) is None
