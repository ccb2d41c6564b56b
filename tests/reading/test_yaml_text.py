"""YAML from outside: plain values, or one line with file, line and field, soon."""

import pytest

from cbt_ray.errors import InputError
from cbt_ray.reading import yaml_of

LAUGHS = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{name}: &{name} [{','.join([f'*{before}'] * 9)}]\n"
    for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ("a: 1\nb: [x, 1.5, true, null]", {"a": 1, "b": ["x", 1.5, True, None]}),
        (
            "a: &x {p: 1}\nb: {<<: *x, q: 2}\nc: {<<: [{p: 0}, *x]}",
            {"a": {"p": 1}, "b": {"p": 1, "q": 2}, "c": {"p": 0}},
        ),
        ("a: &x [1]\nb: *x", {"a": [1], "b": [1]}),
        ("a: '2024-13-45'\nb: \"1\"\nc: =", {"a": "2024-13-45", "b": "1", "c": "="}),
        (
            "a: [1:30, 010, 007, -0_1, no, Off, 20:30:40.5]",
            {"a": ["1:30", "010", "007", "-0_1", "no", "Off", "20:30:40.5"]},
        ),
        (
            "a: [0, -1, 10_000, 0x1F, 0.5, -0.25, 1.0e+2]",
            {"a": [0, -1, 10000, 31, 0.5, -0.25, 100]},
        ),
        ("\ta: [", ...),
    ],
)
def test_plain_values(text: str, value: object) -> None:
    if value is ...:
        with pytest.raises(InputError, match=r"^study\.yaml, line 1: expected YAML: "):
            yaml_of(text, "study.yaml")
    else:
        assert yaml_of(text, "study.yaml") == value


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (LAUGHS, "line 6: f.1: expected at most 200,000 values, with what its aliases repeat"),
        (
            "description: &a [*a]",
            "line 1: description.0: expected a value that does not hold itself (*a)",
        ),
        ("a: {b: &x {c: *x}}", "line 1: a.b.c: expected a value that does not hold itself (*x)"),
        ("a: &x {<<: *x}", "line 1: a.<<: expected a value that does not hold itself (*x)"),
        ("a: *b", "line 1: a: expected a value named &b before it"),
        (
            f"seed: {'9' * 5000}",
            "line 1: seed: expected a smaller number, found one of 5,000 digits",
        ),
        (
            "a: 1\nb: {c: 2024-13-45}",
            "line 2: b.c: expected a value of YAML's kind timestamp, found '2024-13-45'",
        ),
        ("seed: !!int abc", "line 1: seed: expected a value of YAML's kind int, found 'abc'"),
        ("seed: !!bool abc", "line 1: seed: expected a value of YAML's kind bool, found 'abc'"),
        ("seed: !!float abc", "line 1: seed: expected a value of YAML's kind float, found 'abc'"),
        (
            "a: !!python/name:os.system",
            "line 1: a: expected a plain value, found the tag tag:yaml.org,2002:python/name",
        ),
        ("a: !!set {x}", "line 1: a: expected a plain value, found the tag tag:yaml.org,2002:set"),
        ("a: 1\na: 2", "line 2: 'a' is given twice"),
        ("? [a, b]\n: 1", "line 1: expected a name, found a list or a mapping"),
        ("a: {<<: 7}", "line 1: a: <<: expected a mapping, or a list of them"),
        ("a: 1\n---\nb: 2", "line 2: expected one document, found another after `---`"),
        ("[" * 200, "line 1: 0.0.0: expected at most 40 blocks within each other"),
        ("[" * 100_000, "line 1: "),  # a later PyYAML has a bound of its own
        ("- " * 5000 + "a", "line 1: 0.0.0: expected at most 40 blocks within each other"),
        ("a: \x00", "expected YAML: "),
    ],
)
def test_what_is_wrong_is_one_line(text: str, said: str) -> None:
    with pytest.raises(InputError) as caught:
        yaml_of(text, "study.yaml")
    message = str(caught.value)
    assert message.startswith("study.yaml")
    assert said in message
    assert "\n" not in message


def test_what_an_alias_repeats_counts_each_time() -> None:
    values = "a: &a [" + ",".join("x" * 1000) + "]\nb: [" + ",".join(["*a"] * 100) + "]"
    assert len(yaml_of(values, "f")["b"]) == 100
    with pytest.raises(InputError, match="with what its aliases repeat"):
        yaml_of(values.replace("b: [", "b: [" + "*a," * 100), "f")
