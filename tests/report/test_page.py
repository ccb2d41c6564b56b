"""The page: whole, the same bytes each time, closed to the network and to hostile text, small, and
true to the analysis.
"""

import json
import os
import re
from dataclasses import replace
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from cbt_ray.__main__ import run
from cbt_ray.analysis import Analysis, ScoreRow, Scores, Settings, analyse
from cbt_ray.analysis.describe import levels
from cbt_ray.analysis.document import from_json, to_json
from cbt_ray.analysis.effect.family import refitted
from cbt_ray.analysis.notice import Notice
from cbt_ray.report import render
from cbt_ray.report.at import At
from cbt_ray.report.page import sections
from cbt_ray.report.part import every
from cbt_ray.report.prose import two
from cbt_ray.report.score_section import trajectory
from cbt_ray.report.table import Cell, Row, Table, column, tabulate
from tests.analysis.tables import ITEMS, made_up
from tests.analysis.test_analyse import DEGENERATE
from tests.calls import A_SECOND, calls_of
from tests.needs import needs
from tests.report import study
from tests.report.sample import EVIL, sample, sessions_of

pytestmark = pytest.mark.slow

SECTIONS = [
    "question",
    "doubt",
    "effects",
    "labels",
    "items",
    "scores",
    "models",
    "sessions",
    "judge",
    "scale",
    "repeated",
    "claims",
    "power",
    "declared",
    "methods",
    "training",
    "run",
    "provenance",
    "clinical",
    "transcripts",
]
FIGURES = [
    "forest",
    "interaction",
    "labels",
    "effect-map",
    "heat-map",
    "radar",
    "distribution",
    "trajectory",
    "residuals-default",
    "residuals-published",
    "flow",
    "flags",
    "probes",
    "bias",
    "ends",
    "power",
    "losses-1",
    "losses-2",
    "training-1",
    "training-2",
]
VOID = {"meta", "link", "img", "br", "hr", "input"}
TWO_MODELS: dict[str, Any] = {"models": ("mistral", "qwen"), "patients": ("ada", "ben", "cy")}
NUMBER = re.compile(r"[+\N{MINUS SIGN}]?\d[\d\N{NARROW NO-BREAK SPACE}]*(?:\.\d+)?(?: %)?")


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
    """A small study with hostile text."""
    return render(sample(made_up(sessions=4))).html


@pytest.fixture(scope="module")
def whole() -> str:
    """A study with every section."""
    return render(sample(study.rows(), analysis=study.analysis()), "none").html


def test_every_section_and_figure_is_there_in_order(whole: str) -> None:
    reader = read(whole)
    assert [a["id"] for tag, a in reader.tags if tag == "section"] == SECTIONS
    assert [a["id"] for tag, a in reader.tags if tag == "figure"] == [
        f"fig-{name}" for name in FIGURES
    ]
    for kind, least in (("Figure", len(FIGURES)), ("Table", 25)):
        numbers = [int(n) for n in re.findall(rf"<b>{kind} (\d+)\.", whole)]
        assert numbers == list(range(1, len(numbers) + 1))
        assert len(numbers) >= least


@pytest.mark.parametrize("name", ["page", "whole"])
def test_ids_are_unique_and_every_reference_finds_its_target(
    name: str, request: pytest.FixtureRequest
) -> None:
    attributes = [a for _, a in read(request.getfixturevalue(name)).tags]
    ids = [a["id"] for a in attributes if a.get("id")]
    assert len(set(ids)) == len(ids)
    wanted = {a["aria-labelledby"] for a in attributes if a.get("aria-labelledby")}
    wanted |= {str(a["href"])[1:] for a in attributes if str(a.get("href") or "").startswith("#")}
    assert wanted <= set(ids)


def test_every_drawing_has_a_title_and_text_that_can_be_searched(whole: str) -> None:
    drawings = re.findall(r"<svg.*?</svg>", whole, re.S)
    assert len(drawings) > len(FIGURES)
    for drawing in drawings:
        assert drawing.count("<title>") >= 1
        assert 'role="img"' in drawing
        assert 'fill="#' not in drawing, (
            "colours belong to the style sheet, or dark mode loses them"
        )
        assert " style=" not in drawing, "the page's policy lets no inline style through"
    assert ">Figure 1. Difference tuned" in whole


def test_same_data_same_bytes() -> None:
    assert render(sample(made_up())) == render(sample(made_up()))


def test_nothing_is_loaded_from_anywhere(page: str) -> None:
    for tag, attributes in read(page).tags:
        for name in ("src", "href", "action", "data", "poster", "srcset"):
            value = attributes.get(name)
            assert value is None or value.startswith(("#", "data:,")), f"<{tag} {name}={value}>"
    assert not re.search(r"https?://|url\(|@import", page)
    assert "default-src 'none'" in page.replace("&#39;", "'")


def test_scripts_and_style_run_by_their_hash_and_nothing_else(page: str) -> None:
    def policy(where: Any) -> str:
        html = render(sample(made_up()), where).html.replace("&#39;", "'")
        found = re.search(r'Content-Security-Policy" content="([^"]*)"', html)
        assert found
        return found[1]

    assert "unsafe" not in policy("inside")
    assert re.search(r"script-src 'sha256-[^']+' 'sha256-[^']+';", policy("inside"))
    assert re.search(r"script-src 'sha256-[^']+' 'sha256-[^']+' 'self' file:;", policy("beside"))
    assert re.search(r"script-src 'sha256-[^']+';", policy("none"))


def test_hostile_text_stays_text(page: str) -> None:
    reader = read(page)
    assert not [tag for tag, _ in reader.tags if tag == "img"]
    assert not any("broken" in script and script.strip()[0] != "{" for script in reader.scripts)
    island = next(json.loads(s) for s in reader.scripts if s.strip().startswith('{"smollm2'))
    assert next(iter(island.values()))["session"]["turns"][1]["text"] == f"therapist says {EVIL}"
    assert "{{ 7 * 7 }}" in page
    assert "\u2028" not in "".join(reader.scripts)


def test_heavy_doubts_stand_above_the_answer_and_light_ones_below() -> None:
    doubts = [Notice("a", "A heavy doubt.", 90), Notice("b", "A light doubt.", 10)]
    html = render(sample(made_up(), notices=doubts)).html
    places = [
        html.index(part)
        for part in ("A heavy doubt.", 'class="answer"', 'id="fig-forest"', "A light doubt.")
    ]
    assert places == sorted(places)


def test_a_judge_that_failed_its_probes_stands_above_the_answer(whole: str) -> None:
    assert whole.index("The judge fails 3 of 8 probes") < whole.index('class="answer"')


def test_without_people_every_figure_about_scores_says_uncalibrated(page: str, whole: str) -> None:
    captions = re.findall(r'<figcaption id="cap-([a-z-]+)">(.*?)</figcaption>', page)
    drawn = [
        name
        for name, _ in captions
        if "empty" not in page.split(f'id="fig-{name}"')[1].split("</figure>")[0]
    ]
    marked = [name for name, text in captions if "Uncalibrated judge." in text]
    assert {"forest", "interaction", "distribution", "trajectory", "heat-map", "radar"} <= set(
        marked
    )
    assert set(drawn) - set(marked) <= {"flow", "flags", "power", "training-1", "training-2"}
    assert "Uncalibrated judge." not in whole


def test_the_answer_with_its_interval_or_the_reason_for_none() -> None:
    html = render(sample(noisy_rows())).html
    assert re.search(
        r"[\d.]+ points (higher|lower) with tuned than with instruct\..*"
        r"<small>t with \d+ df, p ",
        html,
    )
    few = render(sample(made_up(patients=("ada",)))).html
    assert "No interval: needs 2 patients with rated sessions in both, found 1" in few


def noisy_rows() -> list[ScoreRow]:
    """Two models, three patients, differences that vary."""
    return made_up(
        lambda key, item: 2 + (len(key[0] + item) * ord(key[2][0]) + 3 * len(key[1]) * key[3]) % 7,
        **TWO_MODELS,
    )


@pytest.mark.parametrize("rows", DEGENERATE.values(), ids=DEGENERATE.keys())
def test_degenerate_data_give_a_whole_page(rows: list[ScoreRow]) -> None:
    reader = read(render(sample(rows)).html)
    drawn = [str(a["id"]).removeprefix("fig-") for tag, a in reader.tags if tag == "figure"]
    fixed = [name for name in FIGURES if not name.startswith(("residuals", "labels"))]
    assert [name for name in drawn if not name.startswith("residuals")] == fixed


def test_session_numbers_may_be_dates() -> None:
    rows = [
        replace(row, session=20_240_000 + row.session)
        for row in made_up(patients=("p1",), sessions=2)
    ]
    figure = trajectory(analyse(Scores.of(rows), Settings()))
    assert figure.panels
    assert all(len(str(panel)) < 20_000 for panel in figure.panels)


def test_a_table_of_ratings_without_a_study_has_no_sections_on_how_it_was_run() -> None:
    data = sample(made_up(), sessions=[], training=[], costs=[], stages=[])
    names = [section.id for section in sections(data)]
    assert "training" not in names
    assert "run" not in names


# ---- numbers -------------------------------------------------------------------------------------


def tables(analysis: Analysis) -> list[Table]:
    found = sections(sample([], analysis=analysis, training=[]))
    return [
        part
        for part in every([part for section in found for part in section.parts])
        if isinstance(part, Table)
    ]


def cells_of(table: Table) -> list[Cell]:
    return [
        cell for row in table.rows for cell in [*row.cells, *([row.below] if row.below else [])]
    ]


@cache
def balanced() -> Analysis:
    """The same study with nothing lost: error terms pooled over all arms, five judges, and the
    models refitted.
    """
    whole = [row for row in study.rows(sessions=4) if row.judge == "judge"]
    rows = [
        replace(row, rated=True, reason=None, items=dict.fromkeys(ITEMS, 5), total=15)
        for row in whole
        if not row.rated
    ]
    rows += [replace(row, items=dict(list(row.items.items())[:3])) for row in whole if row.rated]
    rows = [replace(row, items=dict(zip(ITEMS, row.items.values(), strict=True))) for row in rows]
    rows = [replace(row, total=sum(score or 0 for score in row.items.values())) for row in rows]
    others = [
        replace(row, judge=f"judge {n}", judge_replicate=1)
        for n in range(4)
        for row in rows
        if row.judge_replicate == 1
    ]
    scores = Scores.of([*rows, *others])
    found = analyse(scores)
    sessions, groups = scores.sessions("plain"), levels(found.arms)
    again = refitted(sessions, groups, found.models.default, Settings(), draws=9)
    return replace(found, robustness=study.analysis().robustness, refitted=again)


@pytest.mark.parametrize("table", tables(study.analysis()), ids=lambda table: table.id)
def test_every_number_in_a_table_is_that_of_the_analysis(table: Table) -> None:
    check_numbers(table, to_json(study.analysis()))


def test_the_check_of_numbers_notices_another_number() -> None:
    """Each printed number that has a pointer fails the check once its value in the analysis is
    another one.
    """
    document = to_json(study.analysis())
    other, checked = shifted(document), 0
    for table in tables(study.analysis()):
        for cell in cells_of(table):
            values = [pick(document, key) for key in cell.keys]
            if any(numbers_in(value) for value in values) and NUMBER.search(cell.text):
                checked += 1
                with pytest.raises(AssertionError):
                    check_numbers(Table(table.id, "", rows=[Row([cell])]), other)
    assert checked > 1000


def test_a_pointer_that_is_misspelt_is_noticed() -> None:
    """Every pointer of the page, with its list indices left open, is followed to its end in one of
    the studies.

    Then each of its steps is misspelt in turn: nothing is found there.
    """
    followed: dict[str, bool] = {}
    for analysis in (study.analysis(), balanced()):
        document = to_json(analysis)
        for key in {
            key for table in tables(analysis) for cell in cells_of(table) for key in cell.keys
        }:
            raised = [
                raises(document, "/".join([*steps[:at], steps[at] + "x", *steps[at + 1 :]]))
                for steps, at in places(key)
            ]
            pattern = re.sub(r"/\d+(?=/|$)", "/*", key)
            followed[pattern] = followed.get(pattern, False) or all(raised)
    assert [pattern for pattern, noticed in followed.items() if not noticed] == []
    assert len(followed) > 200


def places(key: str) -> list[tuple[list[str], int]]:
    steps = key.split("/")
    return [(steps, at) for at in range(1, len(steps))]


def raises(analysis: Any, pointer: str) -> bool:
    try:
        pick(analysis, pointer)
    except LookupError:
        return True
    return False


def test_a_column_shows_only_what_the_analysis_has() -> None:
    rows = At(study.analysis()).each(lambda all_: all_.scores)
    table = tabulate(("t", "A table"), rows, [column("SD", two, lambda row: row.total.sd)])
    assert table.rows[0].cells[0].keys == ("/scores/0/total/sd",)
    with pytest.raises(AttributeError, match="sdx"):
        tabulate(("t", "A table"), rows, [column("SD", two, lambda row: row.total.sdx)])  # type: ignore[attr-defined]
    with pytest.raises(TypeError):
        tabulate(("t", "A table"), rows, [column("SD", two, lambda row: row.total.sd + 1)])


def pick(document: Any, pointer: str) -> Any:
    """What lies under a JSON pointer; None from the first null on, LookupError where nothing is."""
    for step in pointer.split("/")[1:]:
        name = step.replace("~1", "/").replace("~0", "~")
        if document is None:
            return None
        if isinstance(document, list) and not name.isdigit():
            raise LookupError(f"{pointer}: no {name} there")
        document = document[int(name) if isinstance(document, list) else name]
    return document


@pytest.mark.parametrize("mapping", ["cbt", "act"])
def test_every_number_in_the_report_of_what_was_published_is_that_of_its_analysis(
    mapping: str, tmp_path: Path
) -> None:
    folder = Path(os.environ.get("CBT_RAY_PUBLISHED", ""))
    needs(
        "published",
        "CBT_RAY_PUBLISHED" in os.environ and (folder / f"{mapping}_scores.csv").is_file(),
    )
    assert (
        run(
            [
                "analyze",
                str(folder / f"{mapping}_scores.csv"),
                "--mapping",
                mapping,
                "--to",
                str(tmp_path),
            ]
        )
        == 0
    )
    analysis = from_json(Analysis, json.loads((tmp_path / "analysis.json").read_text()))
    found = tables(analysis)
    assert {"t-primary", "t-smallest", "t-scores"} <= {table.id for table in found}
    for table in found:
        check_numbers(table, to_json(analysis))


def check_numbers(table: Table, analysis: Any) -> None:
    """Each number of a keyed cell is one of the values under the cell's pointers, rounded to the
    digits that are printed.

    In a sentence that the analysis wrote it may also be one of the sentence's.
    """
    for cell in cells_of(table):
        if not cell.keys:
            own = table.id in ("t-stages", "t-costs") or table.id.startswith("t-methods-")
            assert own or not NUMBER.fullmatch(cell.text)
            continue
        values = [pick(analysis, key) for key in cell.keys]
        known = [number for value in values for number in numbers_in(value)]
        written = {
            number
            for value in values
            for text in texts_in(value)
            for number in NUMBER.findall(text)
        }
        for printed in NUMBER.findall(cell.text):
            found = printed in written or any(is_printed(printed, number) for number in known)
            assert found, f"{cell.text!r}: {printed} is not among {known}"


def texts_in(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    inner = (
        [*value, *value.values()]
        if isinstance(value, dict)
        else value
        if isinstance(value, list | tuple)
        else []
    )
    return [text for one in inner for text in texts_in(one)]


def shifted(value: Any) -> Any:
    """The same with other numbers; texts keep theirs."""
    if isinstance(value, dict):
        return {name: shifted(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [shifted(inner) for inner in value]
    return value if isinstance(value, bool | str) or value is None else 1.7 * value + 31.3


def numbers_in(value: Any) -> list[float]:
    if isinstance(value, bool) or value is None:
        return []
    if isinstance(value, int | float):
        return [float(value)]
    if isinstance(value, dict):
        return [number for inner in value.values() for number in numbers_in(inner)]
    return (
        [number for inner in value for number in numbers_in(inner)]
        if isinstance(value, list | tuple)
        else []
    )


def is_printed(printed: str, number: float) -> bool:
    text = (
        printed.replace("\N{NARROW NO-BREAK SPACE}", "")
        .replace("\N{MINUS SIGN}", "-")
        .replace("+", "")
    )
    factor = 100 if text.endswith(" %") else 1
    text = text.removesuffix(" %")
    digits = len(text.partition(".")[2])
    below = float(text) == 0.001 and abs(number) < 0.001  # "< 0.001"
    return below or abs(float(text) - factor * number) <= 0.5 * 10**-digits + 1e-9


def test_scores_come_from_the_analysis_alone() -> None:
    """No score table or figure changes with what else the page shows."""
    analysis = study.analysis()
    bare = sections(
        sample(study.rows(), analysis=analysis, sessions=[], training=[], costs=[], stages=[])
    )
    full = sections(sample(study.rows(), analysis=analysis))
    skipped = {"methods", "training", "run", "provenance"}
    assert [s for s in bare if s.id not in skipped] == [s for s in full if s.id not in skipped]


# ---- size and speed ------------------------------------------------------------------------------


def test_six_hundred_sessions_in_less_than_two_seconds_and_five_megabytes() -> None:
    rows = study.rows()
    data = sample(rows, analysis=study.analysis(), sessions=sessions_of(rows, 26, "word " * 60))
    assert len(data.sessions) == 600
    found = render(data)
    assert calls_of(lambda: render(data)) < 1.5 * A_SECOND
    assert found.where == "beside"
    assert len(found.html.encode()) < 1_500_000
    assert len(render(data, "none").html.encode()) < 5_000_000
    assert all(name.startswith("report.transcripts/") for name in found.beside)


def test_transcripts_go_inside_where_they_are_small() -> None:
    assert render(sample(made_up())).where == "inside"
    assert render(sample(made_up()), "beside").where == "beside"
    bare = render(sample(made_up()), "none")
    assert "leaves the transcripts out" in bare.html
    assert "therapist says" not in bare.html
