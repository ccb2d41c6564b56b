"""The licence gate: known terms, what they demand together, what is refused and in which words."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from cbt_ray.commands.plan import print_plan
from cbt_ray.errors import InputError
from cbt_ray.study import Study, load_study
from cbt_ray.study.licence import Licence, check_licences, demands, demands_of, published_name
from cbt_ray.study.model import Checkpoint
from cbt_ray.study.terms import Duties, Outputs, Terms, find, plain, shipped
from tests.study.example import loaded

ROOT = Path(__file__).parents[2]
LLAMA, APACHE, GEMMA = "Llama 3.1 Community License", "Apache-2.0", "Gemma"
TUNED = {"name": "tuned", "model": "smollm2", "tuned": True}


def study(base: str = APACHE, generator: str | None = None, **changes: Any) -> Study:
    remote = {"kind": "litellm", "model": "openai/x", "licence": generator}
    return loaded(
        arms=[TUNED],
        models__smollm2__recipe__licence=base,
        endpoints__remote=remote,
        roles__generator__endpoint="remote" if generator != "script" else "script",
        **changes,
    )


def known(name: str) -> Licence:
    found = find(name, {})
    assert found, name
    return Licence(*found)


def refusal(**given: Any) -> str:
    with pytest.raises(InputError) as refused:
        check_licences(study(**given))
    line = str(refused.value)
    assert line.startswith("study.yaml: ")
    assert "\n" not in line
    return line.removeprefix("study.yaml: ")


# --- the terms that come with cbt-ray


def test_each_name_means_one_licence() -> None:
    names = [plain(name) for title, terms in shipped().items() for name in (title, *terms.also)]
    assert sorted(names) == sorted(set(names))


@pytest.mark.parametrize(
    "name",
    [
        "apache 2.0",
        "APACHE-2.0",
        "Apache Licence 2.0",
        "llama 3.1",
        "Llama 3.1 Community Licence",
        "gemma",
    ],
)
def test_case_and_punctuation_do_not_count(name: str) -> None:
    assert find(name, {}) is not None


def test_llama_3_and_3_1_are_two_licences() -> None:
    assert (known("Llama 3").name, known("Llama 3.1").name) == (
        "Meta Llama 3 Community License",
        LLAMA,
    )


@pytest.mark.parametrize("name", shipped())
def test_terms_say_where_they_were_read_and_why_they_demand_something(name: str) -> None:
    terms = shipped()[name]
    assert terms.link
    assert terms.outputs is not None
    assert terms.outputs.clause or terms.outputs.training == "allowed"
    asks = terms.outputs.model_dump(exclude={"training", "clause"}) != Duties().model_dump()
    assert asks == (terms.outputs.training == "demands")


def test_the_page_on_licences_lists_all_with_how_they_were_read() -> None:
    page = (ROOT / "docs" / "licences.md").read_text().partition("## What is known")[2]
    rows = re.findall(r"^\| ([^|`-]+[^|]*) \| ([a-z ]+) \|", page, re.MULTILINE)
    assert {(name.strip(), read.replace(" ", "_")) for name, read in rows if name != "licence"} == {
        (name, terms.read) for name, terms in shipped().items()
    }


@pytest.mark.parametrize(
    "file", sorted((ROOT / "studies").glob("*.yaml")), ids=lambda file: file.stem
)
def test_studies_of_the_project_pass(file: Path) -> None:
    check_licences(load_study(file))


def test_the_replication_carries_gemmas_notice_and_the_papers_models_are_named_after_llama() -> (
    None
):
    replication, paper = (
        load_study(ROOT / "studies" / f"{name}.yaml") for name in ("replication", "paper")
    )
    assert "subject to the Gemma Terms of Use" in demands_of(replication, "qwen").notice_file
    assert [
        published_name(replication, Checkpoint(model, True)) for model in ("qwen", "llama")
    ] == [
        "replication-qwen-tuned",
        "Llama-replication-llama-tuned",
    ]
    assert published_name(paper, Checkpoint("qwen", True)) == "Llama-paper-qwen-tuned"


# --- what is demanded


@pytest.mark.parametrize(
    ("base", "generator", "name"),
    [
        (APACHE, APACHE, "small-smollm2-tuned"),
        (APACHE, LLAMA, "Llama-small-smollm2-tuned"),
        (LLAMA, APACHE, "Llama-small-smollm2-tuned"),
        (LLAMA, LLAMA, "Llama-small-smollm2-tuned"),
        ("Llama 3", "Llama 3.1", "Llama-3-small-smollm2-tuned"),
        (APACHE, GEMMA, "small-smollm2-tuned"),
        (LLAMA, "script", "Llama-small-smollm2-tuned"),
    ],
)
def test_name_of_a_tuned_model(base: str, generator: str, name: str) -> None:
    assert published_name(study(base, generator), Checkpoint("smollm2", True)) == name


def test_outputs_of_llama_ask_for_the_name_and_its_weights_for_more() -> None:
    of_outputs, of_weights = demands(known(APACHE), known(LLAMA)), demands(known(LLAMA), None)
    assert of_outputs.name_begins[0].why == f"{LLAMA}, of the model that wrote what is trained on"
    assert (of_outputs.display, of_outputs.notice) == ((), ())
    assert [one.text for one in of_weights.display] == ["Built with Llama"]
    assert of_weights.notice_file.startswith(
        "Llama 3.1 is licensed under the Llama 3.1 Community License, Copyright ©"
    )
    assert [one.text for one in of_weights.use_policy] == [
        "https://llama.meta.com/llama3_1/use-policy"
    ]


def test_both_licences_are_named_and_a_demand_of_both_stands_once_with_both_reasons() -> None:
    both = demands(known(GEMMA), known(GEMMA))
    assert [licence.name for licence in both.licences] == [GEMMA]
    (notice,) = both.notice
    assert (
        notice.why == "Gemma, of the base model; Gemma, of the model that wrote what is trained on"
    )
    assert [licence.name for licence in demands(known(APACHE), known(LLAMA)).licences] == [
        APACHE,
        LLAMA,
    ]


def test_research_licences_mark_the_model_as_non_commercial() -> None:
    assert demands(known(APACHE), known("MRL")).non_commercial
    assert not demands(known(APACHE), known("MIT")).non_commercial


def test_plan_names_each_tuned_model_with_its_memory_or_says_why_it_is_refused() -> None:
    said: list[str] = []
    print_plan(study(APACHE, LLAMA, models__smollm2__recipe__memory_gib=7.5), said.append)
    with pytest.raises(InputError, match=r"endpoints\.remote\.licence: "):
        print_plan(study(APACHE, "OpenAI"), said.append)
    named, refused = (line for line in said if line.startswith("training smollm2: "))
    assert (
        named == "training smollm2: needs 7.5 GiB of memory; published as Llama-small-smollm2-tuned"
    )
    assert refused.startswith(
        "training smollm2: memory not known (`memory_gib` in the recipe); refused: study.yaml: "
        "endpoints.remote.licence: "
    )


# --- what is refused


def test_a_generator_without_a_licence_is_refused() -> None:
    assert refusal() == (
        "endpoints.remote.licence: expected the licence of the generator, whose texts are trained "
        "on; "
        "docs/licences.md has the known ones"
    )


def test_a_script_needs_none() -> None:
    check_licences(study(generator="script"))


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"base": "Own", "generator": APACHE}, "models.smollm2.recipe"),
        ({"generator": "Own"}, "endpoints.remote"),
    ],
)
def test_unknown_terms_are_refused(given: dict[str, str], field: str) -> None:
    line = refusal(**given)
    assert line.startswith(
        f"{field}.licence: expected a licence whose terms are known, found 'Own'; "
    )


@pytest.mark.parametrize(
    "name", ["OpenAI terms of use", "Anthropic terms", "Google Gemini terms", "Llama 3"]
)
def test_terms_that_forbid_training_on_outputs_are_refused_with_their_words(name: str) -> None:
    line = refusal(generator=name)
    assert line.startswith(
        "endpoints.remote.licence: expected terms that allow to train on outputs, "
    )
    clause = known(name).terms.outputs
    assert clause is not None
    assert clause.clause in line


def test_terms_that_hand_out_no_weights_are_refused_for_a_base_model() -> None:
    line = refusal(base="OpenAI terms of use", generator=APACHE)
    assert line.startswith(
        "models.smollm2.recipe.licence: expected a licence that allows to tune a model, "
    )


def test_own_terms_are_taken_and_go_before_known_ones() -> None:
    own = {"training": "allowed"}
    licences = {"Own": {"derived": {}, "outputs": own, "source": "a letter", "read": "text"}}
    check_licences(study("Own", "own", licences=licences))
    permitted = {"OpenAI": {"outputs": own, "source": "a contract", "read": "text"}}
    check_licences(study(generator="openai", licences=permitted))
    assert "expected what Own says about training on outputs" in refusal(
        generator="Own", licences={"Own": {"source": "x", "read": "text"}}
    )


def test_two_names_cannot_both_stand_first() -> None:
    other = {"derived": {"name_begins": "Bird"}, "source": "x", "read": "text"}
    line = refusal(base="Other", generator=LLAMA, licences={"Other": other})
    assert (
        line
        == "models.smollm2.recipe.licence: expected one name to come first in the tuned model's, "
        "found Llama and Bird"
    )


def test_preference_pairs_need_a_licence_of_their_own() -> None:
    pairs = {
        "models__smollm2__recipe__method": "orpo",
        "models__smollm2__recipe__preferences": "pairs.jsonl",
    }
    assert refusal(generator=APACHE, **pairs).startswith(
        "models.smollm2.recipe.preferences_licence: expected the licence of the preference"
    )
    named = study(generator=APACHE, models__smollm2__recipe__preferences_licence=LLAMA, **pairs)
    assert published_name(named, Checkpoint("smollm2", True)) == "Llama-small-smollm2-tuned"


def test_what_is_not_tuned_is_not_asked_about() -> None:
    check_licences(
        loaded(
            endpoints__remote={"kind": "litellm", "model": "openai/x"},
            roles__generator__endpoint="remote",
        )
    )


def test_licences_of_the_study_file_are_closed_blocks(tmp_path: Path) -> None:
    terms = {"licences": {"Own": {"source": "x", "read": "text", "outputs": {"training": "maybe"}}}}
    file = tmp_path / "study.yaml"
    file.write_text(
        yaml.safe_dump(study(generator="script").model_dump(mode="json", exclude_none=True) | terms)
    )
    with pytest.raises(
        InputError,
        match=r"licences\.Own\.outputs\.training: expected 'allowed', 'demands' or 'forbidden', "
        r"found 'maybe'",
    ):
        load_study(file)


def test_terms_are_data() -> None:
    assert Terms.model_validate(shipped()[LLAMA].model_dump()) == shipped()[LLAMA]
    assert isinstance(shipped()[LLAMA].outputs, Outputs)
