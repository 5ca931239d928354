"""Times layers event-driven, dense and by the backend "auto", which should be near the better of the two.

    python tools/time_auto.py [--repeats 15] [--threads 1]

Prints one JSON line per case: the least milliseconds of each, forward and backward, what was chosen, and how
many times the better form's time "auto" takes. The three take turns, forwards and backwards, so that a busy
machine slows all alike.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import time
from contextlib import nullcontext
from dataclasses import replace

import torch

import sparsespike as ss
from sparsespike.backends import auto, costs
from sparsespike.bench.report import environment

# Units of a `Linear`, or (C_in, size, C_out, kernel); samples.
CASES = (((200, 200), 64), ((1000, 1000), 64), ((32, 14, 64, 3), 8), ((1, 28, 32, 5), 8))
SHARES = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3)
STEPS = 100
FORMS = "sparse", "dense", "auto"


def main() -> None:
    """Runs all cases."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--repeats", type=int, default=15, metavar="N", help="turns, default 15")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="default 1")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    for sizes, batch in CASES:
        for share in SHARES:
            line = {
                "bench": "auto",
                "layer": sizes,
                "batch": batch,
                "share": share,
                "costs": costs.in_force().source,
            }
            print(
                json.dumps(environment() | line | timed(sizes, batch, share, asked.repeats)),
                flush=True,
            )


def timed(sizes: tuple[int, ...], batch: int, share: float, repeats: int) -> dict[str, object]:
    """Milliseconds of every form, and what "auto" chose."""
    layer, spikes = case(sizes, batch, share)
    taken: dict[str, list[tuple[float, float]]] = {form: [] for form in FORMS}
    with auto.noted() as seen:
        once(layer, spikes)
    for turn in range(repeats + 1):
        # Every second turn goes backwards, lest one form always finds the caches that "dense" left.
        for form in FORMS[:: 1 if turn % 2 else -1]:
            forced = nullcontext() if form == "auto" else auto.use_forms(form, form)
            with forced:
                # Twice, the second counts: the form before left the caches to itself.
                once(layer, spikes)
                taken[form].append(once(layer, spikes))
    found: dict[str, object] = {"activity": layer(spikes).activity()}
    for i, (direction, choice) in enumerate(zip(("forward", "backward"), seen, strict=True)):
        least = {form: min(run[i] for run in runs[1:]) * 1e3 for form, runs in taken.items()}
        middle = {
            form: statistics.median(run[i] for run in runs[1:]) for form, runs in taken.items()
        }
        found[direction] = {
            "ms": {form: round(ms, 3) for form, ms in least.items()},
            "chosen": choice.form,
            "why": choice.reason,
            "auto_over_best": round(least["auto"] / min(least["sparse"], least["dense"]), 3),
            "chosen_over_best": round(
                middle[choice.form] / min(middle["sparse"], middle["dense"]), 3
            ),
        }
    return found


def case(sizes: tuple[int, ...], batch: int, share: float) -> tuple[ss.Layer, ss.Spikes]:
    """A layer, and an input of whose entries `share` spike and as many are active; so is the layer itself."""
    draw = torch.Generator().manual_seed(0)
    if len(sizes) == 2:
        connection, shape = ss.Linear(*sizes), sizes[:1]
    else:
        c_in, size, c_out, kernel = sizes
        connection, shape = ss.Conv2d(c_in, c_out, kernel, padding=kernel // 2), (c_in, size, size)
    neuron = ss.LIF(10e-3, 1e-3)
    n_in = connection.weight[0].numel()
    std = width(share, neuron.b_th) * math.sqrt((1 - neuron.alpha**2) / (n_in * share))
    torch.nn.init.normal_(connection.weight, std=std, generator=draw)
    fired = torch.rand((batch, STEPS, *shape), generator=draw) < share
    active = torch.rand(fired.shape, generator=draw) < share
    spikes = ss.Spikes.from_dense(fired.float(), active=active)
    spikes = replace(spikes, value=spikes.value.requires_grad_())
    return ss.Layer(connection, neuron, backend="auto"), spikes


def width(share: float, b_th: float) -> float:
    """Standard deviation of a normal potential of which `share` lies within b_th of 1; 1 at most."""
    low, high = 0.05, 1.0
    for _ in range(40):
        middle = (low + high) / 2
        inside = [math.erf(edge / middle / math.sqrt(2)) / 2 for edge in (1 - b_th, 1 + b_th)]
        low, high = (middle, high) if inside[1] - inside[0] < share else (low, middle)
    return low


def once(layer: ss.Layer, spikes: ss.Spikes) -> tuple[float, float]:
    """Seconds forward and backward."""
    start = time.perf_counter()
    out = layer(spikes)
    middle = time.perf_counter()
    grad = torch.randn_like(out.value)
    again = time.perf_counter()
    torch.autograd.grad(out.value, (spikes.value, layer.connection.weight), grad)
    return middle - start, time.perf_counter() - again


if __name__ == "__main__":
    main()
