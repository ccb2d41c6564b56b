"""The field tables of docs/study-file.md, made of the study file's JSON schema: the fields with
their types, defaults and docstrings. What stands between the tables is written by hand.

Rewrite them:    make docs
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from cbt_ray.study.schema import FILE, study_schema

PAGE = Path(__file__).parents[2] / "docs" / "study-file.md"
COMMAND = "make docs"
HEAD = "| field | type | default | meaning |\n|---|---|---|---|\n"
TABLE = re.compile(rf"{re.escape(HEAD)}(?:\| `.*\n)+(?:\n(?:- `\w+`: .*\n(?:  .*\n)*)+)?")
"""A table with what is said of its fields below it."""
SENTENCE, NEXT = re.compile(r"(?<=\.) (?=[A-Z`])"), "\n  "
SECTIONS = {
    "study": "Study",
    "patients": "Patients",
    "patients.training": "TrainingPatients",
    "patients.training.characteristics.NAME.LEVEL": "Level",
    "patients.simulated[]": "SimulatedPatient",
    "patients.drawn": "DrawnPatients",
    "phases[]": "Phase",
    "courses": "Courses",
    "dataset": "Dataset",
    "pairs.NAME": "Pairs",
    "models.NAME": "Model",
    "models.NAME.learns": "Learns",
    "models.NAME.recipe": "Recipe",
    "models.NAME.recipe.lora": "Lora",
    "models.NAME.recipe.search": "Search",
    "arms[]": "Arm",
    "forms.NAME": "Form",
    "forms.NAME.parts[]": "FormPart",
    "forms.NAME.parts[].fields[]": "FormField",
    "forms.NAME.parts[].fields[].one_of.VALUE": "Option",
    "endpoints.NAME (llama_cpp)": "LlamaCppEndpoint",
    "endpoints.NAME (litellm)": "LiteLLMEndpoint",
    "endpoints.NAME (vllm)": "VllmEndpoint",
    "endpoints.NAME (scripted)": "ScriptedEndpoint",
    "roles": "Roles",
    "roles.NAME": "Role",
    "roles.NAME.sampling": "Sampling",
    "sessions": "Sessions",
    "sessions.events": "Events",
    "sessions.stop[] (end_token)": "EndToken",
    "sessions.stop[] (summary)": "TherapistSummary",
    "sessions.stop[] (farewell)": "Farewell",
    "flags": "Flags",
    "raters.NAME (model)": "Judge",
    "raters.NAME (people)": "People",
    "raters.NAME (rule)": "Rulebook",
    "raters.NAME.rules.RULE": "Rule",
    "raters.NAME.probes": "Probes",
    "analysis": "Analysis",
    "analysis.contrasts[]": "Contrast",
    "minimum": "Minimum",
    "budget": "Budget",
    "engine": "Engine",
    "licences.NAME": "Terms",
    "licences.NAME.derived": "Duties",
    "licences.NAME.outputs": "Outputs",
    "imported": "Imported",
    "imported.judges.NAME": "ImportedJudge",
}
"""Heading of a section -> the block whose fields it holds."""
CHOICES = 6
"""A type names no more; the section does."""
UNUSUAL = 1000
"""An upper limit that is larger is met by no real study, and is not shown."""
PLAIN = {
    "string": "text",
    "integer": "whole number",
    "number": "number",
    "boolean": "true or false",
}
Node = Mapping[str, Any]


@cache
def blocks() -> dict[str, Any]:
    """Every block's schema by its name; not to be changed."""
    schema = study_schema()
    return {"Study": schema, **schema["$defs"]}


def section(page: str, name: str) -> re.Match[str]:
    """A section of the page, without its parts that have a heading of their own."""
    found = re.search(
        rf"^##+ `{re.escape(name)}`$(.*?)(?=^## |^### |\Z)", page, re.MULTILINE | re.DOTALL
    )
    assert found, f"docs/study-file.md lacks the section `{name}`"
    return found


def rewritten(page: str) -> str:
    """The page with today's tables."""
    known = blocks()
    for name, block in SECTIONS.items():
        found, made = section(page, name), "\n".join([*table(known[block]), ""])
        parts = TABLE.split(found[0])
        assert len(parts) == 2, f"`{name}`: expected one table of fields"
        page = page[: found.start()] + made.join(parts) + page[found.end() :]
    return page


def table(block: Node) -> Iterator[str]:
    """The lines of a block's table, and what docstrings say in a further paragraph."""
    yield from HEAD.splitlines()
    more = []
    for name, field in block["properties"].items():
        meaning, *rest = field.get("description", "").split("\n\n")
        default = shown(field) if name not in block.get("required", ()) else "required"
        cells = (f"`{name}`", type_of(field), default, meaning.replace("|", r"\|"))
        yield f"| {' | '.join(cells)} |"
        more += [f"- `{name}`: {SENTENCE.sub(NEXT, text)}" for text in rest]
    if more:
        yield from ("", *more)


def type_of(node: Node, several: bool = False) -> str:
    """A field's type in plain words."""
    choices = [one for one in node.get("anyOf", ()) if one.get("type") != "null"]
    if choices:
        kinds = [type_of(one, several) for one in choices if one != FILE]
        return f"{kinds[-1]}, or a file" if FILE in choices else kinds[-1]
    if "$ref" in node or "oneOf" in node:
        return "blocks" if several else "block"
    if "const" in node or "enum" in node:
        names = [f"`{name}`" for name in node.get("enum", [node.get("const")])]
        if len(names) > CHOICES:
            return "names"
        return ", ".join(names) if several else _one_of(names)
    match node["type"]:
        case "object":
            [inner] = node.get("patternProperties", {"": node.get("additionalProperties")}).values()
            held = type_of(inner, several=True)
            return f"{held.removesuffix(' by name')} by {'two names' if ' by ' in held else 'name'}"
        case "array" if "prefixItems" in node:
            return (
                f"two {type_of(node['prefixItems'][0], several=True).replace('number', 'numbers')}"
            )
        case "array":
            least = ", at least 1" if node.get("minItems") else ""
            return f"list of {type_of(node['items'], several=True)}{least}"
    kind = node.get("format") or PLAIN.get(node["type"], str(node["type"]))
    return kind if several else f"{kind} {', '.join(_limits(node))}".strip()


def _one_of(names: Sequence[str]) -> str:
    *most, last = names
    return f"{', '.join(most)} or {last}" if most else last


def _limits(node: Node) -> Iterator[str]:
    low, high = node.get("minimum"), node.get("maximum", UNUSUAL + 1)
    if low is not None and high <= UNUSUAL:
        yield f"{low:g} to {high:,g}"
        return
    if node.get("minLength", 1) > 1:
        yield f"of at least {node['minLength']} characters"
    elif node.get("maxLength", UNUSUAL) < UNUSUAL:
        yield f"of at most {node['maxLength']} characters"
    if low is not None:
        yield f"≥ {low:g}"
    if "exclusiveMinimum" in node:
        yield f"> {node['exclusiveMinimum']:g}"
    if high <= UNUSUAL:
        yield f"≤ {high:,g}"
    if "exclusiveMaximum" in node:
        yield f"< {node['exclusiveMaximum']:g}"


def shown(field: Node) -> str:
    """A default as the study file writes it, in one line."""
    value = field.get("default")
    if value is None:
        return "none"
    if isinstance(value, dict) and value:
        return "its defaults"
    return f"`{_yaml(value)}`" if value != "" else "empty"


def _yaml(value: Any) -> str:
    match value:
        case bool():
            return str(value).lower()
        case list():
            return f"[{', '.join(_yaml(one) for one in value)}]"
        case dict():
            fields = [f"{name}: {_yaml(one)}" for name, one in value.items() if one is not None]
            return f"{{{', '.join(fields)}}}"
    return str(value)


if __name__ == "__main__":
    PAGE.write_text(rewritten(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
