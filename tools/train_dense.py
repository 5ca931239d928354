"""Trains a recipe by a dense method, to compare with `sparsespike train` at equal epochs.

python tools/train_dense.py fashion-mnist --hours 1 --commit COMMIT >> results/train-dense.jsonl

Same initial weights, same order of the samples, same optimiser; prints one JSON line per epoch, with the
accuracy on the test samples, which nothing is chosen by.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import time

import torch
from torch.nn import functional

import sparsespike as ss
from sparsespike.bench.baselines import DENSE_LAYERS
from sparsespike.bench.dense import dense
from sparsespike.bench.dense_net import dense_forward, dense_shape, stages
from sparsespike.bench.report import environment
from sparsespike.training import recipe as recipes


def main() -> None:
    """Trains until the time is over."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipe")
    parser.add_argument("--method", choices=DENSE_LAYERS, default="fused-dense")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--hours", type=float, default=1.0, help="of processor time")
    parser.add_argument("--commit", required=True, help="that this is run with")
    given = parser.parse_args()
    recipe = dataclasses.replace(recipes.load(given.recipe), seed=given.seed)
    train, test = (ss.data.load(recipe.dataset, split) for split in ("train", "test"))
    net = recipe.network(train.about.sensor, train.n_classes)
    chain = stages(net, train.about.sensor)
    shape = dense_shape(chain, train.about.sensor)
    weights = [weight.detach().contiguous().requires_grad_() for weight in net.parameters()]
    optimiser = torch.optim.Adam(weights, lr=recipe.lr, betas=(0.9, 0.999), fused=True)
    method = DENSE_LAYERS[given.method]

    def run_through(dataset, epoch: int, shuffle: bool):
        loader = ss.data.EventLoader(
            dataset, recipe.batch_size, shuffle, given.seed, recipe.steps, recipe.dt
        )
        for spikes, label in loader.batches(epoch):
            given_spikes = dense(spikes, shape, torch.float32)
            logit, penalty = dense_forward(method, given_spikes, chain, weights, recipe)
            yield logit, label, penalty

    about = {**environment(), "bench": "train-dense", "commit": given.commit, "seed": given.seed}
    began = time.process_time()
    for epoch in range(recipe.epochs):
        total, hits = 0.0, 0
        for logit, label, penalty in run_through(train, epoch, shuffle=True):
            loss = functional.cross_entropy(logit, label) + penalty
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            total += loss.item() * len(label)
            hits += int((logit.argmax(1) == label).sum())
        seconds = time.process_time() - began
        with torch.no_grad():
            found = sum(
                int((logit.argmax(1) == label).sum())
                for logit, label, _ in run_through(test, 0, shuffle=False)
            )
        line = {
            "epoch": epoch + 1,
            "loss": total / len(train),
            "train_accuracy": hits / len(train),
            "test_accuracy": found / len(test),
            "seconds": seconds,
        }
        settings = {"method": given.method, "recipe": recipe.to_dict()}
        print(json.dumps({**about, **settings, **line}), flush=True)
        if time.process_time() - began > given.hours * 3600:
            return


if __name__ == "__main__":
    main()
