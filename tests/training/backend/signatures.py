"""The names that the locked versions of the libraries take.

Unsloth's wheel does not import without a GPU, so what it takes is read from its source and kept in
unsloth.json. Rewrite it for the lock's version, with a network:

    python -m tests.training.backend.signatures
"""

from __future__ import annotations

import ast
import inspect
import json
import re
import subprocess
import sys
import tempfile
import textwrap
import zipfile
from collections.abc import Callable, Iterator
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from tests.training.backend.passed import FORWARD

ROOT = Path(__file__).parents[3]
LOCK = ROOT / "requirements" / "cuda.txt"
FILE = Path(__file__).with_name("unsloth.json")
LOADER, LLAMA = "unsloth/models/loader.py", "unsloth/models/llama.py"
READ = {
    "unsloth.FastLanguageModel.from_pretrained": (LOADER, "FastLanguageModel", "from_pretrained"),
    # of FastLanguageModel it hands all on to this one
    "unsloth.FastLanguageModel.get_peft_model": (LLAMA, "FastLlamaModel", "get_peft_model"),
    FORWARD: (LLAMA, "CausalLM_fast_forward", "_CausalLM_fast_forward"),
}
MODEL, PRETRAINED = "transformers.AutoModelForCausalLM", "transformers.PreTrainedModel"
HANDED_ON = {
    f"{MODEL}.from_pretrained": f"{PRETRAINED}.from_pretrained",
    f"{MODEL}.from_config": f"{PRETRAINED}._from_config",
}
"""What takes anything and hands it on."""


def locked(name: str) -> str:
    """The version of a package in the lock of the image with a GPU."""
    found = re.search(rf"^{name}==(\S+)", LOCK.read_text(), re.MULTILINE)
    assert found
    return found[1]


@cache
def accepted(callee: str) -> frozenset[str]:
    """All names that a function or class of a library takes."""
    if callee.startswith("unsloth."):
        return frozenset(json.loads(FILE.read_text())["accepts"][callee])
    return frozenset(_of_installed(_installed(HANDED_ON.get(callee, callee))))


def _installed(name: str) -> Any:
    parts = name.split(".")
    found: Any = import_module(parts[0])
    for length, part in enumerate(parts[1:], 2):
        if isinstance(found, ModuleType) and not hasattr(found, part):
            found = import_module(".".join(parts[:length]))
        else:
            found = getattr(found, part)
    return found


def _of_installed(function: Callable[..., Any]) -> Iterator[str]:
    for name, one in inspect.signature(function).parameters.items():
        if one.kind is not one.VAR_KEYWORD:
            yield name
        elif not inspect.isclass(function):
            (node,) = ast.parse(textwrap.dedent(inspect.getsource(function))).body
            yield from _read_from(node, name)


def of_source(node: ast.FunctionDef) -> list[str]:
    """The names that a function takes, with those that it takes out of its `**kwargs`."""
    own = node.args
    named = [one.arg for one in (*own.posonlyargs, *own.args, *own.kwonlyargs)]
    more = _read_from(node, own.kwarg.arg) if own.kwarg else ()
    return sorted({*named, *more} - {"self"})


def _read_from(node: ast.AST, kwargs: str) -> Iterator[str]:
    for one in ast.walk(node):
        if (
            isinstance(one, ast.Call)
            and isinstance(one.func, ast.Attribute)
            and one.func.attr in ("get", "pop")
            and ast.unparse(one.func.value) == kwargs
            and isinstance(one.args[0], ast.Constant)
        ):
            yield str(one.args[0].value)


def of_unsloth(read: Callable[[str], bytes]) -> dict[str, list[str]]:
    """What Unsloth takes, by what its files say."""
    trees = {file: ast.parse(read(file)) for file in (LOADER, LLAMA)}
    found = {}
    for callee, (file, within, name) in READ.items():
        (owner,) = (
            node
            for node in trees[file].body
            if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == within
        )
        (function,) = (
            node for node in owner.body if isinstance(node, ast.FunctionDef) and node.name == name
        )
        found[callee] = of_source(function)
    # what is left over goes to the layers below, which take it out of their own `kwargs`
    layers = [
        node
        for node in ast.walk(trees[LLAMA])
        if isinstance(node, ast.FunctionDef) and node.name.endswith("forward")
    ]
    below = {name for layer in layers for name in _read_from(layer, "kwargs")}
    found[FORWARD] = sorted({*found[FORWARD], *below})
    return found


def main() -> None:
    """Fetch the locked wheel by its hash and write down what it takes."""
    pin = re.search(r"^unsloth==.*\n(?:    --hash.*\n)+", LOCK.read_text(), re.MULTILINE)
    assert pin
    with tempfile.TemporaryDirectory() as folder:
        asked = Path(folder) / "asked.txt"
        asked.write_text(pin[0])
        get = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes"]
        subprocess.run([*get, "--requirement", asked, "--dest", folder], check=True)
        (wheel,) = Path(folder).glob("*.whl")
        with zipfile.ZipFile(wheel) as opened:
            document = {"version": locked("unsloth"), "accepts": of_unsloth(opened.read)}
    FILE.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
