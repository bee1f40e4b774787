"""The session of a stack, as `pulumi up` shows it."""

from collections.abc import Mapping, Sequence
from typing import Any

from pulumi import ComponentResource, Input, Output, Resource, ResourceOptions

from e3.experiment import Experiment
from e3.providers.overlay import JoinedOverlay
from e3.providers.session import Run


class Session(ComponentResource):
    """One run of one program by all its parties; `result` is that of `SessionResult`."""

    result: Output[Mapping[str, Any]]

    def __init__(  # noqa: PLR0913 - what a session is made of
        self,
        name: str,
        *,
        experiment: Experiment,
        hosts: Sequence[Output[Mapping[str, Any]]],
        overlay: JoinedOverlay,
        tls: Mapping[str, Input[Any]] | None,
        measured: Sequence[Resource] = (),
        opts: ResourceOptions | None = None,
    ) -> None:
        """Run ``experiment``'s program on ``hosts`` once ``overlay`` has joined them.

        ``tls`` has certificate and key of an authority. ``measured`` are resources that must exist
        before it runs.
        """
        super().__init__("e3:session:Session", name, None, opts)
        run = Run(
            experiment.program.name,
            experiment=experiment,
            hosts=hosts,
            addresses=overlay.addresses,
            memory=overlay.memory,
            paths=overlay.paths,
            tls=tls,
            opts=ResourceOptions(parent=self, depends_on=measured),
        )
        self.result = run.result
        self.register_outputs({"result": run.result})
