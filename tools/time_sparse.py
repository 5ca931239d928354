"""Times a convolutional layer, forward and backward, against clean dense autograd of the same layer.

    python tools/time_conv.py [--batch 32] [--repeats 7] [--dense 1]

Prints one JSON line per case: median and least milliseconds on one core, spikes and active entries, the dense
method's least, and the ratios. Dense is one batched `F.conv2d`, channels last, and the neuron's loop over
unbound steps, whose gradient autograd makes.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import time
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional

import sparsespike as ss
from sparsespike.bench.report import environment

# (C_in, size, C_out, kernel, rate, share of active inputs, gain)
CASES = (
    (32, 14, 64, 3, 0.01, 0.01, 1.6),
    (1, 28, 64, 3, 0.005, 0.0, 1.6),
    (32, 14, 64, 5, 0.02, 0.02, 1.0),
)
STEPS = 100


def main() -> None:
    """Runs all cases."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--batch", type=int, default=32, metavar="B", help="samples (default: 32)")
    parser.add_argument("--repeats", type=int, default=7, metavar="N", help="of sparse, default 7")
    parser.add_argument("--dense", type=int, default=1, metavar="N", help="of dense, default 1")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    for c_in, size, c_out, k, rate, share, gain in CASES:
        draw = torch.Generator().manual_seed(0)
        shape = (chosen.batch, STEPS, c_in, size, size)
        dense = (torch.rand(shape, generator=draw) < rate).float().requires_grad_(share > 0)
        active = torch.rand(shape, generator=draw) < share if share else None
        spikes = ss.Spikes.from_dense(dense, active=active)
        spikes = replace(spikes, value=spikes.value.detach().requires_grad_(share > 0))
        conv = ss.Conv2d(c_in, c_out, k, padding=k // 2)
        with torch.no_grad():
            wide = gain / math.sqrt(conv.fan_in)
            conv.weight.copy_(torch.randn(conv.weight.shape, generator=draw) * wide)
        layer = ss.Layer(conv, ss.LIF(10e-3, 1e-3), backend="cpu")
        sparse = [sparse_pass(layer, spikes) for _ in range(chosen.repeats + 1)][1:]
        plain = [dense_pass(layer, dense) for _ in range(chosen.dense + 1)][1:]
        out = sparse[0][2]
        forward, backward = ([run[i] * 1e3 for run in sparse] for i in (0, 1))
        least = [min(run[i] for run in plain) * 1e3 for i in (0, 1)]
        line = {
            "bench": "conv",
            "case": f"{size}x{size} {c_in}->{c_out} k{k}",
            "batch": chosen.batch,
            "spikes_in": spikes.n_spikes,
            "active_in": spikes.n_active,
            "rate": out.rate(),
            "activity": out.activity(),
            "forward_ms": round(statistics.median(forward), 2),
            "backward_ms": round(statistics.median(backward), 2),
            "least_ms": [round(min(forward), 2), round(min(backward), 2)],
            "dense_ms": [round(t, 1) for t in least],
            "ratio": [
                round(t / min(s), 1) for t, s in zip(least, (forward, backward), strict=True)
            ],
        }
        print(json.dumps(environment() | line), flush=True)


def sparse_pass(layer: ss.Layer, spikes: ss.Spikes) -> tuple[float, float, ss.Spikes]:
    """Seconds forward and backward, and the output."""
    start = time.perf_counter()
    out = layer(spikes)
    middle = time.perf_counter()
    grad = torch.randn_like(out.value)
    again = time.perf_counter()
    out.value.backward(grad)
    return middle - start, time.perf_counter() - again, out


class Spike(torch.autograd.Function):
    """1 above threshold; the derivative is the surrogate, cut at the band."""

    @staticmethod
    def forward(ctx, distance: Tensor) -> Tensor:
        """Of V - v_th."""
        ctx.save_for_backward(distance)
        return (distance > 0).float()

    @staticmethod
    def backward(ctx, grad: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Slope-100 fast sigmoid within 0.2."""
        distance = ctx.saved_tensors[0].abs()
        return grad * (distance < 0.2) / (100 * distance + 1) ** 2


def dense_pass(layer: ss.Layer, dense: Tensor) -> tuple[float, float]:
    """Seconds forward and backward of the dense layer."""
    alpha, weight = layer.neuron.alpha, layer.connection.weight
    dense = dense.detach().requires_grad_(dense.requires_grad)
    start = time.perf_counter()
    image = dense.flatten(0, 1).to(memory_format=torch.channels_last)
    current = functional.conv2d(image, weight, padding=weight.shape[2] // 2)
    potential = fired = torch.zeros_like(current.view(*dense.shape[:2], *current.shape[1:])[:, 0])
    every = [fired]
    for now in current.view(*dense.shape[:2], *current.shape[1:]).unbind(1)[:-1]:
        potential = alpha * potential + now - fired.detach()
        fired = Spike.apply(potential - 1.0)
        every.append(fired)
    out = torch.stack(every, 1)
    middle = time.perf_counter()
    grad = torch.randn_like(out)
    again = time.perf_counter()
    out.backward(grad)
    return middle - start, time.perf_counter() - again


if __name__ == "__main__":
    main()
