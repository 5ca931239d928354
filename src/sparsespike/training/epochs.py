"""The epochs of a run: steps of the optimiser, then validation and the lines of its metrics."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

from torch import nn

from sparsespike.backends import placed
from sparsespike.data import EventDataset, EventLoader
from sparsespike.training import checkpoint, launcher
from sparsespike.training import run as runs
from sparsespike.training.batch import gradient
from sparsespike.training.due import Due
from sparsespike.training.evaluate import evaluate
from sparsespike.training.metrics import Totals, layers_of, peak_memory
from sparsespike.training.progress import Progress
from sparsespike.training.recipe import Recipe
from sparsespike.training.run import Run


def train_epoch(
    run: Run, loader: EventLoader, caught: list[int], progress: Progress, due: Due
) -> bool:
    """One pass over the training samples from `run.batch` on, or until a rank caught a signal.

    Args:
        run: what is trained.
        loader: of this rank's share of every batch.
        caught: signals that this process caught.
        progress: told after every batch.
        due: when the state is saved in between.

    Returns:
        Whether a signal was caught.

    Raises:
        FloatingPointError: if the loss or a weight is not finite.
    """
    recipe, totals, n_batch = run.recipe, run.totals, len(loader)
    started, stop = time.perf_counter(), False
    for spikes, label in loader.batches(run.epoch, first=run.batch):
        spikes, label = placed(spikes, label, recipe.backend)
        # A function of the position alone, as a resumed run needs it.
        rate = learning_rate(recipe, run.epoch * n_batch + run.batch, n_batch)
        for group in run.optimiser.param_groups:
            group["lr"] = rate * group["share"]

        run.optimiser.zero_grad()
        numbers = gradient(run, spikes, label, loader.n_samples(run.batch))
        n_stop, *numbers = run.ranks.summed([bool(caught) or launcher.orphaned(), *numbers])
        if recipe.clip_norm > 0:
            nn.utils.clip_grad_norm_(run.net.parameters(), recipe.clip_norm)
        run.optimiser.step()
        if run.average is not None:
            run.average.update_parameters(run.net)

        totals.add(numbers)
        _warn_of_silence(run, numbers, progress)
        run.batch += 1
        progress.batch(totals, started, (run.epoch + 1, recipe.epochs, run.batch, n_batch))
        stop = n_stop > 0 or (
            run.ranks.size == 1 and bool(caught)
        )  # ranks stop after the same step
        if stop:
            break
        if due.now() and run.batch < n_batch:
            now = time.perf_counter()
            totals.seconds, started = totals.seconds + now - started, now
            run.save()
    totals.seconds += time.perf_counter() - started
    return stop


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


def finish_epoch(run: Run, validation_set: EventDataset | None, progress: Progress) -> None:
    """Validates, writes the metrics and the best weights, and steps to the next epoch."""
    run.check_finite()
    held_out = None
    if validation_set is not None:
        held_out = evaluate(run.scored, validation_set, run.recipe, ranks=run.ranks)["accuracy"]
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
    if run.ranks.first:
        checkpoint.write_lines(run.folder / runs.METRICS, run.history)
    progress.epoch(line, run.recipe.epochs)
    run.epoch, run.batch, run.totals = run.epoch + 1, 0, Totals()
    if held_out is not None and held_out > run.best_accuracy:
        run.best_epoch, run.best_accuracy = run.epoch, held_out
        run.save_best()


def position(run: Run) -> str:
    """Where a run is, in words."""
    if run.epoch == run.recipe.epochs:
        return "the final test"
    return f"epoch {run.epoch + 1}, batch {run.batch + 1}"


def _warn_of_silence(run: Run, numbers: Sequence[float], progress: Progress) -> None:
    """Says so the first time that a layer has no active neuron in a whole batch."""
    for i, (_, _, n_active) in enumerate(layers_of(numbers)):
        if n_active == 0 and i not in run.warned:
            run.warned.add(i)
            run.check_finite()  # neurons whose weights are NaN are silent as well
            progress.note(f"warning: {_silence(run, i, position(run))}")


def _silence(run: Run, i: int, when: str) -> str:
    return (
        f"layer {i + 1} has no active neuron ({when}): no potential came within b_th = "
        f"{run.recipe.b_th:g} of the threshold, so neither it nor the layers below learn; take larger "
        "initial weights (init_gain) or a wider b_th, or a smaller lr if it fell silent during training"
    )
