"""The section on methods: scale with its anchors, raters, patients, models with their sampling,
checkpoints, prompts, dates and code.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from cbt_ray.count import agreeing, many
from cbt_ray.rating.measure import Measure
from cbt_ray.rating.scale import Item, Scale, Step
from cbt_ray.report.data import AskedModel, Methods, RaterRow, ReportData, ReportedCheckpoint
from cbt_ray.report.facts import days
from cbt_ray.report.part import Fold, Heading, Pairs, Part, Section, Text
from cbt_ray.report.prose import DASH, counted, listed, whole
from cbt_ray.report.table import Cell, Row, Table
from cbt_ray.study.protocol import Sessions

Head = Sequence[tuple[str, bool]]
NOTHING = (
    "Not known: a table of ratings holds scores, and neither the scale's words nor how its "
    "sessions were made."
)
IMPORTED = "Sessions and their models were imported: how replies were drawn is not recorded."


def methods(data: ReportData) -> Section:
    """How the scores came about, as far as it is known."""
    known = data.methods
    parts = [
        *(part for scale in known.scales for part in _scale(scale)),
        *_raters(known),
        *_patients(known),
        *_speakers(known),
        *_trained(known.trained),
        *_prompts(data.provenance.prompts),
        *_made(known),
    ]
    return Section("methods", "Methods", parts or [Text(NOTHING, "empty")])


def _table(
    id_: str, title: str, head: Head, rows: Sequence[Sequence[str]], note: str = ""
) -> Table:
    """A table of what is no number of the analysis."""
    lines = [Row([Cell(text) for text in row]) for row in rows]
    return Table(f"t-methods-{id_}", title, head, lines, note)


# ---- the scale -----------------------------------------------------------------------------------


def _scale(scale: Scale) -> Iterator[Part]:
    yield Heading(f"Scale: {scale.title}")
    source = {"Source": scale.source, "Licence": scale.licence}
    yield Pairs({name: said for name, said in source.items() if said})
    head = [("Item", False), ("What the judge is asked", True)]
    rows = [(item.title, item.question) for item in scale.items]
    yield _table(f"items-{scale.name}", "Items", head, rows, _measured(scale))
    if scale.steps:
        head = [("Score", False), *_words(scale), ("What it stands for", True)]
        same = "" if all(not item.own for item in scale.items) else "Of items without their own."
        yield _table(
            f"anchors-{scale.name}", "Scores and their anchors", head, _steps(scale.steps), same
        )
    own = [item for item in scale.items if item.own]
    if own:
        head = [("Item", False), ("Scores", True)]
        rows = [(item.title, _answered(item)) for item in own]
        yield _table(f"own-{scale.name}", "Items with scores of their own", head, rows)


def _words(scale: Scale) -> list[tuple[str, bool]]:
    """The column of words, where scores have any but their digits."""
    return [("Word", True)] if scale.kind == "words" else []


def _steps(steps: Sequence[Step]) -> list[tuple[str, ...]]:
    return [
        (
            str(step.score),
            *([step.word] if step.word != str(step.score) else []),
            step.anchor or DASH,
        )
        for step in steps
    ]


def _answered(item: Item) -> str:
    """`0 absent; 1 there`, or that something is counted."""
    if not item.steps:
        return "how often it is there"
    said = (
        " ".join(dict.fromkeys([str(step.score), step.word]))
        + (f" ({step.anchor})" if step.anchor else "")
        for step in item.steps
    )
    return "; ".join(said)


def _measured(scale: Scale) -> str:
    """What is made of the items."""
    return " ".join(_measure(measure, scale) for measure in scale.measures)


def _measure(measure: Measure, scale: Scale) -> str:
    of = [
        f"all {counted(len(scale.items), 'item')}"
        if len(group) == len(scale.items)
        else listed(group, 20)
        for group in measure.parts
    ]
    low, high = scale.ends[measure.name]
    ends = "" if low is None or high is None else f", from {low:g} to {high:g}"
    return f"{measure.title}: {measure.operation} of {' over '.join(of)}{ends}."


# ---- raters --------------------------------------------------------------------------------------


def _raters(known: Methods) -> Iterator[Part]:
    if not known.raters:
        return
    yield Heading("Raters")
    head: Head = [("Rater", False), ("Who", True), ("Ratings", False), ("What was read", True)]
    rows = [(rater.name, _who(rater), whole(rater.ratings), _read(rater)) for rater in known.raters]
    yield _table("raters", "Who rated, and what they read", head, rows)


def _who(rater: RaterRow) -> str:
    if rater.kind == "human":
        return "a person"
    if rater.kind == "rule":
        return "rules, no model"
    return rater.who or "a model, which one is not recorded"


def _read(rater: RaterRow) -> str:
    """What is known of the text that was rated."""
    if rater.reads:
        return rater.reads
    if rater.opened_read is None:
        return "not recorded"
    return (
        f"{rater.opened_read} of {counted(rater.opened, 'session')} that began with the summary "
        "of the session before still held it"
    )


# ---- who spoke -----------------------------------------------------------------------------------


def _patients(known: Methods) -> Iterator[Part]:
    if not known.patients:
        return
    yield Heading("Patients and sessions")
    if known.sessions:
        yield Pairs(_protocol(known.sessions))
    if known.written:
        yield Pairs(dict(known.written))
    head = [("Patient", False), ("Who the patient is, as its model reads it", True)]
    rows = [(patient.name, patient.profile) for patient in known.patients]
    title = f"Profiles of {counted(len(rows), 'simulated patient')}"
    yield Fold(title, [_table("patients", "Simulated patients", head, rows)], printed=True)


OPENERS = {"greeting": "a greeting", "case": "the patient's profile, word for word"}


def _protocol(sessions: Sessions) -> dict[str, str]:
    """How sessions were held."""
    rules = listed([rule.rule.replace("_", " ") for rule in sessions.stop])
    least = counted(sessions.min_therapist_turns, "therapist turn")
    ends = f"{rules}, not before {least}; at " if rules else ""
    return {
        "First message": OPENERS[sessions.opener],
        "Sessions of a chain": str(sessions.count),
        "Chains of an arm with a patient": str(sessions.replicates),
        "A session ends at": f"{ends}"
        f"{counted(sessions.max_messages, 'message')} or {counted(sessions.max_words, 'word')}",
    }


def _speakers(known: Methods) -> Iterator[Part]:
    if not known.speakers:
        if known.imported:
            yield Text(IMPORTED)
        return
    head: Head = [
        ("Role or arm", False),
        ("Model", True),
        ("Temperature", False),
        ("top-p", False),
        ("min-p", False),
        ("Repeat penalty", False),
        ("Longest reply", False),
        ("Attempts", False),
    ]
    note = "Longest reply in tokens; attempts for an answer that is of use."
    yield Heading("Models and sampling")
    rows = [_sampled(one) for one in known.speakers]
    yield _table("sampling", "Models, and how their replies were drawn", head, rows, note)


def _sampled(speaker: AskedModel) -> tuple[str, ...]:
    how = speaker.role.sampling
    numbers = (how.temperature, how.top_p, how.min_p, how.repeat_penalty)
    return (
        speaker.name,
        speaker.model,
        *(f"{value:g}" for value in numbers),
        whole(how.max_tokens),
        str(speaker.role.attempts),
    )


def _trained(rows: Sequence[ReportedCheckpoint]) -> Iterator[Part]:
    if not rows:
        return
    yield Heading("Checkpoints")
    head: Head = [
        ("Checkpoint", False),
        ("Made from", True),
        ("How", True),
        ("Quantization", False),
        ("SHA-256", False),
    ]
    lines = [
        (
            one.name,
            _base(one),
            _how(one) if one.tuned else "as it is",
            one.recipe.quantization,
            one.sha256[:12] or DASH,
        )
        for one in rows
    ]
    yield _table("checkpoints", "Checkpoints", head, lines)


def _base(one: ReportedCheckpoint) -> str:
    base, revision = one.recipe.base(one.tuned)
    return f"{base} at {revision}" if revision else base


def _how(one: ReportedCheckpoint) -> str:
    recipe, several = one.recipe, one.candidates
    base = "" if recipe.load_4bit else " in 16 bit"
    chosen = f"; chosen from {many(several, 'candidate')} by held-out loss" if several > 1 else ""
    return (
        f"{recipe.method}, LoRA r {recipe.lora.r}{base}, learning rate {recipe.learning_rate:g}, "
        f"{recipe.epochs:g} {agreeing(recipe.epochs, 'epoch')}, seed {recipe.seed}{chosen}"
    )


# ---- what made it --------------------------------------------------------------------------------


def _prompts(prompts: Mapping[str, str]) -> Iterator[Part]:
    if prompts:
        files = counted(len(prompts), "file")
        yield Fold(f"Prompts and scale: {files}, with their hashes", [Pairs(prompts)])


def _made(known: Methods) -> Iterator[Part]:
    """Dates, code, and what was imported."""
    said = {f"Imported {number}": source for number, source in enumerate(known.imported, 1)}
    if known.held:
        said["Sessions held"] = days(known.held)
    if known.rated:
        said["Sessions rated"] = days(known.rated)
    if known.code:
        said["Made by"] = f"cbt-ray {', '.join(known.code)}"
    if known.llama_cpp:
        said["llama.cpp"] = ", ".join(known.llama_cpp)
    if said:
        yield Heading("Dates and code")
        yield Pairs(said)
