"""Drawing primitives and the words that numbers become."""

import itertools

import pytest

from cbt_ray.report import prose
from cbt_ray.report.svg import Scale, nice, number, tag, wrapped


@pytest.mark.parametrize(
    ("low", "high"), [(0, 1), (-3.2, 7.9), (61, 61), (0, 1e-6), (11, 110), (-500, 2)]
)
def test_ticks_cover_the_data_at_even_steps(low: float, high: float) -> None:
    ticks = nice(low, high)
    steps = [b - a for a, b in itertools.pairwise(ticks)]
    assert ticks[0] <= low
    assert ticks[-1] >= high
    assert 2 <= len(ticks) <= 9
    assert max(steps) == pytest.approx(min(steps))


def test_scale_maps_its_ends_and_survives_an_empty_range() -> None:
    assert (Scale(0, 10, 100, 200)(0), Scale(0, 10, 100, 200)(10)) == (100, 200)
    assert Scale(3, 3, 0, 10)(3) == 5


def test_coordinates_are_short() -> None:
    assert [number(x) for x in (1.0, 0.1234, -0.001, 100, -2.5)] == [
        "1",
        "0.12",
        "0",
        "100",
        "-2.5",
    ]


def test_markup_is_escaped_in_text_and_attributes() -> None:
    assert tag("text", "a<b", class_='"x') == '<text class="&#34;x">a&lt;b</text>'


def test_long_labels_end_in_an_ellipsis() -> None:
    name = "Application of Cognitive-Behavioral Techniques"
    assert wrapped(name, 16) == [
        "Application of",
        "Cognitive-\N{HORIZONTAL ELLIPSIS}",
    ]
    assert wrapped("Agenda", 16) == ["Agenda"]


def test_numbers_as_a_reader_meets_them() -> None:
    assert [prose.one(None), prose.one(-0.04), prose.one(-2.25, 2)] == [
        prose.DASH,
        "0.0",
        f"{prose.MINUS}2.25",
    ]
    assert [prose.signed(1.26), prose.signed(-1.26), prose.signed(0)] == [
        "+1.3",
        f"{prose.MINUS}1.3",
        "0.0",
    ]
    assert [prose.probability(0.0001), prose.probability(0.04)] == ["< 0.001", "0.040"]
    assert prose.words("rejected:too_short") == "rejected: too short"
    assert prose.reasons({}) == prose.DASH
