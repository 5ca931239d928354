"""A few damaged files of each format are read soundly or refused; more: `tools/fuzz_formats.py`."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

TOOLS = Path(__file__).parents[1] / "tools"

# Readers that fail in each way, and how an input of theirs ends.
PLANTED = """
import os, signal, sys
from pathlib import Path
import numpy as np
import fuzz_formats as fuzz

def ends(read):
    fuzz.SECONDS = 0.3
    failing = fuzz.Format([b"seed"], read, 1.0)
    count, failures, _ = fuzz.outcomes("planted", failing, range(2), 0, Path("."))
    assert len(failures) == 2 == sum(count.values())
    print(*count)

def hang(raw, path):
    while True: pass

def ask(raw, path):
    np.ones(2**28)

def unsound(raw, path):
    fuzz.check(fuzz.Recordings(np.array([5]), np.array([0]), np.array([0, 1]), np.array([0]), {}), 5, 9)

ends(hang)
ends(ask)
ends(unsound)
ends(lambda raw, path: os.kill(os.getpid(), signal.SIGSEGV))
ends(lambda raw, path: {}["key"])
fuzz.SECONDS = 5
sys.exit(fuzz.main() > 0)
"""


@pytest.fixture(scope="module")
def said() -> list[str]:
    """The lines of one process: each planted failure, then the table of a few inputs of each format."""
    if not hasattr(os, "fork"):
        pytest.skip("needs fork")
    if importlib.util.find_spec("faery") is None:
        pytest.skip("needs faery")
    words = [sys.executable, "-c", PLANTED, "--inputs", "300", "--seed", "3"]
    done = subprocess.run(words, cwd=TOOLS, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()


def test_every_way_to_fail_is_counted(said):
    assert said[:5] == ["hang", "memory", "unsound", "crash", "KeyError"]


def test_damaged_files_are_read_soundly_or_refused(said):
    for name in ("nmnist", "aedat3", "table", "hdf5", "store", "idx", "raw3", "aedat4"):
        assert any(name in line for line in said), name
