"""The forest plot: labels at its left, another mark for bounds than for intervals, counts."""

import re
from functools import cache

from cbt_ray.analysis import analyse
from cbt_ray.report.figure import Figure
from cbt_ray.report.forest import SLIM, WIDE, forest, whisker
from cbt_ray.report.svg import Scale
from tests.analysis.tables import made_up
from tests.report import study


@cache
def drawn() -> Figure:
    return forest(study.analysis())


def panel(class_: str, figure: Figure) -> str:
    return next(str(one) for one in figure.panels if f'class="{class_}"' in str(one))


def places(name: str, svg: str, tag: str = "text") -> list[float]:
    return [float(x) for x in re.findall(rf'<{tag}[^>]* {name}="([\d.]+)"', svg)]


def row(label: str, svg: str) -> str:
    """The group of a line of the plot."""
    groups: list[str] = re.findall(r"<g>(?:(?!<g>).)*?</g>", svg)
    return next(one for one in groups if f">{label}<" in one)


def test_labels_stand_left_of_the_axis_and_numbers_right_of_it() -> None:
    svg, (left, right) = panel("wide", drawn()), WIDE.plot
    for answer in study.analysis().contrasts.primary.rows:
        texts = re.findall(r'<text x="([\d.]+)"[^>]*>([^<]*)</text>', row(answer.label, svg))
        assert texts[0] == ("0", answer.label)
        assert all(float(x) > right for x, _ in texts[1:])
        assert [said for _, said in texts[2:]] == [
            str(answer.patients),
            ", ".join(map(str, answer.sessions)),
        ]
    assert left > 0.2 * WIDE.width


def test_what_bounds_the_difference_is_an_open_bar_without_a_point() -> None:
    svg = panel("wide", drawn())
    assert svg.count('class="bounds"') == len(re.findall(">bounds(?: after|: any)", svg)) > 0
    for one in re.findall(r"<g>(?:(?!<g>).)*?bounds(?:(?!<g>).)*?</g>", svg):
        assert "<circle" not in one
        assert "<polygon" not in one
    assert "Open bars: bounds" in drawn().caption


def test_a_long_label_stays_left_of_the_axis() -> None:
    arms = ("a-rather-long-model", "another-long-model")
    long = forest(analyse(made_up(models=("m",), variants=arms, patients=("ada", "ben"))))
    label = re.findall(r'<text x="0"[^>]*class="strong halo">([^<]*)<', panel("wide", long))
    assert " ".join(label) == "m-another-long-model - m-a-rather-long-model"
    assert len(label) == 2
    assert max(map(len, label)) <= WIDE.characters


def test_where_nothing_was_lost_there_are_neither_bounds_nor_words_of_them() -> None:
    whole = forest(analyse(made_up(lambda key, item: 3 + len(key[1]) % 4 + key[3] % 2)))
    assert 'class="bounds"' not in "".join(map(str, whole.panels))
    assert "Open bars" not in whole.caption
    assert "Circles" not in whole.caption


def test_both_layouts_say_the_same_and_stay_inside() -> None:
    wide, slim = panel("wide", drawn()), panel("slim", drawn())
    told = re.findall(r">([+\N{MINUS SIGN}][\d.]+ (?:\[|to)[^<]*)<", wide)
    assert told == re.findall(r">([+\N{MINUS SIGN}][\d.]+ (?:\[|to)[^<]*)<", slim)
    for svg, layout in ((wide, WIDE), (slim, SLIM)):
        assert max(places("x", svg)) <= layout.width
        assert max(places("x2", svg, "line")) <= layout.width


def test_the_axis_has_a_title_and_the_columns_have_theirs() -> None:
    wide, slim = panel("wide", drawn()), panel("slim", drawn())
    for svg in (wide, slim):
        assert ">difference in points of the total<" in svg
        assert ">\N{LEFTWARDS ARROW} instruct higher<" in svg
    for title in ("patients", "sessions", "difference [95% interval]"):
        assert f">{title}<" in wide
        assert f">{title}<" not in slim


def test_an_interval_beyond_the_scale_ends_in_an_arrow() -> None:
    scale = Scale(-10, 10, 0, 100)
    inside, beyond = ("".join(whisker(scale, low, 5, 20, "whisker")) for low in (-5.0, -4000.0))
    assert "<path" not in inside
    assert beyond.count("<path") == 1
    assert min(places("x1", beyond, "line")) == 0
