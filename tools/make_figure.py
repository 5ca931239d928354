"""Draws the README's figure: what is computed for one sample, and what that costs against T.

sparsespike bench layer --neurons 200 --batch-size 32 --steps 100 ...   # one line per T and method
python tools/make_figure.py results/bench-layer.jsonl runs/fashion-mnist docs/figure.png
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes

import sparsespike as ss
from sparsespike.training.evaluate import load_run

SHOWN = {
    "sparsespike": ("sparsespike", "C1"),
    "clean-dense": ("dense autograd", "C0"),
    "fused-dense": ("dense, fused by hand", "C2"),
}


def main() -> None:
    """Draws the figure from recorded times and a trained run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("times", type=Path, help="bench-layer.jsonl")
    parser.add_argument("run", type=Path, help="folder of a trained run")
    parser.add_argument("figure", type=Path, help="PNG to write")
    given = parser.parse_args()
    figure, (left, middle, right) = plt.subplots(
        1, 3, figsize=(12, 4), width_ratios=(1.5, 1, 1), layout="constrained"
    )
    draw_sample(left, given.run)
    rows = [json.loads(line) for line in given.times.read_text().splitlines()]
    rows = [row for row in rows if row["status"] == "ok" and row["case"]["batch_size"] == 32]
    rows = list({(row["method"], row["case"]["steps"]): row for row in rows}.values())  # the latest
    draw_cost(middle, rows, lambda row: row["ms"]["total"]["median"] / 1e3)
    draw_cost(right, rows, lambda row: (row["saved_mib"] + row["peak_mib"]) / 2**10)
    middle.set(ylabel="forward + backward (s)", title="Time of a layer, one CPU core")
    right.set(ylabel="saved + peak memory (GiB)", title="Memory of a layer")
    middle.legend(fontsize=8)
    figure.savefig(given.figure, dpi=130)


def draw_sample(axes: Axes, run: Path) -> None:
    """Spikes and active entries of the hidden layers for one test sample."""
    net, recipe, about = load_run(run)
    test = ss.data.load(about["dataset"], split="test")
    spikes, _ = test.batch([0], recipe.steps, recipe.dt)
    with torch.no_grad():
        _, hidden = net(spikes, return_spikes=True)
    base, n_active, n_entry = 0, 0, 0
    for i, layer in enumerate(hidden):
        for row, unit, colour, size, name in (
            (layer.row(), layer.unit, "0.6", 6, "spike"),
            (layer.active_row(), layer.active_unit, "C1", 3, "active: a gradient flows"),
        ):
            axes.scatter(row, base + unit.numpy(), s=size, color=colour, label=None if i else name)
        axes.axhline(base, color="0.8", lw=0.5)
        middle = base + layer.shape[2] / 2
        axes.text(recipe.steps * 0.97, middle, f"hidden layer {i + 1}", ha="right", fontsize=9)
        base += layer.shape[2]
        n_active += layer.n_active
        n_entry += int(np.prod(layer.shape))
    axes.set(
        xlim=(0, recipe.steps),
        ylim=(0, base),
        xlabel=f"time step ({recipe.dt * 1e3:g} ms)",
        ylabel="neuron",
        title=f"One image: {n_active} of {n_entry:,} entries are active",
    )
    axes.legend(fontsize=8, loc="upper right")


def draw_cost(axes: Axes, rows: list[dict], cost) -> None:
    """One line per method: a cost against the number of time steps."""
    for method, (name, colour) in SHOWN.items():
        points = sorted(
            (row["case"]["steps"], cost(row)) for row in rows if row["method"] == method
        )
        axes.loglog(*zip(*points, strict=True), "o-", color=colour, label=name, ms=4)
    axes.set(xlabel="time steps T\nB = 32, N = 200, 0.8 % spikes")
    axes.grid(alpha=0.3)


if __name__ == "__main__":
    main()
