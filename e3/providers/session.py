"""One run of a program by all its parties, as a resource; run again when its inputs change."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from pulumi import Input, Output, ResourceOptions
from pulumi.dynamic import CreateResult, DiffResult, Resource, ResourceProvider, UpdateResult

from e3.access import host_from_properties
from e3.errors import SessionError
from e3.experiment import Choice, Experiment, Program, Rules, SessionSettings
from e3.interfaces import Host, Network
from e3.overlays import OVERLAYS
from e3.paths import PairPath
from e3.providers import run, tell
from e3.registry import build
from e3.session import programs
from e3.session.declarations import declaration
from e3.session.plan import JoinedHosts, plan_settings
from e3.session.progress import NullObserver

if TYPE_CHECKING:
    from e3.session.run_session import SessionSpec


class RunProvider(ResourceProvider):
    """Runs a session; if it does not complete, the deployment fails."""

    def create(self, props: dict[str, Any]) -> CreateResult:
        """Run the session."""
        outs = _run_session(props)
        return CreateResult(outs["result"]["id"], outs)

    def update(self, id: str, olds: dict[str, Any], news: dict[str, Any]) -> UpdateResult:  # noqa: A002 - Pulumi's name
        """Run the session again; while it has not completed, the state keeps the last result."""
        del id, olds
        return UpdateResult(_run_session(news))

    def diff(self, id: str, olds: dict[str, Any], news: dict[str, Any]) -> DiffResult:  # noqa: A002 - Pulumi's name
        """Compare what decides whether a session must run again, and nothing else."""
        del id
        changed = any(olds.get(key) != news.get(key) for key in ("inputs", "private"))
        return DiffResult(changes=changed)


class StderrObserver(NullObserver):
    """Says why the session waits; Pulumi shows that at once."""

    def waiting(self, session: str) -> None:
        """See `e3.session.progress.Observer`."""
        tell(f"waiting for run {session} to end, which has the hosts; see `e3 runs`")

    def preparing(self, what: str) -> None:
        """See `e3.session.progress.Observer`."""
        tell(what)


def _run_session(props: dict[str, Any]) -> dict[str, Any]:
    # the program that declares a session runs none: at the top, this takes a tenth of its time
    from e3.session.run_session import run_session  # noqa: PLC0415
    from e3.session.verdicts import Verdict  # noqa: PLC0415

    result = run(run_session(spec_of(props)))
    if result.verdict is not Verdict.COMPLETED:
        raise SessionError(
            f"session {result.id} {result.verdict}: {result.reason}; {result.advice} "
            f"(evidence: {result.evidence})"
        )
    return {**props, "tls": None, "result": result.to_properties()}


def spec_of(props: Mapping[str, Any]) -> "SessionSpec":
    """Return the session that the properties of a `Run` describe."""
    from e3.ceremonies.given import party_authority  # noqa: PLC0415 -- as in _run_session
    from e3.session.prepare import prepare  # noqa: PLC0415 -- the same

    settings = _settings(props)
    choice = Choice(name=props["overlay"], options=props["options"])
    joined = JoinedHosts(
        hosts=_hosts(props),
        name=choice.name,
        overlay=build(OVERLAYS, choice, key="overlay"),
        network=msgspec.convert(
            {"addresses": props["addresses"], "memory": props.get("memory") or {}}, Network
        ),
        paths=msgspec.convert(props["paths"], list[PairPath]),
    )
    return prepare(
        settings=settings,
        program=programs.load(settings.program, args=settings.args, entry=settings.entry),
        joined=joined,
        sessions=Path(props["folder"]) / "sessions",
        authority=party_authority(props["tls"]) if props.get("tls") else None,
        observer=StderrObserver(),
    )


def _hosts(props: Mapping[str, Any]) -> list[Host]:
    return [host_from_properties(host) for host in props["hosts"]]


def _settings(props: Mapping[str, Any]) -> SessionSettings:
    private = props.get("private") or {}
    return SessionSettings(
        program=Path(props["program"]),
        entry=props.get("entry", ""),
        args=tuple(props["args"]),
        parties=int(props["parties"]),
        trigger=props["trigger"],
        deadline_seconds=props["deadline"],
        rules=msgspec.convert(props["rules"], Rules, strict=False),
        private_args={host: tuple(args) for host, args in private.items()},
        inputs=Path(props["input_folder"]) if props.get("input_folder") else None,
    )


def settings_properties(settings: SessionSettings) -> dict[str, Any]:
    """Return settings as properties of a `Run`; ``private`` of them has to be made a secret."""
    return {
        "program": str(settings.program),
        "entry": settings.entry,
        "args": list(settings.args),
        "parties": settings.parties,
        "trigger": settings.trigger,
        "deadline": settings.deadline_seconds,
        "rules": msgspec.to_builtins(settings.rules),
        "input_folder": str(settings.inputs or ""),  # where it is, and nothing that is in it
        "private": {host: list(args) for host, args in settings.private_args.items()},
    }


def deciding_inputs(
    experiment: Experiment, hosts: Sequence[Mapping[str, Any]], addresses: Mapping[str, str]
) -> dict[str, Any]:
    """Return the inputs whose change makes a session run again."""
    known = [host_from_properties(host) for host in hosts]
    seats = plan_settings(experiment.session, experiment.program, known, addresses)
    rules = msgspec.to_builtins(experiment.session.rules)
    folder = experiment.session.inputs
    return {
        **seats.inputs,
        # other limits need no new run of a session that has completed
        **{name: rules[name] for name in ("compare", "tls", "unpickle")},
        # not what is in it: that is in no state, so only the trigger tells of a change
        **({"input_folder": str(folder)} if folder else {}),
        **_asked(experiment.program, rules["dependencies"]),
    }


def _asked(program: Program, dependencies: str) -> Mapping[str, str]:
    """Return what decides which packages the program gets; nothing if it asks for none."""
    asked = declaration(program) if dependencies != "none" else None
    if asked is None:
        return {}
    from e3.session.requirements import declared  # noqa: PLC0415 -- most programs ask for none

    wanted = declared(asked)
    return {} if wanted is None else {"packages": wanted.digest, "dependencies": dependencies}


class Run(Resource, module="e3", name="Session"):
    """A session; ``result`` is the stack output ``session``."""

    result: Output[Mapping[str, Any]]

    def __init__(  # noqa: PLR0913 - what a session is made of
        self,
        name: str,
        *,
        experiment: Experiment,
        hosts: Sequence[Input[Mapping[str, Any]]],
        addresses: Input[Mapping[str, str]],
        memory: Input[Mapping[str, Any]],
        paths: Input[Sequence[Mapping[str, Any]]],
        tls: Mapping[str, Input[Any]] | None,
        opts: ResourceOptions | None = None,
    ) -> None:
        """Declare the run of ``experiment``'s program on ``hosts`` at ``addresses``.

        ``memory`` is what the overlay keeps; ``tls`` has certificate and key of an authority.
        """
        known = Output.all(hosts=Output.all(*hosts), addresses=addresses)
        settings = settings_properties(experiment.session)
        private = settings["private"]
        super().__init__(
            RunProvider(),
            name,
            {
                **settings,
                "private": Output.secret(private) if private else None,
                "hosts": hosts,
                "addresses": addresses,
                "paths": paths,
                "memory": memory,
                "overlay": experiment.overlay.name,
                "options": experiment.overlay.options,
                "tls": tls,
                "folder": str(experiment.folder),
                "inputs": known.apply(lambda values: deciding_inputs(experiment, **values)),
                "result": None,
            },
            ResourceOptions.merge(opts, ResourceOptions(additional_secret_outputs=["private"])),
        )
