"""Evaluation: scores every sample of a dataset, and loads the network of a run for it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from sparsespike.backends import device_for, placed, use_backend
from sparsespike.data import EventDataset, EventLoader
from sparsespike.network import Layer, Network
from sparsespike.training import checkpoint
from sparsespike.training.checkpoint import CheckpointError
from sparsespike.training.loss import read
from sparsespike.training.metrics import Totals, added, counted
from sparsespike.training.ranks import ALONE, Ranks
from sparsespike.training.recipe import Recipe, from_dict

Which = Literal["best", "last"]
AVERAGE = "average."  # before the names of averaged weights, beside those that are trained


def evaluate(
    net: Network,
    dataset: EventDataset,
    recipe: Recipe,
    each: Callable[[Tensor, Tensor], None] | None = None,
    ranks: Ranks = ALONE,
) -> dict[str, Any]:
    """Scores every sample, the last partial batch included; no gradients, no regulariser, no dropout.

    Args:
        net: the network.
        dataset: what to score.
        recipe: gives steps, dt, chunk, reduce, batch size and backend.
        each: called with the logits (B, C) and labels (B,) of every batch, in the order of the samples.
        ranks: each scores a share of the samples; all get the whole.

    Returns:
        accuracy: share in [0, 1].
        loss: mean cross-entropy.
        n_samples, samples_per_second.
        n_clamped, n_late: input events merged into another of their step and unit, and dropped.
        per_class: accuracy of each class, None for one without samples.
        layers: per spiking layer, rate and activity as shares of (sample, step, unit) entries.

    Raises:
        ValueError: if the dataset has other units, or more classes, than the network.
    """
    connections = [layer.connection for layer in net if isinstance(layer, Layer)]
    # A convolution takes images of any size, and says itself what it does not take.
    n_in = getattr(connections[0], "n_in", dataset.n_units)
    n_out = connections[-1].weight.shape[0]
    if dataset.n_units != n_in or dataset.n_classes > n_out:
        raise ValueError(
            f"{dataset.name}: expected {n_in} units and at most {n_out} classes, as the network has, "
            f"found {dataset.n_units} and {dataset.n_classes}"
        )
    n_class = dataset.n_classes
    seen, correct = torch.zeros(n_class, dtype=torch.int64), torch.zeros(n_class, dtype=torch.int64)
    loader = EventLoader(
        dataset,
        recipe.batch_size,
        steps=recipe.steps,
        dt=recipe.dt,
        rank=ranks.rank,
        world_size=ranks.size,
    )
    loader.watch.told = True  # the score has it
    net.to(device_for(recipe.backend))
    numbers: list[float] = []
    start = time.perf_counter()
    with _as_evaluated(net), torch.no_grad(), use_backend(recipe.backend):
        for spikes, label in loader.batches(0):
            spikes, label = placed(spikes, label, recipe.backend)
            logit, hidden = read(net, spikes, recipe)
            loss = functional.cross_entropy(logit, label).item() if len(label) else 0.0
            numbers = added(numbers, counted(loss, logit, label, spikes, hidden))
            if each is not None:
                each(logit, label)
            hit = label[logit.argmax(1) == label]
            seen += torch.bincount(label, minlength=n_class).cpu()
            correct += torch.bincount(hit, minlength=n_class).cpu()
    sums = ranks.summed([*seen.tolist(), *correct.tolist(), *numbers])
    totals = Totals()
    totals.add(sums[2 * n_class :])
    totals.seconds = time.perf_counter() - start
    per_class = [
        hit / n if n else None for n, hit in zip(sums[:n_class], sums[n_class:], strict=False)
    ]
    return {
        "accuracy": totals.accuracy(),
        "loss": totals.mean_loss(),
        "n_samples": totals.n_samples,
        "n_clamped": totals.n_clamped,
        "n_late": totals.n_late,
        "samples_per_second": totals.samples_per_second(),
        "per_class": per_class,
        "layers": [{"rate": x["rate"], "activity": x["activity"]} for x in totals.layers()],
    }


def load_run(folder: Path, which: Which | None = None) -> tuple[Network, Recipe, dict[str, Any]]:
    """Loads the network of a run.

    Args:
        folder: of the run.
        which: "best" by validation, "last", or None for the best where there is one.

    Returns:
        (network, its recipe, {"dataset", "checkpoint", "epoch"}); epoch counts completed ones.

    Raises:
        CheckpointError: if a file is missing or damaged, or fits no network of the recipe.
    """
    recipe, run = read_run(folder)
    if which is None:
        which = "best" if (folder / "best.safetensors").exists() else "last"
    if which == "best" and recipe.validation == 0:
        raise CheckpointError(
            f"{folder}: no best checkpoint, as the run held out no validation samples; take --last"
        )
    path = folder / f"{which}.safetensors"
    tensors, state = checkpoint.load(path)
    net = recipe.network(run.get("unit_shape", run["n_in"]), run["n_class"])
    averaged = which == "last" and recipe.ema > 0
    load_weights(net, tensors, path, AVERAGE if averaged else "")
    return net, recipe, {"dataset": run["dataset"], "checkpoint": which, "epoch": state["epoch"]}


@contextmanager
def _as_evaluated(net: Network) -> Iterator[None]:
    """The network in `eval()`, then as it was before."""
    before = net.training
    net.eval()
    try:
        yield
    finally:
        net.train(before)


def read_run(folder: Path) -> tuple[Recipe, dict[str, Any]]:
    """What `run.json` says of a run.

    Returns:
        (recipe, all of the file).

    Raises:
        CheckpointError: if the file is missing or damaged.
    """
    path = folder / "run.json"
    if not path.exists():
        raise CheckpointError(f"{folder} holds no run: there is no run.json in it")
    run = checkpoint.read_json(path)
    kinds: dict[type, tuple[str, ...]] = {
        dict: ("recipe",),
        str: ("dataset",),
        int: ("n_in", "n_class", "n_train", "threads"),
    }
    for kind, key in ((kind, key) for kind, keys in kinds.items() for key in keys):
        if type(run.get(key)) is not kind:
            raise CheckpointError(
                f"{path}: {key}: expected {kind.__name__}, found {type(run.get(key)).__name__}"
            )
    try:
        return from_dict(run["recipe"]), run
    except ValueError as error:
        raise CheckpointError(f"{path}: {error}") from None


def load_weights(net: nn.Module, tensors: dict[str, Tensor], path: Path, prefix: str = "") -> None:
    """Copies the network's tensors out of a checkpoint's, into the layout they are stored in.

    Args:
        net: the network.
        tensors: of the checkpoint.
        path: its file, for messages.
        prefix: of the tensors' names.

    Raises:
        CheckpointError: if one is missing, has another shape or dtype, or is not finite.
    """
    with torch.no_grad():
        for name, target in net.state_dict(prefix=prefix).items():
            found = tensors.get(name)
            if found is None or found.shape != target.shape or found.dtype != target.dtype:
                described = "none" if found is None else f"{tuple(found.shape)} {found.dtype}"
                raise CheckpointError(
                    f"{path}: {name}: expected {tuple(target.shape)} {target.dtype}, found {described}"
                )
            n_bad = found.numel() - int(torch.isfinite(found).sum())
            if n_bad:
                raise CheckpointError(f"{path}: {name}: {n_bad} of {found.numel()} are not finite")
            target.copy_(found)
