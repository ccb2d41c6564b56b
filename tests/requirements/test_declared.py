"""Dependencies are declared once, in pyproject.toml: locks, imports and messages agree with it."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from importlib.metadata import packages_distributions

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from cbt_ray.extra import EXTRAS as BROUGHT_BY
from tests.requirements.declared import EXTRAS, PROJECT, ROOT, declared

REQUIREMENTS = ROOT / "requirements"
INSTALLED = packages_distributions()
LOCKS = dict(
    re.findall(
        r"^lock ([\w-]+) pyproject\.toml((?: --extra \w+)+)",
        (REQUIREMENTS / "lock.sh").read_text(),
        re.MULTILINE,
    )
)


def pins(name: str) -> dict[str, str]:
    """The versions of a lock."""
    text = (REQUIREMENTS / f"{name}.txt").read_text()
    found = re.findall(r"^([\w.-]+)==([^\s\\;]+)", text, re.MULTILINE)
    return {canonicalize_name(package): version for package, version in found}


def unmet(requirements: list[Requirement], locked: dict[str, str]) -> list[str]:
    """What a lock does not hold, or holds in another version."""
    return [
        str(one)
        for one in requirements
        if (version := locked.get(canonicalize_name(one.name))) is None
        or not one.specifier.contains(version)
    ]


def test_what_a_lock_lacks_is_unmet() -> None:
    asked = [Requirement("any"), Requirement("new>=2")]
    assert unmet(asked, {}) == ["any", "new>=2"]
    assert unmet(asked, {"any": "1", "new": "1"}) == ["new>=2"]


def test_every_extra_is_in_a_lock() -> None:
    assert {"base", "train", "cuda", "local", "dev"} <= LOCKS.keys()
    assert {extra for line in LOCKS.values() for extra in line.split()[1::2]} == {*EXTRAS}


def test_no_lock_has_an_xformers_that_is_built_for_another_torch() -> None:
    """Its metadata take any torch, but its wheel loads beside one only."""
    assert [lock for lock in LOCKS if "xformers" in pins(lock)] == []


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_satisfies_what_is_declared(lock: str) -> None:
    requirements = declared(*LOCKS[lock].split()[1::2])
    assert len(requirements) > 15
    assert unmet(requirements, pins("torch") | pins(lock)) == []


def test_the_bootstrap_lock_satisfies_its_group() -> None:
    group = list(map(Requirement, PROJECT["dependency-groups"]["bootstrap"]))
    assert unmet(group, pins("bootstrap")) == []
    assert {*PROJECT["build-system"]["requires"]} < {*map(str, group)}


def executed(node: ast.AST) -> Iterator[ast.AST]:
    """The parts of a module that run, not only for the checker of types."""
    yield node
    if not (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)):
        for part in ast.iter_child_nodes(node):
            yield from executed(part)


def imported() -> set[str]:
    """The libraries that the package imports when it runs, anywhere."""
    found = set()
    for file in (ROOT / "cbt_ray").rglob("*.py"):
        for node in executed(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                found.add((node.module or "").partition(".")[0])
    return found - sys.stdlib_module_names - {"cbt_ray"}


@pytest.mark.parametrize("module", sorted(imported()))
def test_what_is_imported_is_declared_where_messages_say(module: str) -> None:
    extra = next((name for name, brings in BROUGHT_BY.items() if module in brings), None)
    known = {canonicalize_name(one.name) for one in declared(*[extra] if extra else [])}
    names = INSTALLED.get(module, [module])
    assert known & set(map(canonicalize_name, names))


def test_what_an_extra_brings_is_not_brought_without_it() -> None:
    plain = {canonicalize_name(one.name) for one in declared()}
    for modules in BROUGHT_BY.values():
        for module in modules:
            assert canonicalize_name(module) not in plain
