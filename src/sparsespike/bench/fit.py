"""`sparsespike bench gpu --fit`: the longest recording and the largest layer that a GPU's memory takes.

Forward and backward of one layer, B = 16, 0.1 % spikes; size doubles until memory is full or a pass takes
too long. Every search has a process of its own, `python -m sparsespike.bench.fit`: memory that ran out in
one leaves nothing behind for the next.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import Any

import torch
from rich.console import Console

from sparsespike import descriptions
from sparsespike.bench import measure
from sparsespike.bench.baselines import clean_dense
from sparsespike.bench.trial import backend_on
from sparsespike.connections.linear import Linear
from sparsespike.network import Layer
from sparsespike.neurons.lif import LIF
from sparsespike.spikes.spikes import Spikes
from sparsespike.spikes.words import Words

BATCH, SHARE = 16, 1e-3
STEPS, UNITS = 1000, 1000  # of what does not grow
LIMIT_S = 20.0  # for one pass
METHODS = ("sparsespike", "clean-dense")
AXES = ("steps", "neurons")


def run(console: Console, minutes: float) -> list[dict[str, Any]]:
    """Searches for every method along both axes.

    Args:
        console: takes the results as they come.
        minutes: for all of it; what a search has found by its share of them counts.

    Returns:
        Per search the method, the axis, the largest size that went through and what ended it.
    """
    found = []
    for axis in AXES:
        for method in METHODS:
            line = _search(method, axis, minutes * 60 / (len(AXES) * len(METHODS)))
            found.append(line)
            console.print(
                f"{method}: {axis} up to {line['largest']:,}, {line['seconds']:.2f} s, "
                f"{line['peak_gib']:.1f} GiB; ended by {line['ended_by']}",
                soft_wrap=True,
            )
    return found


def trial(method: str, steps: int, neurons: int, device: str) -> None:
    """One forward and backward pass of a layer on random spikes.

    Args:
        method: one of `METHODS`.
        steps: T.
        neurons: N, of input and layer.
        device: "cuda"; or "cpu", where our kernels are interpreted.
    """
    neuron = LIF(tau_mem=10e-3, dt=1e-3, b_th=0.05)
    with torch.device(device):  # made there, as it may not fit anywhere else
        connection = Linear(neurons, neurons)
    # V has a standard deviation of about 0.5.
    std = 0.5 * ((1 - neuron.alpha**2) / (neurons * SHARE)) ** 0.5
    torch.nn.init.normal_(connection.weight, std=std)
    if method == "clean-dense":
        dense = torch.rand(steps, BATCH, neurons, device=device) < SHARE
        spikes = dense.float().transpose(0, 1).requires_grad_()
        del dense
        synapses = descriptions.Linear(neurons, neurons)
        clean_dense(spikes, connection.weight, neuron, synapses).sum().backward()
        return
    fired = Layer(connection, neuron, backend="gpu")(_random_spikes(steps, neurons, device))
    assert isinstance(fired, Spikes)
    fired.value.sum().backward()


def _random_spikes(steps: int, neurons: int, device: str) -> Spikes:
    """Spikes at random, all of them active and nothing else, with a gradient."""
    entries = BATCH * steps * neurons
    entry = torch.randint(entries, (max(1, round(entries * SHARE)),), device=device).unique()
    storage, order = Words.of(entry, entry, (BATCH, steps, neurons))
    assert order is not None
    value = torch.ones(len(entry), device=device, requires_grad=True)
    return Spikes((BATCH, steps, neurons), storage, value)


def _search(method: str, axis: str, limit_s: float) -> dict[str, Any]:
    """The last line of a process that tells each size it went through, and why it ended."""
    line: dict[str, Any] = {
        "method": method,
        "axis": axis,
        "largest": 0,
        "seconds": 0.0,
        "peak_gib": 0.0,
    }
    command = [sys.executable, "-m", "sparsespike.bench.fit", method, axis]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=limit_s)
        printed, error = done.stdout, done.stderr
    except subprocess.TimeoutExpired as late:
        # `text` does not apply to what a timeout leaves.
        printed = late.stdout.decode() if isinstance(late.stdout, bytes) else late.stdout or ""
        error = f"{limit_s:.0f} s (--minutes)"
    for told in printed.splitlines():
        line |= json.loads(told)
    last = error.strip().splitlines()[-1:] or ["the end of its process"]
    return {"ended_by": last[0][:300], **line}


def _double(method: str, axis: str) -> None:
    """Prints a JSON line for each size, and one that says what ended the search."""
    backend_on("cuda")
    size = {"steps": STEPS, "neurons": UNITS}
    while True:
        torch.cuda.reset_peak_memory_stats()
        start = time.perf_counter()
        try:
            trial(method, size["steps"], size["neurons"], "cuda")
            measure.wait("cuda")
        except torch.cuda.OutOfMemoryError:
            print(json.dumps({"ended_by": "memory"}), flush=True)
            return
        except ValueError as error:  # more active entries than an index of 32 bits counts
            print(json.dumps({"ended_by": str(error)}), flush=True)
            return
        seconds = time.perf_counter() - start
        peak = torch.cuda.max_memory_allocated() / 2**30
        told = {"largest": size[axis], "seconds": round(seconds, 3), "peak_gib": round(peak, 2)}
        print(json.dumps(told), flush=True)
        if seconds > LIMIT_S:
            print(json.dumps({"ended_by": f"{LIMIT_S:g} s for a pass"}), flush=True)
            return
        size[axis] *= 2


if __name__ == "__main__":
    _double(*sys.argv[1:3])
