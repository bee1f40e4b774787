"""From an experiment to resources: the only file that knows fleet, overlay and session."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any, cast

from pulumi import Alias, Input, Output, Resource, ResourceOptions

from e3 import outputs, preflight
from e3.access import client_config, host_from_properties
from e3.authority.choices import AUTHORITIES, Joint
from e3.components import colmena
from e3.components.session import Session
from e3.errors import ConfigurationError
from e3.experiment import Experiment
from e3.fleets import FLEETS, Made
from e3.interfaces import Certified, Overlay
from e3.on_demand import OnDemand
from e3.overlays import OVERLAYS
from e3.providers.authority import NebulaAuthority
from e3.providers.overlay import JoinedOverlay
from e3.providers.ssh_config import SshConfig
from e3.providers.tls_authority import TlsAuthority
from e3.registry import build
from e3.session.plan import seat

LOCAL_AUTHORITIES = {"nebula": NebulaAuthority}
CREDENTIALS: OnDemand[Callable[..., Mapping[str, Output[str]]]] = OnDemand(
    {"tailnet": "e3.components.tailnet_key:tailnet_key"}
)
"""What a stack makes at a service so that its hosts are admitted, by `Needs.credential`."""


def deploy(experiment: Experiment) -> Mapping[str, Output[Any]]:
    """Declare everything that ``experiment`` needs and return the stack's outputs.

    Raises an `E3Error` for what is wrong with the configuration or this machine, before
    any resource is declared.
    """
    fleet = build(FLEETS, experiment.fleet, key="fleet")
    overlay = build(OVERLAYS, experiment.overlay, key="overlay")
    preflight.check(experiment, overlay, own_programs=fleet.own_programs)
    fleet.check(experiment)
    made = fleet.hosts(experiment, overlay.ingress(), ResourceOptions())
    if not made.hosts:
        return {"hosts": Output.from_input([])}
    config = ssh_config(experiment, made, certified=ssh_certificates(experiment, made))
    joined = JoinedOverlay(
        experiment.overlay.name,
        choice=experiment.overlay,
        hosts=made.hosts,
        authority=authority(experiment, overlay, made.hosts),
        secrets=_secrets(experiment, overlay, made),
        opts=ResourceOptions(
            depends_on=[*made.proof, *_hive(made, config)],
            # another overlay replaces the one before, which is removed first: its interfaces would
            # be taken for ways to other hosts, and what it relays for direct paths
            aliases=[Alias(name=each) for each in OVERLAYS if each != experiment.overlay.name],
        ),
    )
    credentials(experiment, made.hosts)
    made.publish(joined.addresses)
    session = Session(
        "session",
        experiment=experiment,
        hosts=made.hosts,
        overlay=joined,
        tls=tls(experiment, made.hosts),
        measured=made.measured,
    )
    members = Output.all(hosts=Output.all(*made.hosts), addresses=joined.addresses).apply(
        lambda known: _members(experiment, **known)
    )
    exports: dict[str, Output[Any]] = {
        name: members.apply(render) for name, render in outputs.ANYWHERE.items()
    }
    exports["session"] = session.result.apply(outputs.session)
    if config is not None:
        exports["ssh_config"] = config.path
        for name, through in outputs.BY_SSH.items():
            exports[name] = Output.all(members, config.path).apply(partial(_apply, through))
    return exports


def ssh_config(
    experiment: Experiment,
    made: Made,
    opts: ResourceOptions | None = None,
    certified: tuple[Input[str], Resource] | None = None,
) -> SshConfig | None:
    """Declare the configuration by which OpenSSH reaches the hosts, if it can.

    ``certified`` is the key that certifies the hosts' keys, and the resource that does.
    """
    if not made.ssh_blocks:
        return None
    path = str(experiment.folder / "ssh_config")
    blocks = list(made.ssh_blocks)
    if certified is not None:
        key, certificates = certified
        by_key = [
            Output.from_input(key).apply(partial(_known, name)) for name in experiment.host_names
        ]
        blocks = [each for pair in zip(by_key, blocks, strict=True) for each in pair]
        opts = ResourceOptions.merge(opts, ResourceOptions(depends_on=[certificates]))
    return SshConfig("ssh-config", path=path, blocks=Output.all(*blocks), opts=opts)


def _known(host: str, authority: str) -> str:
    return client_config.certified(host, authority)


def ssh_certificates(
    experiment: Experiment,
    made: Made,
    name: str = "ssh-authority",
    opts: ResourceOptions | None = None,
) -> tuple[Input[str], Resource] | None:
    """Declare the authority that certifies hosts for OpenSSH, if it is asked for."""
    kind = build(AUTHORITIES, experiment.authority, key="authority")
    if not isinstance(kind, Joint) or not kind.ssh:
        return None
    if made.certifiable is None:
        raise ConfigurationError(
            "e3:authority-options: ssh is true, but E3 sets up sshd on hosts of a lab alone, and "
            "there for root; take it out: ssh_config checks other hosts by their own keys"
        )
    from e3.components import joint  # noqa: PLC0415 -- most stacks have none
    from e3.providers.ssh_certificates import SshCertificates  # noqa: PLC0415 -- the same

    scope = joint.ssh_scope(experiment, made.certifiable.host_key)
    given = joint.declare(name, experiment, kind, made.hosts, purpose="ssh", scope=scope, opts=opts)
    certificates = SshCertificates(
        "ssh-certificates",
        hosts=made.hosts,
        authority=given,
        files=asdict(made.certifiable),
        opts=opts,
    )
    return given["certificate"], certificates


def _hive(made: Made, config: SshConfig | None) -> list[Resource]:
    """Return the resource that installs NixOS on the hosts, if the fleet names a hive."""
    if not made.hive or config is None:
        return []
    return [colmena.apply_hive(made.hive, made.hosts, config.path)]


def authority(
    experiment: Experiment,
    overlay: Overlay,
    hosts: Sequence[Output[Mapping[str, Any]]],
    name: str = "authority",
    opts: ResourceOptions | None = None,
) -> Mapping[str, Input[Any]] | None:
    """Declare the authority that signs the certificates of an overlay, if it needs one."""
    encoding = overlay.needs.authority
    if encoding is None:
        return None
    kind = build(AUTHORITIES, experiment.authority, key="authority")
    version = cast("Certified", overlay).terms.version
    if isinstance(kind, Joint):
        from e3.components import joint  # noqa: PLC0415 -- most stacks have none

        scope = joint.overlay_scope(experiment, overlay)
        return joint.declare(
            name,
            experiment,
            kind,
            hosts,
            purpose=encoding,
            scope=scope,
            version=version,
            opts=opts,
        )
    title = f"E3 {experiment.stack}"
    made = LOCAL_AUTHORITIES[encoding](name, title=title, version=version, opts=opts)
    return {"certificate": made.certificate, "key": made.key}


def _secrets(experiment: Experiment, overlay: Overlay, made: Made) -> Mapping[str, Output[str]]:
    """Return options of the overlay that no configuration holds."""
    kind = overlay.needs.credential
    if kind is None:
        return {}
    hosts = dict(zip(experiment.host_names, made.hosts, strict=True))
    return CREDENTIALS[kind](experiment.stack, overlay, hosts, plain_ssh=made.plain_ssh)


def tls(
    experiment: Experiment,
    hosts: Sequence[Output[Mapping[str, Any]]],
    name: str = "tls-authority",
    opts: ResourceOptions | None = None,
) -> Mapping[str, Input[Any]] | None:
    """Declare the authority that certifies the parties' keys, if the session asks for TLS."""
    if not experiment.session.rules.tls:
        return None
    kind = build(AUTHORITIES, experiment.authority, key="authority")
    if isinstance(kind, Joint):
        from e3.components import joint  # noqa: PLC0415 -- most stacks have none

        scope = joint.party_scope(experiment)
        return joint.declare(name, experiment, kind, hosts, purpose="tls", scope=scope, opts=opts)
    made = TlsAuthority(name, title=f"E3 {experiment.stack}", opts=opts)
    return {"certificate": made.certificate, "key": made.key}


def credentials(
    experiment: Experiment,
    hosts: Sequence[Output[Mapping[str, Any]]],
    name: str = "credential-authority",
    opts: ResourceOptions | None = None,
) -> Mapping[str, Input[Any]] | None:
    """Declare the authority that issues credentials, if it is told what they may claim."""
    kind = build(AUTHORITIES, experiment.authority, key="authority")
    if not isinstance(kind, Joint) or not kind.claims:
        return None
    from e3.components import joint  # noqa: PLC0415 -- most stacks have none

    scope = joint.credential_scope(experiment, kind)
    return joint.declare(
        name, experiment, kind, hosts, purpose="credentials", scope=scope, opts=opts
    )


def _members(
    experiment: Experiment, hosts: list[Mapping[str, Any]], addresses: Mapping[str, str]
) -> list[outputs.HostOutput]:
    known = [host_from_properties(host) for host in hosts]
    pids = {host.name: pid for pid, host in enumerate(seat(known, experiment.session.parties))}
    return [
        outputs.HostOutput(host=host, overlay=addresses[host.name], pid=pids.get(host.name))
        for host in known
    ]


def _apply(render: Callable[..., object], arguments: Sequence[Any]) -> object:
    return render(*arguments)
