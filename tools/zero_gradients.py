"""How much of each weight's gradient is exactly zero, step by step: what a sparse all-reduce could leave out.

python tools/zero_gradients.py --commit COMMIT >> results/zero-gradients.jsonl       # one core, two minutes

A column of a weight's gradient is zero where an input unit had no spike in the batch, a row where a neuron
was never within its band. Of two ranks, each with half a batch, a sum has what either has.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from typing import Any

import torch

from sparsespike import data
from sparsespike.bench.report import environment
from sparsespike.data import EventLoader
from sparsespike.training.loss import outcome
from sparsespike.training.recipe import load

RECIPES = ("fashion-mnist", "fashion-mnist-conv", "nmnist-small", "fsdd-spikes")


def main() -> None:
    """Prints one JSON line of each recipe."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--commit", required=True, help="that is measured")
    parser.add_argument("--recipes", nargs="+", default=RECIPES)
    parser.add_argument("--steps", type=int, default=200, help="of training; the last tenth counts")
    given = parser.parse_args()
    for name in given.recipes:
        about = environment()
        kept = {key: about[key] for key in ("time", "cpu", "cores", "versions")}
        line = {"bench": "zero gradients", "commit": given.commit, **kept, "recipe": name}
        print(json.dumps(line | measured(name, given.steps)), flush=True)


def measured(name: str, steps: int) -> dict[str, Any]:
    """Trains, and tells the shares of zeros of each weight: of a batch, and of one of its halves."""
    recipe = load(name)
    recipe = dataclasses.replace(recipe, batch_size=min(recipe.batch_size, 128))
    train = recipe.seen(data.load(recipe.dataset, "train"))
    net = recipe.network(list(train.about.sensor), train.n_classes)
    optimiser = torch.optim.Adam(net.parameters(), lr=recipe.lr)
    loader = EventLoader(
        train,
        recipe.batch_size,
        shuffle=True,
        steps=recipe.steps,
        dt=recipe.dt,
        augment=recipe.augmentations(),
    )
    weights = {key: value for key, value in net.named_parameters() if value.dim() > 1}
    seen: dict[str, list[tuple[float, float, float, float]]] = {key: [] for key in weights}
    done = 0
    while done < steps:
        for spikes, label in loader:
            half = len(label) // 2
            optimiser.zero_grad()
            outcome(net, spikes[:half], label[:half], recipe, 0.5).backward()
            halves = {key: value.grad.clone() for key, value in weights.items()}  # pyright: ignore
            outcome(net, spikes[half:], label[half:], recipe, 0.5).backward()
            if done >= 0.9 * steps:
                for key, value in weights.items():
                    assert value.grad is not None
                    seen[key].append(zeros(halves[key], value.grad))
            optimiser.step()
            done += 1
            if done == steps:
                break
    n_bytes = sum(value.numel() * value.element_size() for value in net.parameters())
    shares = ("half", "whole", "columns", "rows")
    return {
        "dataset": train.name,
        "batch_size": recipe.batch_size,
        "steps": steps,
        "bytes": n_bytes,
        "zero": {
            key: dict(zip(shares, (sum(x) / len(x) for x in zip(*each, strict=True)), strict=True))
            for key, each in seen.items()
        },
    }


def zeros(half: torch.Tensor, whole: torch.Tensor) -> tuple[float, float, float, float]:
    """Shares of zeros: of half a batch's entries, a batch's, its columns and its rows."""
    empty = (whole == 0).flatten(1)
    return (
        float((half == 0).float().mean()),
        float(empty.float().mean()),
        float(empty.all(0).float().mean()),
        float(empty.all(1).float().mean()),
    )


if __name__ == "__main__":
    main()
