"""A survey of the machines of an inventory as a resource: before it, nothing is made."""

from collections.abc import Mapping
from typing import Any

from pulumi import Output, ResourceOptions
from pulumi.dynamic import (
    CreateResult,
    DiffResult,
    ReadResult,
    Resource,
    ResourceProvider,
    UpdateResult,
)

from e3.inventory import machines
from e3.inventory.survey import survey
from e3.overlays import OVERLAYS
from e3.providers import run


class SurveyProvider(ResourceProvider):
    """Examines all machines at once."""

    def create(self, props: dict[str, Any]) -> CreateResult:
        """Find out what each machine is; fail if one cannot be used."""
        return CreateResult("survey", {**props, "facts": _facts(props)})

    def update(self, id: str, olds: dict[str, Any], news: dict[str, Any]) -> UpdateResult:  # noqa: A002
        """Examine them again."""
        del id, olds
        return UpdateResult({**news, "facts": _facts(news)})

    def diff(self, id: str, olds: dict[str, Any], news: dict[str, Any]) -> DiffResult:  # noqa: A002
        """Examine again when the file or the overlay changed."""
        del id
        inputs = ("machines", "overlay", "installPackages")
        return DiffResult(changes=any(olds.get(key) != news.get(key) for key in inputs))

    def read(self, id_: str, props: dict[str, Any]) -> ReadResult:
        """Keep what is known: a machine may be unreachable for a while."""
        return ReadResult(id_, props)


def _facts(props: Mapping[str, Any]) -> dict[str, Any]:
    needs = OVERLAYS[props["overlay"]].needs
    listed = {name: machines.from_properties(values) for name, values in props["machines"].items()}
    found = run(survey(listed, needs, install_packages=props["installPackages"]))
    return {name: facts.to_properties() for name, facts in found.items()}


class Survey(Resource, module="e3", name="Survey"):
    """What each machine is; ``facts`` are properties of `e3.inventory.survey.Facts` by host."""

    facts: Output[Mapping[str, Any]]

    def __init__(
        self,
        name: str,
        *,
        machines: Mapping[str, Mapping[str, Any]],
        overlay: str,
        install_packages: bool,
        opts: ResourceOptions | None = None,
    ) -> None:
        """Declare the survey; ``machines`` are their properties by host."""
        super().__init__(
            SurveyProvider(),
            name,
            {
                "machines": machines,
                "overlay": overlay,
                "installPackages": install_packages,
                "facts": None,
            },
            opts,
        )
