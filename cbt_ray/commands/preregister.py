"""Preregister: take a study's declaration into the store, and write it as a document that can be
put on record elsewhere.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

from cbt_ray.analysis.declared import Declaration
from cbt_ray.analysis.effect.asked import Arms, asked, pairs_of, question, trained
from cbt_ray.analysis.settings import Settings
from cbt_ray.commands.delivery import Delivery
from cbt_ray.count import agreeing, many
from cbt_ray.planning.effect import asked_of
from cbt_ray.study import Study
from cbt_ray.study.confound import told
from cbt_ray.study.scheduled import seeds_of
from cbt_ray.unit import Stage
from cbt_ray.work.bench import Bench
from cbt_ray.work.declared import declare
from cbt_ray.work.outcome import Target, targets
from cbt_ray.work.survey import State


def preregister(bench: Bench, file: Path, now: datetime, say: Callable[[str], object]) -> None:
    """Declare the study's analysis and write the document.

    Says when it was declared, and whether a rating was there already.
    """
    rated = bench.survey(Stage.SESSIONS, Stage.RATINGS).counts(Stage.RATINGS)[State.DONE]
    declared = declare(bench.store, bench.study, now)
    text = document(bench.study, targets(bench.study, bench.prompts), declared)
    Delivery(file.parent, "preregister", whole=False).hand_over({file.name: text.encode()})
    say(f"declared {declared.h16} at {declared.declared_at}, written to {file}")
    if rated and declared.declared_at == now.isoformat(timespec="seconds"):
        say(
            f"there {agreeing(rated, 'is', 'are')} {many(rated, 'rating')} already: numbers that "
            "rest on what is new in this declaration are marked post hoc"
        )


def document(study: Study, outcomes: Sequence[Target], declared: Declaration) -> str:
    """The declaration as Markdown: what is asked, on how much data, how it is answered, what is not
    concluded.
    """
    from jinja2 import Environment, StrictUndefined

    template = Path(__file__).with_name("preregistration.md.j2").read_text(encoding="utf-8")
    environment = Environment(  # noqa: S701  Markdown
        undefined=StrictUndefined, trim_blocks=True, keep_trailing_newline=True
    )
    environment.filters |= {"many": many, "agreeing": agreeing}
    arms, settings = asked_of(study)
    return environment.from_string(template).render(
        arms=arms,
        families={name: _family(name, arms, settings) for name in ("primary", "secondary")},
        once=sorted(trained(arms, settings)),
        study=study,
        outcomes=outcomes,
        head=outcomes[0],
        declared=declared,
        confounds=told(study),
        sessions=sum(len(seeds_of(study, arm)) for arm in study.arms)
        * len(study.simulated)
        * study.sessions.replicates
        * study.sessions.count,
        content=json.dumps(declared.content, indent=1, ensure_ascii=False),
    )


def _family(name: str, arms: Arms, settings: Settings) -> dict[str, list[str]]:
    """A family's contrasts in words -> the pairs of arms that answer them."""
    pairs = pairs_of(name, arms, settings)
    found = {}
    for contrast in asked(arms, settings):
        own = [pair for pair in pairs if pair.contrast == contrast.name]
        if own:
            found[question(contrast, list(own[0].where))] = [f"{p.plus} - {p.minus}" for p in own]
    return found
