"""Declare the joint authority of a stack, with the hosts that hold its key."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, cast

from pulumi import Input, Output, ResourceOptions

from e3.authority.choices import Joint, agreed
from e3.authority.joint.policy import ANYBODY
from e3.authority.joint.requests.credential import RESERVED
from e3.ceremonies import credentials, ssh
from e3.ceremonies.tls import EARLIER_SECONDS
from e3.errors import ConfigurationError
from e3.experiment import Experiment
from e3.interfaces import Certified, Overlay
from e3.party.admission import certified
from e3.providers.joint_authority import JointAuthority
from e3.session.certificates import MARGIN_SECONDS

DAY_SECONDS = 86_400
FOLDER = "authority"


def declare(  # noqa: PLR0913 - what an authority is made of
    name: str,
    experiment: Experiment,
    options: Joint,
    made: Sequence[Output[Mapping[str, Any]]],
    *,
    purpose: str,
    scope: Mapping[str, object],
    version: int = 2,
    opts: ResourceOptions | None,
) -> Mapping[str, Input[Any]]:
    """Declare the authority of one purpose; return what resources need to let it sign.

    ``version`` is that of the encoding of its certificates, where there are several.
    """
    holders, threshold = agreed(options, experiment.host_names)
    hosts = [
        host for each, host in zip(experiment.host_names, made, strict=True) if each in holders
    ]
    folder = experiment.folder / FOLDER
    authority = JointAuthority(
        name,
        purpose=purpose,
        title=f"E3 {experiment.stack}",
        hosts=hosts,
        holders=holders,
        threshold=threshold,
        scope=scope,
        refresh_seconds=options.refresh_days * DAY_SECONDS,
        folder=folder,
        version=version,
        opts=opts,
    )
    return {
        "certificate": authority.certificate,
        "joint": {
            "purpose": purpose,
            "publicKey": authority.publicKey,
            "hosts": hosts,
            "folder": str(folder),
            "threshold": threshold,
        },
    }


def overlay_scope(experiment: Experiment, overlay: Overlay) -> Mapping[str, object]:
    """Return what the holders agree to certify for an overlay."""
    terms = cast("Certified", overlay).terms
    return {
        "names": list(experiment.host_names),
        "networks": [str(overlay.range)] if overlay.range else [],
        "groups": list(terms.groups),
        "most_seconds": round(terms.valid_seconds),
        "key_file": terms.key_file,
    }


def credential_scope(experiment: Experiment, options: Joint) -> Mapping[str, object]:
    """Return what the holders agree to say in credentials; `ConfigurationError` for a bad claim."""
    for name in options.claims:
        if name in RESERVED or not re.fullmatch(r"[a-z][A-Za-z0-9]{0,63}", name):
            raise ConfigurationError(
                f"e3:authority-options: claims has {name!r}; a claim begins with a small letter, "
                f"has letters and digits alone, and is not {' or '.join(sorted(RESERVED))}"
            )
    return {
        "names": [ANYBODY],
        "most_seconds": credentials.LONGEST_SECONDS,
        "claims": {name: list(values) for name, values in options.claims.items()},
        "status_url": credentials.status_url(experiment.stack),
    }


def ssh_scope(experiment: Experiment, host_key: str) -> Mapping[str, object]:
    """Return what the holders agree to certify for OpenSSH: each host, and the deployer as root.

    ``host_key`` is where each host has its public key.
    """
    return {
        "names": list(experiment.host_names),
        "most_seconds": ssh.SECONDS,
        "users": {ssh.USER: [ssh.LOGIN]},
        "key_file": host_key,
    }


def party_scope(experiment: Experiment) -> Mapping[str, object]:
    """Return what the holders agree to certify for the TLS of sessions."""
    seconds = experiment.session.deadline_seconds + MARGIN_SECONDS + EARLIER_SECONDS
    return {
        "names": [certified(pid) for pid in range(len(experiment.host_names))],
        "networks": [],
        "groups": [],
        "most_seconds": round(max(seconds, DAY_SECONDS)),
    }
