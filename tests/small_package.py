"""A package of two small kernels beside a copy of `compiling`: what the cache does to it is soon seen."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import sparsespike

PACKAGE = Path(sparsespike.__file__).parent
INNER = """
from numba import njit
FACTOR = 10
@njit
def inner(x):
    return x + 1
"""
OUTER = """
from sparsespike.compiling.compiled import compiled
from sparsespike.inner import FACTOR, inner
@compiled
def outer(x):
    return inner(x) * FACTOR
@compiled
def twice(x):
    return x + x
"""
# Counts what is compiled; a load from the disk is none.
COUNT = """
from numba.core import event
from sparsespike.outer import outer, twice
count = event.RecordingListener()
event.register("numba:compile", count)
def n_compiled():
    return sum(e.is_start and e.data["dispatcher"] in (outer, twice) for _, e in count.buffer)
"""
RUN = COUNT + "print(outer(1), n_compiled())"


class Small:
    """The small package in a folder of its own, with a home of its own."""

    def __init__(self, where: Path, forking: subprocess.Popen[str]) -> None:
        self.where, self.forking = where, forking
        self.package, self.home = where / "sparsespike", where / "home"
        self.home.mkdir()
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(PACKAGE / "compiling", self.package / "compiling", ignore=ignored)
        self.write("__init__.py", "")
        self.write("inner.py", INNER)
        self.write("outer.py", OUTER)

    def write(self, name: str, text: str) -> None:
        (self.package / name).write_text(text)

    def command(self, code: str) -> list[str]:
        return [sys.executable, "-W", "error", "-c", textwrap.dedent(code)]

    def environment(self, **more: str) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if "NUMBA" not in name}
        kept.pop("XDG_CACHE_HOME", None)
        return kept | {"HOME": str(self.home), "PYTHONPATH": str(self.package.parent)} | more

    def run(self, code: str = RUN, **more: str) -> str:
        """What the code prints in a forked process, and what it logs."""
        paths = self.where / "stdout", self.where / "stderr"
        job = {"code": textwrap.dedent(code), "environment": self.environment(**more)}
        job |= {"stdout": str(paths[0]), "stderr": str(paths[1])}
        assert self.forking.stdin is not None
        assert self.forking.stdout is not None
        print(json.dumps(job), file=self.forking.stdin, flush=True)
        status = int(self.forking.stdout.readline())
        stdout, stderr = (path.read_text() for path in paths)
        assert status == 0, stderr
        return stdout.strip() + stderr

    def run_fresh(self, code: str, *before: str, **more: str) -> str:
        """The same in a process of its own; `before`: words before the command."""
        words = [*before, *self.command(code)]
        done = subprocess.run(words, env=self.environment(**more), capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip() + done.stderr

    def kept(self) -> list[Path]:
        return sorted(self.package.parent.rglob("*.kernel"))


def read_only(path: Path) -> tuple[str, ...]:
    """Makes a folder read-only; the words before a command that make root a user whom that binds."""
    if shutil.which("setpriv") is None or os.geteuid() != 0:
        pytest.skip("needs setpriv and root, to play a user who may not write")
    for found in (path, *path.rglob("*")):
        found.chmod(found.stat().st_mode & ~0o222)
    return ("setpriv", "--bounding-set=-dac_override,-dac_read_search")
