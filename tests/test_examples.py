"""The examples run as a new user would run them, and learn."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
NEEDS = {
    "plain_loop": ("torchmetrics", "tensorboard"),
    "with_lightning": ("torchmetrics", "tensorboard", "lightning"),
}


def test_every_example_is_run_here():
    assert {path.stem for path in EXAMPLES.glob("*.py")} == set(NEEDS)


@pytest.mark.parametrize("name", NEEDS)
@pytest.mark.timeout(600)  # of kernels that no other test has compiled yet
def test_the_example_learns_in_one_epoch_and_leaves_curves_and_weights(name, tmp_path):
    missing = [each for each in NEEDS[name] if importlib.util.find_spec(each) is None]
    if missing:
        pytest.skip(f"{', '.join(missing)}: installed by `make setup`, extra `examples`")
    done = subprocess.run(
        [sys.executable, EXAMPLES / f"{name}.py", "--epochs", "1", "--out", "here"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, done.stderr
    (accuracy,) = re.findall(r"test accuracy ([\d.]+)%", done.stdout)
    assert float(accuracy) > 50  # chance is 10 %; three epochs reach 78 %
    files = {
        path.suffix if path.suffix in (".pt", ".ckpt") else path.name[:15]
        for path in tmp_path.rglob("*")
    }
    assert "events.out.tfev" in files
    assert files & {".pt", ".ckpt"}
    assert [path.name for path in tmp_path.iterdir()] == ["here"]
