"""Which overlay for which situation: conditions that exclude, then a figure that orders the rest.

A condition is about what an overlay declares, what is stated of it, or what this campaign measured;
nothing else decides. Overlays that were not part of the campaign are not considered.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from e3.evaluation.report.criteria import Nature, Profile

Condition = Callable[[Profile], str | None]
"""Returns why an overlay does not suit, or None if it does."""

CLOSE = 1.1
"""Overlays within this factor of the best are named beside it."""

CASUAL, POWER, ENTERPRISE = "casual", "power", "enterprise"


SLOWDOWN = "times the online time of plain"


def _is_baseline(profile: Profile) -> bool:
    return profile.choice.overlay == "plain" and not profile.choice.tls and profile.total > 0


def _slowdown(profile: Profile) -> float | None:
    return 1.0 if profile.slowdown is None and _is_baseline(profile) else profile.slowdown


@dataclass(frozen=True, kw_only=True)
class Situation:
    """A situation of a user; ``figure`` orders the overlays that suit, the least first."""

    user: str
    title: str
    conditions: Sequence[Condition]
    figure: Callable[[Profile], float | None] = _slowdown
    unit: str = SLOWDOWN
    evidence: str


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """An overlay in a situation: its figure, or why it does not suit."""

    name: str
    figure: float | None
    excluded: str | None


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What to take in a situation: ``best`` first, then those that are about as good."""

    situation: Situation
    best: Sequence[str]
    candidates: Sequence[Candidate]


def protected(profile: Profile) -> str | None:
    """Require that messages are encrypted, and nobody outside is admitted."""
    if profile.choice.tls:
        return None
    if profile.needs is None or profile.needs.open_to_all:
        return "protects nothing: whoever reaches the network reaches the parties"
    return None


def joins_hidden(profile: Profile) -> str | None:
    """Require that any two hosts behind usual home routers find each other."""
    if profile.needs is not None and profile.needs.crosses_nats:
        return None
    return "joins no two hosts that are both behind NATs"


def without_server(profile: Profile) -> str | None:
    """Require no public host of the parties' own."""
    if profile.needs is not None and profile.needs.public_host:
        return "needs a host of the parties' own that all others reach"
    return None


def without_account(profile: Profile) -> str | None:
    """Require no account at a service."""
    account = profile.needs.account if profile.needs else None
    return f"needs {account}" if account else None


def without_root(profile: Profile) -> str | None:
    """Require no root."""
    if profile.needs is not None and profile.needs.tun:
        return "needs root and a TUN device on each machine"
    return None


def with_443_alone(profile: Profile) -> str | None:
    """Require that a host can join whose firewall passes TCP to port 443 alone."""
    if profile.needs is not None and profile.needs.port_443_suffices:
        return None
    return "cannot join a host that may use TCP port 443 alone"


def expires(profile: Profile) -> str | None:
    """Require that identities end by themselves."""
    return _stated(profile, "expiry")


def hides_relations(profile: Profile) -> str | None:
    """Require that no third party learns who computes with whom."""
    return _stated(profile, "metadata")


def forward_secret(profile: Profile) -> str | None:
    """Require that recorded traffic stays secret when a key is stolen."""
    return _stated(profile, "forward_secrecy")


def quantum_safe(profile: Profile) -> str | None:
    """Require secrecy from later quantum computers: as paths told, else at least by an option."""
    if profile.quantum_safe is not None:
        told = ", ".join(profile.exchanges)
        return None if profile.quantum_safe == "yes" else f"made keys of paths by {told}"
    fact = profile.stated.get("post_quantum")
    if fact is not None and fact.grade in {"yes", "partly"}:
        return None
    return fact.says if fact else "nothing is stated"


def reliable(profile: Profile) -> str | None:
    """Require that at most one in twenty of the campaign's sessions failed."""
    if profile.total and profile.completed < 0.95 * profile.total:
        return f"only {profile.completed} of {profile.total} sessions of this campaign completed"
    return None


def _stated(profile: Profile, aspect: str) -> str | None:
    fact = profile.stated.get(aspect)
    if fact is None:
        return "nothing is stated"
    return None if fact.grade == "yes" else fact.says


def _of(nature: Nature) -> Callable[[Profile], float | None]:
    return lambda profile: profile.by_nature.get(nature, 1.0 if _is_baseline(profile) else None)


def _lost_events(profile: Profile) -> float | None:
    return float(profile.events - profile.survived) if profile.events else None


def _setup(profile: Profile) -> float | None:
    return profile.overlay_seconds


SITUATIONS: Sequence[Situation] = (
    Situation(
        user=CASUAL,
        title="Friends at home, all behind usual routers, nobody has a server",
        conditions=(protected, joins_hidden, without_server, reliable),
        evidence="connectivity",
    ),
    Situation(
        user=CASUAL,
        title="Friends at home, one has a server; nobody wants an account",
        conditions=(protected, joins_hidden, without_account, forward_secret, reliable),
        evidence="connectivity",
    ),
    Situation(
        user=CASUAL,
        title="Machines without root, such as a student's account",
        conditions=(protected, without_root, reliable),
        evidence="ease",
    ),
    Situation(
        user=CASUAL,
        title="Only a first try: connected soonest",
        conditions=(protected, without_account, reliable),
        figure=_setup,
        unit="seconds to join all hosts",
        evidence="setup",
    ),
    Situation(
        user=POWER,
        title="Programs with many rounds of small messages",
        conditions=(protected, forward_secret, reliable),
        figure=_of("rounds"),
        unit=SLOWDOWN,
        evidence="slowdown",
    ),
    Situation(
        user=POWER,
        title="Programs with large messages",
        conditions=(protected, forward_secret, reliable),
        figure=_of("bytes"),
        unit=SLOWDOWN,
        evidence="slowdown",
    ),
    Situation(
        user=POWER,
        title="Parties behind NATs of any kind, with a server of their own",
        conditions=(protected, joins_hidden, without_account, forward_secret, reliable),
        figure=lambda profile: profile.hidden_seconds,
        unit="seconds online, scenarios with NATs",
        evidence="connectivity",
    ),
    Situation(
        user=ENTERPRISE,
        title="Members change: identities must expire by themselves",
        conditions=(protected, without_account, expires, reliable),
        evidence="security",
    ),
    Situation(
        user=ENTERPRISE,
        title="Firewalls that pass TCP port 443 alone",
        conditions=(protected, with_443_alone, reliable),
        evidence="connectivity",
    ),
    Situation(
        user=ENTERPRISE,
        title="Long sessions that must outlive crashes and moves of hosts",
        conditions=(protected, without_account, reliable),
        figure=_lost_events,
        unit="of the events that end a session or need a repair",
        evidence="resilience",
    ),
    Situation(
        user=ENTERPRISE,
        title="Nobody may learn who computes with whom",
        conditions=(protected, hides_relations, reliable),
        evidence="privacy",
    ),
    Situation(
        user=ENTERPRISE,
        title="Secrets that must outlast quantum computers, at least by an option",
        conditions=(protected, quantum_safe, reliable),
        evidence="security",
    ),
)


def decide(profiles: Sequence[Profile]) -> Sequence[Decision]:
    """Return the decision of each situation, among these overlays."""
    return [_decide(situation, profiles) for situation in SITUATIONS]


def _decide(situation: Situation, profiles: Sequence[Profile]) -> Decision:
    candidates = [
        Candidate(
            name=profile.name,
            figure=situation.figure(profile),
            excluded=next(
                (why for condition in situation.conditions if (why := condition(profile))), None
            ),
        )
        for profile in profiles
    ]
    suiting = [each for each in candidates if each.excluded is None]
    known = sorted((each for each in suiting if each.figure is not None), key=_order)
    unknown = [each for each in suiting if each.figure is None]
    best = [each.name for each in known if _order(each)[0] <= _order(known[0])[0] * CLOSE]
    rest = [each for each in candidates if each.excluded is not None]
    return Decision(situation=situation, best=best, candidates=[*known, *unknown, *rest])


def _order(candidate: Candidate) -> tuple[float, str]:
    return (candidate.figure if candidate.figure is not None else 0.0, candidate.name)
