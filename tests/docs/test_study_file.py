"""docs/study-file.md holds every field of the study file with its default, and examples that the
study file takes.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from pydantic import TypeAdapter
from pydantic.fields import FieldInfo

from cbt_ray.study import contrast, endpoint, imported, model, probe, protocol, rater, study, terms
from cbt_ray.study.block import Block

PAGE = Path(__file__).parents[2] / "docs" / "study-file.md"
SECTIONS: dict[str, Any] = {
    "study": study.Study,
    "patients": protocol.Patients,
    "patients.training": protocol.TrainingPatients,
    "patients.training.characteristics.NAME.LEVEL": protocol.Level,
    "patients.simulated[]": protocol.SimulatedPatient,
    "phases[]": protocol.Phase,
    "courses": protocol.Courses,
    "dataset": model.Dataset,
    "models.NAME": model.Model,
    "models.NAME.recipe": model.Recipe,
    "models.NAME.recipe.lora": model.Lora,
    "arms[]": model.Arm,
    "endpoints.NAME (llama_cpp)": endpoint.LlamaCppEndpoint,
    "endpoints.NAME (litellm)": endpoint.LiteLLMEndpoint,
    "endpoints.NAME (scripted)": endpoint.ScriptedEndpoint,
    "roles": endpoint.Roles,
    "roles.NAME": endpoint.Role,
    "roles.NAME.sampling": endpoint.Sampling,
    "sessions": protocol.Sessions,
    "sessions.stop[] (end_token)": protocol.EndToken,
    "sessions.stop[] (summary)": protocol.TherapistSummary,
    "sessions.stop[] (farewell)": protocol.Farewell,
    "flags": protocol.Flags,
    "raters.NAME (model)": rater.Judge,
    "raters.NAME (people)": rater.People,
    "raters.NAME (rule)": rater.Rulebook,
    "raters.NAME.rules.RULE": rater.Rule,
    "raters.NAME.probes": probe.Probes,
    "analysis": model.Analysis,
    "analysis.contrasts[]": contrast.Contrast,
    "minimum": study.Minimum,
    "budget": study.Budget,
    "engine": study.Engine,
    "licences.NAME": terms.Terms,
    "licences.NAME.derived": terms.Duties,
    "licences.NAME.outputs": terms.Outputs,
    "imported": imported.Imported,
    "imported.judges.NAME": imported.ImportedJudge,
}


def section(name: str) -> str:
    found = re.search(
        rf"^##+ `{re.escape(name)}`$(.*?)(?=^## |^### |\Z)",
        PAGE.read_text(),
        re.MULTILINE | re.DOTALL,
    )
    assert found, f"docs/study-file.md lacks the section `{name}`"
    return found[1]


def rows(name: str) -> dict[str, str]:
    """Field to the default that its row gives."""
    lines = [
        re.split(r"(?<!\\)\|", line)[1:-1]
        for line in section(name).splitlines()
        if line.startswith("| `")
    ]
    return {cells[0].strip(" `"): cells[2].strip().replace("\\|", "|") for cells in lines}


def shown(field: FieldInfo) -> str:
    """A default as the page writes it: JSON-like YAML in one line."""
    if field.is_required():
        return "required"
    value = field.default
    if value is None:
        return "none"
    if isinstance(value, Block):
        return "its defaults"
    if isinstance(value, tuple) and any(isinstance(one, Block) for one in value):
        return "`[" + ", ".join("{rule: " + one.rule + "}" for one in value) + "]`"
    if isinstance(value, tuple):
        return "`[" + ", ".join(str(one) for one in value) + "]`"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{value}`" if value != "" else "empty"


def blocks_of(annotation: Any) -> set[type[Block]]:
    """The blocks that an annotation leads to."""
    if isinstance(annotation, type) and issubclass(annotation, Block):
        return {annotation}
    return {block for part in get_args(annotation) for block in blocks_of(part)}


@pytest.mark.parametrize("name", SECTIONS)
def test_every_field_has_a_row_with_its_default(name: str) -> None:
    assert rows(name) == {field: shown(info) for field, info in SECTIONS[name].model_fields.items()}


@pytest.mark.parametrize("name", SECTIONS)
def test_the_example_is_valid_and_shows_every_field(name: str) -> None:
    if name == "study":
        return  # studies/demo.yaml is its example
    example = re.search(r"```yaml\n(.*?)```", section(name), re.DOTALL)
    assert example, f"`{name}` has no example"
    value = yaml.safe_load(example[1])
    TypeAdapter(SECTIONS[name]).validate_python(value)
    assert set(value) == set(SECTIONS[name].model_fields)


def test_a_study_of_two_prompts_is_shown_whole() -> None:
    *_, example = re.findall(r"```yaml\n(.*?)```", section("arms[]"), re.DOTALL)
    shown = study.Study.model_validate(yaml.safe_load(example))
    assert [one.name for one in shown.contrasts] == ["prompt"]


def test_every_block_has_a_section() -> None:
    reached, todo = set(), {study.Study}
    while todo:
        block = todo.pop()
        reached.add(block)
        for info in block.model_fields.values():
            todo |= blocks_of(info.annotation) - reached
    assert reached == set(SECTIONS.values())
