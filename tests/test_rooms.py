"""Imports run down the rooms, never back."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import sparsespike

PACKAGE = Path(sparsespike.__file__).parent
# What each room may import beside itself, in the order of the data.
BELOW = {
    "compiling": set(),
    "spikes": {"compiling"},
    "descriptions": {"spikes"},
    "backends": {"descriptions", "spikes", "compiling"},
    "ops": {"backends", "descriptions", "spikes"},
    "connections": {"ops", "descriptions", "spikes"},
    "neurons": {"connections", "ops", "backends", "descriptions", "spikes"},
    "network": {"neurons", "connections", "ops", "backends", "spikes"},
    "streaming": {"network", "neurons", "connections", "backends", "spikes"},
    "metrics": {"neurons", "connections", "descriptions", "spikes"},
    "losses": {"ops", "spikes"},
    "data": {"spikes", "compiling"},
}
BELOW["training"] = {*BELOW, "training"}
BELOW["pages"] = {"data"}
BELOW["bench"] = {*BELOW} - {"pages"}
BELOW["reproduce"] = {*BELOW}
BELOW["report"] = {*BELOW} - {"reproduce"}
BELOW["interop"] = {"metrics", "network", "neurons", "connections", "ops", "descriptions", "spikes"}
BELOW["cli"] = {*BELOW, "cli"}
TOP = {"__init__", "__main__"}


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(path: Path) -> set[str]:
    """The rooms that a file imports, wherever in it; `import sparsespike` alone is for the version."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module == "sparsespike":
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("sparsespike."):
            found.add((node.module or "").split(".")[1])
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names if alias.name.startswith("sparsespike.")]
            found |= {name.split(".")[1] for name in names}
    return {room for room in found if not room.startswith("__")}


def test_every_room_has_its_place():
    rooms = {room_of(path) for path in PACKAGE.rglob("*.py")} - TOP
    assert rooms == set(BELOW)


@pytest.mark.parametrize("room", BELOW)
def test_imports_run_down_the_rooms(room):
    files = [path for path in PACKAGE.rglob("*.py") if room_of(path) == room]
    wrong = {
        str(path.relative_to(PACKAGE)): imported(path) - BELOW[room] - {room}
        for path in files
        if imported(path) - BELOW[room] - {room}
    }
    assert not wrong
