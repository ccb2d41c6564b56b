"""The page: whole, the same bytes each time, closed to the network and to hostile text, small."""

import json
import re
import time
from html.parser import HTMLParser
from typing import Any

import pytest

from cbt_ray.analysis import ScoreRow
from cbt_ray.report import render
from cbt_ray.report.page import figures
from tests.analysis.tables import made_up
from tests.analysis.test_analyse import DEGENERATE
from tests.report.sample import EVIL, sample

SECTIONS = [
    "question",
    "doubt",
    "scores",
    "effects",
    "items",
    "sessions",
    "judge",
    "training",
    "run",
    "provenance",
    "clinical",
    "transcripts",
]
FIGURES = ["forest", "distribution", "trajectory", "residuals", "heat-map", "radar", "ceiling", "flow", "flags", "loss"]
VOID = {"meta", "link", "img", "br", "hr", "input"}
TWO_MODELS: dict[str, Any] = {"models": ("mistral", "qwen"), "patients": ("ada", "ben", "cy")}


class Reader(HTMLParser):
    """Collects tags, ids and scripts, and checks that tags nest."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes another element"

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "script":
            self.scripts.append(data)


def read(page: str) -> Reader:
    reader = Reader()
    reader.feed(page)
    reader.close()
    assert reader.open == []
    return reader


@pytest.fixture(scope="module")
def page() -> str:
    return render(sample(made_up(sessions=4)))


def test_every_section_and_figure_is_there_in_order(page: str) -> None:
    reader = read(page)
    assert [a["id"] for tag, a in reader.tags if tag == "section"] == SECTIONS
    assert [a["id"] for tag, a in reader.tags if tag == "figure"] == [f"fig-{name}" for name in FIGURES]
    assert [int(n) for n in re.findall(r"<b>Figure (\d+)\.", page)] == list(range(1, 11))


def test_ids_are_unique_and_every_reference_finds_its_target(page: str) -> None:
    attributes = [a for _, a in read(page).tags]
    ids = [a["id"] for a in attributes if a.get("id")]
    assert len(set(ids)) == len(ids)
    wanted = {a["aria-labelledby"] for a in attributes if a.get("aria-labelledby")}
    wanted |= {str(a["href"])[1:] for a in attributes if str(a.get("href") or "").startswith("#")}
    assert wanted <= set(ids)


def test_every_drawing_has_a_title_and_text_that_can_be_searched(page: str) -> None:
    drawings = re.findall(r"<svg.*?</svg>", page, re.S)
    assert len(drawings) > len(FIGURES)
    for drawing in drawings:
        assert drawing.count("<title>") >= 1
        assert 'role="img"' in drawing
        assert 'fill="#' not in drawing, "colours belong to the style sheet, or dark mode loses them"
    assert ">Figure 1. Difference tuned" in page


def test_same_data_same_bytes() -> None:
    assert render(sample(made_up())) == render(sample(made_up()))


def test_nothing_is_loaded_from_anywhere(page: str) -> None:
    for tag, attributes in read(page).tags:
        for name in ("src", "href", "action", "data", "poster", "srcset"):
            value = attributes.get(name)
            assert value is None or value.startswith(("#", "data:,")), f"<{tag} {name}={value}>"
    assert not re.search(r"https?://|url\(|@import", page)
    assert "default-src 'none'" in page


def test_hostile_text_stays_text(page: str) -> None:
    reader = read(page)
    assert len(reader.scripts) == 2
    assert "<img" not in page
    assert "innerHTML" not in page
    (first, *_) = json.loads(reader.scripts[0])
    assert first["session"]["turns"][0]["text"] == f"patient says {EVIL}"
    assert first["ratings"][0]["items"]["agenda"]["justification"] == EVIL


def test_the_top_answers_and_doubts(page: str) -> None:
    assert page.index("pipeline works and nothing else") < page.index('id="scores"')
    assert "2 simulated patients: fewer than 10" in page
    assert "not for clinical use" in page


def test_interval_and_reason_for_none() -> None:
    assert re.search(
        r"<b>qwen\.</b> Tuned sessions score [\d.]+ points (higher|lower).*?t with \d+ df", render(sample(noisy_rows()))
    )
    unbalanced = made_up(reason=lambda key: "not_reached" if key[1:] == ("tuned", "ada", 3) else None)
    text = render(sample(unbalanced))
    assert "No interval: it needs balanced data: chains rest on 2 to 3 sessions." in text
    assert "unrated sessions as the lowest score" in text


def noisy_rows() -> list[ScoreRow]:
    """Two models, three patients, differences that vary."""
    return made_up(lambda key, item: 2 + (len(key[0] + item) * ord(key[2][0]) + 3 * len(key[1]) * key[3]) % 7, **TWO_MODELS)


@pytest.mark.parametrize("rows", DEGENERATE.values(), ids=DEGENERATE.keys())
def test_degenerate_data_give_a_whole_page(rows: list[ScoreRow]) -> None:
    reader = read(render(sample(rows)))
    assert [a["id"] for tag, a in reader.tags if tag == "figure"] == [f"fig-{name}" for name in FIGURES]


@pytest.mark.parametrize("name", [name for name in FIGURES if name != "loss"])
def test_each_figure_is_drawn_from_the_analysis_alone(name: str) -> None:
    figure = figures(sample(noisy_rows()).analysis)[name]
    assert figure.panels
    assert not figure.empty


def test_twelve_sessions_take_less_than_three_seconds() -> None:
    data = sample(made_up())
    start = time.perf_counter()
    render(data)
    assert time.perf_counter() - start < 3


def test_six_hundred_sessions_stay_below_five_megabytes_without_transcripts() -> None:
    rows = made_up(models=("a", "b", "c"), patients=tuple("pqrst"), sessions=20)
    data = sample(rows)
    assert len(data.sessions) == 600
    bare = render(data, transcripts=False)
    assert len(bare.encode()) < 5_000_000
    assert "leaves the transcripts out" in bare
    assert "data-sessions" not in bare
