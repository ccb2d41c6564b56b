"""The claims table: its file says where each claim stands, verdicts are computed, and false claims
are found out.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from cbt_ray.analysis import Analysis
from cbt_ray.analysis.claims import claims_file
from cbt_ray.analysis.claims.claims import as_printed, claims, prints_as
from cbt_ray.analysis.claims.claims_file import ClaimsFile, load_claims
from cbt_ray.analysis.claims.verdict import Claims, ClaimVerdict, RecomputedClaim
from cbt_ray.analysis.document import from_json, to_json
from cbt_ray.analysis.table.mapped import read_table
from cbt_ray.analysis.table.mapping import load_mapping
from cbt_ray.commands.analyze import analyze
from cbt_ray.errors import InputError
from tests.analysis.table.big_table import write_big
from tests.needs import needs

pytestmark = pytest.mark.slow

Rows = dict[str, RecomputedClaim]
VERDICTS = """
tuning.difference       borne_out      borne_out
tuning.significance     borne_out      not_borne_out
tuning.llama            borne_out      borne_out
tuning.qwen             borne_out      borne_out
tuning.mistral          borne_out      borne_out
models.best             borne_out      not_borne_out
models.order            borne_out      not_borne_out
models.llama_mistral    borne_out      not_borne_out
models.llama_qwen       borne_out      not_borne_out
models.mistral_qwen     not_borne_out  not_borne_out
items.agenda            borne_out      borne_out
items.exploration       borne_out      borne_out
items.gains             not_borne_out  not_borne_out
items.coherence         not_testable   not_testable
"""


def rows_of(result: Analysis) -> Rows:
    return {row.id: row for row in result.claims.rows}


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Analysis:
    path = Path(os.environ.get("CBT_RAY_PUBLISHED", "")) / "cbt_scores.csv"
    needs("published", "CBT_RAY_PUBLISHED" in os.environ and path.is_file())
    return analyze(
        path, "cbt", tmp_path_factory.mktemp("published"), {}, lambda _: None, report=False
    )


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made-up ratings in the shape of the published ones."""
    path = tmp_path_factory.mktemp("other") / "scores.csv"
    write_big(path, patients=5)
    return path


@pytest.fixture(scope="module")
def other(table: Path) -> Analysis:
    """The same claims, on these."""
    return analyze(table, "cbt", table.parent / "out", {}, lambda _: None, report=False)


def test_verdicts_on_the_published_scores(result: Analysis) -> None:
    rows = rows_of(result)
    for line in VERDICTS.strip().splitlines():
        name, published, default = line.split()
        assert (name, rows[name].published.verdict, rows[name].default.verdict) == (
            name,
            published,
            default,
        )


def test_every_published_number_is_recomputed_to_its_last_digit(result: Analysis) -> None:
    numbers = [row for row in result.claims.rows if row.kind == "number"]
    assert len(numbers) > 200
    assert [row.id for row in numbers if row.published.verdict != "borne_out"] == []


def test_the_tuned_models_differ_as_a_direct_fit_says(result: Analysis) -> None:
    """The published formula on the tuned sessions, by statsmodels and not by our own likelihood."""
    import pandas as pd
    from statsmodels.regression.mixed_linear_model import MixedLM

    table = pd.read_csv(Path(os.environ["CBT_RAY_PUBLISHED"]) / "cbt_scores.csv")
    table = table[table["group"].str.contains("Finetune")]
    session = table["id"].str.split("_").str[0].astype(float)
    frame = pd.DataFrame(
        {
            "total": table.drop(columns=["id", "patient_id", "group"]).sum(axis=1),
            "model": table["group"].str.split("_").str[0],
            "z": (session - session.mean()) / session.std(ddof=1),
            "patient": table["patient_id"],
        }
    )
    fit = MixedLM.from_formula(
        "total ~ C(model, Treatment('Mistral')) + z", groups="patient", data=frame
    ).fit(reml=False, method="powell")
    rows = rows_of(result)
    for name, level in (("models.mistral_qwen", "Qwen"), ("models.llama_mistral", "Llama")):
        expected = fit.pvalues[f"C(model, Treatment('Mistral'))[T.{level}]"]
        assert rows[name].published.recomputed == pytest.approx(expected, rel=1e-3)


def test_numbers_of_another_table_are_found_out(other: Analysis) -> None:
    rows = rows_of(other)
    for name in (
        "tuning.difference",
        "totals.Llama-tuned.total score.mean",
        "items.Qwen-instruct.agenda.mean",
        "fit.model.fit.aic",
    ):
        assert rows[name].published.verdict == "not_borne_out"
    assert rows["counts.patients"].published.verdict == "borne_out"
    assert rows["counts.sessions"].published.recomputed == 600


def test_rows_are_json_and_say_where_they_come_from(other: Analysis) -> None:
    document = json.loads(json.dumps(to_json(other.claims), allow_nan=False))
    assert to_json(from_json(Claims, document)) == document
    for row in other.claims.rows:
        assert row.text
        assert row.url.startswith("https://")
        for column in (row.published, row.default):
            assert (column.reason is None) == (column.verdict != "not_testable")
            assert column.recomputed is not None or column.verdict == "not_testable"
    found = other.claims.counts.published
    assert found.borne_out + found.not_borne_out + found.not_testable == len(other.claims.rows)
    assert "could not be had" in other.claims.not_had


def test_an_interval_is_that_of_the_number_beside_it(result: Analysis) -> None:
    """Of p there is none, though the difference that it is of has one."""
    rows = rows_of(result)
    difference, p = rows["tuning.difference"].default, rows["tuning.significance"].default
    assert difference.low < difference.recomputed < difference.high
    assert (p.low, p.high) == (None, None)


def test_a_claim_of_which_the_analysis_has_no_number_is_not_testable(
    other: Analysis, table: Path
) -> None:
    bare = replace(other, models={"published": {}}, contrasts={})
    scores = read_table(table, load_mapping("cbt")).scores
    rows = {row.id: row for row in claims(bare, scores, load_claims("cbt")).rows}
    assert rows["fit.model.fit.aic"].published == ClaimVerdict(
        "not_testable",
        "models.published.aic equals 4478.571 to its last digit",
        reason="the analysis has no such number",
    )
    assert rows["adjusted.qwen"].published.verdict == "not_testable"
    assert rows["models.best"].default.verdict == "not_testable"


# --- the file


def test_the_file_holds_no_verdict_and_no_name_of_a_patient() -> None:
    text = (claims_file.FOLDER / "cbt.yaml").read_text()
    assert not re.search(r"borne_out", text)
    path = Path(os.environ.get("CBT_RAY_PUBLISHED", "")) / "cbt_scores.csv"
    needs("published", "CBT_RAY_PUBLISHED" in os.environ and path.is_file())
    names = {line.split(",")[1] for line in path.read_text().splitlines()[1:]}
    assert [name for name in names if name in text or name.split()[0] in text] == []


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        (
            {"published": {"path": ["a"], "below": 1.0, "digits": True}},
            "expected exactly one of digits, inside, below",
        ),
        ({"published": {"below": 1.0}}, "expected either path or compute"),
        ({"published": {"compute": "magic", "below": 1.0}}, "unknown computation magic"),
        ({"source": "rumour"}, "unknown source rumour"),
        (
            {"published": {"path": ["power", "familly"], "digits": True}},
            "one: power.familly: expected a path of the analysis, it has no familly there",
        ),
        (
            {"default": {"path": ["power", "family"], "over": ["powr", "level"], "above": 1.0}},
            "one: powr.level: expected a path of the analysis, it has no powr there",
        ),
        (
            {"published": {"descending": [["power", "level"], ["power", "note"]]}},
            "one: power.note: expected the path of a number",
        ),
        ({"kind": "guess"}, "expected 'number', 'comparison' or 'significance', found 'guess'"),
    ],
)
def test_a_bad_claims_file_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], line: str
) -> None:
    claim = {
        "id": "one",
        "group": "g",
        "source": "here",
        "text": "T",
        "kind": "number",
        "printed": "1",
    }
    claim |= {"published": {"path": ["counts", "rated"], "digits": True}} | changes
    source = {"what": "w", "url": "https://example.org", "part": "abstract"}
    document = {
        "paper": "P",
        "ratings": 1,
        "url": "https://example.org",
        "sources": {"here": source},
        "not_had": "none",
        "claims": [claim],
    }
    (tmp_path / "bad.yaml").write_text(yaml.safe_dump(document))
    monkeypatch.setattr(claims_file, "FOLDER", tmp_path)
    with pytest.raises(InputError) as error:
        load_claims("bad")
    assert line in str(error.value)
    assert str(error.value).startswith(f"{tmp_path / 'bad.yaml'}: claims")


def test_a_claims_file_that_is_not_there() -> None:
    with pytest.raises(InputError, match="claims dbt: expected one of act, cbt"):
        load_claims("dbt")


def test_each_id_stands_once() -> None:
    document = load_claims("cbt").model_dump(mode="json")
    document["claims"].append(document["claims"][0])
    with pytest.raises(ValueError, match=r"tuning\.difference is given twice"):
        ClaimsFile.model_validate(document)


def test_half_of_a_last_digit_is_printed_either_way() -> None:
    for value in (2.675 - 1e-12, 2.675 + 1e-12):
        assert prints_as(value, "2.67")
        assert prints_as(value, "2.68")
    assert not prints_as(2.6749, "2.68")
    assert not prints_as(2.6751, "2.67")


@pytest.mark.parametrize(
    ("value", "printed", "shown"),
    [
        (11.3258, "11.33", "11.33"),
        (593.0, "593", "593"),
        (0.00038537, "3.854e-04", "3.854e-04"),
        (-0.0004, "0.00", "0.00"),
        (-8.0537, "-8.054", "-8.054"),
    ],
)
def test_numbers_are_compared_as_they_are_printed(value: float, printed: str, shown: str) -> None:
    assert as_printed(value, printed) == shown
