"""E3's building blocks for a Pulumi program of somebody else.

    from e3 import Lab, Overlay, Session

    lab = Lab(regions={"ams3": 2, "sgp1": 1})
    overlay = Overlay("nebula", lab)
    session = Session("santa", overlay, program="secret_santa.py")
    pulumi.export("verdict", session.verdict)

Each takes the settings that README.md lists as configuration keys, with ``_``
for ``-``. A mistake ends the program with a sentence that names key, value and remedy, before
anything is made. A stack has one lab, any number of overlays with ranges of their own, and any
number of sessions, which take turns. Paths are relative to the working directory, the project.
"""

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pulumi
from pulumi import ComponentResource, Output, ResourceOptions

from e3 import config, deployment, preflight
from e3.errors import ConfigurationError, E3Error
from e3.experiment import Experiment, Program
from e3.fleets import FLEETS
from e3.overlays import OVERLAYS
from e3.providers.overlay import JoinedOverlay
from e3.providers.session import Run
from e3.registry import build

NO_PROGRAM = Program(path=Path(), entry="", digest="")
"""The program of an experiment that has no session yet."""


class Lab(ComponentResource):
    """Hosts on this machine, in emulated regions; ``hosts`` has name, region and address of each.

    Takes the keys ``regions``, ``latency_ms``, ``links`` and ``nats``. ``ssh_config`` is the path
    of a configuration of OpenSSH, None without root. ``pulumi destroy`` removes all of it.
    """

    hosts: Output[Sequence[Mapping[str, Any]]]
    ssh_config: Output[str | None]

    def __init__(
        self, name: str = "lab", *, opts: ResourceOptions | None = None, **settings: object
    ) -> None:
        """Declare the lab, its regions and its hosts."""
        super().__init__("e3:library:Lab", name, None, opts)
        self.settings = {key.replace("_", "-"): value for key, value in settings.items()}
        self.overlays: list[Overlay] = []
        with _plainly():
            allowed = {"regions", "latency-ms", "links", "nats"}
            if wrong := sorted(set(self.settings) - allowed):
                raise ConfigurationError(
                    f"Lab: unknown setting {wrong[0]!r}; choose one of {', '.join(sorted(allowed))}"
                )
            experiment = self.experiment({}, NO_PROGRAM)
            fleet = build(FLEETS, experiment.fleet, key="fleet")
            fleet.check(experiment)
            self.made = fleet.hosts(experiment, (), ResourceOptions(parent=self))
        ssh = deployment.ssh_config(experiment, self.made, ResourceOptions(parent=self))
        self.ssh_config = Output.from_input(None) if ssh is None else ssh.path
        self.hosts = Output.all(*self.made.hosts).apply(
            lambda known: [{key: host[key] for key in SHOWN} for host in known]
        )
        self.register_outputs({"hosts": self.hosts, "ssh_config": self.ssh_config})

    def experiment(self, settings: Mapping[str, object], program: Program | None) -> Experiment:
        """Return the experiment of this lab with further settings."""
        known = {**self.settings, **settings}
        texts = {
            key: value if isinstance(value, str) else json.dumps(value)
            for key, value in known.items()
            if value is not None
        }
        return config.parse(pulumi.get_stack(), texts, program=program)


SHOWN = ("name", "region", "underlay")


class Overlay(ComponentResource):
    """The hosts of a lab, joined; ``addresses`` by host, ``paths`` of each ordered pair.

    ``kind`` is the overlay, by default the resource's name; ``options`` are those that
    docs/overlays.md lists, with ``_`` or ``-``.
    """

    addresses: Output[dict[str, str]]
    paths: Output[list[dict[str, Any]]]
    joined: JoinedOverlay

    def __init__(
        self,
        name: str,
        lab: Lab,
        *,
        kind: str = "",
        options: Mapping[str, object] | None = None,
        opts: ResourceOptions | None = None,
    ) -> None:
        """Join the hosts of ``lab``; a later overlay of it waits for an earlier one."""
        super().__init__("e3:library:Overlay", name, None, opts)
        self.lab = lab
        self.settings = {"overlay": kind or name, "overlay-options": dict(options or {})}
        with _plainly():
            experiment = lab.experiment(self.settings, NO_PROGRAM)
            self.choice = experiment.overlay
            overlay = build(OVERLAYS, experiment.overlay, key="overlay")
            if overlay.needs.credential:
                raise ConfigurationError(
                    f"Overlay: {self.choice.name} needs a credential, which only E3's own program "
                    "makes; choose another"
                )
            preflight.check(experiment, overlay, own_programs=True)
            self.range = overlay.range
            self._check_others()
        authority = deployment.authority(
            experiment,
            overlay,
            lab.made.hosts,
            f"{name}-authority",
            ResourceOptions(parent=self),
        )
        self.joined = JoinedOverlay(
            name,
            choice=self.choice,
            hosts=lab.made.hosts,
            authority=authority,
            opts=ResourceOptions(
                parent=self, depends_on=[*lab.made.proof, *(it.joined for it in lab.overlays)]
            ),
        )
        lab.overlays.append(self)
        self.addresses, self.paths = self.joined.addresses, self.joined.paths
        self.register_outputs({"addresses": self.addresses})

    def _check_others(self) -> None:
        """Raise `ConfigurationError` if another overlay of the lab is in the way."""
        for other in self.lab.overlays:
            if other.choice.name == self.choice.name:
                raise ConfigurationError(
                    f"Overlay: the lab's hosts are joined by {self.choice.name} already; "
                    "take another kind, or another stack"
                )
            if self.range and other.range and self.range.overlaps(other.range):
                raise ConfigurationError(
                    f"Overlay: {self.choice.name} has the range {self.range}, which overlaps that "
                    f"of {other.choice.name}; give it one of its own, such as "
                    'options={"range": "10.80.0.0/16"}'
                )


class Session(ComponentResource):
    """One run of one MPyC program by parties on joined hosts.

    Takes the keys of a session: ``program``, ``args``, ``parties``, ``private_args``, ``compare``,
    ``tls``, ``limits``, ``deadline_seconds``, ``network``, ``unpickle``, ``trigger``. It runs again
    when these or the addresses change. ``result`` is what docs/json.md says of `e3 run`. A session
    that does not complete makes `pulumi up` fail with its reason.
    """

    result: Output[Mapping[str, Any]]
    verdict: Output[str]

    def __init__(
        self,
        name: str,
        overlay: Overlay,
        *,
        opts: ResourceOptions | None = None,
        **settings: object,
    ) -> None:
        """Run the program once ``overlay`` has joined the hosts."""
        super().__init__("e3:library:Session", name, None, opts)
        own: dict[str, Any] = {key.replace("_", "-"): value for key, value in settings.items()}
        with _plainly():
            if "program" not in own:
                raise ConfigurationError("Session: program is missing; name a file or folder")
            wrong = sorted(set(own) & {*overlay.lab.settings, *overlay.settings, "fleet"})
            if wrong:
                raise ConfigurationError(f"Session: {wrong[0]} is a setting of lab or overlay")
            own["program"] = str(own["program"])
            if isinstance(own.get("args"), (list, tuple)):
                own["args"] = shlex.join(map(str, own["args"]))
            experiment = overlay.lab.experiment({**overlay.settings, **own}, None)
        run = Run(
            name,
            experiment=experiment,
            hosts=overlay.lab.made.hosts,
            addresses=overlay.joined.addresses,
            memory=overlay.joined.memory,
            paths=overlay.joined.paths,
            tls=deployment.tls(
                experiment, overlay.lab.made.hosts, f"{name}-tls", ResourceOptions(parent=self)
            ),
            opts=ResourceOptions(parent=self, depends_on=overlay.lab.made.measured),
        )
        self.result = run.result
        self.verdict = run.result.apply(lambda result: str(result["verdict"]))
        self.register_outputs({"result": self.result})


@contextmanager
def _plainly() -> Iterator[None]:
    """Let Pulumi show a mistake as a sentence, without a traceback."""
    try:
        yield
    except E3Error as error:
        raise pulumi.RunError(str(error)) from error
