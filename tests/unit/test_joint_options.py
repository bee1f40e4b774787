"""Options of a joint authority: what cannot be is named, before anything is made."""

import json
import time

import pytest

from e3 import deployment
from e3.authority.choices import AUTHORITIES, Joint, agreed
from e3.components import joint
from e3.config import parse
from e3.errors import ConfigurationError
from e3.experiment import Experiment
from e3.fleets import Made
from e3.overlays.nebula import SECRETS, Nebula
from e3.providers.authority import AuthorityProvider
from e3.providers.joint_authority import JointAuthorityProvider
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


@pytest.mark.parametrize(
    ("version", "known", "replaced"), [(2, None, False), (1, None, True), (1, 1, False)]
)
@pytest.mark.parametrize("kind", ["local", "joint"])
def test_another_encoding_of_certificates_takes_another_authority(
    kind: str, version: int, known: int | None, *, replaced: bool
) -> None:
    """States of an older E3 do not say which they have; it was the second."""
    now = time.time()
    ages = {"notAfter": now + 3650 * 86_400, "made": now, "refreshSeconds": 86_400.0}
    olds = {"name": "E3 trial", "title": "E3 trial", **ages}
    if known is not None:
        olds["version"] = float(known)  # as in Pulumi's state
    news = {"name": "E3 trial", "title": "E3 trial", "version": version, **ages}
    provider = AuthorityProvider() if kind == "local" else JointAuthorityProvider()
    found = provider.diff("id", olds, news)
    assert (bool(found.changes), bool(found.replaces)) == (replaced, replaced)


def test_holders_are_told_where_nebula_has_the_public_key_of_a_host() -> None:
    made = experiment()
    scope = joint.overlay_scope(made, Nebula())
    assert scope["key_file"] == f"{SECRETS}/host.pub"
    assert Nebula(certificate_version=1).terms.version == 1
