"""Trains a tutorial of each library before and after `ss.interop`: accuracy, time of a step, memory.

python tools/time_tutorials.py --commit COMMIT >> results/tutorials.jsonl      # one core, six minutes
python tools/time_tutorials.py --commit COMMIT --peers snntorch --train 1280 --test 1000

Before is the tutorial's own loop; after are `from_*` with every gradient, and with bands that keep a share of
the surrogate's mass. All begin with the same weights, and see the same batches and, where an encoder draws,
the same draws. Each runs in a process of its own; kernels are compiled, and it is warm, before it is timed.
"""

from __future__ import annotations

import argparse
import copy
import json
import subprocess
import sys
import time
import warnings
from importlib import metadata
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tutorials import FOLDER, TUTORIALS, Tutorial, images

import sparsespike as ss
from sparsespike.bench.measure import peak_bytes, summary
from sparsespike.bench.report import environment

VARIANTS: dict[str, float | None] = {"exact": None, "mass=0.95": 0.95, "mass=0.9": 0.9}
PHASES = ("encode", "forward", "backward", "update")


def main() -> None:
    """Runs every case, and prints one JSON line of each."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--commit", required=True, help="that is timed")
    parser.add_argument("--peers", nargs="+", choices=TUTORIALS, default=list(TUTORIALS))
    parser.add_argument("--train", type=int, default=25600, help="images, each seen once")
    parser.add_argument("--test", type=int, default=5000, help="images")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data", type=Path, default=FOLDER, help="folder of Fashion-MNIST's files")
    parser.add_argument("--variant", choices=("theirs", *VARIANTS), help="run this one, here")
    given = parser.parse_args()
    if given.variant is not None:
        print(json.dumps(measured(given.peers[0], given.variant, given)))
        return
    for peer in given.peers:
        for variant in ("theirs", *VARIANTS):
            words = [sys.executable, *sys.argv, "--peers", peer, "--variant", variant]
            done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True)
            line = json.loads(done.stdout.splitlines()[-1])
            print(json.dumps(line), flush=True)
            told = ", ".join(f"{name} {line['ms'][name]['median']:.1f}" for name in PHASES)
            tail = f"{line['peak_mib']:.0f} MiB, accuracy {line['accuracy']:.1%}"
            print(f"{peer} {variant}: {told} ms, {tail}", file=sys.stderr)


def measured(peer: str, variant: str, given: argparse.Namespace) -> dict[str, Any]:
    """Trains and tests one variant on one thread."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    tutorial = TUTORIALS[peer]()
    torch.manual_seed(given.seed)
    net = tutorial.build()
    converted = None if variant == "theirs" else tutorial.convert(net, VARIANTS[variant])
    run = tutorial.run if converted is None else lambda _, x: converted(x)
    pixels, label = images("train", given.data)
    batches = torch.randperm(len(pixels))[: given.train].split(tutorial.batch_size)

    # On a copy, so that what is trained has seen nothing yet; also where memory is measured.
    spare = copy.deepcopy(net)
    spare_converted = None if converted is None else tutorial.convert(spare, VARIANTS[variant])
    spare_run = tutorial.run if spare_converted is None else lambda _, x: spare_converted(x)
    trainer = Trainer(tutorial, spare, spare_run)
    for _ in range(3):
        trainer.step(pixels[batches[0]], label[batches[0]])
    peak = peak_bytes(lambda: trainer.step(pixels[batches[0]], label[batches[0]]))

    torch.manual_seed(given.seed + 1)
    trainer = Trainer(tutorial, net, run)
    seconds: dict[str, list[float]] = {name: [] for name in PHASES}
    losses = []
    for batch in batches:
        loss, taken = trainer.step(pixels[batch], label[batch])
        losses.append(loss)
        for name, each in taken.items():
            seconds[name].append(each)
    about = environment()
    kept = ("time", "machine", "cpu", "cores", "load", "threads", "python")
    line = {
        **{key: about[key] for key in kept},
        "bench": "tutorials", "commit": given.commit, "seed": given.seed, "peer": peer, "variant": variant,
        "versions": about["versions"] | {tutorial.package: metadata.version(tutorial.package)},
        "source": tutorial.source, "batch_size": tutorial.batch_size, "n_train": given.train,
        "ms": {name: summary(each) for name, each in seconds.items()},
        "step_ms": summary([sum(each) for each in zip(*(seconds[name] for name in PHASES[1:]), strict=True)]),
        "peak_mib": None if peak is None else peak / 2**20,
        "loss": sum(losses[-20:]) / len(losses[-20:]),
        "n_test": given.test,
        "accuracy": accuracy(tutorial, net, run, given),
    }  # fmt: skip
    bands = [band for each in _converted(converted) for band in each.bands]
    line["bands"] = [{"layer": b.layer, "b_th": b.b_th, "cut": b.cut} for b in bands if b.cut]
    return line


class Trainer:
    """One step of a tutorial after the other."""

    def __init__(self, tutorial: Tutorial, net: nn.Module, run: Any) -> None:
        self.tutorial, self.net, self.run = tutorial, net, run
        self.optimiser = torch.optim.Adam(net.parameters(), lr=tutorial.lr)

    def step(self, pixels: Tensor, label: Tensor) -> tuple[float, dict[str, float]]:
        """The loss, and the seconds of each phase."""
        times = [time.perf_counter()]
        x = self.tutorial.encode(pixels.float() / 255)
        times.append(time.perf_counter())
        loss = self.tutorial.loss(self.run(self.net, x), label)
        times.append(time.perf_counter())
        self.optimiser.zero_grad()
        loss.backward()
        times.append(time.perf_counter())
        self.optimiser.step()
        times.append(time.perf_counter())
        taken = (after - before for before, after in pairwise(times))
        return loss.item(), dict(zip(PHASES, taken, strict=True))


@torch.no_grad()
def accuracy(tutorial: Tutorial, net: nn.Module, run: Any, given: argparse.Namespace) -> float:
    """Share of the first test images that are told right; what an encoder draws is the same for all."""
    torch.manual_seed(given.seed + 2)
    pixels, label = (each[: given.test] for each in images("test", given.data))
    hits = 0
    pairs = zip(pixels.split(tutorial.batch_size), label.split(tutorial.batch_size), strict=True)
    for some, wanted in pairs:
        out = run(net, tutorial.encode(some.float() / 255))
        hits += int((tutorial.logit(out).argmax(1) == wanted).sum())
    return hits / len(label)


def _converted(net: nn.Module | None) -> list[Any]:
    return (
        []
        if net is None
        else [each for each in net.modules() if isinstance(each, ss.interop.Converted)]
    )


if __name__ == "__main__":
    main()
