"""What the package passes by name to the libraries of training, read from its source."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

LIBRARIES = ("accelerate", "bitsandbytes", "datasets", "peft", "transformers", "trl", "unsloth")
Named = ast.keyword | ast.Constant
"""Where a name is: after a call, or as a key of a dict that is laid out after one."""
FORWARD = "unsloth.forward"
"""The model's own call, which Unsloth rewrites."""


@dataclass(frozen=True)
class Call:
    """One call of a library."""

    where: str
    callee: str
    names: tuple[Named, ...]


def name_of(node: Named) -> str:
    """The name that is passed."""
    return str(node.arg if isinstance(node, ast.keyword) else node.value)


def rename(node: Named, name: str) -> None:
    """Pass another one."""
    if isinstance(node, ast.keyword):
        node.arg = name
    else:
        node.value = name


def sources(root: Path) -> dict[str, ast.Module]:
    """All modules of training, by name."""
    return {
        ".".join(file.relative_to(root).with_suffix("").parts): ast.parse(file.read_text())
        for file in sorted((root / "cbt_ray" / "training").rglob("*.py"))
    }


def calls(trees: dict[str, ast.Module]) -> Iterator[Call]:
    """Each call of one of the libraries."""
    functions = {
        f"{module}.{node.name}": node
        for module, tree in trees.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef)
    }
    for module, tree in trees.items():
        yield from _Reader(module, _imported(tree), functions).read(tree)


def _imported(tree: ast.Module) -> dict[str, str]:
    """Where each imported name comes from."""
    return {
        alias.asname or alias.name: f"{node.module}.{alias.name}"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module
        for alias in node.names
    }


@dataclass(frozen=True)
class _Reader:
    module: str
    imported: dict[str, str]
    functions: dict[str, ast.FunctionDef]

    def read(self, tree: ast.Module) -> Iterator[Call]:
        for around in ast.walk(tree):
            if not isinstance(around, ast.FunctionDef):
                continue
            for node in ast.walk(around):
                callee = self._callee(node.func) if isinstance(node, ast.Call) else None
                if callee and isinstance(node, ast.Call):
                    names = tuple(self._names(node.keywords, around))
                    yield Call(f"{self.module}:{node.lineno}", callee, names)

    def _callee(self, called: ast.expr) -> str | None:
        """A library's function, a class that is derived from one of its classes, or the model."""
        if isinstance(called, ast.Name):
            if called.id == "model":
                return FORWARD
            found = self.imported.get(called.id, "")
            return found if found.partition(".")[0] in LIBRARIES else None
        if isinstance(called, ast.Attribute):
            owner = self._callee(called.value) if isinstance(called.value, ast.Name) else None
            return f"{owner}.{called.attr}" if owner and owner != FORWARD else None
        if isinstance(called, ast.Call) and isinstance(called.func, ast.Name):
            made_by = self._function(called.func.id)
            for node in ast.walk(made_by) if made_by else ():
                if isinstance(node, ast.ClassDef) and (base := self._callee(node.bases[0])):
                    return base
        return None

    def _function(self, name: str) -> ast.FunctionDef | None:
        return self.functions.get(self.imported.get(name, f"{self.module}.{name}"))

    def _names(self, keywords: list[ast.keyword], around: ast.FunctionDef) -> Iterator[Named]:
        for one in keywords:
            if one.arg is not None:
                yield one
            else:
                yield from self._keys(one.value, around)

    def _keys(self, laid_out: ast.expr, around: ast.FunctionDef) -> Iterator[Named]:
        """The keys of what comes after `**`: a dict, a function that makes one, a variable."""
        if isinstance(laid_out, ast.Dict):
            for key, value in zip(laid_out.keys, laid_out.values, strict=True):
                if isinstance(key, ast.Constant):
                    yield key
                elif key is None:
                    yield from self._keys(value, around)
        elif isinstance(laid_out, ast.Call) and isinstance(laid_out.func, ast.Name):
            made_by = self._function(laid_out.func.id)
            assert made_by is not None, f"{self.module}: {ast.unparse(laid_out)}"
            for node in ast.walk(made_by):
                if isinstance(node, ast.Return) and node.value is not None:
                    yield from self._keys(node.value, made_by)
        elif isinstance(laid_out, ast.Name):
            yield from self._of_variable(laid_out.id, around)
        else:
            raise AssertionError(f"{self.module}: **{ast.unparse(laid_out)} is not understood")

    def _of_variable(self, name: str, around: ast.FunctionDef) -> Iterator[Named]:
        """All dicts that are assigned to it, alone or beside others, and keys that are added."""
        for node in ast.walk(around):
            if not isinstance(node, ast.Assign):
                continue
            target = node.targets[0]
            if isinstance(target, ast.Subscript) and ast.unparse(target.value) == name:
                assert isinstance(target.slice, ast.Constant)
                yield target.slice
            elif name in ast.unparse(target).strip("()").split(", "):
                for part in ast.walk(node.value):
                    if isinstance(part, ast.Dict):
                        yield from self._keys(part, around)
