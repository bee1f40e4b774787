"""What a link does to packets besides delaying them, as values that a configuration asks for.

Pure. The lab's links between regions have them (`e3.lab.links`); docs/nats.md lists them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace

from e3.errors import ConfigurationError

Pair = tuple[str, str]

ONE_WAY = "->"
EVERYWHERE = "all"
LIMITS: Mapping[str, tuple[float, float]] = {
    "jitter_ms": (0.0, 60_000.0),
    "loss": (0.0, 1.0),
    "reordering": (0.0, 1.0),
    "rate_mbit": (0.001, 100_000.0),
    "breaks_every_seconds": (0.1, 86_400.0),
    "breaks_for_seconds": (0.0, 86_400.0),
}


@dataclass(frozen=True, kw_only=True)
class Impairment:
    """What one direction of a link does to packets.

    Each waits up to ``jitter_ms`` at random. ``loss`` is the probability that it is lost,
    ``reordering`` that others overtake it; all others keep their order (RFC 4737). ``rate_mbit`` is
    the bandwidth, None without a limit. ``breaks_every_seconds`` the link carries nothing for
    ``breaks_for_seconds``, at the end of each such period, and then works again; None for never.
    Raises `ValueError` for a value out of range.
    """

    jitter_ms: float = 0.0
    loss: float = 0.0
    reordering: float = 0.0
    rate_mbit: float | None = None
    breaks_every_seconds: float | None = None
    breaks_for_seconds: float = 0.0

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name, (least, most) in LIMITS.items():
            value = getattr(self, name)
            if value is not None and not least <= value <= most:  # also for NaN
                raise ValueError(f"{name} is {value}; it must be between {least:g} and {most:g}")
        if self.breaks_for_seconds >= (self.breaks_every_seconds or 0.0) > 0.0:
            raise ValueError(
                f"breaks_for_seconds is {self.breaks_for_seconds:g}; it must be less than "
                f"breaks_every_seconds, {self.breaks_every_seconds:g}"
            )
        if self.breaks_for_seconds and not self.breaks_every_seconds:
            raise ValueError("breaks_for_seconds needs breaks_every_seconds: how often it breaks")

    def to_properties(self) -> dict[str, float]:
        """Return what differs from the defaults; the constructor takes it as keywords."""
        values = {field.name: (getattr(self, field.name), field.default) for field in fields(self)}
        return {name: value for name, (value, usual) in values.items() if value != usual}

    @property
    def breaks(self) -> bool:
        """Whether the link carries nothing at times."""
        return bool(self.breaks_for_seconds)


def decode(raw: Mapping[str, object], regions: Sequence[str]) -> dict[Pair, Impairment]:
    """Return the impairment of each ordered pair of regions that has one, as ``e3:links`` says.

    Keys are ``all``, two regions joined by a hyphen for both directions, or by ``->`` for one. What
    is more special overrides single properties. Raises `ConfigurationError`.
    """
    found: dict[Pair, Impairment] = {}
    for key in sorted(raw, key=_rank):
        values = raw[key]
        if not isinstance(values, Mapping):
            raise ConfigurationError(
                f"e3:links: {key} is {values!r}; write properties, as in {{loss: 0.01}}"
            )
        for pair in _pairs(key, regions):
            found[pair] = _changed(f"e3:links: {key}", found.get(pair, Impairment()), values)
    return found


def _rank(key: str) -> tuple[int, str]:
    return (0 if key == EVERYWHERE else 2 if ONE_WAY in key else 1), key


def _pairs(key: str, regions: Sequence[str]) -> list[Pair]:
    """Return the ordered pairs of regions that a key names."""
    if key == EVERYWHERE:
        return [(one, other) for one in regions for other in regions]
    between = ONE_WAY if ONE_WAY in key else "-"
    one, _, other = key.partition(between)
    if one not in regions or other not in regions:
        raise ConfigurationError(
            f"e3:links: {key!r} is neither all nor two of {', '.join(regions)}, joined by a hyphen "
            f"or, for one direction, by {ONE_WAY}"
        )
    return [(one, other)] if between == ONE_WAY else [(one, other), (other, one)]


def _changed(place: str, before: Impairment, values: Mapping[str, object]) -> Impairment:
    names = {field.name.replace("_", "-"): field.name for field in fields(Impairment)}
    changes: dict[str, float] = {}
    for key, value in values.items():
        if key not in names:
            raise ConfigurationError(f"{place} has no {key!r}; choose of {', '.join(names)}")
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ConfigurationError(f"{place}: {key} is {value!r}; write a number")
        changes[names[key]] = float(value)
    try:
        return replace(before, **changes)
    except ValueError as error:
        raise ConfigurationError(f"{place}: {str(error).replace('_', '-')}") from None
