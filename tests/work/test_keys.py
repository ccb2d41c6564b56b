"""Keys: what they depend on, what they do not, and that nothing but what lies downstream of a
change changes.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml

from cbt_ray.prompts import Prompts
from cbt_ray.reading.yaml_text import read_yaml
from cbt_ray.study import load_study
from cbt_ray.unit import Key, Stage, canonical, digest
from cbt_ray.work.determinants import said
from cbt_ray.work.keys import Keys
from tests.llm.gguf_bytes import write_gguf
from tests.study.example import RECIPE, ROLES, example_study, loaded, write_study
from tests.threads import at_once

ROOT = Path(__file__).parents[2]
REMOTE = {"kind": "litellm", "model": "openai/x", "api_base": "http://one/v1"}
TWO_ARMS: list[dict[str, Any]] = [
    {"name": "plain", "model": "smollm2"},
    {"name": "tuned", "model": "smollm2", "tuned": True, "endpoint": "made"},
]
BASE: dict[str, Any] = {
    "endpoints__remote": REMOTE,
    "endpoints__made": {"kind": "llama_cpp", "gguf": "finetuned"},
    "arms": TWO_ARMS,
    "raters__judge__endpoint": "remote",
    "patients__simulated__1": {
        "name": "Marcus Adeyemi",
        "profile": "34, a bus driver and father of two who broods on shift.",
    },
}
ALL = frozenset(Stage) - {Stage.PAIRS}
"""Stages of this study, in which no pairs are made."""
BEHIND_TRAINING = {
    Stage.DATASET,
    Stage.ADAPTER,
    Stage.MODEL,
    Stage.SESSIONS,
    Stage.RATINGS,
    Stage.ANALYSIS,
    Stage.REPORT,
}
SCORES = {Stage.RATINGS, Stage.ANALYSIS, Stage.REPORT}


def keys(prompts: Prompts | None = None, **changes: Any) -> dict[Stage, list[str]]:
    derived = Keys(loaded(**BASE | changes), prompts or Prompts()).all()
    return {stage: [str(key) for key in found] for stage, found in derived.items()}


def changed(**changes: Any) -> set[Stage]:
    """The stages of which at least one unit has another key."""
    before, after = keys(), keys(**changes)
    return {stage for stage in Stage if before[stage] != after[stage]}


NEVER: dict[str, dict[str, Any]] = {
    "store": {"store": "elsewhere"},
    "engine": {"engine": {"address": "ray://head:10001", "workers": 8}},
    "address": {"endpoints__remote__api_base": "http://two/v1"},
    "key": {"endpoints__remote__api_key_env": "SOME_KEY"},
    "retries": {"endpoints__remote__retries": 9},
    "timeout": {"endpoints__remote__timeout_s": 9},
    "price": {"endpoints__remote__price": [1, 2]},
    "concurrency": {
        "endpoints__remote__max_concurrency": 2,
        "endpoints__script__max_concurrency": 2,
    },
    "pace": {
        "endpoints__remote__requests_per_minute": 2,
        "endpoints__remote__tokens_per_minute": 900,
    },
    "threads": {"endpoints__made__threads": 4},
    "layers on a GPU": {"endpoints__made__gpu_layers": 99},
    "latency": {"endpoints__script__latency_s": 0.5},
    "budget": {"budget": {"calls": 10, "tokens": 10, "cost": 1}},
    "minimum": {"minimum": {"courses": 0.1, "ratings": 1}},
    "checkpoints": {
        "models__smollm2__recipe__checkpoint_steps": 3,
        "models__smollm2__recipe__checkpoint_minutes": 3,
    },
    "layout of a batch": {"models__smollm2__recipe__batching": "padded"},
    "licences": {
        **{f"endpoints__{name}__licence": "MIT" for name in ("remote", "made", "script")},
        "models__smollm2__recipe__licence": "MIT",
        "licences": {"Own": {"source": "a letter", "read": "text"}},
    },
    "speed": {"endpoints__remote__expected_speed": 99},
    "expected-tokens-of-the-judge": {"raters__judge__expected_tokens": 7},
    "expected-messages": {"sessions__expected_messages": 3},
    **{f"expected-tokens-of-the-{role}": {f"roles__{role}__expected_tokens": 7} for role in ROLES},
    **{
        f"expected-retries-of-the-{role}": {f"roles__{role}__expected_retries": 2} for role in ROLES
    },
}


@pytest.mark.parametrize("name", NEVER)
def test_where_and_how_fast_it_runs_is_in_no_key(name: str) -> None:
    assert changed(**NEVER[name]) == set()


WHERE: dict[str, tuple[dict[str, Any], set[Stage] | frozenset[Stage]]] = {
    "seed": ({"seed": 8}, ALL),
    "study": ({"study": "other"}, ALL),
    "characteristics": (
        {"patients__training__characteristics__coping": {"one": 2, "other": 1}},
        ALL,
    ),
    "order of the characteristics": (
        {
            "patients__training__characteristics": {
                name: {"one": 1, "other": 2} for name in ("coping", "hobbies", "age_band")
            }
        },
        ALL,
    ),
    "combination that never occurs": (
        {"patients__training__never": [{"coping": "one", "hobbies": "one"}]},
        ALL,
    ),
    "training names": ({"patients__training__names": ["Alex Gray", "Robin Okafor"]}, ALL),
    "sampling of the generator": ({"roles__generator__sampling": {"temperature": 0.1}}, ALL),
    "model of the generator": ({"roles__generator__endpoint": "remote"}, ALL),
    "prose of the generator": ({"roles__generator__prose": "letters"}, ALL),
    "courses": ({"courses__pairs": 3}, ALL - {Stage.PROFILES}),
    "phase": ({"phases__0__goals": "Other goals."}, ALL - {Stage.PROFILES}),
    "dataset": ({"dataset": {"held_out": 0.5}}, BEHIND_TRAINING),
    "recipe": ({"models__smollm2__recipe__learning_rate": 1e-5}, BEHIND_TRAINING - {Stage.DATASET}),
    "kept epoch": ({"models__smollm2__recipe__keep": "best"}, BEHIND_TRAINING - {Stage.DATASET}),
    "quantization, which trains nothing anew": (
        {"models__smollm2__recipe__quantization": "q4_0"},
        BEHIND_TRAINING - {Stage.DATASET, Stage.ADAPTER},
    ),
    "what nobody is given but from the same units": (
        {"models__smollm2__recipe__gate_prompts": 3, "models__smollm2__recipe__safetensors": False},
        set(),
    ),
    "profile of a simulated patient": (
        {"patients__simulated__0__profile": "53, a school cook who has given up her choir."},
        {Stage.SESSIONS} | SCORES,
    ),
    "sampling of the therapists": (
        {"roles__therapist__sampling": {"temperature": 0.1}},
        {Stage.SESSIONS} | SCORES,
    ),
    "sampling of the patient": (
        {"roles__patient__sampling": {"max_tokens": 9}},
        {Stage.SESSIONS} | SCORES,
    ),
    "sampling of the summariser": (
        {"roles__summariser__sampling": {"top_p": 0.1}},
        {Stage.SESSIONS} | SCORES,
    ),
    "attempts of the patient": ({"roles__patient__attempts": 9}, {Stage.SESSIONS} | SCORES),
    "length of sessions": ({"sessions__max_messages": 6}, {Stage.SESSIONS} | SCORES),
    "context of the therapist": ({"endpoints__made__context": 1024}, {Stage.SESSIONS} | SCORES),
    "sampling of the judge": ({"raters__judge__sampling": {"temperature": 0.1}}, SCORES),
    "model of the judge": ({"endpoints__remote__model": "openai/y"}, SCORES),
    "revision of the judge": ({"endpoints__remote__revision": "2"}, SCORES),
    "how the judge is held to a schema": ({"endpoints__remote__structured": "none"}, SCORES),
    "view": ({"raters__judge__views": ["masked"]}, SCORES),
    "strip": ({"raters__judge__strip": "paper"}, SCORES),
    "items": ({"raters__judge__items": "separately"}, SCORES),
    "probes": ({"raters__judge__probes": {"which": ["empty"]}}, SCORES),
    "threshold of a probe": (
        {"raters__judge__probes": {"swapped_fall": 0.2}},
        {Stage.ANALYSIS, Stage.REPORT},
    ),
    "analysis": ({"analysis": {"level": 0.9}}, {Stage.ANALYSIS, Stage.REPORT}),
    "flags": ({"flags": {"early_end": 2}}, {Stage.ANALYSIS, Stage.REPORT}),
    "description": ({"description": "Other."}, {Stage.REPORT}),
}


@pytest.mark.parametrize("name", WHERE)
def test_change_reaches_what_lies_behind_it_and_nothing_else(name: str) -> None:
    changes, reached = WHERE[name]
    assert changed(**changes) == reached


def test_new_name_of_a_simulated_patient_reaches_all_since_no_training_patient_may_bear_it() -> (
    None
):
    assert Stage.PROFILES in changed(patients__simulated__0__name="Tessa Lindqvist")


def both(stage: Stage, **changes: Any) -> tuple[list[str], list[str]]:
    return keys()[stage], keys(**changes)[stage]


def test_phase_of_a_later_session_leaves_the_sessions_before_it() -> None:
    for stage in (Stage.COURSES, Stage.SESSIONS):
        before, after = both(stage, phases__1__goals="Other goals.")
        same = [old == new for old, new in zip(before, after, strict=True)]
        numbers = [key.split("/")[2].rpartition("s")[2] for key in before]
        if stage is Stage.COURSES:
            assert same == [number == "01" for number in numbers]
        else:  # the tuned arm's model was trained on courses of both phases
            assert same == [
                number == "01" and "plain." in key
                for number, key in zip(numbers, before, strict=True)
            ]


def test_patients_profile_reaches_that_patients_sessions_and_ratings_only() -> None:
    change = {"patients__simulated__0__profile": "53, a school cook who has given up her choir."}
    for stage in (Stage.SESSIONS, Stage.RATINGS):
        before, after = both(stage, **change)
        assert [old == new for old, new in zip(before, after, strict=True)] == [
            "marcus-adeyemi" in key for key in before
        ]


def test_recipe_reaches_the_tuned_arm_only() -> None:
    for stage in (Stage.ADAPTER, Stage.MODEL, Stage.SESSIONS, Stage.RATINGS):
        before, after = both(stage, models__smollm2__recipe__learning_rate=1e-5)
        assert [old != new for old, new in zip(before, after, strict=True)] == [
            "tuned" in key for key in before
        ]


def test_one_more_patient_arm_or_replicate_leaves_the_keys_that_were_there() -> None:
    more: tuple[dict[str, Any], ...] = (
        {"arms__2": {"name": "third", "model": "smollm2"}},
        {"sessions__replicates": 2},
        {"raters__judge__replicates": 2},
        {"raters__judge__views": ["plain", "masked"]},
        {"raters__judge__probes": {"which": ["empty", "swapped", "halo", "guess_plain"]}},
    )
    before = keys()
    for changes in more:
        after = keys(**changes)
        stages = [Stage.COURSES, Stage.ADAPTER, Stage.MODEL, Stage.SESSIONS] + (
            [Stage.RATINGS] if "arms__2" not in changes else []
        )
        for stage in stages:
            assert set(before[stage]) <= set(after[stage])


PARTS = [
    {"name": "thinking", "label": "Thinking:"},
    {"name": "answer", "label": "Answer:", "shown": True},
]


def test_a_form_reaches_the_arms_that_reply_in_it_and_what_they_are_trained_on() -> None:
    turn = {"dataset__format": "turn"}
    assert keys(**turn) == keys(**turn, forms={"reasoned": {"parts": PARTS}}), "nobody has it"
    form = {
        **turn,
        "forms": {"reasoned": {"parts": PARTS}},
        "courses__write": "turns",
        "courses__form": "reasoned",
    }
    before = keys(**form)
    trained = keys(**form, models__smollm2__form="reasoned")
    assert [key.split("/")[2] for key in trained[Stage.DATASET]] == ["turn-reasoned"]
    moved = {stage: set(before[stage]) ^ set(trained[stage]) for stage in Stage}
    assert not moved[Stage.COURSES]
    for stage in (Stage.ADAPTER, Stage.MODEL):
        assert {key.split("/")[2] for key in moved[stage]} == {"smollm2-tuned"}
    assert {key.split("/")[2].split(".")[0] for key in moved[Stage.SESSIONS]} == {"tuned"}
    asked = keys(**form, arms__0__form="reasoned")
    assert {stage for stage in Stage if asked[stage] != before[stage]} == {Stage.SESSIONS} | SCORES


def test_a_longer_course_leaves_the_keys_of_sessions_only_if_it_says_nothing_new_about_them() -> (
    None
):
    """`session 1 of 3` stands in the prompt: the number of sessions is part of what determines the
    text.
    """
    phases = {
        "phases__2": {"name": "end", "sessions": [3, 3], "goals": "End.", "techniques": "Review."}
    }
    assert not set(keys()[Stage.COURSES]) & set(keys(**phases, courses__sessions=3)[Stage.COURSES])
    assert keys()[Stage.COURSES] == keys(**phases)[Stage.COURSES]


PROMPTS = {
    "profile_request.j2": ALL,
    "course_part.j2": ALL - {Stage.PROFILES},
    "therapist.j2": BEHIND_TRAINING,
    "patient.j2": {Stage.SESSIONS} | SCORES,
    "patient_first.j2": {Stage.SESSIONS} | SCORES,
    "summariser.j2": {Stage.SESSIONS} | SCORES,
    "judge.j2": SCORES,
    "judge_request.j2": SCORES,
    "ctrs/scale.yaml": SCORES,
    "ctrs/homework.yaml": SCORES,
}


@pytest.mark.parametrize("name", PROMPTS)
def test_text_of_a_prompt_reaches_what_it_asks_for(name: str, tmp_path: Path) -> None:
    file = tmp_path / name
    file.parent.mkdir(exist_ok=True)
    file.write_text(Prompts().path(name).read_text() + "\n# changed\n")
    before, after = keys(), keys(Prompts(tmp_path))
    assert {stage for stage in Stage if before[stage] != after[stage]} == PROMPTS[name]


WORDS: dict[str, tuple[str, Any, set[Stage] | frozenset[Stage]]] = {
    "letters": ("letters", "a-z", ALL),
    "parts": ("course.parts.1.content", "something else", ALL - {Stage.PROFILES}),
    "farewells": ("course.farewells", ["so long"], ALL - {Stage.PROFILES}),
    "opening": ("transcript.opening", "Before: {summary}", BEHIND_TRAINING),
    "end token": ("stop.end_token", "<end>", BEHIND_TRAINING),
    "what a name is blotted out with": ("transcript.blotted", "[-]", SCORES),
    "limits of the masked view": ("masked.limits", ["AI"], {Stage.ANALYSIS, Stage.REPORT}),
    "words of flags": ("flags.patient_voice", ["my dog"], {Stage.ANALYSIS, Stage.REPORT}),
    "published rules": ("replayed", [], {Stage.ANALYSIS, Stage.REPORT}),
    "silence, with which nobody is probed": ("transcript.silence", "(silence)", set()),
    "what `chat` calls a person": ("transcript.stranger", "you", set()),
}


@pytest.mark.parametrize("name", WORDS)
def test_words_of_the_language_reach_what_they_decide(name: str, tmp_path: Path) -> None:
    dotted, value, reached = WORDS[name]
    document = read_yaml(Prompts().path("language.yaml"))
    node: Any = document
    *way, last = dotted.split(".")
    for part in way:
        node = node[int(part)] if isinstance(node, list) else node[part]
    node[last] = value
    (tmp_path / "language.yaml").write_text(yaml.safe_dump(document))
    before, after = keys(), keys(Prompts(tmp_path))
    assert {stage for stage in Stage if before[stage] != after[stage]} == reached


def test_limits_of_the_masked_view_reach_the_masked_ratings_only(tmp_path: Path) -> None:
    document = read_yaml(Prompts().path("language.yaml"))
    document["masked"]["limits"] = ["AI"]
    (tmp_path / "language.yaml").write_text(yaml.safe_dump(document))
    both_views = {"raters__judge__views": ["plain", "masked"]}
    before, after = keys(**both_views), keys(Prompts(tmp_path), **both_views)
    for old, new in zip(before[Stage.RATINGS], after[Stage.RATINGS], strict=True):
        assert (old != new) == (".masked." in old)


def test_same_text_in_another_folder_is_the_same_prompt(tmp_path: Path) -> None:
    (tmp_path / "therapist.j2").write_text(Prompts().path("therapist.j2").read_text())
    assert keys(Prompts(tmp_path)) == keys()


def test_gguf_file_is_identified_by_its_content_and_not_by_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    found = []
    for folder, content in (("a", "one"), ("b", "one"), ("c", "two")):
        (tmp_path / folder).mkdir()
        write_gguf(tmp_path / folder / "model.gguf", {"general.name": content})
        judge = {"kind": "llama_cpp", "gguf": str(tmp_path / folder / "model.gguf")}
        found.append(
            [key.rpartition("/")[2] for key in keys(endpoints__remote=judge)[Stage.RATINGS]]
        )
    # The place stands in no key, or a study could not move to another machine.
    assert found[0] == found[1]
    assert found[0] != found[2]


def test_what_a_gguf_is_turned_into_is_in_the_key_by_its_rule_and_the_file_that_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CBT_RAY_CACHE", str(tmp_path / "cache"))
    judge = {"kind": "llama_cpp", "gguf": str(write_gguf(tmp_path / "model.gguf", {}))}
    plain, *turned = (
        keys(endpoints__remote=judge | {"requantize": rule}) for rule in (None, "q8_0", "q4_0")
    )
    assert plain == keys(endpoints__remote=judge)
    for one, other in ((plain, turned[0]), (plain, turned[1]), (turned[0], turned[1])):
        assert {stage for stage in Stage if one[stage] != other[stage]} == SCORES
    assert not list((tmp_path / "cache").rglob("*.gguf")), "a key needs no file but the one named"


def exported(**recipe: Any) -> dict[str, str]:
    """Tuned and instruct model to their hashes, with a recipe that names hub ids."""
    own = RECIPE | {"start": "lab/model", "compare": "lab/model", **recipe}
    arms = [{**arm, "endpoint": "made"} for arm in TWO_ARMS]
    found = keys(models__smollm2__recipe=own, arms=arms)[Stage.MODEL]
    return {key.split("/")[2].removeprefix("smollm2-"): key.split("/")[3] for key in found}


def test_hub_id_is_identified_by_its_name_and_revision_whatever_lies_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = exported()
    (tmp_path / "lab" / "model").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert exported() == before
    assert exported(start="./lab/model")["tuned"] != before["tuned"]


@pytest.mark.parametrize(
    ("recipe", "reached"),
    [
        ({"start": "lab/base"}, {"tuned"}),
        ({"compare": "lab/other"}, {"instruct"}),
        ({"revision": "v2"}, {"tuned", "instruct"}),
        ({"compare_revision": "v2"}, {"instruct"}),
    ],
)
def test_hub_id_and_revision_reach_what_is_made_of_them(
    recipe: dict[str, str], reached: set[str]
) -> None:
    before, after = exported(), exported(**recipe)
    assert {variant for variant in before if before[variant] != after[variant]} == reached


def test_main_is_meant_where_no_revision_is_given() -> None:
    assert exported(revision="main")["instruct"] == exported()["instruct"]


def test_revision_of_the_start_is_not_that_of_another_model_to_compare_with() -> None:
    other = {"compare": "lab/other"}
    assert exported(**other, revision="v2")["instruct"] == exported(**other)["instruct"]


PROBED: dict[str, Any] = {
    "which": [
        "empty",
        "shuffled",
        "swapped",
        "no_homework",
        "masked",
        "halo",
        "guess_plain",
        "guess_masked",
    ]
}


def probes(prompts: Prompts | None = None, **changes: Any) -> dict[str, str]:
    """The probes' keys, by what is probed how."""
    derived = Keys(
        loaded(**BASE | {"raters__judge__probes": PROBED} | changes), prompts or Prompts()
    )
    found = [derived.probe(*probe) for probe in derived.probes()]
    assert {*found} <= {*derived.all()[Stage.RATINGS]}
    return {key.id: key.h16 for key in found}


def reached_probes(*, prompts: Prompts | None = None, **changes: Any) -> set[str]:
    """The probes (by name) of which at least one has another key."""
    before, after = probes(), probes(prompts, **changes)
    return {
        name.split(".")[5] for name in before.keys() & after.keys() if before[name] != after[name]
    }


NOT_GUESSED = {"empty", "shuffled", "swapped", "no_homework", "masked", "halo"}


def test_each_probe_is_there_once_for_each_probed_session() -> None:
    found = probes()
    assert len(found) == len({*found.values()}) == 8 * 8
    assert len(probes(raters__judge__probes=PROBED | {"sessions": 1})) == 2 * 8
    assert set(probes(raters__judge__probes=PROBED | {"sessions": 1}).items()) <= set(
        found.items()
    ), "a larger sample keeps the smaller"


def test_thresholds_replicates_and_more_probes_leave_the_keys_of_probes() -> None:
    assert (
        reached_probes(
            raters__judge__probes=PROBED | {"empty_at_most": 0.9, "homework_item": "agenda"},
            raters__judge__replicates=3,
        )
        == set()
    )
    assert reached_probes(raters__judge__probes={"which": ["halo"]}) == set()
    assert reached_probes(raters__judge__views=["plain", "masked"]) == set()


def test_change_reaches_the_probes_that_it_makes_different() -> None:
    assert reached_probes(raters__judge__items="separately") == NOT_GUESSED
    assert reached_probes(raters__judge__views=["masked"]) == NOT_GUESSED
    assert reached_probes(raters__judge__strip="paper") == NOT_GUESSED | {
        "guess_plain",
        "guess_masked",
    }
    profile = {"patients__simulated__0__profile": "53, a school cook who has given up her choir."}
    before, after = probes(), probes(**profile)
    left = {name for name in before if before[name] == after[name]}
    assert all("marcus" in name for name in left)
    assert not any(".swapped." in name for name in left), (
        "the other patient's therapist is another one, too"
    )


@pytest.mark.parametrize(
    ("name", "reached"),
    [
        ("judge.j2", NOT_GUESSED),
        ("ctrs/homework.yaml", NOT_GUESSED),
        ("probe/homework.yaml", {"no_homework"}),
        ("probe/kinds.yaml", {"guess_plain", "guess_masked"}),
        ("judge_guess.j2", {"guess_plain", "guess_masked"}),
        ("judge_guess_request.j2", {"guess_plain", "guess_masked"}),
    ],
)
def test_text_of_a_prompt_reaches_the_probes_that_it_asks_for(
    name: str, reached: set[str], tmp_path: Path
) -> None:
    file = tmp_path / name
    file.parent.mkdir(exist_ok=True)
    file.write_text(Prompts().path(name).read_text() + "\n# changed\n")
    assert reached_probes(prompts=Prompts(tmp_path)) == reached


def test_probes_that_would_show_nothing_new_are_not_made() -> None:
    assert not any(".masked." in name for name in probes(raters__judge__views=["plain", "masked"]))
    assert not any(
        "guess" in name for name in probes(arms__1__tuned=False, analysis={"contrasts": []})
    )


def test_every_key_is_there_once_and_reads_back() -> None:
    found = [
        key
        for stage in keys(sessions__replicates=2, raters__judge__replicates=2).values()
        for key in stage
    ]
    assert len(set(found)) == len(found) == 2 + 4 + 1 + 1 + 1 + 16 + 32 + 1 + 1
    assert all(str(Key.parse(key)) == key for key in found)


def test_keys_are_equal_in_another_process_and_from_a_file(tmp_path: Path) -> None:
    file = write_study(tmp_path, example_study(**BASE))
    code = (
        "import sys, json; from cbt_ray.study import load_study; from cbt_ray.work.keys import "
        "Keys; "
        "from cbt_ray.prompts import Prompts; "
        "print(json.dumps([str(key) for keys in Keys(load_study(sys.argv[1]), "
        "Prompts()).all().values() for key in keys]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(file)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "42"},
    )
    here = [str(key) for found in Keys(load_study(file), Prompts()).all().values() for key in found]
    assert json.loads(done.stdout) == here == [key for found in keys().values() for key in found]


def test_threads_that_share_keys_get_those_of_a_fresh_object() -> None:
    study = loaded(**BASE, sessions__replicates=20)
    shared, fresh = Keys(study, Prompts()), Keys(study, Prompts())

    def work(number: int) -> dict[Key, tuple[tuple[Key, ...], dict[str, Any]]]:
        chains = shared.chains()
        begun = [*chains[number:], *chains[:number]]
        found = [key for chain in begun for key in shared.chain(*chain)]
        found += [rating for key in found for rating in shared.ratings_of(key)]
        told = {key: (shared.inputs(key), said(shared.determinants(key))) for key in found}
        return {key: told[key] for key in sorted(told)} if shared.all() == fresh.all() else {}

    expected = {
        key: (fresh.inputs(key), said(fresh.determinants(key)))
        for stage in (Stage.SESSIONS, Stage.RATINGS)
        for key in fresh.all()[stage]
    }
    assert all(found == expected for found in at_once(16, work))


def test_who_finds_a_key_of_another_thread_finds_its_inputs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    study = loaded(**BASE)
    shared, second = Keys(study, Prompts()), (study.arms[0], 1, 1, 2)
    found = list[tuple[Key, ...]]()

    class Between(dict[Key, tuple[Key, ...]]):
        """Another thread asks before the inputs of the first key are there."""

        def __setitem__(self, key: Key, inputs: tuple[Key, ...]) -> None:
            if key.id.endswith("s02") and not found:
                found.append(())
                with ThreadPoolExecutor(1) as other:
                    work = other.submit(lambda: shared.inputs(shared.session(*second)))
                    found[0] = work.result()
            super().__setitem__(key, inputs)

    monkeypatch.setattr(shared, "_inputs", Between())
    shared.session(*second)
    assert found == [Keys(study, Prompts()).inputs(shared.session(*second))]
    assert found[0]


def test_order_of_fields_in_the_file_is_in_no_key(tmp_path: Path) -> None:
    document = dict(reversed(example_study(**BASE).items()))
    study = load_study(write_study(tmp_path, document))
    assert {
        stage: [str(key) for key in found] for stage, found in Keys(study, Prompts()).all().items()
    } == keys()


def test_defaults_written_out_are_in_no_key() -> None:
    recipe = RECIPE | {"compare": RECIPE["start"], "batch": 4, "epochs": 1.0}
    assert (
        changed(
            models__smollm2__recipe=recipe,
            raters__judge__scales=["ctrs"],
            dataset={"format": "session"},
        )
        == set()
    )


@pytest.mark.parametrize(
    ("one", "other"),
    [({"a": 1, "b": 2}, {"b": 2, "a": 1}), ((1, 2), [1, 2]), ("ä", "\u00e4")],
)
def test_canonical_form_is_one_for_equal_values(one: Any, other: Any) -> None:
    assert canonical(one) == canonical(other)
    assert digest(one) == digest(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"a": 1}, {"a": 2}),
        ([1, 2], [2, 1]),
        ("1", 1),
        (None, "null"),
        (["ab"], ["a", "b"]),
        (1, True),
    ],
)
def test_canonical_form_tells_values_apart(one: Any, other: Any) -> None:
    assert digest(one) != digest(other)


def test_canonical_form_has_neither_blanks_nor_escapes() -> None:
    assert canonical({"b": [1, None, True], "a": "ä"}) == '{"a":"ä","b":[1,null,true]}'.encode()


def test_seed_of_a_unit_follows_from_study_seed_key_and_what_tells_draws_apart() -> None:
    one, other = (Key("small", Stage.COURSES, f"p0{n}.s01", "0" * 16) for n in (1, 2))
    seeds = [
        one.seed(7),
        other.seed(7),
        one.seed(8),
        one.seed(7, "part", 1),
        one.seed(7, "part", 2),
    ]
    assert len(set(seeds)) == 5
    assert one.seed(7) == seeds[0]
    assert all(0 <= seed < 2**31 for seed in seeds)
