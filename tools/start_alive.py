"""The paper's networks with the library's own defaults, and no word of initial weights: do they learn?

    python tools/start_alive.py [--nmnist ROOT] [--fsdd ROOT] [--seeds 0 1 2]

Two epochs of each on training samples, Adam, lr 1e-3, scored on held-out training samples: activity and
spikes at the first batch, then loss and accuracy. The embedded images stand for Fashion-MNIST. Appends
to results/start.jsonl.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Any

import torch

import sparsespike as ss
from sparsespike.bench.report import append_lines, environment
from sparsespike.data import EventDataset, EventLoader, FoldPolarity

EPOCHS, BATCH, LR = 2, 128, 1e-3


def main() -> None:
    """Trains and scores all."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--nmnist", type=Path, help="root of nmnist-small")
    parser.add_argument("--fsdd", type=Path, help="root of fsdd-spikes")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out", type=Path, default=Path("results/start.jsonl"))
    given = parser.parse_args()
    images = ss.data.load("fashion-mnist-sample", split="train")
    moves = ss.data.load("nmnist-small", split="train", root=given.nmnist)
    digits = ss.data.load("fsdd-spikes", split="train", root=given.fsdd)
    cases = (
        ("fashion-mnist-sample", images, 100, 1e-3),
        ("nmnist-small", moves.transformed(FoldPolarity()), 300, 1e-3),
        ("fsdd-spikes", digits, 500, 2e-3),
    )
    for name, dataset, steps, dt in cases:
        for seed in given.seeds:
            found = run(dataset, steps, dt, seed)
            row = {"kind": "start", "dataset": name, "steps": steps, "dt": dt, "seed": seed}
            line = environment() | row | {"lr": LR, "batch_size": BATCH} | found
            append_lines(given.out, [line])
            print(name, seed, found, flush=True)


def run(dataset: EventDataset, steps: int, dt: float, seed: int) -> dict[str, Any]:
    """What becomes of one network."""
    torch.manual_seed(seed)
    lif, readout = ss.LIF(10e-3, dt), ss.Readout(10e-3, dt)
    n_in = math.prod(dataset.about.sensor)
    net = ss.Network(
        ss.Layer(ss.Linear(n_in, 200), lif),
        ss.Layer(ss.Linear(200, 200), lif),
        ss.Layer(ss.Linear(200, 10), readout),
    )
    optimiser = torch.optim.Adam(net.parameters(), lr=LR)
    train, held_out = dataset.split(0.2, seed=0)
    loader = EventLoader(train, batch_size=BATCH, shuffle=True, seed=seed, steps=steps, dt=dt)
    start, epochs = {}, []
    for _ in range(EPOCHS):
        for spikes, label in loader:
            out, hidden = net(spikes, return_spikes=True)
            loss = ss.losses.cross_entropy(out, label)
            optimiser.zero_grad()
            loss.backward()
            if not start:
                start = {
                    "rate": [signal.rate() for signal in hidden],
                    "activity": [signal.activity() for signal in hidden],
                    "gradient": [
                        float(p.grad.norm()) for p in net.parameters() if p.grad is not None
                    ],
                }
            optimiser.step()
        epochs.append(score(net, held_out, steps, dt))
    return {"start": start, "epochs": epochs}


def score(net: ss.Network, dataset: EventDataset, steps: int, dt: float) -> dict[str, float]:
    """Loss and accuracy."""
    total, right = 0.0, 0
    with torch.no_grad():
        for spikes, label in EventLoader(dataset, batch_size=BATCH, steps=steps, dt=dt):
            out = net(spikes)
            total += float(ss.losses.cross_entropy(out, label)) * len(label)
            right += int((ss.losses.logits(out).argmax(1) == label).sum())
    return {"loss": total / len(dataset), "accuracy": right / len(dataset)}


if __name__ == "__main__":
    main()
