"""Which calls a study makes, estimated from its prompts and its expected replies.

Needs neither network nor store.

Prompt tokens are counted on the real prompts, filled with the study's own words up to the expected
length, by the endpoint's own tokenizer where that is at hand. Replies are as long as the study file
says (`expected_tokens`), and useless ones come on top (`expected_retries`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from cbt_ray.planning.calls import Call, Chains, StageCalls
from cbt_ray.planning.tokens import (
    TOKENS_PER_MESSAGE,
    Tokens,
    filler,
    therapist_turns,
    tokens_of,
    words_of,
)
from cbt_ray.prompts import Prompts
from cbt_ray.rating.guess import load_kinds
from cbt_ray.rating.probe import GUESSES
from cbt_ray.rating.scale import joined
from cbt_ray.rating.scale_file import load_scales
from cbt_ray.study import Study
from cbt_ray.study.endpoint import LiteLLMEndpoint, Role, Sampling
from cbt_ray.study.lesson import learned_from
from cbt_ray.study.model import Arm
from cbt_ray.study.patients import SimulatedPatient
from cbt_ray.study.rater import Judge
from cbt_ray.study.scheduled import Writing, needs_courses, seeds_of
from cbt_ray.study.split import profile_id
from cbt_ray.therapy import course, dialogue, turnwise
from cbt_ray.therapy.language import load_language
from cbt_ray.therapy.session import Speaker, Turn, therapist_messages, transcript
from cbt_ray.therapy.stop import end_mark
from cbt_ray.unit import Stage
from cbt_ray.work.keys import Keys, imported_digests
from cbt_ray.work.probed import kinds_of, probe_names, probed_places
from cbt_ray.work.workshop import prompts_of


def estimate(study: Study) -> list[StageCalls]:
    """The stages that call models; what was imported calls none."""
    prompts = prompts_of(study)
    ratings = [
        Chains(_ratings(study, rater), list(_rating(study, rater, prompts)))
        for rater in study.judges.values()
    ]
    chains = {
        Stage.PROFILES: _profiles(study, prompts),
        Stage.COURSES: _courses(study, prompts),
        Stage.PAIRS: list(_pairs(study, prompts)),
        Stage.SESSIONS: list(_sessions(study, prompts)),
        Stage.RATINGS: ratings,
    }
    made = {stage: [one for one in found if one.number] for stage, found in chains.items()}
    made[Stage.RATINGS] += _judge_probes(study, prompts)
    estimates = [StageCalls(stage, found) for stage, found in made.items() if found]
    proven: set[tuple[str, Sampling]] = set()
    for one in (one for one in estimates if one.stage is not Stage.PROFILES):
        _add_probes(study, one, proven)
    return estimates


def _profiles(study: Study, prompts: Prompts) -> list[Chains]:
    """A call each, where a model is trained on courses and no template makes them."""
    if not needs_courses(study) or study.writing.patients.profile is not None:
        return []
    return [Chains(_trained_on(study), [_profile(study, study.writing, prompts)])]


def _courses(study: Study, prompts: Prompts) -> list[Chains]:
    """Courses, where a model is trained on them."""
    if not needs_courses(study):
        return []
    return [Chains(_trained_on(study), list(_course(study, study.writing, prompts)))]


def _pairs(study: Study, prompts: Prompts) -> Iterator[Chains]:
    """An answer of each side to each therapist's turn of the courses."""
    asked = [study.pairs[name] for name in study.trained_pairs]
    for pairs, role in ((one, role) for one in asked for role in one.sides.values()):
        writing, tokens = study.writing, tokens_of(study, role)
        rules, written = writing.courses, writing.generator.expected_tokens
        form = study.form_named(pairs.form)
        about = ("Alex Moreau", 1, rules.sessions, study.phase_of(1), "")
        told = dialogue.therapist_system(prompts, form, *about)
        turns = therapist_turns(study, prompts)
        each = written / (2 * rules.pairs) if rules.write == "parts" else float(written)
        calls = [
            Call(
                role, tokens.of(told) + 2 * n * each, role.expected_tokens, tokens.gguf is not None
            )
            for n in range(turns)
        ]
        yield Chains(_trained_on(study) * rules.sessions, calls)


def _trained_on(study: Study) -> int:
    """Training patients that were not imported."""
    imported = imported_digests(study)[Stage.PROFILES]
    patients = range(1, study.writing.patients.count + 1)
    return sum(profile_id(number) not in imported for number in patients)


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
    summary = filler(words_of(study), _middle(writing.courses.summary_chars))
    narrative = filler(words_of(study), _middle(writing.patients.narrative_chars))
    for number in range(1, writing.courses.sessions + 1):
        about = ("Alex Moreau", narrative, number, writing.courses.sessions)
        case = narrative if study.sessions.opener == "case" else ""
        brief = course.Brief(*about, study.phase_of(number), summary if number > 1 else "", case)
        if writing.courses.write == "parts":
            yield from _by_parts(study, writing, prompts, brief)
        else:
            yield from _by_turns(study, writing, prompts, brief)


def _by_parts(
    study: Study, writing: Writing, prompts: Prompts, brief: course.Brief
) -> Iterator[Call]:
    role, tokens = writing.generator, tokens_of(study, writing.generator)
    known = tokens.of(prompts.render("course.j2", patient=brief.patient, narrative=brief.narrative))
    for part in range(1, len(load_language(prompts).course.parts) + 1):
        known += tokens.of(course.request_text(brief, writing.courses, prompts, part))
        yield Call(role, known, role.expected_tokens, tokens.gguf is not None)
        known += role.expected_tokens + TOKENS_PER_MESSAGE


def _by_turns(
    study: Study, writing: Writing, prompts: Prompts, brief: course.Brief
) -> Iterator[Call]:
    """Each turn and its critique; what is written anew is in `expected_retries`."""
    systems = turnwise.request_texts(brief, writing.courses, writing.form, prompts)
    patient = writing.course_patient or writing.generator
    sides = {Speaker.PATIENT: patient, Speaker.THERAPIST: writing.generator}
    given = tokens_of(study, writing.generator).of(brief.case) if brief.case else 0
    spoken = float(given)
    for speaker in (list(sides) * writing.courses.exchanges)[bool(brief.case) :]:
        role = sides[speaker]
        tokens = tokens_of(study, role)
        asked = tokens.of(systems[speaker]) + spoken
        yield Call(role, asked, role.expected_tokens, tokens.gguf is not None)
        spoken += role.expected_tokens + TOKENS_PER_MESSAGE
        if writing.critic is not None:
            read = tokens_of(study, writing.critic)
            asked = read.of(prompts.render("critic.j2", **_told(brief, speaker))) + spoken
            reply = writing.critic.expected_tokens
            yield Call(writing.critic, asked, reply, read.gguf is not None)


def _told(brief: course.Brief, speaker: Speaker) -> dict[str, str]:
    return {"speaker": speaker, "patient": brief.patient, "narrative": brief.narrative}


def _sessions(study: Study, prompts: Prompts) -> Iterator[Chains]:
    chains = len(study.simulated) * study.sessions.replicates
    keys = Keys(study, prompts)
    for arm in (arm for arm in study.arms if not keys.all_imported(arm)):
        calls = [
            c for n in range(1, study.sessions.count + 1) for c in _session(study, prompts, arm, n)
        ]
        yield Chains(chains * len(seeds_of(study, arm)), calls)


def _session(study: Study, prompts: Prompts, arm: Arm, number: int) -> Iterator[Call]:
    rules, who = study.sessions, _somebody(study)
    therapist, patient, language = study.therapist(arm), study.patient_role, load_language(prompts)
    by_therapist = tokens_of(study, therapist, arm.model)
    opening = filler(words_of(study), _middle(rules.summary_chars)) if number > 1 else ""
    phase, mark = study.phase_of(number), end_mark(language.sessions(rules))
    system = dialogue.therapist_system(
        prompts, study.form_of(arm), who.name, number, rules.count, phase, mark
    )
    case = dialogue.Case(who, number, rules.count, phase, opening, 0)
    turns = [Turn(Speaker.PATIENT, dialogue.first_message(case, rules, prompts))]
    asked = [prompts.render("patient.j2", patient=who.name, profile=who.profile, opening=opening)]
    asked += [prompts.render("patient_begin.j2")]
    messages = int(rules.expected_messages or rules.max_messages)
    said = therapist.expected_tokens
    while len(turns) < messages:
        told = therapist_messages(system, opening, turns, language.transcript)
        yield _call(therapist, by_therapist, [message.content for message in told], said)
        turns.append(Turn(Speaker.THERAPIST, by_therapist.text(said)))
        if len(turns) < messages and patient is not None:
            by_patient, heard = tokens_of(study, patient), patient.expected_tokens
            yield _call(patient, by_patient, (*asked, *(turn.text for turn in turns)), heard)
            turns.append(Turn(Speaker.PATIENT, by_patient.text(heard)))
    if number < rules.count and study.summariser is not None:
        yield _summary(study, prompts, study.summariser, number, turns)


def _somebody(study: Study) -> SimulatedPatient:
    """A simulated patient; the profile of a tested one is not written yet, only how long it is."""
    who, training = study.simulated[0], study.patients.training
    if who.profile or training is None:
        return who
    text = filler(words_of(study), _middle(training.narrative_chars))
    return who.model_copy(update={"profile": text})


def _summary(
    study: Study, prompts: Prompts, summariser: Role, number: int, turns: list[Turn]
) -> Call:
    request = prompts.render(
        "summariser_request.j2",
        session=number,
        patient=study.simulated[0].name,
        transcript=transcript(turns, load_language(prompts).transcript),
    )
    texts = (prompts.render("summariser.j2"), request)
    return _call(summariser, tokens_of(study, summariser), texts, summariser.expected_tokens)


def _ratings(study: Study, judge: Judge) -> int:
    held = sum(len(seeds_of(study, arm)) for arm in study.arms)
    patients = len(study.simulated) - len(learned_from(study, judge))
    chains = held * patients * study.sessions.replicates
    return chains * study.sessions.count * len(judge.views) * judge.replicates


def _judge_probes(study: Study, prompts: Prompts) -> Iterator[Chains]:
    """Those of each probe: at most so many, since a session that it does not fit costs no call."""
    sessions = len(probed_places(study)) * len(study.arms)
    for name in probe_names(study):
        calls = (
            [_guess(study, prompts)]
            if name in GUESSES
            else list(_rating(study, study.judge, prompts, name))
        )
        yield Chains(sessions, calls)


def _guess(study: Study, prompts: Prompts) -> Call:
    role, kinds = study.judge, load_kinds(prompts, kinds_of(study))
    scale = joined(load_scales(prompts, role.scales))
    asked = {"kinds": [*kinds.items()], "expertise": scale.expertise}
    system = prompts.render("judge_guess.j2", **asked)
    request = prompts.render("judge_guess_request.j2", transcript=_rated_text(study, prompts))
    share = 1 / len(scale.items)  # one justification where a rating has one an item
    tokens = tokens_of(study, role, role.model)
    return _call(role, tokens, (system, request), role.expected_tokens * share)


def _rated_text(study: Study, prompts: Prompts, *, silent: bool = False) -> str:
    """A transcript of the expected length, as the judge sees it."""
    words, role = load_language(prompts).transcript, study.roles.therapist
    turns = int(study.sessions.expected_messages or study.sessions.max_messages)
    therapist, patient = role.expected_tokens * tokens_of(study, role).chars, _patient_chars(study)
    spoken = (len(words.silence) if silent else therapist) + patient
    return filler(words_of(study), turns * (spoken / 2 + len(f"{words.therapist}: ")))


def _patient_chars(study: Study) -> float:
    """Characters of a patient's usual message: of a case, where that is the only one."""
    role = study.patient_role
    if role is None:
        return float(len(_somebody(study).profile)) if study.sessions.opener == "case" else 0.0
    return role.expected_tokens * tokens_of(study, role).chars


def _rating(study: Study, judge: Judge, prompts: Prompts, probe: str = "") -> Iterator[Call]:
    scales = load_scales(prompts, judge.scales)
    tokens = tokens_of(study, judge, judge.model)
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
    for role in one.roles:
        way = role.endpoint, role.sampling
        if way not in proven and isinstance(study.endpoints[role.endpoint], LiteLLMEndpoint):
            proven.add(way)
            one.extra.append(Call(role, 12, 2))


def _call(role: Role, tokens: Tokens, texts: Iterable[str], reply: float) -> Call:
    return Call(role, tokens.of(*texts), reply, tokens.gguf is not None)


def _middle(chars: tuple[int, int]) -> float:
    return sum(chars) / 2
