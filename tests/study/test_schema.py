"""The study file's JSON schema: the shipped one is today's, and takes what the reader takes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from cbt_ray.commands.init import SCHEMA_FILE, TEMPLATE, schema_text
from cbt_ray.study.block import Block
from cbt_ray.study.schema import meanings, study_schema

STUDIES = Path(__file__).parents[2] / "studies"
FILES = [*sorted(STUDIES.glob("*.yaml")), TEMPLATE / "study.yaml"]


def test_the_shipped_schema_is_that_of_the_fields() -> None:
    shipped = (STUDIES / SCHEMA_FILE).read_text(encoding="utf-8")
    assert shipped == schema_text(), "make docs writes it anew"


def test_the_schema_is_one() -> None:
    Draft202012Validator.check_schema(study_schema())


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_shipped_study_names_its_schema_and_follows_it(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    assert text.startswith(f"# yaml-language-server: $schema={SCHEMA_FILE}\n")
    assert not complaints(yaml.safe_load(text))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("sed", 7),
        ("seed", "seven"),
        ("seed", -1),
        ("arms", []),
        ("sessions", {"count": 3, "cuont": 4}),
        ("models", {"one": {"recipe": {"start": "a.gguf"}}}),
        ("patients", {"simulated": [{"name": "Ann"}]}),
    ],
)
def test_what_the_reader_refuses_of_fields_the_schema_refuses(field: str, value: object) -> None:
    document = yaml.safe_load((TEMPLATE / "study.yaml").read_text(encoding="utf-8"))
    assert complaints({**document, field: value})


def test_a_field_that_may_name_a_file_takes_both() -> None:
    document = yaml.safe_load((TEMPLATE / "study.yaml").read_text(encoding="utf-8"))
    simulated = document["patients"]["simulated"]
    assert not complaints({**document, "patients": {"simulated": "patients.yaml"}})
    assert not complaints({**document, "patients": {"simulated": simulated}})


def test_a_field_means_what_the_text_below_it_says() -> None:
    class Plain(Block):
        one: int
        """What one
        is."""
        two: int = 2

    class Derived(Plain):
        three: str
        """What three is."""

    assert meanings(Derived) == {"one": "What one is.", "three": "What three is."}


def complaints(document: Any) -> list[str]:
    validator = Draft202012Validator(json.loads(schema_text()))
    return [error.message for error in validator.iter_errors(document)]
