"""What is stated of overlays, and what E3's own code and pages tell of their use.

Nothing here is of a campaign: the sources are facts/overlays.yaml, docs/nat-matrix.yaml (asserted
by ``make nat-matrix``), docs/resilience.yaml (asserted by ``make resilience``), docs/recovery.yaml
(measured in one run of it), and what overlays declare as data (`e3.interfaces.Needs`).
"""

import dataclasses
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations_with_replacement
from pathlib import Path
from typing import Literal

import msgspec
import yaml

from e3.errors import E3Error
from e3.evaluation import nat_matrix
from e3.evaluation.results import OverlayChoice
from e3.experiment import Choice
from e3.interfaces import Needs
from e3.overlays import OVERLAYS
from e3.registry import build

FACTS = Path(__file__).resolve().parents[1] / "facts" / "overlays.yaml"
DOCS = Path(__file__).resolve().parents[3] / "docs"

Grade = Literal["yes", "partly", "no", "open"]


@dataclass(frozen=True, kw_only=True)
class Fact:
    """Something that is stated of an overlay; ``grade`` is ``yes`` for what a cautious user wants.

    ``source`` is an address, or a file of the repository; ``read`` the day on which it was read.
    """

    grade: Grade
    says: str
    source: str
    read: str = ""

    @property
    def link(self) -> str | None:
        """The address of the source; None if it is a file of the repository."""
        return self.source if self.source.startswith("https://") else None


@dataclass(frozen=True, kw_only=True)
class Aspect:
    """A kind of fact."""

    title: str
    about: str


@dataclass(frozen=True, kw_only=True)
class Facts:
    """The content of facts/overlays.yaml: by overlay and aspect."""

    aspects: Mapping[str, Aspect]
    overlays: Mapping[str, Mapping[str, Fact]]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What happens to an overlay in an event of docs/resilience.yaml."""

    facts: Mapping[str, str] = dataclasses.field(default_factory=dict)
    because: str

    @property
    def words(self) -> str:
        """The outcome in a few words; a dash where there is no such event."""
        rest = {key: word for key, word in self.facts.items() if key != "after"}
        if not rest:
            return "–"
        first, *others = rest.items()
        told = [first[1], *(f"{key} {word}" for key, word in others if word != first[1])]
        return ", ".join(told)

    @property
    def survived(self) -> bool | None:
        """Whether sessions lived and all came back by itself; None if there is no such event."""
        if "direct" not in self.facts:
            return None
        lived = all(self.facts.get(key, "lives") == "lives" for key in ("direct", "relayed"))
        return lived and self.facts.get("after", "itself") == "itself"


@dataclass(frozen=True, kw_only=True)
class Event:
    """An event of docs/resilience.yaml."""

    group: str
    what: str


@dataclass(frozen=True, kw_only=True)
class Resilience:
    """The content of docs/resilience.yaml."""

    events: Mapping[str, Event]
    overlays: Mapping[str, Mapping[str, Outcome]]


@dataclass(frozen=True, kw_only=True)
class Recovery:
    """Seconds from the end of an event until all pairs talked; ``by`` is ``up`` after a repair."""

    seconds: float
    by: Literal["itself", "up"] = "itself"


@dataclass(frozen=True, kw_only=True)
class Ease:
    """What an overlay asks of whoever uses it, as its code declares it.

    ``options`` are those with defaults; ``keys`` are the keys of a stack's configuration that say
    what this one is. ``commands`` lead from a clone to a first result. ``builds`` has the programs
    that set-up builds, each with what that usually takes. ``third_party`` is who besides the
    parties' own hosts has to work. ``others`` says what of the other hosts is restarted when a host
    comes or goes, as ``make resilience`` asserts.
    """

    privileges: str
    account: str
    server: str
    public_host: bool
    packages: Sequence[str]
    tools: Sequence[str]
    options: int
    keys: Sequence[str]
    commands: Sequence[str]
    builds: Sequence[str]
    third_party: str
    others: str
    secrets: str


def key_of(choice: OverlayChoice) -> str:
    """Return the name by which facts are kept: plain with MPyC's own TLS is another than plain."""
    return "tls" if choice.tls and choice.overlay == "plain" else choice.overlay


@lru_cache(maxsize=1)
def load() -> Facts:
    """Return the stated facts."""
    return msgspec.convert(_yaml(FACTS), Facts)


@lru_cache(maxsize=1)
def resilience() -> Resilience:
    """Return what overlays survive."""
    return msgspec.convert(_yaml(DOCS / "resilience.yaml"), Resilience)


def needs(choice: OverlayChoice) -> Needs | None:
    """Return what an overlay declares; None if this E3 does not have it, or not these options."""
    try:
        return build(
            OVERLAYS, Choice(name=choice.overlay, options=choice.options), key="overlay"
        ).needs
    except E3Error:
        return None


def ease(choice: OverlayChoice) -> Ease | None:
    """Return what an overlay asks of its user; None if this E3 does not have it."""
    wanted = needs(choice)
    if wanted is None:
        return None
    secrets = {
        "nebula": "the authority's key, in the stack's state",
        "tailnet": "credentials of the service's API, or a key of it",
    }
    held = secrets.get(wanted.authority or "") or secrets.get(wanted.credential or "")
    if choice.tls:
        held = "the certificate authority's key, in the stack's state"
    return Ease(
        privileges="root and a TUN device" if wanted.tun else "none",
        account=wanted.account or "none",
        server="one for all" if wanted.control_server else "none",
        public_host=wanted.public_host,
        packages=wanted.packages,
        tools=wanted.tools,
        options=len(_options(choice.overlay)),
        keys=[
            f"e3:overlay: {choice.overlay}",
            *(["e3:tls: true"] if choice.tls else []),
            *(f"e3:overlay-options: {name}" for name in choice.options),
        ],
        commands=_commands(wanted),
        builds=[f"{name} ({_usually(name)})" for name in wanted.tools],
        third_party="the service's servers" if wanted.account else "none",
        others=_restarted(choice.overlay),
        secrets=held or "none",
    )


def _commands(wanted: Needs) -> Sequence[str]:
    """Return the commands from a clone to a first result; one that exports what is secret first."""
    packages = [f"sudo apt-get install {' '.join(wanted.packages)}"] if wanted.packages else []
    secret = ["export the account's credentials"] if wanted.account else []
    return [*packages, *secret, "make up STACK=<name>"]


@lru_cache(maxsize=64)
def _usually(tool: str) -> str:
    """Return what building a program usually takes, as its recipe says."""
    recipe = DOCS.parent / "tools" / tool / "recipe.toml"
    return str(tomllib.loads(recipe.read_text()).get("usually", "unknown"))


def _restarted(overlay: str) -> str:
    """Return what happens to the services of other hosts when one comes or goes."""
    outcomes = resilience().overlays.get(overlay, {})
    words = {
        outcome.facts.get("services", "")
        for event in ("host-added", "host-removed")
        if (outcome := outcomes.get(event)) is not None
    } - {""}
    if not words:
        return "not asserted"
    return "nothing" if words == {"kept"} else ", ".join(sorted(words))


@lru_cache(maxsize=1)
def recovery() -> Mapping[str, Mapping[str, Recovery]]:
    """Return how long recovery took in a run of ``make resilience``, by event and overlay."""
    return msgspec.convert(_yaml(DOCS / "recovery.yaml"), dict[str, dict[str, Recovery]])


@lru_cache(maxsize=1)
def _expected_paths() -> nat_matrix.Expectations:
    return msgspec.convert(_yaml(DOCS / "nat-matrix.yaml"), nat_matrix.Expectations)


@lru_cache(maxsize=64)
def nat_paths(overlay: str) -> Mapping[tuple[str, str], nat_matrix.Rule]:
    """Return the path that is expected for each two classes of hosts; empty if none is stated."""
    expected = _expected_paths()
    if overlay not in expected.overlays:
        return {}
    pairs = combinations_with_replacement(nat_matrix.CLASSES, 2)
    return {pair: expected.of(overlay, pair) for pair in pairs}


def _yaml(path: Path) -> object:
    """Return the content of a file of ours, by libyaml where PyYAML has it: ten times as fast."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return yaml.load(path.read_text(), loader)  # noqa: S506 -- both loaders are safe ones


def _options(overlay: str) -> Sequence[str]:
    block = OVERLAYS[overlay]
    return [field.name for field in dataclasses.fields(block)]  # type: ignore[arg-type] # a class
