"""Training: from a recipe to a run's folder, by one process or by all that torchrun started.

The whole run is a function of the recipe, the data and the number of threads and of processes: a run that was
stopped at any batch and resumed gives the same bits as one that was not.
"""

from __future__ import annotations

import platform
import signal
import warnings
from collections.abc import Sequence
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import torch
from rich.console import Console

import sparsespike
from sparsespike import data
from sparsespike.backends import device_for, use_backend
from sparsespike.data import EventDataset, EventLoader, late
from sparsespike.data.library import OutOfReach
from sparsespike.metrics.counting import Counting
from sparsespike.neurons.silence import SilenceWarning
from sparsespike.spikes.arguments import at_least
from sparsespike.training import architecture, checkpoint, launcher, logs
from sparsespike.training import run as runs
from sparsespike.training.due import Due
from sparsespike.training.epochs import finish_epoch, position, train_epoch
from sparsespike.training.evaluate import evaluate, load_run
from sparsespike.training.progress import Progress
from sparsespike.training.ranks import TIMEOUT, Ranks, joined
from sparsespike.training.recipe import Recipe
from sparsespike.training.run import Run
from sparsespike.training.signals import Stopped, caught_signals


class Prepared(NamedTuple):
    """What a training starts with.

    Attributes:
        run: its state.
        name: of the dataset.
        loader: of the training samples.
        validation_set: held-out samples, where the recipe has some.
        test_set: looked at once, at the end.
    """

    run: Run
    name: str
    loader: EventLoader
    validation_set: EventDataset | None
    test_set: EventDataset


def train(
    recipe: Recipe,
    folder: Path | str,
    *,
    root: Path | str | None = None,
    resume: bool = False,
    progress: Progress | None = None,
    log: Sequence[str] = (),
    save_every: str = "600s",
    timeout: float = TIMEOUT,
) -> dict[str, Any]:
    """Trains a network, alone or, where torchrun started this process, with the others.

    Each of several ranks computes a share of every batch; rank 0 alone writes files and tells how it goes.

    Args:
        recipe: all numbers of the run.
        folder: where its files go, see `sparsespike.training.run`; made if missing.
        root: folder of the datasets; None for the default of `sparsespike.data.load`.
        resume: go on with the run in `folder`, if there is one: same bits as if it had never stopped.
        progress: the display; None for one on standard error.
        log: "tensorboard" and "csv", or one of them: logs of the epochs, see `training.logs`.
        save_every: when the state is saved between the ends of epochs: "500", steps, or "60s", seconds.
        timeout: seconds, >= 1, that a rank waits for the others before it gives them up.

    Returns:
        What `result.json` holds: the score on the test samples, of the best epoch by validation
        accuracy or, without held-out samples, of the last.

    Raises:
        Stopped: after SIGINT or SIGTERM, once the state is saved; a second signal does not wait.
        FloatingPointError: if the loss or a weight is not finite, naming it.
        ValueError, OSError: if the folder holds another run, or data or files cannot be had.
        RankError: if another rank failed, is missing, or has another recipe, version or data.
        ModuleNotFoundError: without the package that a log needs.
    """
    folder = Path(folder)
    logs.check(log)
    due, timeout = Due(save_every), at_least("timeout", timeout, 1)
    with ExitStack() as inside:
        # torchrun ends all ranks as soon as one fails: they must not die before they have said why.
        several = launcher.world_size() > 1
        caught = inside.enter_context(caught_signals()) if several else None
        ranks = inside.enter_context(joined(recipe.backend, timeout))
        if ranks.first:
            progress = Progress() if progress is None else progress
            inside.enter_context(runs.alone(folder, progress.note))
        else:
            progress, log = Progress(Console(quiet=True)), ()
        prepared = _prepare(recipe, folder, root, resume, progress, ranks)
        if isinstance(prepared, dict):
            if ranks.first:
                progress.note(f"{folder}: this run is finished")
                with logs.opened(log, folder, checkpoint.read_lines(folder / runs.METRICS)):
                    pass  # one that is asked for now has all epochs
            return prepared
        return _train(prepared, progress, log, due, caught)


def _prepare(
    recipe: Recipe,
    folder: Path,
    root: Path | str | None,
    resume: bool,
    progress: Progress,
    ranks: Ranks,
) -> dict[str, Any] | Prepared:
    """The run and its samples; of one that is finished its result."""
    began, stored = ranks.from_first(lambda: runs.find(folder, resume)) or (None, None)
    if began is not None:
        recipe = runs.agreed(recipe, began, folder)
    ranks.agree("recipe", {**_versions(), **recipe.to_dict()})
    result = ranks.from_first(lambda: runs.result(folder))
    # One of fewer epochs is from before the run was made longer.
    if result is not None and result.get("epochs") == recipe.epochs:
        return result
    name, *sets = ranks.local_first(lambda: _load(recipe, root, stored, progress))
    train_set, test_set = (recipe.seen(each) for each in sets)
    n_train, n_events = len(train_set), train_set.n_events
    ranks.agree("data", {"dataset": name, "recordings": n_train, "events": n_events})
    validation_set = None
    if recipe.validation > 0:
        train_set, validation_set = train_set.split(recipe.validation, recipe.seed)
    run = _open(recipe, folder, name, train_set, stored, progress, ranks)
    loader = EventLoader(
        train_set,
        recipe.batch_size,
        shuffle=True,
        seed=recipe.seed,
        steps=recipe.steps,
        dt=recipe.dt,
        augment=recipe.augmentations(),
        rank=ranks.rank,
        world_size=ranks.size,
    )
    return Prepared(run, name, loader, validation_set, test_set)


def _train(
    prepared: Prepared,
    progress: Progress,
    log: Sequence[str],
    due: Due,
    caught: list[int] | None,
) -> dict[str, Any]:
    """All epochs that are left, and the final test."""
    run, loader = prepared.run, prepared.loader
    recipe, ranks = run.recipe, run.ranks
    events = _told_events(loader, progress) if ranks.first else {}
    loader.watch.told = True
    gpus = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    quiet = warnings.catch_warnings(action="ignore", category=SilenceWarning)  # `epochs` tells it
    with (
        use_backend(recipe.backend),
        nullcontext(caught) if caught is not None else caught_signals() as caught,
        logs.opened(log, run.folder, run.history) as opened,
        progress,
        quiet,
        torch.random.fork_rng(gpus),  # every batch seeds what it draws
    ):
        run.model = ranks.wrapped(run.net)
        while run.epoch < recipe.epochs:
            try:
                stopped = train_epoch(run, loader, caught, progress, due)
            except ValueError:
                run.check_finite()  # layers refuse weights that are not finite: this tells which
                raise
            if not stopped:
                finish_epoch(run, prepared.validation_set, progress)
                for each in opened:
                    each.epoch(run.history)
            run.save()
            if stopped:
                where = f"{position(run)} of {run.folder}"
                signum = caught[0] if caught else signal.SIGTERM
                raise Stopped(f"stopped; --resume goes on with {where}", signum)
    return ranks.at_leisure(lambda: _finish(run, prepared.name, prepared.test_set, events))


def _told_events(loader: EventLoader, progress: Progress) -> dict[str, Any]:
    """What becomes of the training samples' events, before they are augmented; told, and for the result."""
    counts = loader.dataset.count(loader.steps, loader.dt)
    advice = late.told(loader.dataset, loader.grid, counts)
    progress.note(
        f"training events: {counts.n_events:,}, of which {counts.late:.2%} late (step "
        f"{loader.steps} or later, dropped) and {counts.merged:.2%} merged (same step and unit)"
        f"{'' if advice is None else f'; {advice}'}"
    )
    return {"n_events": counts.n_events, "late": counts.late, "merged": counts.merged}


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
    ranks: Ranks,
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
        "ranks": ranks.size,
        "versions": {**_versions(), "python": platform.python_version()},
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
    run = Run(folder, recipe, net, optimiser, ranks=ranks)
    if stored is None:
        run.save()
        if ranks.first:
            checkpoint.write_json(folder / runs.RUN, about)
        return run
    run.restore()
    for key in ("n_in", "n_class", "n_train"):
        if about[key] != stored[key]:
            raise ValueError(
                f"{name}: the run began with {key} = {stored[key]}, found {about[key]}"
            )
    for key, found in (("threads", about["threads"]), ("ranks", ranks.size)):
        if found != stored.get(key, 1):
            progress.note(
                f"this run began with {stored.get(key, 1)} {key} and goes on with {found}: "
                "sums may differ in the last bit"
            )
    if about["recipe"] != stored["recipe"] and ranks.first:
        checkpoint.write_json(folder / runs.RUN, {**stored, "recipe": about["recipe"]})
    progress.note(f"resuming {folder} at {position(run)}")
    return run


def _versions() -> dict[str, str]:
    return {"sparsespike": sparsespike.__version__, "torch": torch.__version__}
