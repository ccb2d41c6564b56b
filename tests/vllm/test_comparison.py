"""What passes as the model that was trained, and what does not: by names, prompts and answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from cbt_ray.llm.inquiry import Inquiry, Spoken
from cbt_ray.llm.request import Message
from cbt_ray.study.model import Checkpoint
from cbt_ray.training.gate.expected import Expected
from cbt_ray.unit import Key, Stage, Unit
from cbt_ray.vllm.comparison import Asker
from cbt_ray.vllm.holding import Model

CONTEXT = 2048
Row = dict[int, float]


class Server(Inquiry):
    """Answers as it is told: by names of models, what each goes on with."""

    def __init__(self, says: Mapping[str, Sequence[Row]], context: int = CONTEXT) -> None:
        super().__init__("http://nowhere/v1")
        self.__dict__ |= {"says": says, "context": context, "ids": [1, 2, 3]}

    def models(self) -> dict[str, int | None]:
        return dict.fromkeys(self.__dict__["says"], self.__dict__["context"])

    def tokens(self, model: str, messages: Sequence[Message]) -> list[int]:
        return list(self.__dict__["ids"])

    def spoken(
        self, model: str, prompts: Sequence[Sequence[int]], most: int, best: int
    ) -> list[Spoken]:
        rows = list(self.__dict__["says"][model])[:most]
        return [Spoken([max(row, key=lambda one: row[one]) for row in rows], rows)] * len(prompts)


def model(name: str, due: Sequence[Row]) -> Model:
    said = [max(row, key=lambda one: row[one]) for row in due]
    expected = Expected((Message("user", "Hello."),), [1, 2, 3], said, list(due))
    key = Key("small", Stage.MODEL, name, "0" * 16)
    return Model(Checkpoint("small", True), name, Unit(key, {}, made_from={}), (expected,))


ONE: list[Row] = [{5: -0.5, 6: -1.0, 7: -3.0}, {8: -0.1, 9: -3.0, 4: -5.0}]
OTHER: list[Row] = [{5: -0.7, 6: -0.8, 7: -2.6}, {8: -0.4, 9: -2.0, 4: -4.0}]
MODELS = [model("one", ONE), model("other", OTHER)]


def failed(server: Server, dtype: str = "float32") -> dict[str, tuple[str, ...]]:
    verdicts = Asker(server, dtype, CONTEXT).verdicts(MODELS)
    return {name: verdict.failed for name, verdict in verdicts.items()}


def shifted(rows: Sequence[Row], nats: float) -> list[Row]:
    return [{token: value + nats for token, value in row.items()} for row in rows]


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_a_server_that_says_what_is_due_passes(dtype: str) -> None:
    right = Server({"one": ONE, "other": OTHER})
    assert failed(right, dtype) == {"one": (), "other": ()}
    assert not any(failed(Server({"one": shifted(ONE, 0.005), "other": OTHER})).values())


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_adapters_under_each_other_s_names_are_told_apart(dtype: str) -> None:
    mixed = Asker(Server({"one": OTHER, "other": ONE}), dtype, CONTEXT).verdicts(MODELS)
    for name, other in (("one", "other"), ("other", "one")):
        assert mixed[name].failed == ("served.greedy",)
        assert mixed[name].checks[-1].measured["says what is due to"] == other


def test_other_weights_show_where_the_tokens_are_the_same() -> None:
    stale = Server({"one": shifted(ONE, 0.02), "other": OTHER})
    assert failed(stale) == {"one": ("served.greedy",), "other": ()}
    assert failed(stale, "bfloat16") == {"one": (), "other": ()}, "what bf16 rounds to"


def test_another_token_passes_where_the_reference_hardly_prefers_its_own() -> None:
    close: list[Row] = [{5: -0.72, 6: -0.78, 7: -2.6}, OTHER[1]]
    turned: list[Row] = [{6: -0.69, 5: -0.72, 7: -2.6}, {1: -0.1, 2: -3.0, 3: -4.0}]
    models = [model("one", close)]
    [verdict] = Asker(Server({"one": turned}), "bfloat16", CONTEXT).verdicts(models).values()
    assert verdict.failed == (), "behind another token nothing can be compared"
    assert verdict.checks[-1].measured["ties"] == 1
    far: list[Row] = [{7: -0.69, 5: -0.72, 6: -2.6}]
    [verdict] = Asker(Server({"one": far}), "bfloat16", CONTEXT).verdicts(models).values()
    assert verdict.failed == ("served.greedy",)


def test_another_template_is_named() -> None:
    server = Server({"one": ONE, "other": OTHER})
    server.__dict__["ids"] = [1, 2, 2, 3]
    assert failed(server) == dict.fromkeys(("one", "other"), ("served.template",))


def test_a_name_that_is_absent_or_a_context_of_another_length_is_named() -> None:
    assert failed(Server({"one": ONE})) == {"one": (), "other": ("served.models",)}
    short = Server({"one": ONE, "other": OTHER}, context=1024)
    assert failed(short) == dict.fromkeys(("one", "other"), ("served.models",))


def test_a_model_without_anything_to_compare_does_not_pass() -> None:
    blank = [model("one", [])]
    [verdict] = Asker(Server({"one": ONE}), "float32", CONTEXT).verdicts(blank).values()
    assert verdict.failed == ("served.greedy",)
