"""Chat: a person talks with a therapist of the study, through the same prompt and template as the
simulated patients.
"""

from __future__ import annotations

from collections.abc import Callable

from cbt_ray.errors import InputError
from cbt_ray.llm.gate import gate_of
from cbt_ray.llm.meter import Meter
from cbt_ray.llm.request import Request
from cbt_ray.study.study import Budget
from cbt_ray.therapy.dialogue import therapist_system
from cbt_ray.therapy.form import read_form
from cbt_ray.therapy.form_json import schema_of
from cbt_ray.therapy.language import load_language
from cbt_ray.therapy.session import Speaker, Turn, therapist_messages
from cbt_ray.therapy.stop import end_mark, hear
from cbt_ray.work.bench import Bench
from cbt_ray.work.workplace import Workplace
from cbt_ray.work.workshop import Workshop


def chat(
    bench: Bench, arm_name: str, listen: Callable[[], str], say: Callable[[str], object]
) -> None:
    """Talk until an empty line or the end of input; nothing is stored."""
    study = bench.study
    arm = next((arm for arm in study.arms if arm.name == arm_name), None)
    if arm is None:
        raise InputError(
            f"{study.file}: --arm: unknown arm {arm_name!r}, expected one of "
            f"{[arm.name for arm in study.arms]}"
        )
    shop = Workshop(study, bench.store, gate_of(Meter(study.endpoints, Budget())))
    voice = Workplace(shop).therapist(arm)
    language = load_language(bench.prompts)
    sessions = language.sessions(study.sessions)
    mark, form = end_mark(sessions), study.form_of(arm)
    system = therapist_system(
        bench.prompts,
        form,
        language.transcript.stranger,
        1,
        study.sessions.count,
        study.phase_of(1),
        mark,
    )
    turns: list[Turn] = []
    while text := _line(listen):
        turns.append(Turn(Speaker.PATIENT, text))
        messages = therapist_messages(system, "", turns, language.transcript)
        schema = schema_of(form, voice.role, language, text) if form.written == "json" else None
        asked = Request(tuple(messages), voice.role.sampling, len(turns), schema, told=False)
        reply = voice.ask(asked)
        heard = hear(read_form(form, reply.text).said, sessions)
        say(f"{arm.name}: {heard.text}")
        turns.append(Turn(Speaker.THERAPIST, heard.text))


def _line(listen: Callable[[], str]) -> str:
    try:
        return listen().strip()
    except EOFError:
        return ""
