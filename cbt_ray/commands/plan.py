"""Plan: what a study will call and cost, estimated from its prompts and its expected replies.

Needs neither network nor store.

Prompt tokens are counted on the real prompts, filled with the study's own words up to the expected
length, by the endpoint's own tokenizer where that is at hand. Replies are as long as the study file
says (`expected_tokens`), and useless ones come on top (`expected_retries`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from cbt_ray.commands.effect import outcomes_of, smallest_effect
from cbt_ray.commands.tokens import TOKENS_PER_MESSAGE, Tokens, filler, tokens_of, words_of
from cbt_ray.errors import InputError
from cbt_ray.prompts import Prompts
from cbt_ray.rating.guess import load_kinds
from cbt_ray.rating.probe import GUESSES
from cbt_ray.rating.scale import joined
from cbt_ray.rating.scale_file import load_scales
from cbt_ray.study import Study
from cbt_ray.study.confound import confounds, told
from cbt_ray.study.endpoint import LiteLLMEndpoint, Role, Sampling
from cbt_ray.study.licence import published_name
from cbt_ray.study.model import Arm
from cbt_ray.study.rater import Judge
from cbt_ray.study.scheduled import Writing, checkpoints, needs_courses, seeds_of
from cbt_ray.therapy import course, dialogue
from cbt_ray.therapy.language import load_language
from cbt_ray.therapy.session import Speaker, Turn, therapist_messages, transcript
from cbt_ray.therapy.stop import end_mark
from cbt_ray.unit import Stage
from cbt_ray.work.keys import Keys, imported_digests, profile_id
from cbt_ray.work.people import asked_of_people
from cbt_ray.work.probed import kinds_of, probe_names, probed_places
from cbt_ray.work.workshop import prompts_of

PROMPT_SPEEDUP = 8
"""Prompt tokens are read about so many times as fast as reply tokens are written, most of them from
a cache."""


@dataclass
class Call:
    """One expected call."""

    role: Role
    prompt_tokens: float
    reply_tokens: float
    own: bool = False
    """Counted with the endpoint's own tokenizer."""

    @property
    def times(self) -> float:
        """How often it is made for one useful answer."""
        return 1 + self.role.expected_retries

    def seconds(self, study: Study) -> float:
        """How long it takes at the endpoint's expected speed."""
        tokens = self.reply_tokens + self.prompt_tokens / PROMPT_SPEEDUP
        return tokens / study.endpoints[self.role.endpoint].expected_speed


@dataclass
class StageCalls:
    """What a stage will take: one list of calls for each chain, which runs in order.

    Chains run beside each other.
    """

    stage: Stage
    chains: int
    chain: list[Call]
    extra: list[Call] = field(default_factory=list)
    """Calls outside the chains: the probe of each remote role."""

    def all(self) -> Iterator[tuple[Call, float]]:
        """Every kind of call and how often it is made."""
        yield from ((call, self.chains * call.times) for call in self.chain)
        yield from ((call, 1.0) for call in self.extra)

    @property
    def calls(self) -> float:
        """Calls in all."""
        return sum(times for _, times in self.all())

    @property
    def prompt_tokens(self) -> float:
        """Prompt tokens in all."""
        return sum(call.prompt_tokens * times for call, times in self.all())

    @property
    def reply_tokens(self) -> float:
        """Reply tokens in all."""
        return sum(call.reply_tokens * times for call, times in self.all())

    def cost(self, study: Study) -> float | None:
        """Dollars.

        None where a called endpoint has no known price, 0 where all models are in this process.
        """
        total = 0.0
        for call, times in self.all():
            endpoint = study.endpoints[call.role.endpoint]
            if not isinstance(endpoint, LiteLLMEndpoint):
                continue
            rates = _price(endpoint)
            if rates is None:
                return None
            total += times * (call.prompt_tokens * rates[0] + call.reply_tokens * rates[1]) / 1e6
        return total

    def path(self, study: Study) -> float:
        """Seconds that no number of workers makes shorter: one chain from end to end, or what an
        endpoint bears in all.
        """
        return max(
            [sum(call.times * call.seconds(study) for call in self.chain), *self._bounds(study)]
        )

    def _bounds(self, study: Study) -> Iterator[float]:
        """Seconds that each endpoint needs for its calls at its limits."""
        for name in {call.role.endpoint for call in self.chain}:
            limits = study.endpoints[name]
            own = [(call, times) for call, times in self.all() if call.role.endpoint == name]
            if limits.max_concurrency:
                yield (
                    sum(times * call.seconds(study) for call, times in own) / limits.max_concurrency
                )
            if limits.requests_per_minute:
                yield 60 * sum(times for _, times in own) / limits.requests_per_minute
            if limits.tokens_per_minute:
                yield (
                    60
                    * sum(times * (call.prompt_tokens + call.reply_tokens) for call, times in own)
                    / limits.tokens_per_minute
                )

    def at_once(self, study: Study) -> int:
        """More jobs at once than this wait: one a chain, and no more than an endpoint bears."""
        limits = [study.endpoints[call.role.endpoint].max_concurrency for call in self.chain]
        return min([self.chains, *(limit for limit in limits if limit)], default=0)


def estimate(study: Study) -> list[StageCalls]:
    """The stages that call models; what was imported calls none."""
    prompts = prompts_of(study)
    all_stages = [
        *_courses(study, prompts),
        *_sessions(study, prompts),
        *(
            StageCalls(Stage.RATINGS, _ratings(study, rater), list(_rating(study, rater, prompts)))
            for rater in study.judges.values()
        ),
    ]
    estimates = [one for one in all_stages if one.chains]
    proven: set[tuple[str, Sampling]] = set()
    for one in (one for one in estimates if one.stage is not Stage.PROFILES):
        _add_probes(study, one, proven)
    return [*estimates, *_judge_probes(study, prompts)]


def print_plan(study: Study, say: Callable[[str], object]) -> None:
    """Print the estimates."""
    estimates = estimate(study)
    say(
        f"{'stage':<10} {'calls':>8} {'prompt':>12} {'reply':>11} {'dollars':>9} "
        f"{'critical path':>14} {'jobs at once':>13}"
    )
    for one in _merged(estimates):
        cost = one.cost(study)
        dollars = "unknown" if cost is None else f"{cost:.2f}"
        say(
            f"{one.stage:<10} {one.calls:>8.0f} {one.prompt_tokens:>12.0f} "
            f"{one.reply_tokens:>11.0f} {dollars:>9} "
            f"{_time(one.path(study)):>14} {one.at_once(study):>13}"
        )
    calls, tokens = (
        sum(e.calls for e in estimates),
        sum(e.prompt_tokens + e.reply_tokens for e in estimates),
    )
    path = sum(e.path(study) for e in _merged(estimates))
    costs = [e.cost(study) for e in estimates]
    rest = " without training" if any(arm.tuned for arm in study.arms) else ""
    dollars = (
        "of unknown cost (no price is known for an endpoint; `price` in the study file gives it)"
    )
    if None not in costs:
        dollars = f"${sum(cost or 0 for cost in costs):.2f}"
    say(f"in all: {calls:.0f} calls, {tokens:.0f} tokens, {dollars}; {_time(path)} at best{rest}")
    say("critical path: with as many jobs at once as are useful, at the endpoints' expected_speed")
    say(_counted_by(estimates))
    _against_budget(study, calls, tokens, costs, say)
    for line in _training(study):
        say(line)
    for line in (*outcomes_of(study), *asked_of_people(study), *smallest_effect(study)):
        say(line)
    for line in told(confounds(study)):
        say(f"confounded: {line}")


def _counted_by(estimates: list[StageCalls]) -> str:
    """How tokens were counted, by endpoint."""
    ways = {(call.role.endpoint, call.own) for one in estimates for call in one.chain}
    own = sorted({name for name, counted in ways if counted})
    rest = sorted({name for name, counted in ways if not counted})
    said = [f"by the tokenizer of {', '.join(own)}"] if own else []
    said += [f"by length for {', '.join(rest)}"] if rest else []
    return f"tokens: counted {' and '.join(said)}" if said else "tokens: none"


def _training(study: Study) -> Iterator[str]:
    """Of each model that is tuned: the memory it needs, and the name it gets or why it must not be
    tuned.
    """
    for made in checkpoints(study):
        if not made.tuned:
            continue
        memory = study.models[made.model].recipe.memory_gib
        needs = (
            "memory not known (`memory_gib` in the recipe)"
            if memory is None
            else f"needs {memory:g} GiB of memory"
        )
        try:
            said = f"published as {published_name(study, made)}"
        except InputError as error:
            said = f"refused: {error}"
        yield f"training {made.model}{made.suffix}: {needs}; {said}"


def _against_budget(
    study: Study,
    calls: float,
    tokens: float,
    costs: list[float | None],
    say: Callable[[str], object],
) -> None:
    """Say where the study would stop at its budget."""
    cost = None if None in costs else sum(known or 0 for known in costs)
    for name, planned in (("calls", calls), ("tokens", tokens), ("cost", cost)):
        limit = getattr(study.budget, name)
        if limit is not None and planned is not None and planned > limit:
            say(
                f"budget.{name} is {limit:g}: the study would stop before its end, at "
                f"{limit / planned:.0%} of what it takes"
            )


def _merged(estimates: list[StageCalls]) -> list[StageCalls]:
    """One line a stage: arms that differ in their endpoints are one stage."""
    merged: dict[Stage, StageCalls] = {}
    for one in estimates:
        if one.stage in merged:
            known = merged[one.stage]
            merged[one.stage] = _Joined(
                one.stage, known.chains + one.chains, known.chain, known.extra, [known, one]
            )
        else:
            merged[one.stage] = one
    return list(merged.values())


@dataclass
class _Joined(StageCalls):
    """Several estimates of one stage."""

    parts: list[StageCalls] = field(default_factory=list)

    def all(self) -> Iterator[tuple[Call, float]]:
        for part in self.parts:
            yield from part.all()

    def path(self, study: Study) -> float:
        return max(part.path(study) for part in self.parts)

    def at_once(self, study: Study) -> int:
        return sum(part.at_once(study) for part in self.parts)


def _courses(study: Study, prompts: Prompts) -> Iterator[StageCalls]:
    """Profiles and courses, where a model is trained on them."""
    if not needs_courses(study):
        return
    imported, writing = imported_digests(study)[Stage.PROFILES], study.writing
    training = sum(
        profile_id(number) not in imported for number in range(1, writing.patients.count + 1)
    )
    asked = training if writing.patients.profile is None else 0
    yield StageCalls(Stage.PROFILES, asked, [_profile(study, writing, prompts)])
    yield StageCalls(Stage.COURSES, training, list(_course(study, writing, prompts)))


def _profile(study: Study, writing: Writing, prompts: Prompts) -> Call:
    patients = writing.patients
    levels: dict[str, str] = {}
    for name, known in patients.characteristics.items():
        longest = max(known, key=len)
        levels |= {name: longest, **known[longest].sets}
    texts = [
        prompts.render("profile.j2"),
        prompts.render("profile_request.j2", name="Alex Moreau", characteristics=levels),
    ]
    tokens = tokens_of(study, writing.generator)
    reply = _middle(patients.narrative_chars) / tokens.chars
    return _call(writing.generator, tokens, texts, reply)


def _course(study: Study, writing: Writing, prompts: Prompts) -> Iterator[Call]:
    role, rules = writing.generator, writing.courses
    tokens, words = tokens_of(study, role), words_of(study)
    narrative = filler(words, _middle(writing.patients.narrative_chars))
    summary = filler(words, _middle(rules.summary_chars))
    system = prompts.render("course.j2", patient="Alex Moreau", narrative=narrative)
    for number in range(1, rules.sessions + 1):
        brief = course.Brief(
            "Alex Moreau",
            narrative,
            number,
            rules.sessions,
            study.phase_of(number),
            summary if number > 1 else "",
        )
        known = tokens.of(system)
        for part in range(1, len(load_language(prompts).course.parts) + 1):
            known += tokens.of(course.request_text(brief, rules, prompts, part))
            yield Call(role, known, role.expected_tokens, tokens.gguf is not None)
            known += role.expected_tokens + TOKENS_PER_MESSAGE


def _sessions(study: Study, prompts: Prompts) -> Iterator[StageCalls]:
    chains = len(study.patients.simulated) * study.sessions.replicates
    keys = Keys(study, prompts)
    for arm in (arm for arm in study.arms if not keys.all_imported(arm)):
        calls = [
            c for n in range(1, study.sessions.count + 1) for c in _session(study, prompts, arm, n)
        ]
        yield StageCalls(Stage.SESSIONS, chains * len(seeds_of(study, arm)), calls)


def _session(study: Study, prompts: Prompts, arm: Arm, number: int) -> Iterator[Call]:
    rules, who, roles = study.sessions, study.patients.simulated[0], study.roles
    therapist, patient, language = study.therapist(arm), roles.patient, load_language(prompts)
    by_therapist, by_patient = tokens_of(study, therapist, arm.model), tokens_of(study, patient)
    opening = filler(words_of(study), _middle(rules.summary_chars)) if number > 1 else ""
    phase, mark = study.phase_of(number), end_mark(language.sessions(rules))
    system = dialogue.therapist_system(
        prompts, arm.prompt or dialogue.THERAPIST_PROMPT, who.name, number, rules.count, phase, mark
    )
    first = prompts.render("patient_first.j2", patient=who.name, session=number)
    of_patient = prompts.render(
        "patient.j2", patient=who.name, profile=who.profile, opening=opening
    )
    begin, turns = prompts.render("patient_begin.j2"), [Turn(Speaker.PATIENT, first)]
    messages = int(rules.expected_messages or rules.max_messages)
    said, heard = therapist.expected_tokens, patient.expected_tokens
    while len(turns) < messages:
        told = therapist_messages(system, opening, turns, language.transcript)
        yield _call(therapist, by_therapist, [message.content for message in told], said)
        turns.append(Turn(Speaker.THERAPIST, by_therapist.text(said)))
        if len(turns) < messages:
            texts = (of_patient, begin, *(turn.text for turn in turns))
            yield _call(patient, by_patient, texts, heard)
            turns.append(Turn(Speaker.PATIENT, by_patient.text(heard)))
    request = prompts.render(
        "summariser_request.j2",
        session=number,
        patient=who.name,
        transcript=transcript(turns, language.transcript),
    )
    texts = (prompts.render("summariser.j2"), request)
    by_summariser = tokens_of(study, roles.summariser)
    yield _call(roles.summariser, by_summariser, texts, roles.summariser.expected_tokens)


def _ratings(study: Study, judge: Judge) -> int:
    held = sum(len(seeds_of(study, arm)) for arm in study.arms)
    chains = held * len(study.patients.simulated) * study.sessions.replicates
    return chains * study.sessions.count * len(judge.views) * judge.replicates


def _judge_probes(study: Study, prompts: Prompts) -> Iterator[StageCalls]:
    """One estimate a probe: at most so many, since a session that a probe does not fit costs no
    call.
    """
    sessions = len(probed_places(study)) * len(study.arms)
    for name in probe_names(study):
        calls = (
            [_guess(study, prompts)]
            if name in GUESSES
            else list(_rating(study, study.judge, prompts, name))
        )
        yield StageCalls(Stage.RATINGS, sessions, calls)


def _guess(study: Study, prompts: Prompts) -> Call:
    role, kinds = study.judge, load_kinds(prompts, kinds_of(study))
    scale = joined(load_scales(prompts, role.scales))
    asked = {"kinds": [*kinds.items()], "expertise": scale.expertise}
    system = prompts.render("judge_guess.j2", **asked)
    request = prompts.render("judge_guess_request.j2", transcript=_rated_text(study, prompts))
    share = 1 / len(scale.items)  # one justification where a rating has one an item
    return _call(role, tokens_of(study, role), (system, request), role.expected_tokens * share)


def _rated_text(study: Study, prompts: Prompts, *, silent: bool = False) -> str:
    """A transcript of the expected length, as the judge sees it."""
    words, roles = load_language(prompts).transcript, study.roles
    turns = int(study.sessions.expected_messages or study.sessions.max_messages)
    therapist, patient = (
        role.expected_tokens * tokens_of(study, role).chars
        for role in (roles.therapist, roles.patient)
    )
    spoken = (len(words.silence) if silent else therapist) + patient
    return filler(words_of(study), turns * (spoken / 2 + len(f"{words.therapist}: ")))


def _rating(study: Study, judge: Judge, prompts: Prompts, probe: str = "") -> Iterator[Call]:
    scales, tokens = load_scales(prompts, judge.scales), tokens_of(study, judge)
    text = _rated_text(study, prompts, silent=probe == "empty")
    together = (judge.items == "together") != (probe == "halo")
    count = sum(len(scale.items) for scale in scales)
    for scale in [joined(scales)] if judge.asked == "together" else scales:
        system = prompts.render("judge.j2", scale=scale)
        for items in [list(scale.items)] if together else [[item] for item in scale.items]:
            request = prompts.render("judge_request.j2", transcript=text, items=items)
            share = len(items) / count
            yield _call(judge, tokens, (system, request), judge.expected_tokens * share)


def _add_probes(study: Study, one: StageCalls, proven: set[tuple[str, Sampling]]) -> None:
    """A short call for each way in which an endpoint is asked, once in a study."""
    for role in (call.role for call in one.chain):
        way = role.endpoint, role.sampling
        if way not in proven and isinstance(study.endpoints[role.endpoint], LiteLLMEndpoint):
            proven.add(way)
            one.extra.append(Call(role, 12, 2))


def _price(endpoint: LiteLLMEndpoint) -> tuple[float, float] | None:
    from cbt_ray.llm.prices import price

    return endpoint.price or price(endpoint.model)


def _call(role: Role, tokens: Tokens, texts: Iterable[str], reply: float) -> Call:
    return Call(role, tokens.of(*texts), reply, tokens.gguf is not None)


def _middle(chars: tuple[int, int]) -> float:
    return sum(chars) / 2


def _time(seconds: float) -> str:
    if seconds >= 3600:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 60:.1f} min" if seconds >= 60 else f"{seconds:.0f} s"
