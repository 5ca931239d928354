"""The examples run as a new user would run them, and learn."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
NEEDS = {
    "plain_loop": ("torchmetrics", "tensorboard"),
    "ddp_loop": ("tensorboard",),
    "with_lightning": ("torchmetrics", "tensorboard", "lightning"),
}
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
RUNS = {  # what is before the example's name, and what is after it
    "plain_loop": ([], []),
    "ddp_loop": (TORCHRUN, []),
    "with_lightning": ([], []),
    "with_lightning, two processes": ([], ["--processes", "2"]),
}


def test_every_example_is_run_here():
    assert {path.stem for path in EXAMPLES.glob("*.py")} == set(NEEDS)
    assert {run.partition(",")[0] for run in RUNS} == set(NEEDS)


@pytest.mark.parametrize("run", RUNS)
@pytest.mark.timeout(600)  # of kernels that no other test has compiled yet
def test_the_example_learns_in_one_epoch_and_leaves_curves_and_weights(run, tmp_path):
    name, (before, after) = run.partition(",")[0], RUNS[run]
    missing = [each for each in NEEDS[name] if importlib.util.find_spec(each) is None]
    if missing:
        pytest.skip(f"{', '.join(missing)}: installed by `make setup`, extra `examples`")
    done = subprocess.run(
        [
            sys.executable,
            *before,
            EXAMPLES / f"{name}.py",
            "--epochs",
            "1",
            "--out",
            "here",
            *after,
        ],
        cwd=tmp_path,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
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
