"""The display of a run: live on a terminal, one line per epoch elsewhere, a table at the end."""

from __future__ import annotations

import io
import re
from typing import Any

import pytest
import torch
from rich.console import Console
from rich.table import Table

import sparsespike as ss
from sparsespike import data
from sparsespike.compiling import progress as compiling
from sparsespike.training.metrics import Totals, counted
from sparsespike.training.progress import Progress, live_table, run_table, score_table
from sparsespike.training.train import train
from training import QUICK, few

SCORE: dict[str, Any] = {
    "accuracy": 0.8215,
    "loss": 0.5,
    "n_samples": 10_000,
    "n_late": 0,
    "per_class": [0.9, None],
    "layers": [{"rate": 0.0071, "activity": 0.0106}, {"rate": 0.0052, "activity": 0.0087}],
}
RESULT: dict[str, Any] = {
    "dataset": "fashion-mnist",
    "checkpoint": "best",
    "epoch": 7,
    "epochs": 9,
    "train_accuracy": 0.9,
    "validation_accuracy": 0.83,
    "seconds": 12.3,
    "samples_per_second": 20_000.0,
    "peak_memory_mib": 512.0,
    "test": SCORE,
}


def shown(table: Table) -> str:
    console = Console(file=io.StringIO(), width=100)
    console.print(table)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_the_live_table_shows_the_epoch_so_far():
    dense = torch.zeros(2, 5, 4)
    dense[0, 1:3, 0] = 1  # 2 spikes and 10 active of 40 entries
    active = torch.zeros(2, 5, 4, dtype=torch.bool)
    active[:, :, 0] = True
    hidden = [ss.Spikes.from_dense(dense, active=active)] * 2
    totals = Totals()
    totals.add(counted(1.25, torch.eye(2), torch.tensor([0, 0]), hidden[0], hidden))
    text = shown(live_table(totals, 0.001, (3, 10, 1, 7)))
    for part in ("epoch 3/10  batch 1/7", "loss 1.2500", "accuracy 50.00%", "2,000 samples/s"):
        assert part in text
    assert re.search(r"peak memory [\d,]+ MiB", text)
    assert len(re.findall(r"│ +[12] │ +25\.000% │ +5\.000% │", text)) == 2


def test_a_terminal_gets_the_live_table(tmp_path, monkeypatch):
    monkeypatch.setattr(data, "load", few)
    file = io.StringIO()
    console = Console(file=file, width=100, force_terminal=True, highlight=False)
    train(QUICK, tmp_path, progress=Progress(console))
    assert "batch 1/5" in file.getvalue()
    assert "spike rate" in file.getvalue()
    assert "epoch   2/2" in file.getvalue()


def test_a_terminal_shows_which_kernel_is_being_compiled():
    file = io.StringIO()
    with Progress(Console(file=file, width=100, force_terminal=True)):
        (show,) = compiling.shows
        show("compiling kernels, once: 3 of 15 at most, drive.forward …")
    assert "once: 3 of 15 at most, drive.forward …" in file.getvalue()
    assert compiling.shows == []
    with Progress(Console(file=file)):  # no terminal: the log says it
        assert compiling.shows == []


@pytest.mark.parametrize(
    ("change", "present"),
    [
        ({}, ["82.15% of 10,000 samples", "7 (best on the held-out samples)", "83.00%"]),
        ({"checkpoint": "last", "validation_accuracy": None}, ["7 (the last)"]),
        ({"peak_memory_mib": None}, ["20,000 samples/s", "12.3 s", "1.060% / 0.710%"]),
    ],
    ids=["best", "last", "no memory"],
)
def test_the_final_table_sums_up_the_run(change, present):
    text = shown(run_table(RESULT | change))
    assert [part for part in present if part not in text] == []
    assert ("validation accuracy" in text) == ("validation_accuracy" not in change)
    assert ("peak memory" in text) == ("peak_memory_mib" not in change)


def test_the_score_table_shows_classes_and_layers():
    text = shown(score_table("title", SCORE))
    for row in ("layer 2 activity +│ +0.870%", "class 0 +│ +90.00%", "class 1 +│ no samples"):
        assert re.search(row, text), row
