"""A sample conversation, masked: what a recipe's template and tokenizer make of it, before anything
is paid for.

Needs no weights: the tokenizer's files, or the metadata of a GGUF.
"""

from __future__ import annotations

import tempfile
from itertools import groupby
from pathlib import Path

from jinja2 import TemplateError

from cbt_ray.count import many
from cbt_ray.errors import InputError
from cbt_ray.llm.gguf_file import load_gguf_path
from cbt_ray.llm.request import Message
from cbt_ray.llm.template import ANSWER, LONG
from cbt_ray.study.recipe import Recipe
from cbt_ray.training.mask import IGNORED, REMEDY, supervise
from cbt_ray.training.start.base import Base, read_base
from cbt_ray.training.start.unpack import metadata_of, write_tokenizer

CONVERSATION = (*LONG, ANSWER)
SHORT = CONVERSATION[:3]
"""One exchange alone: what a window of a long session may be."""
_ENDS = {
    *(
        "<|eot_id|>",
        "<|eom_id|>",
        "<|im_end|>",
        "<|end|>",
        "<|return|>",
        "<|call|>",
        "<|endoftext|>",
    ),
    *("<end_of_turn>", "<|end_of_turn|>", "<|END_OF_TURN_TOKEN|>", "<end_of_utterance>", "<turn|>"),
    *("<EOT>", "_<EOT>", "< EOT >", "<|end_of_text|>", "<eos>", "</s>", "[EOT]", "[EOS]"),
}
"""Tokens at which llama.cpp ends an answer by their names, besides the one that a model states as
its EOS."""


def rehearse(
    start: str, recipe: Recipe, today: str, *, masked: bool = True, name: str | None = None
) -> None:
    """Mask a sample conversation by what a GGUF or a folder says.

    Only render it where nothing is trained on by the template.

    Raises InputError, one line that names the recipe's field and a remedy; `name` stands in it for
    the place.
    """
    with tempfile.TemporaryDirectory(prefix="cbt-ray-") as beside:
        folder = load_gguf_path(start)
        if not folder.is_dir():
            write_tokenizer(folder, metadata_of(folder), Path(beside))
            name, folder = start, Path(beside)
        try:
            _rehearse(folder, recipe, today, masked=masked)
        except InputError as error:
            raise InputError(str(error).replace(str(folder), name or start)) from None


def _rehearse(folder: Path, recipe: Recipe, today: str, *, masked: bool) -> None:
    base = read_base(folder, "", recipe.chat_template, turn_end=recipe.turn_end, today=today)
    try:
        base.template.try_out()
    except TemplateError as error:
        raise InputError(f"chat_template: refuses a conversation ({error}){REMEDY}") from None
    if masked:
        for conversation in (CONVERSATION, SHORT):
            _expect_exact(conversation, base)
    if base.template.end not in {*_ENDS, base.template.eos}:
        raise InputError(
            "turn_end: expected a token at which llama.cpp ends an answer, such as <|im_end|>, "
            f"not {base.template.end!r}; "
            "it does so at the model's eos_token, too"
        )


def _expect_exact(conversation: tuple[Message, ...], base: Base) -> None:
    """All of the therapist's turns have a loss, each to the token that ends it, and nothing else
    has.
    """
    ids, labels = supervise(conversation, base.template, base.tokenizer)
    runs = [list(run) for there, run in groupby(labels, lambda label: label != IGNORED) if there]
    turns = [one for one in conversation if one.role == "assistant"]
    if len(runs) != len(turns) or any(
        run[-1] != base.end_id or run.count(base.end_id) != 1 for run in runs
    ):
        found = f"{many(len(runs), 'stretch')} of {many(len(ids), 'token')}"
        said = (
            f"chat_template: expected {len(turns)} therapist's turns with a loss, each to "
            f"{base.template.end!r}, found {found}"
        )
        raise InputError(said + REMEDY)
