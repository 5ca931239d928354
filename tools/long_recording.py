"""Trains a 1000-1000-1000-10 network on long recordings, and tells time and memory of the whole process.

python tools/long_recording.py --steps 100000 --commit COMMIT >> results/long-recording.jsonl
python tools/long_recording.py --steps 100000 --chunk 1000 --batch-size 2 --commit COMMIT
"""

from __future__ import annotations

import argparse
import json
import math
import time

import torch

import sparsespike as ss
from sparsespike import descriptions
from sparsespike.bench.inputs import synthetic
from sparsespike.bench.report import environment
from sparsespike.training.loss import outcome
from sparsespike.training.metrics import peak_memory
from sparsespike.training.recipe import Recipe


def main() -> None:
    """Runs a few training steps and prints one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, required=True, help="T")
    parser.add_argument("--chunk", type=int, default=0, help="steps at a time; 0: all")
    parser.add_argument("--rate", type=float, default=0.001, help="of input and hidden activity")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--neurons", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--commit", required=True, help="that this is run with")
    given = parser.parse_args()
    n = given.neurons
    shares = given.rate, given.rate, given.rate
    synapses = descriptions.Linear(n, n)
    made = synthetic(given.batch_size, given.steps, synapses, *shares, given.seed)
    assert isinstance(made.neuron, ss.LIF)
    first, second, last = ss.Linear(n, n), ss.Linear(n, n), ss.Linear(n, 10)
    with torch.no_grad():
        first.weight.copy_(made.weight)
        # The first layer spikes at a tenth of the input's rate: stronger weights for the second.
        second.weight.copy_(made.weight.flip(0) * 4)
    net = ss.Network(
        ss.Layer(first, made.neuron),
        ss.Layer(second, made.neuron),
        ss.Layer(last, ss.Readout(tau_mem=10e-3, dt=1e-3)),
    )
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-4)
    label = torch.arange(given.batch_size) % 10
    recipe = Recipe(
        steps=given.steps,
        chunk=given.chunk,
        reduce="mean",
        activity_upper_weight=0.0,
        activity_lower_weight=0.0,
    )
    input_peak = peak_memory()
    seconds, losses, layers = [], [], []
    for _ in range(given.repeats):
        start = time.perf_counter()
        found = outcome(net, made.spikes.detach(), label, recipe)
        optimiser.zero_grad()
        found.backward()
        optimiser.step()
        seconds.append(time.perf_counter() - start)
        losses.append(found.loss.item())
        layers = [
            (x.n_spikes / math.prod(x.shape), x.n_active / math.prod(x.shape)) for x in found.hidden
        ]
        del found
    case = {
        "batch_size": given.batch_size,
        "steps": given.steps,
        "chunk": given.chunk,
        "neurons": n,
        "rate": given.rate,
    }
    line = {
        **environment(),
        "bench": "long-recording",
        "commit": given.commit,
        "seed": given.seed,
        "case": case,
        "rates": [rate for rate, _ in layers],
        "activity": [activity for _, activity in layers],
        "step_s": sorted(seconds)[len(seconds) // 2],
        "losses": losses,
        "input_peak_mib": input_peak,
        "process_peak_mib": peak_memory(),
    }
    print(json.dumps(line))


if __name__ == "__main__":
    main()
