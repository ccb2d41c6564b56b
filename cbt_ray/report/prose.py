"""Numbers and reasons as a reader meets them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cbt_ray.analysis.estimate import Estimate, Span
from cbt_ray.count import agreeing

MINUS = "\N{MINUS SIGN}"
DASH = "\N{EN DASH}"


def one(value: float | None, digits: int = 1) -> str:
    """A number with one decimal (or as many as asked for); a dash where there is none."""
    if value is None:
        return DASH
    rounded = f"{value:.{digits}f}"
    return (rounded.lstrip("-") if float(rounded) == 0 else rounded).replace("-", MINUS)


def three(value: float | None) -> str:
    """A number with three decimals, as the published tables print them."""
    return one(value, 3)


def signed(value: float | None, digits: int = 1) -> str:
    """A difference with its sign."""
    said = one(value, digits)
    return said if value is None or float(f"{value:.{digits}f}") <= 0 else f"+{said}"


def probability(value: float | None) -> str:
    """A p-value."""
    if value is None:
        return DASH
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def percent(value: float | None) -> str:
    """A share."""
    return DASH if value is None else f"{one(100 * value, 0)} %"


def whole(value: float | None) -> str:
    """A count with thin spaces between thousands."""
    return DASH if value is None else f"{value:,.0f}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def counted(count: float | None, noun: str, plural: str | None = None) -> str:
    """`1 arm`, `6 arms`."""
    return f"{whole(count)} {agreeing(count or 0, noun, plural)}"


def money(value: float | None) -> str:
    """Dollars."""
    return DASH if value is None else f"${value:,.2f}"


def words(name: str) -> str:
    """A machine word as text: `rejected:too_long` -> `rejected: too long`."""
    return name.replace("_", " ").replace(":", ": ").replace(":  ", ": ")


def reasons(counts: Mapping[str, int]) -> str:
    """`3 x, 1 y`; a dash where there is none."""
    return ", ".join(f"{count} {words(reason)}" for reason, count in counts.items()) or DASH


def interval(value: float | None, low: float | None, high: float | None, digits: int = 1) -> str:
    """`+9.2 [4.4, 13.9]`, or without the interval where it is withheld."""
    if low is None:
        return f"{signed(value, digits)} (no interval)" if value is not None else "no estimate"
    return f"{signed(value, digits)} [{one(low, digits)}, {one(high, digits)}]"


def interval_of(low: float | None, high: float | None, digits: int = 1) -> str:
    """`4.4 to 13.9`; "withheld" where there is none."""
    return (
        "withheld" if low is None or high is None else f"{one(low, digits)} to {one(high, digits)}"
    )


def known_interval(low: float | None, high: float | None, digits: int = 1) -> str:
    """The same; a dash where there is none."""
    return DASH if low is None else interval_of(low, high, digits)


def ends(low: float | None, high: float | None) -> str:
    """`0 to 66`, or which end there is."""
    if low is None or high is None:
        known = [f"at least {low:g}"] if low is not None else []
        known += [f"at most {high:g}"] if high is not None else []
        return " ".join(known) or "without ends"
    return f"{low:g} to {high:g}"


def two(value: float | None) -> str:
    """A number with two decimals."""
    return one(value, 2)


def estimate(found: Estimate | None) -> str:
    """A value with its interval, or why there is none."""
    if found is None or found.value is None:
        return (found.reason if found else None) or DASH
    interval = f" ({interval_of(found.low, found.high, 2)})" if found.low is not None else ""
    return two(found.value) + interval


def span(found: Span | None) -> str:
    """An interval with two decimals; a dash where there is none."""
    return DASH if found is None else interval_of(found.low, found.high, 2)


def why(reason: str | None) -> str:
    """Why a part of the analysis holds nothing."""
    return f"{capital(reason or 'there is none')}."


def yes(value: bool | None) -> str:
    """A truth; a dash where it is unknown."""
    return DASH if value is None else "yes" if value else "no"


def text(value: object) -> str:
    """A word as it stands; a dash where there is none."""
    return DASH if value is None or value == "" else str(value)


def capital(sentence: str | None) -> str:
    """With a capital letter in front; names keep theirs."""
    return sentence[:1].upper() + sentence[1:] if sentence else ""


def duration(seconds: float | None) -> str:
    """`45 s`, `3 min 20 s`, `2 h 5 min`; a dash where it is unknown."""
    if seconds is None:
        return DASH
    whole_ = round(seconds)
    if whole_ < 60:
        return f"{whole_} s"
    minutes = round(seconds / 60)
    return (
        f"{whole_ // 60} min {whole_ % 60} s"
        if whole_ < 3600
        else f"{minutes // 60} h {minutes % 60} min"
    )


def size(count: float) -> str:
    """Bytes as people count them."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= factor:
            return f"{one(count / factor)} {unit}"
    return f"{whole(count)} B"


def listed(things: Sequence[object], most: int = 8) -> str:
    """`1, 2 and 3`; what is more than so many is counted."""
    shown = [str(thing) for thing in things]
    if len(shown) > most:
        shown = [*shown[:most], f"{len(shown) - most} more"]
    return " and ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown)
