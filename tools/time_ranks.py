"""Trains with one process and with two: weights after 50 steps, accuracy, and time.

python tools/time_ranks.py --commit COMMIT >> results/ranks.jsonl      # two cores, half an hour

Of each recipe: one process with one thread, also with half the batch, and with two threads; two processes
with a thread each that share the same batches (strong scaling), and that share twice as large ones (weak
scaling). The first epoch is 50 steps, after which weights are compared; the epochs after it are timed.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from torch import distributed

from sparsespike import data
from sparsespike.bench.report import environment
from sparsespike.training import checkpoint, epochs, run
from sparsespike.training.ranks import joined
from sparsespike.training.recipe import Recipe, load
from sparsespike.training.train import train

RECIPES = ("fashion-mnist", "fashion-mnist-conv", "nmnist-small", "fsdd-spikes")
STEPS = 50
SUMS = "sums"  # in place of a recipe
# name: (processes, threads of each, batch size times)
WAYS = {
    "half": (1, 1, 0.5),
    "one": (1, 1, 1),
    "threads": (1, 2, 1),
    "strong": (2, 1, 1),
    "weak": (2, 1, 2),
}


def main() -> None:
    """Prints a JSON line of each recipe."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--commit", required=True, help="that is timed")
    parser.add_argument("--recipes", nargs="+", default=RECIPES)
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=WAYS)
    parser.add_argument("--epochs", type=int, default=4, help="of 50 steps each")
    parser.add_argument("--here", nargs=3, metavar=("RECIPE", "WAY", "DIR"), help="this one, here")
    given = parser.parse_args()
    if given.here and given.here[0] == SUMS:
        _time_sums(Path(given.here[2]))
        return
    if given.here:
        _run(*given.here, epochs_wanted=given.epochs)
        return
    with tempfile.TemporaryDirectory() as place:
        _launch(SUMS, "strong", Path(place) / "sums.json", 1)
        line = {"bench": "all-reduce", "commit": given.commit, "time": environment()["time"]}
        print(json.dumps(line | json.loads((Path(place) / "sums.json").read_text())), flush=True)
    for name in given.recipes:
        about = environment()
        kept = {key: about[key] for key in ("time", "machine", "cpu", "cores", "versions")}
        line: dict[str, Any] = {"bench": "ranks", "commit": given.commit, **kept, "recipe": name}
        with tempfile.TemporaryDirectory() as place:
            for way in given.ways:
                folder = Path(place) / way
                _launch(name, way, folder, given.epochs)
                line[way] = _told(folder)
            if {"one", "strong"} <= set(given.ways):
                line["weights"] = _compared(Path(place) / "one", Path(place) / "strong")
        print(json.dumps(line), flush=True)


def _launch(name: str, way: str, folder: Path, n_epoch: int) -> None:
    n_process, n_thread, _ = WAYS[way]
    words = [
        sys.argv[0],
        "--commit",
        "-",
        "--epochs",
        str(n_epoch),
        "--here",
        name,
        way,
        str(folder),
    ]
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(n_process)]
    before = torchrun if n_process > 1 else []
    environ = {**os.environ, "OMP_NUM_THREADS": str(n_thread)}
    subprocess.run([sys.executable, *before, *words], env=environ, check=True)


def _time_sums(path: Path) -> None:
    """Median time of gloo's sum of two processes on one host, of so many bytes; by rank 0 into a file."""
    torch.set_num_threads(1)
    with joined("cpu") as ranks:
        found = {}
        for n_bytes in (64, 10**4, 10**5, 10**6, 10**7):
            values, times = torch.ones(n_bytes // 4), []
            for _ in range(60):
                distributed.barrier()
                start = time.perf_counter()
                distributed.all_reduce(values)
                times.append(time.perf_counter() - start)
            found[n_bytes] = 1e3 * statistics.median(times[10:])
        if ranks.first:
            path.write_text(json.dumps({"ms_by_bytes": found}))


def _run(name: str, way: str, folder: str, *, epochs_wanted: int) -> None:
    """Trains on as many samples as 50 steps take."""
    _, n_thread, times = WAYS[way]
    torch.set_num_threads(n_thread)
    recipe = dataclasses.replace(load(name), epochs=epochs_wanted, validation=0.0)
    recipe = dataclasses.replace(recipe, batch_size=int(recipe.batch_size * times))
    whole = data.load

    def few(dataset: str, split: str = "train", root: Any = None) -> data.EventDataset:
        found = whole(dataset, split, root)
        if split == "test":
            return found
        wanted = [n % len(found) for n in range(STEPS * recipe.batch_size)]
        return found.subset(wanted)

    data.load = few
    finish = epochs.finish_epoch

    def kept(one: run.Run, *rest: Any) -> None:
        finish(one, *rest)
        if one.epoch == 1 and one.ranks.first:
            weights = {key: value.clone() for key, value in one.net.state_dict().items()}
            checkpoint.save(one.folder / "50.safetensors", weights, {})

    sys.modules["sparsespike.training.train"].finish_epoch = kept  # pyright: ignore
    train(recipe, folder, timeout=600)


def _told(folder: Path) -> dict[str, Any]:
    """Speed and accuracy of a run."""
    lines = checkpoint.read_lines(folder / "metrics.jsonl")
    result = checkpoint.read_json(folder / "result.json")
    recipe = Recipe(**_fields(checkpoint.read_json(folder / "run.json")["recipe"]))
    speeds = [line["samples_per_second"] for line in lines[1:]]
    speed = statistics.median(speeds)
    return {
        "batch_size": recipe.batch_size,
        "samples_per_second": speed,
        "step_ms": 1e3 * recipe.batch_size / speed,
        "speeds": speeds,
        "test_accuracy": result["test"]["accuracy"],
        "peak_memory_mib": result["peak_memory_mib"],
    }


def _fields(values: dict[str, Any]) -> dict[str, Any]:
    return {
        key: tuple(value) if isinstance(value, list) else value for key, value in values.items()
    }


def _compared(one: Path, two: Path) -> dict[str, Any]:
    """The largest difference of a weight after 50 steps, and how far weights have moved."""
    (mine, _), (its, _) = (checkpoint.load(each / "50.safetensors") for each in (one, two))
    keys = [key for key, value in mine.items() if value.is_floating_point() and value.numel() > 1]
    return {
        "largest_difference": max(float((mine[key] - its[key]).abs().max()) for key in keys),
        "median_difference": statistics.median(
            float((mine[key] - its[key]).abs().median()) for key in keys
        ),
        "largest_weight": max(float(mine[key].abs().max()) for key in keys),
    }


if __name__ == "__main__":
    main()
