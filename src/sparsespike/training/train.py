"""Training: one loop, from a recipe to a run's folder.

The whole run is a function of the recipe, the data and the number of threads: a run that was stopped
at any batch and resumed gives the same bits as one that was not.
"""

from __future__ import annotations

import math
import platform
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

import sparsespike
from sparsespike import data
from sparsespike.backends import device_for, placed, use_backend
from sparsespike.data import EventDataset, EventLoader, late
from sparsespike.data.library import OutOfReach
from sparsespike.metrics.counting import Counting
from sparsespike.neurons.silence import SilenceWarning
from sparsespike.spikes.spikes import Spikes
from sparsespike.training import architecture, checkpoint, logs
from sparsespike.training import run as runs
from sparsespike.training.evaluate import evaluate, load_run
from sparsespike.training.loss import Counted, outcome
from sparsespike.training.metrics import Totals, peak_memory
from sparsespike.training.progress import Progress
from sparsespike.training.recipe import Recipe
from sparsespike.training.run import Run
from sparsespike.training.signals import Stopped, caught_signals


def train(
    recipe: Recipe,
    folder: Path | str,
    *,
    root: Path | str | None = None,
    resume: bool = False,
    progress: Progress | None = None,
    log: Sequence[str] = (),
) -> dict[str, Any]:
    """Trains a network.

    Args:
        recipe: all numbers of the run.
        folder: where its files go, see `sparsespike.training.run`; made if missing.
        root: folder of the datasets; None for the default of `sparsespike.data.load`.
        resume: go on with the run in `folder`, if there is one: same bits as if it had never stopped.
        progress: the display; None for one on standard error.
        log: "tensorboard" and "csv", or one of them: logs of the epochs, see `training.logs`.

    Returns:
        What `result.json` holds: the score on the test samples, of the best epoch by validation
        accuracy or, without held-out samples, of the last.

    Raises:
        Stopped: after SIGINT or SIGTERM, once the state is saved; a second signal does not wait.
        FloatingPointError: if the loss or a weight is not finite, naming it.
        ValueError, OSError: if the folder holds another run, or data or files cannot be had.
        ModuleNotFoundError: without the package that a log needs.
    """
    folder = Path(folder)
    logs.check(log)
    progress = Progress() if progress is None else progress
    began, stored = runs.find(folder, resume) or (None, None)
    if began is not None:
        recipe = runs.agreed(recipe, began, folder)
        result = folder / runs.RESULT
        # One of fewer epochs is from before the run was made longer.
        if result.exists() and checkpoint.read_json(result).get("epochs") == recipe.epochs:
            progress.note(f"{folder}: this run is finished")
            with logs.opened(log, folder, checkpoint.read_lines(folder / runs.METRICS)):
                pass  # one that is asked for now has all epochs
            return checkpoint.read_json(result)
    name, train_set, test_set = _load(recipe, root, stored, progress)
    train_set, test_set = recipe.seen(train_set), recipe.seen(test_set)
    validation_set = None
    if recipe.validation > 0:
        train_set, validation_set = train_set.split(recipe.validation, recipe.seed)
    run = _open(recipe, folder, name, train_set, stored, progress)
    loader = EventLoader(
        train_set,
        recipe.batch_size,
        shuffle=True,
        seed=recipe.seed,
        steps=recipe.steps,
        dt=recipe.dt,
        augment=recipe.augmentations(),
    )
    events = _told_events(loader, progress)
    quiet = warnings.catch_warnings(action="ignore", category=SilenceWarning)  # `_warn_of_silence`
    with (
        use_backend(recipe.backend),
        caught_signals() as caught,
        logs.opened(log, folder, run.history) as opened,
        progress,
        quiet,
    ):
        while run.epoch < recipe.epochs:
            try:
                _train_epoch(run, loader, caught, progress)
            except ValueError:
                run.check_finite()  # layers refuse weights that are not finite: this tells which
                raise
            if not caught:
                _finish_epoch(run, validation_set, progress)
                for each in opened:
                    each.epoch(run.history)
            run.save()
            if caught:
                raise Stopped(
                    f"stopped; --resume goes on with {_position(run)} of {folder}", caught[0]
                )
    return _finish(run, name, test_set, events)


def _told_events(loader: EventLoader, progress: Progress) -> dict[str, Any]:
    """What becomes of the training samples' events, before they are augmented; told, and for the result."""
    counts = loader.dataset.count(loader.steps, loader.dt)
    advice = late.told(loader.dataset, loader.grid, counts)
    progress.note(
        f"training events: {counts.n_events:,}, of which {counts.late:.2%} late (step "
        f"{loader.steps} or later, dropped) and {counts.merged:.2%} merged (same step and unit)"
        f"{'' if advice is None else f'; {advice}'}"
    )
    loader.watch.told = True
    return {"n_events": counts.n_events, "late": counts.late, "merged": counts.merged}


def _train_epoch(run: Run, loader: EventLoader, caught: list[int], progress: Progress) -> None:
    """One pass over the training samples from `run.batch` on, or until a signal was caught."""
    recipe, totals, n_batch = run.recipe, run.totals, len(loader)
    started = time.perf_counter()
    for spikes, label in loader.batches(run.epoch, first=run.batch):
        spikes, label = placed(spikes, label, recipe.backend)
        # A function of the position alone, as a resumed run needs it.
        rate = learning_rate(recipe, run.epoch * n_batch + run.batch, n_batch)
        for group in run.optimiser.param_groups:
            group["lr"] = rate * group["share"]

        found = outcome(run.net, spikes, label, recipe)
        # Before the backward pass: nothing is learned from a loss that is not finite.
        value = found.loss.item()
        if not math.isfinite(value):
            run.check_finite()  # names the weights if it is their fault
            raise run.not_finite("the readout's potentials and the loss")

        run.optimiser.zero_grad()
        found.backward()
        if recipe.clip_norm > 0:
            nn.utils.clip_grad_norm_(run.net.parameters(), recipe.clip_norm)
        run.optimiser.step()

        totals.add(value, found.logit, label, spikes, found.hidden)
        _warn_of_silence(run, found.hidden, progress)
        run.batch += 1
        progress.batch(totals, started, (run.epoch + 1, recipe.epochs, run.batch, n_batch))
        if caught:
            break
    totals.seconds += time.perf_counter() - started


def learning_rate(recipe: Recipe, step: int, n_batch: int) -> float:
    """Learning rate of a step: constant, or lr (1 + cos(pi step / steps)) / 2 (cosine).

    Args:
        recipe: gives lr, schedule and epochs.
        step: steps done before this one.
        n_batch: steps of an epoch.
    """
    if recipe.schedule == "constant":
        return recipe.lr
    return recipe.lr * (1 + math.cos(math.pi * step / (recipe.epochs * n_batch))) / 2


def _finish_epoch(run: Run, validation_set: EventDataset | None, progress: Progress) -> None:
    """Validates, writes the metrics and the best weights, and steps to the next epoch."""
    run.check_finite()
    held_out = None
    if validation_set is not None:
        held_out = evaluate(run.net, validation_set, run.recipe)["accuracy"]
    totals = run.totals
    layers = totals.layers()
    line = {
        "epoch": run.epoch + 1,
        "loss": totals.mean_loss(),
        "train_accuracy": totals.accuracy(),
        "validation_accuracy": held_out,
        "layers": layers,
        "n_clamped": totals.n_clamped,
        "n_late": totals.n_late,
        "seconds": totals.seconds,
        "samples_per_second": totals.samples_per_second(),
        "peak_memory_mib": peak_memory(),
        "warnings": [
            _silence(run, i, f"{layer['silent_batches']} of {totals.n_batches} batches")
            for i, layer in enumerate(layers)
            if layer["silent_batches"]
        ],
    }
    run.history.append(line)
    checkpoint.write_lines(run.folder / runs.METRICS, run.history)
    progress.epoch(line, run.recipe.epochs)
    run.epoch, run.batch, run.totals = run.epoch + 1, 0, Totals()
    if held_out is not None and held_out > run.best_accuracy:
        run.best_epoch, run.best_accuracy = run.epoch, held_out
        run.save_best()


def _finish(run: Run, name: str, test_set: EventDataset, events: dict[str, Any]) -> dict[str, Any]:
    """Scores the test samples, the only time they are looked at, and writes the result."""
    which = "last" if run.best_epoch is None else "best"
    net, recipe, about = load_run(run.folder, which)
    last = run.history[-1]
    seconds = sum(line["seconds"] for line in run.history)
    with Counting(net) as counting:
        test = evaluate(net, test_set, recipe)
    result = {
        **about,
        "epochs": run.epoch,
        "events": events,
        "train_accuracy": last["train_accuracy"],
        "validation_accuracy": None if run.best_epoch is None else run.best_accuracy,
        "seconds": seconds,
        "samples_per_second": last["samples_per_second"],
        "peak_memory_mib": max(line["peak_memory_mib"] or 0 for line in run.history) or None,
        "test": test,
        "metrics": counting.metrics().to_dict(),
    }
    checkpoint.write_json(run.folder / runs.RESULT, result)
    return result


def _load(
    recipe: Recipe, root: Path | str | None, stored: dict[str, Any] | None, progress: Progress
) -> tuple[str, EventDataset, EventDataset]:
    """(name, training samples, test samples); the embedded sample where the dataset is out of reach."""
    name = recipe.dataset if stored is None else stored["dataset"]
    sample = f"{name}-sample"
    try:
        return name, data.load(name, "train", root), data.load(name, "test", root)
    except OSError as error:
        if stored is not None or sample not in data.available():
            raise
        why = (error.why if isinstance(error, OutOfReach) else str(error)).partition(";")[0]
        progress.note(f"{name} is not on this machine, and could not be fetched: {why}")
        progress.note(
            f"going on with the embedded {sample}; for the whole: sparsespike data get {name}"
        )
    return sample, data.load(sample, "train"), data.load(sample, "test")


def _open(
    recipe: Recipe,
    folder: Path,
    name: str,
    train_set: EventDataset,
    stored: dict[str, Any] | None,
    progress: Progress,
) -> Run:
    """A new run with its first files written, or the stored one where it stopped."""
    about = {
        "recipe": recipe.to_dict(),
        "dataset": name,
        "n_in": train_set.n_units,
        "unit_shape": list(train_set.about.sensor),
        "n_class": train_set.n_classes,
        "n_train": len(train_set),
        "threads": torch.get_num_threads(),
        "versions": {
            "sparsespike": sparsespike.__version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
    }
    net = recipe.network(about["unit_shape"], about["n_class"]).to(device_for(recipe.backend))
    # Fused: one pass over memory per parameter, and no temporary tensors.
    optimiser = torch.optim.AdamW(
        architecture.groups(recipe, net),
        lr=recipe.lr,
        betas=(0.9, 0.999),
        weight_decay=recipe.weight_decay,  # 0: Adam
        fused=True,
    )
    run = Run(folder, recipe, net, optimiser)
    if stored is None:
        folder.mkdir(parents=True, exist_ok=True)
        run.save()
        checkpoint.write_json(folder / runs.RUN, about)
        return run
    run.restore()
    for key in ("n_in", "n_class", "n_train"):
        if about[key] != stored[key]:
            raise ValueError(
                f"{name}: the run began with {key} = {stored[key]}, found {about[key]}"
            )
    if about["threads"] != stored["threads"]:
        progress.note(
            f"this run began with {stored['threads']} threads and goes on with {about['threads']}: "
            "sums may differ in the last bit"
        )
    if about["recipe"] != stored["recipe"]:
        checkpoint.write_json(folder / runs.RUN, {**stored, "recipe": about["recipe"]})
    progress.note(f"resuming {folder} at {_position(run)}")
    return run


def _warn_of_silence(run: Run, hidden: Sequence[Counted | Spikes], progress: Progress) -> None:
    """Says so the first time that a layer has no active neuron in a whole batch."""
    for i, layer in enumerate(hidden):
        if layer.n_active == 0 and i not in run.warned:
            run.warned.add(i)
            run.check_finite()  # neurons whose weights are NaN are silent as well
            progress.note(f"warning: {_silence(run, i, _position(run))}")


def _silence(run: Run, i: int, when: str) -> str:
    return (
        f"layer {i + 1} has no active neuron ({when}): no potential came within b_th = "
        f"{run.recipe.b_th:g} of the threshold, so neither it nor the layers below learn; take larger "
        "initial weights (init_gain) or a wider b_th, or a smaller lr if it fell silent during training"
    )


def _position(run: Run) -> str:
    if run.epoch == run.recipe.epochs:
        return "the final test"
    return f"epoch {run.epoch + 1}, batch {run.batch + 1}"
