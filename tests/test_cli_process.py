"""The command line as a process of its own: Ctrl-C, a full disk, a reader that leaves."""

from __future__ import annotations

import resource
import signal
import subprocess
import sys

from sparsespike.cli import main
from sparsespike.training import checkpoint
from training import QUICK

COMMAND = [sys.executable, "-m", "sparsespike"]
TRAIN = ["train", "fashion-mnist", "--dataset", QUICK.dataset, "--hidden", "20", "--steps", "40"]


def test_ctrl_c_leaves_a_run_that_resumes(tmp_path):
    words = [*COMMAND, *TRAIN, "--out", str(tmp_path), "--epochs", "10000"]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        line = process.stderr.readline()
        while line.startswith(("compiling kernels, once: ", "training events: ")):
            line = process.stderr.readline()
        assert line.startswith("epoch   1/10000")
        process.send_signal(signal.SIGINT)
        *_, last = process.stderr.read().splitlines()
    assert process.returncode == 130
    assert last.startswith("sparsespike: stopped; --resume goes on with epoch ")
    state = checkpoint.load(tmp_path / "last.safetensors")[1]
    assert state["epoch"] >= 1
    assert len(checkpoint.read_lines(tmp_path / "metrics.jsonl")) == state["epoch"]


def test_a_disk_that_fills_up_leaves_a_run_that_resumes(tmp_path):
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

    path = tmp_path / "last.safetensors"
    assert main([*TRAIN, "--out", str(tmp_path), "--epochs", "1"]) == 0
    before = path.read_bytes()
    words = [*TRAIN, "--out", str(tmp_path), "--epochs", "2", "--resume"]
    full = subprocess.run([*COMMAND, *words], capture_output=True, text=True, preexec_fn=limit)
    assert full.returncode == 1
    assert full.stderr.splitlines()[-1] == (
        f"sparsespike: error: cannot save {path}: File too large; the previous file is intact"
    )
    assert "Traceback" not in full.stderr
    assert path.read_bytes() == before
    assert not list(tmp_path.glob("*.part"))
    assert main(words) == 0
    assert checkpoint.load(path)[1]["epoch"] == 2


def test_a_reader_that_leaves_is_no_error():
    words = [*COMMAND, "info"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == b""
    assert process.returncode == 1
