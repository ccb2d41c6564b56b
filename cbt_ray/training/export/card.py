"""The model card: what a tuned model is, what was measured, what its licences demand, and what it
is not for. Pure text.

It says what stands in the facts and nothing else; what they lack is `not recorded`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from pathlib import PurePosixPath
from typing import Any

from cbt_ray.count import many
from cbt_ray.study.licence import BASE, Demand, Demands
from cbt_ray.training.export.front import Front, written
from cbt_ray.training.gate.verdict import Check, without_folders
from cbt_ray.training.measured import SPLITS, Kept, Point
from cbt_ray.training.preference import FEWEST_PREFERRED, KINDS
from cbt_ray.training.start.licence_text import holds_licence

UNKNOWN = "not recorded"
_ENDS = ("before", "after")
_MEASURES = {
    "preferred": "share in which the chosen answer is likelier",
    "margin": "margin, nats a token",
    "log_p_chosen": "log-probability of a token, chosen",
    "log_p_rejected": "log-probability of a token, rejected",
    "nll": "likelihood term of the loss",
    "odds": "odds-ratio term of the loss",
}
LICENCES = "licences/"
"""Where the texts that came with the base model lie among the files."""
NOT_CLINICAL = (
    "This model is for research on language models. **It must not be used to treat, diagnose or "
    "advise anybody.** cbt-ray does "
    "not test whether talking with it helps or harms. It may be wrong, it does not recognise "
    "danger, and it is no therapist.",
    "**In a crisis it is no help: call the emergency services at once.**",
)


@dataclass(frozen=True)
class CardFile:
    """A file that goes along."""

    name: str
    sha256: str
    size: int


@dataclass(frozen=True)
class CardFacts:
    """All that a card says. What is None, or empty, is not recorded."""

    name: str
    """As it is published: `published_name`."""
    study: str
    demands: Demands
    description: str = ""
    base: str | None = None
    """A hub id, or a file of a package."""
    commit: str | None = None
    base_sha256: str | None = None
    judges: bool = False
    """It rates sessions, and speaks as nobody."""
    generator: str | None = None
    """Who wrote what was trained on."""
    method: str | None = None
    data: Mapping[str, Any] = field(default_factory=dict)
    """Counts: examples, windows, tokens, supervised tokens, ..."""
    recipe: Mapping[str, Any] = field(default_factory=dict)
    searched: Mapping[str, Sequence[float]] = field(default_factory=dict)
    """Field -> the values that were tried of it; empty where it is no choice."""
    measured: Sequence[Point] = ()
    """Losses by split on its way."""
    kept: Kept | None = None
    """Which of them are the model's."""
    preference: Mapping[str, Any] = field(default_factory=dict)
    """Kind of preference pairs -> their number, and figures before and after training."""
    seeds: Mapping[str, int] = field(default_factory=dict)
    versions: Mapping[str, str | None] = field(default_factory=dict)
    checks: Sequence[Check] = ()
    files: Sequence[CardFile] = ()
    prompt: str | None = None
    """Which system prompt it was trained with."""
    context: int | None = None
    """Tokens that it was trained and is served with."""
    language: str = "en"

    @property
    def front(self) -> Front:
        """What the hub reads of it."""
        return Front(self.name, self.demands, self.base, self.language)


def card(facts: CardFacts) -> str:
    """The card as Markdown, with the front matter that Hugging Face reads."""
    sections = (
        ("", _intro(facts)),
        ("Not for clinical use", NOT_CLINICAL),
        ("What it is made of", [_table(("", ""), _origin(facts))]),
        ("How it was trained", _training(facts)),
        (
            "Checks of the exported files",
            [_table(("check", "result", "measured"), map(_checked, facts.checks))],
        ),
        ("Files", [_table(("file", "bytes", "SHA-256"), map(_listed, facts.files))]),
        ("How to run it", _running(facts)),
        ("Licences", _licences(facts)),
        ("Limits", _limits(facts)),
    )
    body = "\n\n".join(
        part
        for title, parts in sections
        for part in ([f"## {title}"] if title else []) + list(parts)
    )
    kinds = [kind for kind in ("gguf", "safetensors") if _named(facts, f".{kind}")]
    return f"{written(facts.front.fields(kinds))}\n# {facts.name}\n\n{body}\n"


def licence_file(facts: CardFacts) -> str | None:
    """The text of `LICENSE.md`; None where the front matter names a licence that the hub knows, or
    leads to the only one.
    """
    if not facts.front.licence_file:
        return None
    return f"# Licences of {facts.name}\n\n" + "\n\n".join(_licences(facts)) + "\n"


def adapter_card(facts: CardFacts) -> str:
    """The card beside the adapter alone, which says where the whole one is."""
    front = written(facts.front.fields(["lora", "safetensors"], "adapter"))
    body = (
        f"# {facts.name}, the adapter\n\nA LoRA adapter for {_recorded(facts.base)} at commit "
        f"{_recorded(facts.commit)}, in the format of PEFT. The card of the whole model says what "
        "it is, how it was trained and what its licences demand."
    )
    return "\n\n".join((f"{front}\n{body}", *NOT_CLINICAL)) + "\n"


def _intro(facts: CardFacts) -> Iterator[str]:
    yield from (f"**{demand.text}**" for demand in facts.demands.display)
    does = "rate the therapist of" if facts.judges else "speak as the therapist in"
    yield (
        f"A language model tuned by the study `{facts.study}` with cbt-ray. "
        f"It was tuned to {does} a written session."
    )
    if facts.description:
        yield _recorded(facts.description)


def _origin(facts: CardFacts) -> Iterator[tuple[str, str]]:
    yield "base model", _recorded(facts.base)
    yield "its commit", _recorded(facts.commit)
    yield "its weights, SHA-256", _recorded(facts.base_sha256)
    yield "trained on texts by", _recorded(facts.generator)


def _training(facts: CardFacts) -> Iterator[str]:
    yield _table(("", ""), [("method", _recorded(facts.method))])
    if facts.searched:
        yield _chosen(facts.searched)
    yield _losses(facts)
    for kind, found in facts.preference.items():
        measures = dict.fromkeys([*(found["before"] or {}), *found["after"]])
        yield _table(
            (f"{found['pairs']} {KINDS[kind]} pairs", "before", "after"),
            (
                (_MEASURES[name], *(_recorded((found[at] or {}).get(name)) for at in _ENDS))
                for name in measures
            ),
        )
    groups = {
        "data": facts.data,
        "recipe": facts.recipe,
        "seed": facts.seeds,
        "version": facts.versions,
    }
    for title, values in groups.items():
        yield _table((title, ""), ((str(name), _recorded(value)) for name, value in values.items()))


def _chosen(searched: Mapping[str, Sequence[float]]) -> str:
    """From how many it was chosen, and what that does to its held-out loss."""
    tried = "; ".join(
        f"{name.replace('_', ' ')} {_recorded(values)}" for name, values in searched.items()
    )
    return (
        f"Chosen from {many(prod(map(len, searched.values())), 'training')} ({tried}) by the "
        "lowest held-out loss. That loss is too good a figure, being the lowest of several; "
        "nothing was chosen by the loss on the test split."
    )


def _losses(facts: CardFacts) -> str:
    """The loss per supervised token at each epoch, and which of them is the model's."""
    measured = {split for point in facts.measured for split in point.loss}
    splits = [split for split in SPLITS if split in measured]
    rows = [
        (
            f"{point.epoch:g}" + ("" if point.step else ", before training"),
            *(_recorded(point.loss.get(split)) for split in splits),
            "kept" if facts.kept and point.step == facts.kept.step else "",
        )
        for point in facts.measured
    ]
    return _table(("loss after epoch", *(SPLITS[split] for split in splits), ""), rows)


def _checked(check: Check) -> tuple[str, str, str]:
    return (
        check.name,
        "reported" if check.passed is None else "passed" if check.passed else "FAILED",
        _recorded(check.measured),
    )


def _listed(file: CardFile) -> tuple[str, str, str]:
    return f"`{_recorded(file.name)}`", str(file.size), f"`{file.sha256}`"


def _running(facts: CardFacts) -> Iterator[str]:
    gguf, context = _named(facts, ".gguf"), facts.context
    size = f" -c {context}" if context else ""
    if gguf:
        yield f"llama.cpp:\n\n```\nllama-server -m {gguf}{size}\n```"
    if gguf and _named(facts, "Modelfile"):
        name = facts.name.lower()
        yield (
            f"Ollama, with the `Modelfile` next to it:\n\n```\nollama create {name} -f "
            f"Modelfile\nollama run {name}\n```"
        )
    if _named(facts, ".safetensors"):
        length = f" --max-model-len {context}" if context else ""
        folder = str(PurePosixPath(_named(facts, ".safetensors") or "").parent)
        place = folder if folder == "." else f"./{folder}"
        yield (
            "vLLM, with the folder that holds the safetensors:\n\n```\nvllm serve "
            f"{place}{length}\n```"
        )
    if not gguf and not _named(facts, ".safetensors"):
        yield f"Files to run: {UNKNOWN}."
    prompt = _recorded(facts.prompt)
    yield (
        "Ask it as it was trained, in the chat template that its files hold. The system prompt "
        f"of its training: {prompt}."
    )


def _licences(facts: CardFacts) -> Iterator[str]:
    demands = facts.demands
    texts = [one.name for one in facts.files if one.name.startswith(LICENCES)]
    came = any(holds_licence(PurePosixPath(name).name) for name in texts)
    along = [one for one in demands.licence_text if came and BASE in one.why]
    missing = [one for one in demands.licence_text if one not in along]
    yield (
        "What the licences of base model and training text demand, as cbt-ray understood them; "
        "no legal advice."
    )
    yield _table(
        ("licence", "read", "source"),
        (
            (_linked(one.name, one.terms.link), one.terms.read, one.terms.source)
            for one in demands.licences
        ),
    )
    groups: tuple[tuple[str, Iterable[Demand]], ...] = (
        ("The name begins with", demands.name_begins),
        ("Displayed", demands.display),
        ("In the file Notice", demands.notice),
        (
            "What came with the base model or its package goes along "
            f"({', '.join(map(_recorded, texts))}), for",
            along,
        ),
        ("A copy has to go along, and is not among the files above, of", missing),
        ("Changes", demands.state_changes),
        ("Restrictions of use, passed on to whoever gets the model", demands.use_policy),
        ("Use", demands.non_commercial),
    )
    lines = [
        f"- {title}: {demand.text} ({demand.why})" for title, asked in groups for demand in asked
    ]
    yield "\n".join(lines) if lines else "They demand nothing."


def _limits(facts: CardFacts) -> Iterator[str]:
    failed = ", ".join(check.name for check in facts.checks if check.passed is False)
    failed = failed or ("none" if facts.checks else UNKNOWN)
    lines = [
        "A held-out loss says how well it predicts such text, not how good a therapist it is.",
        "It is the result of one training; another seed makes another model.",
        f"Checks that failed: {failed}.",
        *(
            f"It still prefers the rejected answers: the chosen one is likelier in "
            f"{found['after']['preferred']:.0%} of {found['pairs']} {KINDS[kind]} pairs."
            for kind, found in facts.preference.items()
            if found["after"]["preferred"] < FEWEST_PREFERRED
        ),
    ]
    yield "\n".join(f"- {line}" for line in lines)


def _recorded(value: Any) -> str:
    """A fact as text, without line breaks and without a folder of the machine that it comes
    from.
    """
    if value is None or value in ("", {}, []):
        return UNKNOWN
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_recorded(one)}" for name, one in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_recorded, value))
    return str(without_folders(" ".join(str(value).split())))


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    made = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    if not made:
        return f"{head[0].capitalize() or 'This'}: {UNKNOWN}."
    lines = [head, ["---"] * len(head), *made]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _named(facts: CardFacts, ending: str) -> str | None:
    return next((_recorded(file.name) for file in facts.files if file.name.endswith(ending)), None)


def _linked(text: str, link: str | None) -> str:
    return f"[{text}]({link})" if link else text
