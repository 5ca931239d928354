"""Measures what data cost: conversion, opening a large store, and loading beside training.

python tools/measure_data.py --nmnist ROOT --fsdd ROOT --work FOLDER   # one core: taskset -c 0

Appends lines to results/data.jsonl. FOLDER takes copies of the recordings and a store of 10 GB, and is
removed afterwards.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sparsespike import data, losses
from sparsespike.bench.report import append_lines, environment
from sparsespike.data import EventDataset, EventLoader, store
from sparsespike.data.binning import checked_grid
from sparsespike.data.library import ENTRIES
from sparsespike.training import recipe as recipes

COPIES = {"nmnist-small": 20, "fsdd-spikes": 4}  # so that a conversion takes seconds
STORE_BYTES = 10 * 10**9
# In a process of its own: what it takes to open a store and to draw a batch from its middle.
OPEN = """
import json, sys, time
from sparsespike.data import EventDataset
import numpy as np
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096 / 2**20
before, start = resident(), time.perf_counter()
dataset = EventDataset.open(sys.argv[1])
opened, grown = time.perf_counter() - start, resident() - before
dataset.batch([0], 300)
start = time.perf_counter()
dataset.batch(np.random.default_rng(0).integers(0, len(dataset), 256), 300)
drawn = time.perf_counter() - start
print(json.dumps({"open_ms": 1e3 * opened, "open_mib": grown, "batch_ms": 1e3 * drawn,
                  "after_batch_mib": resident() - before, "samples": len(dataset)}))
"""


def main() -> None:
    """Measures all three."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nmnist", type=Path, required=True, help="root of nmnist-small")
    parser.add_argument("--fsdd", type=Path, required=True, help="root of fsdd-spikes")
    parser.add_argument("--work", type=Path, required=True, help="folder to make and remove")
    parser.add_argument("--out", type=Path, default=Path("results/data.jsonl"))
    given = parser.parse_args()
    given.work.mkdir(parents=True)
    roots = {"nmnist-small": given.nmnist, "fsdd-spikes": given.fsdd}
    try:
        lines = [conversion(name, root, given.work) for name, root in roots.items()]
        lines += [opening(data.load("nmnist-small", root=given.nmnist), given.work)]
        for name, recipe in (("nmnist-small", "nmnist"), ("fsdd-spikes", "shd")):
            lines += loading(name, recipe, roots[name])
    finally:
        shutil.rmtree(given.work)
    about = environment()
    append_lines(given.out, [{**about, **line} for line in lines])
    for line in lines:
        print(json.dumps(line))


def conversion(name: str, root: Path, work: Path) -> dict[str, Any]:
    """Reads and writes the training recordings, several times over, as one set."""
    entry = ENTRIES[name]
    assert entry.write is not None
    found = next(p for f in (root, root / name) if (p := entry.find(entry.source, "train", f)))
    seconds, n_bytes, n_events = [], 0, 0
    for i in range(COPIES[name]):
        target = work / f"train-{i}.events"
        start = time.perf_counter()
        entry.write(entry.source, "train", found, target)
        seconds.append(time.perf_counter() - start)
        dataset = EventDataset.open(target)
        n_events, n_bytes = dataset.n_events, target.stat().st_size
        target.unlink()
    median = statistics.median(seconds)
    return {
        "bench": "conversion",
        "dataset": name,
        "repeats": len(seconds),
        "read_mb": found.stat().st_size / 1e6,
        "written_mb": n_bytes / 1e6,
        "seconds": median,
        "written_mb_per_s": n_bytes / 1e6 / median,
        "events_per_s": n_events / median,
    }


def opening(dataset: EventDataset, work: Path) -> dict[str, Any]:
    """Writes a store of 10 GB out of copies of a small one, and opens it in a new process."""
    part, path = dataset.recordings(), work / "large.events"
    small = dataset.path.stat().st_size if dataset.path else 1
    start = time.perf_counter()
    store.write(path, [part] * (STORE_BYTES // small + 1), dataset.about)
    seconds = time.perf_counter() - start
    n_bytes = path.stat().st_size
    found = [
        json.loads(
            subprocess.run(
                [sys.executable, "-c", OPEN, path], capture_output=True, check=True
            ).stdout
        )
        for _ in range(5)
    ]
    path.unlink()
    medians = {key: statistics.median(one[key] for one in found) for key in found[0]}
    return {
        "bench": "opening",
        "dataset": f"{dataset.name}, copied",
        "repeats": len(found),
        "store_gb": n_bytes / 1e9,
        "write_mb_per_s": n_bytes / 1e6 / seconds,
        **medians,
    }


def loading(name: str, recipe_name: str, root: Path) -> list[dict[str, Any]]:
    """Time of a batch, kept or binned anew or augmented, against a step of training on it."""
    torch.set_num_threads(1)
    recipe = dataclasses.replace(recipes.load(recipe_name), dataset=name)
    whole = recipe.seen(data.load(name, root=root))
    net = recipe.network(whole.about.sensor, whole.n_classes)
    spikes, label = whole.batch(range(recipe.batch_size), recipe.steps, recipe.dt)
    optimiser = torch.optim.Adam(net.parameters(), lr=0.0, fused=True)

    def step() -> None:
        potential, hidden = net(spikes, return_spikes=True)
        loss = losses.cross_entropy(potential, label, recipe.reduce)
        for layer in hidden:
            loss = loss + losses.activity(layer, upper=recipe.activity_upper)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    step_ms = timed(step, 10)
    lines = []
    augmentations = {
        "kept": [],
        "binned anew": [],
        "EventDrop": [data.EventDrop(0.2)],
        "Shift": [data.Shift(2)],
        "TimeJitter": [data.TimeJitter(1e-3)],
    }
    for way, augment in augmentations.items():
        loader = EventLoader(
            whole, recipe.batch_size, True, 0, recipe.steps, recipe.dt, augment=augment
        )
        order, grid = loader.order(0), checked_grid(recipe.steps, recipe.dt)
        index = order[: recipe.batch_size]
        if way == "binned anew":
            load_ms = timed(lambda: whole.binned(np.asarray(index), grid), 20)  # noqa: B023
        else:
            load_ms = timed(lambda: loader.batch(order, 0, 0), 20)  # noqa: B023
        lines.append(
            {
                "bench": "loading",
                "dataset": name,
                "recipe": recipe_name,
                "batch_size": recipe.batch_size,
                "steps": recipe.steps,
                "events_of_batch": int(whole.subset(index).n_events),
                "way": way,
                "load_ms": load_ms,
                "step_ms": step_ms,
                "share": load_ms / step_ms,
            }
        )
    return lines


def timed(run: Any, repeats: int) -> float:
    """Median milliseconds, after two warm-ups."""
    times = []
    for _ in range(repeats + 2):
        start = time.perf_counter()
        run()
        times.append(1e3 * (time.perf_counter() - start))
    return statistics.median(times[2:])


if __name__ == "__main__":
    main()
