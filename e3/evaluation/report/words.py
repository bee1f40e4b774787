"""Numbers as people read them: three significant digits, with a unit."""

from e3.remote.text import printable

MISSING = "–"
LONGEST = 600
"""Characters of a foreign sentence that a page shows."""


def number(value: float | None, suffix: str = "") -> str:
    """Return a number with three significant digits, without an exponent."""
    if value is None:
        return MISSING
    if value == 0:
        return f"0{suffix}"
    rounded = float(f"{value:.3g}")
    if abs(rounded) >= 100:  # noqa: PLR2004 -- three digits stand before the point
        return f"{rounded:,.0f}{suffix}".replace(",", "\u202f")
    if abs(rounded) < 0.001:  # noqa: PLR2004 -- as small as a figure here can be of interest
        return f"<0.001{suffix}" if value > 0 else f"{rounded:.3f}{suffix}"
    return f"{rounded:#.3g}{suffix}"


def seconds(value: float | None) -> str:
    """Return a duration."""
    if value is None:
        return MISSING
    if abs(value) >= 120:  # noqa: PLR2004 -- two minutes
        return f"{number(value / 60)} min"
    return f"{number(value * 1000)} ms" if abs(value) < 1 else f"{number(value)} s"


def size(value: float | None) -> str:
    """Return a number of bytes."""
    if value is None:
        return MISSING
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if value >= factor:
            return f"{number(value / factor)} {unit}"
    return f"{value:.0f} B"


def ratio(value: float | None) -> str:
    """Return how many times one is of another."""
    return MISSING if value is None else f"{number(value)}×"


def share(value: float | None) -> str:
    """Return a share in percent."""
    return MISSING if value is None else f"{number(100 * value)} %"


def foreign(text: object) -> str:
    """Return text of results as one printable line of bounded length."""
    return printable(text, LONGEST)
