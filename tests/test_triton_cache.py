"""Triton's own cache on disk: its key changes with all that goes into a kernel of ours."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import sparsespike

pytest.importorskip("triton")
PACKAGE = Path(sparsespike.__file__).parent

KEYS = """
import ast, importlib, json, pathlib, sparsespike
from triton import language as tl
from triton.runtime.jit import JITFunction
folder = pathlib.Path(sparsespike.__path__[0]) / "backends" / "gpu"
found = {}
for path in sorted(folder.rglob("*.py")):
    inside = path.relative_to(folder).with_suffix("").parts
    module = importlib.import_module(".".join(("sparsespike.backends.gpu", *inside)))
    for name, function in vars(module).items():
        if not isinstance(function, JITFunction) or function.fn.__module__ != module.__name__:
            continue
        names = {node.id for node in ast.walk(ast.parse(function.src)) if isinstance(node, ast.Name)}
        names -= set(function.arg_names)
        used = {n: vars(module)[n] for n in names if n in vars(module) and vars(module)[n] is not tl}
        found[name] = {
            "key": function.cache_key,
            "calls": [n for n, value in used.items() if isinstance(value, JITFunction)],
            "constants": [n for n, value in used.items() if isinstance(value, tl.constexpr)],
        }
        found[name]["others"] = sorted(
            set(used) - set(found[name]["calls"]) - set(found[name]["constants"]) - {"triton"}
        )
print(json.dumps(found))
"""


def kernels(where: Path) -> dict[str, dict]:
    """Every function that Triton compiles: its key, what it calls, and which constants it reads."""
    environment = {**os.environ, "PYTHONPATH": str(where), "TRITON_INTERPRET": "0"}
    done = subprocess.run(
        [sys.executable, "-c", KEYS], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def changed(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))


def test_tritons_key_covers_what_a_kernel_calls_and_its_constants(tmp_path):
    package = tmp_path / "sparsespike"
    shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__", "sample"))
    before = kernels(tmp_path)
    assert {"fire", "currents", "scale_by_slope"} <= set(before)
    # Nothing else reaches a kernel from outside: arguments are in the key anyway.
    assert {name: facts["others"] for name, facts in before.items() if facts["others"]} == {}
    changed(package / "descriptions" / "neurons.py", " = range(8)", " = range(1, 9)")
    bits = package / "backends" / "gpu" / "bits.py"
    tree = ast.parse(bits.read_text())
    (helper,) = (n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == "popcount")
    lines = bits.read_text().splitlines()
    lines[(helper.end_lineno or 0) - 1] += " + 0"  # no line moves: their numbers are in the keys
    bits.write_text("\n".join(lines) + "\n")
    after = kernels(tmp_path)
    touched = {name for name, facts in before.items() if "FAST_SIGMOID" in facts["constants"]}
    assert touched
    touched |= {"popcount"}
    while more := {n for n, facts in before.items() if touched & set(facts["calls"])} - touched:
        touched |= more
    assert {"count", "fire", "scale_by_slope"} <= touched
    differ = {name for name in before if before[name]["key"] != after[name]["key"]}
    assert differ >= touched
    assert differ != set(before)
