"""Times training steps of three layers of `SparseLinear`, growing with neurons, synapses and activity.

    python tools/time_sparse.py [--batch 8] [--repeats 5] [--only neurons] >> results/sparse.jsonl

Prints one JSON line per case: seconds forward (with the loss) and backward, the peak of memory beyond network
and input, and the activity reached. Each case runs in a process of its own, as freed memory would be used
first, unseen. Adam's step, which costs with the synapses alone, is timed by itself.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from typing import NamedTuple

import torch
from torch import Tensor

import sparsespike as ss
from sparsespike.bench import measure
from sparsespike.bench.report import environment
from sparsespike.spikes.lists import Lists

STEPS = 100


class Case(NamedTuple):
    """Sizes of a network of three layers.

    Attributes:
        axis: what grows with this case.
        neurons: of every layer, and of the input.
        synapses: of every neuron.
        rate: share of the input's entries that spike; weights are scaled so that layers are about as active.
    """

    axis: str
    neurons: int
    synapses: int
    rate: float


CASES = (
    *(Case("neurons", n, 100, 0.01) for n in (1_000, 10_000, 100_000)),
    *(Case("synapses", 10_000, k, 0.01) for k in (10, 100, 1_000)),
    *(Case("activity", 10_000, 100, rate) for rate in (0.003, 0.01, 0.03)),
)


def main() -> None:
    """Runs all cases, or one in this process."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--batch", type=int, default=8, metavar="B", help="samples (default: 8)")
    parser.add_argument("--repeats", type=int, default=5, metavar="N", help="steps (default: 5)")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="default: 1")
    parser.add_argument("--only", choices=sorted({case.axis for case in CASES}), help="one axis")
    parser.add_argument("--case", type=int, metavar="I", help="one case, in this process")
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    if chosen.case is not None:
        line = environment() | run(CASES[chosen.case], chosen.batch, chosen.repeats)
        print(json.dumps(line), flush=True)
        return
    for i, case in enumerate(CASES):
        if chosen.only in (None, case.axis):
            words = [
                f"--{name}={getattr(chosen, name)}" for name in ("batch", "repeats", "threads")
            ]
            subprocess.run([sys.executable, __file__, *words, f"--case={i}"], check=True)


def run(case: Case, n_batch: int, repeats: int) -> dict:
    """One line of results.

    Args:
        case: the network.
        n_batch: B.
        repeats: steps that are timed, after two that are not.
    """
    torch.manual_seed(0)
    n, lif = case.neurons, ss.LIF(tau_mem=10e-3, dt=1e-3)
    spikes = random_spikes(n_batch, n, case.rate)
    synapses = [ss.SparseLinear.random(n, n, fan_in=case.synapses, seed=i) for i in range(3)]
    signal = spikes
    for synapse in synapses:
        signal = alive(synapse, lif, signal, case.rate)
    net = ss.Network(*(ss.Layer(synapse, lif, backend="cpu") for synapse in synapses))
    optimiser = torch.optim.Adam(net.parameters(), lr=0.0, fused=True)

    def forward(_: None) -> tuple[Tensor, list[ss.Spikes]]:
        _, hidden = net(spikes, return_spikes=True)
        # All layers are penalised, so that gradients come to all of their active entries.
        return sum((ss.losses.activity(layer) for layer in hidden), torch.zeros(())), hidden

    def backward(made: tuple[Tensor, list[ss.Spikes]]) -> None:
        optimiser.zero_grad()
        made[0].backward()

    def update(_: None) -> None:
        optimiser.step()

    phases = {"forward": forward, "backward": backward, "update": update}
    for _ in range(2):
        measure.run(phases)
    optimiser.zero_grad()
    peak = measure.peak_bytes(lambda: measure.run(phases))
    taken: dict[str, list[float]] = {name: [] for name in phases}
    for _ in range(repeats):
        result = None
        for name, phase in phases.items():
            start = time.perf_counter()
            result = phase(result)
            taken[name].append(time.perf_counter() - start)
    with torch.no_grad():
        _, hidden = forward(None)
    return {
        "bench": "sparse",
        **case._asdict(),
        "batch": n_batch,
        "steps": STEPS,
        "spikes_in": spikes.n_spikes,
        "rates": [layer.rate() for layer in hidden],
        "activities": [layer.activity() for layer in hidden],
        "seconds": {name: round(statistics.median(times), 5) for name, times in taken.items()},
        "least_seconds": {name: round(min(times), 5) for name, times in taken.items()},
        "peak_mib": None if peak is None else round(peak / 2**20, 1),
        "parameters_mib": round(sum(weight.nbytes for weight in net.parameters()) / 2**20, 1),
    }


def random_spikes(n_batch: int, n: int, rate: float) -> ss.Spikes:
    """About this share of the entries (B, T, N)."""
    shape = n_batch, STEPS, n
    total = n_batch * STEPS * n
    entry = torch.randint(total, (round(total * rate),)).unique()
    return ss.Spikes(shape, Lists.of(entry, None, shape)[0])


def alive(synapse: ss.SparseLinear, lif: ss.LIF, spikes: ss.Spikes, activity: float) -> ss.Spikes:
    """Widens the weights until so many of the layer's entries are active; its spikes."""
    layer = ss.Layer(synapse, lif, backend="cpu")
    start = synapse.weight.detach().clone()

    @torch.no_grad()
    def at(gain: float) -> ss.Spikes:
        synapse.weight.copy_(start * gain)
        return layer(spikes)

    low, high = 0.0, 1.0
    while at(high).activity() < activity and high < 1e3:
        low, high = high, 1.5 * high
    for _ in range(6):
        middle = (low + high) / 2
        low, high = (middle, high) if at(middle).activity() < activity else (low, middle)
    return at(high).detach()


if __name__ == "__main__":
    main()
