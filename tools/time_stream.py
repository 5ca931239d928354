"""Streams a long recording through a network: events per second, latency per step and per event, memory.

python tools/time_stream.py --steps 1000000 --commit COMMIT >> results/stream.jsonl
python tools/time_stream.py --sizes 700 256 20 --steps 20000 --commit COMMIT

The recording is drawn a chunk at a time, so that the process never holds all of it.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import torch

import sparsespike as ss
from sparsespike.bench.report import environment
from sparsespike.training.metrics import peak_memory


def network(sizes: list[int], rate: float) -> ss.Network:
    """Layers of LIF and a readout, their weights drawn for an input of this rate."""
    layers = [
        ss.Layer(ss.Linear(below, above), ss.LIF(tau_mem=10e-3, dt=1e-3))
        for below, above in pairwise(sizes[:-1])
    ]
    layers.append(ss.Layer(ss.Linear(sizes[-2], sizes[-1]), ss.Readout(tau_mem=10e-3, dt=1e-3)))
    layers[0].reset_parameters(rate)
    return ss.Network(*layers)


def drawn(
    draw: np.random.Generator, steps: int, n: int, rate: float
) -> tuple[np.ndarray, np.ndarray]:
    """(unit, step) of random events, each entry once."""
    entry = np.unique(draw.integers(0, steps * n, draw.binomial(steps * n, rate)))
    return entry % n, entry // n


def timed(run: Callable[[], Any], times: int) -> dict[str, float]:
    """Microseconds of one call: median and the slowest hundredth."""
    found = []
    for _ in range(times):
        start = time.perf_counter()
        run()
        found.append((time.perf_counter() - start) * 1e6)
    return {"median_us": float(np.median(found)), "p99_us": float(np.quantile(found, 0.99))}


def main() -> None:
    """Streams, and prints one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, required=True, help="T")
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 1000, 1000, 10])
    parser.add_argument("--rate", type=float, default=0.001, help="of the input")
    parser.add_argument("--chunk", type=int, default=1000, help="steps of a call")
    parser.add_argument("--calls", type=int, default=2000, help="of one step, for the latency")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--commit", required=True, help="that this is run with")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    torch.manual_seed(given.seed)
    draw = np.random.default_rng(given.seed)
    n_in = given.sizes[0]
    stream = ss.stream(network(given.sizes, given.rate))
    stream.events(*drawn(draw, given.chunk, n_in, given.rate), until=given.chunk)  # compiles
    stream.reset()
    before = peak_memory()
    seconds, n_events, sent = 0.0, 0, np.zeros(len(given.sizes) - 2, np.int64)
    while stream.now < given.steps:
        until = min(stream.now + given.chunk, given.steps)
        unit, step = drawn(draw, until - stream.now, n_in, given.rate)
        step = step + stream.now
        start = time.perf_counter()
        stream.events(unit, step, until=until)
        seconds += time.perf_counter() - start
        n_events += len(unit)
        sent += [layer.n_spikes for layer in stream.spikes]
    after = peak_memory()
    steps = iter(
        [draw.permutation(n_in)[: draw.binomial(n_in, given.rate)] for _ in range(given.calls)]
    )
    per_step = timed(lambda: stream.step(next(steps)), given.calls)
    units = iter(draw.integers(0, n_in, given.calls).tolist())
    per_event = timed(lambda: stream.step([next(units)]), given.calls)
    silent = timed(lambda: stream.step([]), given.calls)
    n_all = n_events + int(sent.sum())
    line = {
        **environment(),
        "bench": "stream",
        "commit": given.commit,
        "seed": given.seed,
        "case": {
            "steps": given.steps,
            "sizes": given.sizes,
            "rate": given.rate,
            "chunk": given.chunk,
        },
        "seconds": seconds,
        "n_events": n_events,
        "rates": (sent / given.steps / np.array(given.sizes[1:-1])).tolist(),
        "steps_per_second": given.steps / seconds,
        "input_events_per_second": n_events / seconds,
        "events_per_second": n_all / seconds,
        "latency_of_a_step": per_step,
        "latency_of_an_event": per_event,
        "latency_of_silence": silent,
        "peak_mib_after_first_chunk": before,
        "process_peak_mib": after,
    }
    print(json.dumps(line))


if __name__ == "__main__":
    main()
