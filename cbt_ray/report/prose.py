"""Numbers and reasons as a reader meets them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

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


def signed(value: float | None) -> str:
    """A difference with its sign."""
    return one(value) if value is None or float(f"{value:.1f}") <= 0 else f"+{one(value)}"


def probability(value: float | None) -> str:
    """A p-value."""
    if value is None:
        return DASH
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def percent(value: float | None) -> str:
    """A share."""
    return DASH if value is None else f"{100 * value:.0f} %"


def whole(value: float | None) -> str:
    """A count with thin spaces between thousands."""
    return DASH if value is None else f"{value:,.0f}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def money(value: float | None) -> str:
    """Dollars."""
    return DASH if value is None else f"${value:,.2f}"


def words(name: str) -> str:
    """A machine word as text: `rejected:too_long` -> `rejected: too long`."""
    return name.replace("_", " ").replace(":", ": ").replace(":  ", ": ")


def reasons(counts: Mapping[str, int]) -> str:
    """`3 x, 1 y`; a dash where there is none."""
    return ", ".join(f"{count} {words(reason)}" for reason, count in counts.items()) or DASH


def interval(contrast: Mapping[str, Any]) -> str:
    """`+9.2 [4.4, 13.9]`, or without the interval where it is withheld."""
    estimate = signed(contrast["estimate"])
    if contrast["low"] is None:
        return f"{estimate} (no interval)" if contrast["estimate"] is not None else "no estimate"
    return f"{estimate} [{one(contrast['low'])}, {one(contrast['high'])}]"


def answer(contrast: Mapping[str, Any], treatment: str, control: str) -> str:
    """The answer for one model in a sentence, with its interval or why there is none."""
    if contrast["estimate"] is None:
        return f"No answer: {contrast['reason']}."
    size, direction = one(abs(contrast["estimate"])), "higher" if contrast["estimate"] > 0 else "lower"
    difference = "score the same as" if float(f"{contrast['estimate']:.1f}") == 0 else f"score {size} points {direction} than"
    sentence = f"{treatment.capitalize()} sessions {difference} {control} ones"
    if contrast["low"] is None:
        return f"{sentence}. No interval: it {contrast['reason']}."
    low, high = one(contrast["low"]), one(contrast["high"])
    verdict = (
        ""
        if contrast["low"] > 0 or contrast["high"] < 0
        else " The interval contains zero: the scores do not tell which is higher."
    )
    test = f"t with {contrast['df']} df, p {_p(contrast['p'])}, Holm-adjusted {_p(contrast['p_holm'])}"
    return f"{sentence} ({contrast['level']:.0%} interval {low} to {high}; {test}).{verdict}"


def _p(value: float) -> str:
    return probability(value) if value < 0.001 else f"= {probability(value)}"
