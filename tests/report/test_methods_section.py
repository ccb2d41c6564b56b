"""The section on methods, from what a study knows and from less."""

from dataclasses import replace

import pytest

from cbt_ray.report import Methods, RaterRow, ReportData
from cbt_ray.report.methods_section import IMPORTED, NOTHING, methods
from cbt_ray.report.part import Fold, Heading, Pairs, Text, every
from cbt_ray.report.table import Table
from tests.report import sample as samples
from tests.report import study


def of(known: Methods) -> ReportData:
    return samples.sample([], analysis=study.analysis(), methods=known)


def texts(table: str, data: ReportData) -> list[list[str]]:
    found = [part for part in every(methods(data).parts) if isinstance(part, Table)]
    rows = next(one.rows for one in found if one.id == f"t-methods-{table}")
    return [[cell.text for cell in row.cells] for row in rows]


def test_the_scale_stands_there_with_every_anchor() -> None:
    data = of(samples.methods())
    scale = data.methods.scales[0]
    assert texts("items-own", data) == [[item.title, item.question] for item in scale.items]
    assert texts("anchors-own", data) == [
        [str(step.score), step.word, step.anchor or "\N{EN DASH}"] for step in scale.steps
    ]
    assert texts("own-own", data) == [["Sighs", "how often it is there"]]


def test_models_stand_there_with_what_they_were_sampled_with() -> None:
    data = of(samples.methods())
    (row,) = texts("sampling", data)
    assert row[1:] == [samples.EVIL, "0.7", "0.95", "0", "1", "512", "3"]
    (checkpoint,) = texts("checkpoints", data)
    assert checkpoint[2].startswith("sft, LoRA r 16, learning rate 0.0002, 1 epoch")
    assert checkpoint[4] == "ab" * 6


def test_patients_are_folded_on_the_screen_and_printed_on_paper() -> None:
    folds = [part for part in methods(of(samples.methods())).parts if isinstance(part, Fold)]
    assert [(fold.title.split()[0], fold.printed) for fold in folds] == [
        ("Profiles", True),
        ("Prompts", False),
    ]


def test_dates_and_code() -> None:
    pairs = [part.pairs for part in methods(of(samples.methods())).parts if isinstance(part, Pairs)]
    assert pairs[-1]["Sessions held"] == "1 to 2 March 2026"
    assert pairs[-1]["Sessions rated"] == "5 March 2026"
    assert pairs[-1]["Made by"] == "cbt-ray 0.1.0"
    assert pairs[-1]["llama.cpp"] == "0.3.36 amx, 0.3.36 v3"


@pytest.mark.parametrize(
    ("rater", "who", "read"),
    [
        (RaterRow("judge", "model", "m-1", 9, "the session"), "m-1", "the session"),
        (
            RaterRow("published", "model", "m-2", 9, "", 8, 7),
            "m-2",
            "7 of 8 sessions that began with the summary of the session before still held it",
        ),
        (
            RaterRow("other", "model", "", 9, ""),
            "a model, which one is not recorded",
            "not recorded",
        ),
        (RaterRow("ana", "human", "", 9, ""), "a person", "not recorded"),
    ],
)
def test_who_rated_and_what_was_read(rater: RaterRow, who: str, read: str) -> None:
    assert texts("raters", of(Methods(raters=[rater]))) == [[rater.name, who, "9", read]]


def test_of_a_table_of_ratings_nothing_is_known_and_that_is_said() -> None:
    bare = replace(of(Methods()), provenance=replace(of(Methods()).provenance, prompts={}))
    assert methods(bare).parts == [Text(NOTHING, "empty")]


def test_of_imported_sessions_it_is_said_that_sampling_is_not_recorded() -> None:
    parts = methods(of(Methods(imported=["a clone"]))).parts
    assert Text(IMPORTED) in parts
    assert Heading("Models and sampling") not in parts
    assert Text(IMPORTED) not in methods(of(samples.methods())).parts
