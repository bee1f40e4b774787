"""The round trips of a lab as a resource: measured once all hosts are there."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pulumi import Input, Output, ResourceOptions
from pulumi.dynamic import CreateResult, DiffResult, Resource, ResourceProvider, UpdateResult

from e3.lab import client


class RoundTripsProvider(ResourceProvider):
    """Measures, and fails if the lab does not have the round-trip times asked for."""

    def create(self, props: dict[str, Any]) -> CreateResult:
        """Measure each pair of regions."""
        measured = client.Lab(Path(props["folder"])).measure()
        table = {f"{one}-{other}": round(rtt_ms, 3) for (one, other), rtt_ms in measured.items()}
        return CreateResult(props["folder"], {**props, "measuredMs": table})

    def update(self, id: str, olds: dict[str, Any], news: dict[str, Any]) -> UpdateResult:  # noqa: A002 - Pulumi's name
        """Measure again."""
        del id, olds
        return UpdateResult(self.create(news).outs)

    def diff(self, id: str, olds: dict[str, Any], news: dict[str, Any]) -> DiffResult:  # noqa: A002 - Pulumi's name
        """Measure again when hosts or the times asked for have changed."""
        del id
        return DiffResult(changes=any(olds[key] != news[key] for key in ("hosts", "askedMs")))


class RoundTrips(Resource, module="e3", name="RoundTrips"):
    """The round trip of each pair of regions; ``measured_ms`` by ``<region>-<region>``."""

    measured_ms: Output[Mapping[str, float]]

    def __init__(
        self,
        name: str,
        *,
        folder: Input[str],
        hosts: Sequence[Input[str]],
        asked_ms: Mapping[str, Mapping[str, float]],
        opts: ResourceOptions | None = None,
    ) -> None:
        """Declare the measurement; ``hosts`` are the hosts' ids, ``asked_ms`` a row a region."""
        super().__init__(
            RoundTripsProvider(),
            name,
            {"folder": folder, "hosts": hosts, "askedMs": asked_ms, "measuredMs": None},
            opts,
        )
