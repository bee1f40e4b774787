"""One run of a program by all its parties, as a resource; run again when its inputs change."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from pulumi import Input, Output, ResourceOptions
from pulumi.dynamic import CreateResult, DiffResult, Resource, ResourceProvider, UpdateResult

from e3.access import host_from_properties
from e3.errors import SessionError
from e3.experiment import Choice, Experiment, Rules
from e3.interfaces import (
    AddressTrust,
    Authority,
    Host,
    Network,
    PairPath,
    Paths,
    decode_address_trust,
)
from e3.overlays import OVERLAYS
from e3.providers import run, tell
from e3.registry import build
from e3.session import programs
from e3.session.paths import Look
from e3.session.plan import Plan, plan
from e3.session.progress import NullObserver
from e3.session.run_session import SessionSpec, run_session
from e3.session.verdicts import Verdict


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


def _run_session(props: dict[str, Any]) -> dict[str, Any]:
    hosts = [host_from_properties(host) for host in props["hosts"]]
    result = run(
        run_session(
            SessionSpec(
                plan=_plan(props),
                hosts=hosts,
                overlay=props["overlay"],
                sessions=Path(props["folder"]) / "sessions",
                deadline_seconds=props["deadline"],
                paths=msgspec.convert(props["paths"], list[PairPath]),
                look=_look(props, hosts),
                rules=msgspec.convert(props["rules"], Rules, strict=False),
                address_trust=decode_address_trust(props["sources"]),
                authority=_authority(props.get("tls")),  # Pulumi drops what is None
                observer=StderrObserver(),
            )
        )
    )
    if result.verdict is not Verdict.COMPLETED:
        raise SessionError(
            f"session {result.id} {result.verdict}: {result.reason}; {result.advice} "
            f"(evidence: {result.evidence})"
        )
    return {**props, "tls": None, "result": result.to_properties()}


def _look(props: Mapping[str, Any], hosts: Sequence[Host]) -> Look:
    """Return what asks the overlay that joined the hosts for their paths."""
    choice = Choice(name=props["overlay"], options=props["options"])
    overlay = build(OVERLAYS, choice, key="overlay")
    network = msgspec.convert(
        {"addresses": props["addresses"], "memory": props.get("memory") or {}}, Network
    )

    async def look() -> Paths:
        return await overlay.paths(hosts, network)

    return look


def _authority(tls: Mapping[str, str] | None) -> Authority | None:
    if not tls:
        return None
    from e3.authority.x509 import X509Authority  # noqa: PLC0415 -- most stacks need no cryptography

    return X509Authority(certificate=tls["certificate"], key=tls["key"])


def _plan(props: Mapping[str, Any]) -> Plan:
    return plan(
        hosts=[host_from_properties(host) for host in props["hosts"]],
        addresses=props["addresses"],
        program=programs.load(Path(props["program"]), args=props["args"]),
        parties=int(props["parties"]),
        trigger=props["trigger"],
        private_args=props.get("private"),
    )


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
        address_trust: AddressTrust,
        tls: Mapping[str, Input[str]] | None,
        opts: ResourceOptions | None = None,
    ) -> None:
        """Declare the run of ``experiment``'s program on ``hosts`` at ``addresses``.

        ``address_trust`` is what these prove, ``memory`` what the overlay keeps;
        ``tls`` has certificate and key of an authority.
        """
        program = experiment.program
        props = {
            "program": str(program.path),
            "args": list(program.args),
            "parties": experiment.parties,
            "trigger": experiment.trigger,
        }
        private = {host: list(args) for host, args in experiment.private_args.items()}
        rules = msgspec.to_builtins(experiment.rules)
        # other limits need no new run of a session that has completed
        deciding = {name: rules[name] for name in ("compare", "tls", "unpickle")}
        known = Output.all(hosts=Output.all(*hosts), addresses=addresses)
        super().__init__(
            RunProvider(),
            name,
            {
                **props,
                "hosts": hosts,
                "addresses": addresses,
                "paths": paths,
                "memory": memory,
                "overlay": experiment.overlay.name,
                "options": experiment.overlay.options,
                "deadline": experiment.deadline_seconds,
                "rules": rules,
                "sources": address_trust,  # the name of the property in older states
                "tls": tls,
                "private": Output.secret(private) if private else None,
                "folder": str(experiment.folder),
                "inputs": known.apply(
                    lambda values: {**_plan({**props, **values}).inputs, **deciding}
                ),
                "result": None,
            },
            ResourceOptions.merge(opts, ResourceOptions(additional_secret_outputs=["private"])),
        )
