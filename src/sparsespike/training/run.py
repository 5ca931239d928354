"""A training run: its folder, and the state that a bit-identical resume needs.

run.json           recipe, dataset, versions: written once
metrics.jsonl      one line per epoch
last.safetensors   weights, optimiser and position after the last epoch, or where it was stopped
best.safetensors   weights of the epoch with the best validation accuracy
result.json        what the finished run reached
train.lock         held by the process that trains
metrics.csv, tensorboard/, report.html: where they were asked for, see `logs` and `sparsespike report`
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from sparsespike.network import Network
from sparsespike.training import checkpoint
from sparsespike.training.checkpoint import CheckpointError
from sparsespike.training.evaluate import AVERAGE, load_weights, read_run
from sparsespike.training.metrics import Totals
from sparsespike.training.ranks import ALONE, Ranks
from sparsespike.training.recipe import Recipe

RUN, METRICS, RESULT = "run.json", "metrics.jsonl", "result.json"
LAST, BEST = "last.safetensors", "best.safetensors"
LOCK = "train.lock"
PATIENCE = 60.0  # seconds


@dataclass
class Run:
    """The state of a run.

    Attributes:
        folder: where its files are.
        recipe: its numbers.
        net: the network.
        optimiser: AdamW over the network's parameters.
        epoch: epochs completed.
        batch: batches done of the epoch under way.
        totals: sums over those batches.
        history: the metrics of each completed epoch.
        best_epoch: epochs completed when validation accuracy was best; None before, or without.
        best_accuracy: that validation accuracy.
        warned: layers, from 0, whose silence was told already; not saved.
        ranks: the processes that train it; the first of them writes.
        average: of the weights, where the recipe has one.
        model: the network, its gradients averaged over the ranks; what is called in training.
    """

    folder: Path
    recipe: Recipe
    net: Network
    optimiser: torch.optim.AdamW
    epoch: int = 0
    batch: int = 0
    totals: Totals = field(default_factory=Totals)
    history: list[dict[str, Any]] = field(default_factory=list)
    best_epoch: int | None = None
    best_accuracy: float = -1.0
    warned: set[int] = field(default_factory=set)
    ranks: Ranks = ALONE

    def __post_init__(self) -> None:
        self.model: nn.Module = self.net
        self.average: AveragedModel | None = None
        if self.recipe.ema > 0:
            rule = get_ema_multi_avg_fn(self.recipe.ema)
            self.average = AveragedModel(self.net, multi_avg_fn=rule)

    @property
    def scored(self) -> Network:
        """The network that is validated and tested: with averaged weights, where there are some."""
        return self.net if self.average is None else self.average.module  # pyright: ignore

    def save(self) -> None:
        """Writes `last.safetensors`, unless a weight is not finite.

        Raises:
            FloatingPointError: if a weight is not finite; the state saved before is intact.
            OSError: if it cannot be written; the state saved before is intact.
        """
        self.check_finite()
        if not self.ranks.first:
            return
        tensors = dict(self.net.state_dict())
        if self.average is not None:
            tensors |= self.average.module.state_dict(prefix=AVERAGE)
        for name, parameter in self.net.named_parameters():
            for key, value in self.optimiser.state.get(parameter, {}).items():
                tensors[f"optimiser.{name}.{key}"] = value
        state = {
            "epoch": self.epoch,
            "batch": self.batch,
            "totals": dataclasses.asdict(self.totals),
            "best_epoch": self.best_epoch,
            "best_accuracy": self.best_accuracy,
            "n_averaged": 0 if self.average is None else int(self.average.n_averaged),
        }
        checkpoint.save(self.folder / LAST, tensors, state)

    def save_best(self) -> None:
        """Writes the weights alone as `best.safetensors`.

        Raises:
            FloatingPointError, OSError: as `save`.
        """
        self.check_finite()
        if self.ranks.first:
            state = {"epoch": self.best_epoch, "validation_accuracy": self.best_accuracy}
            checkpoint.save(self.folder / BEST, dict(self.scored.state_dict()), state)

    def restore(self) -> None:
        """Takes the state of `last.safetensors`, bit for bit.

        Raises:
            CheckpointError: if a file is missing, damaged or of another network.
        """
        path = self.folder / LAST
        tensors, state = self.ranks.from_first(lambda: checkpoint.load(path))
        load_weights(self.net, tensors, path)
        if self.average is not None:
            load_weights(self.average.module, tensors, path, AVERAGE)
            self.average.n_averaged.fill_(int(state.get("n_averaged", 0)))
        per_parameter = {}
        for i, (name, parameter) in enumerate(self.net.named_parameters()):
            prefix = f"optimiser.{name}."
            found = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
            if found:
                per_parameter[i] = {key: _laid_out(v, parameter) for key, v in found.items()}
        groups = self.optimiser.state_dict()["param_groups"]
        self.optimiser.load_state_dict({"state": per_parameter, "param_groups": groups})
        try:
            self.epoch, self.batch = int(state["epoch"]), int(state["batch"])
            self.totals = Totals(**state["totals"])
            self.best_epoch, self.best_accuracy = state["best_epoch"], state["best_accuracy"]
        except (KeyError, TypeError) as error:
            raise CheckpointError(f"{path}: the state has no usable {error}") from None
        # A line may be newer than the checkpoint if the process was killed between the two.
        path = self.folder / METRICS
        lines = self.ranks.from_first(lambda: checkpoint.read_lines(path) if self.epoch else [])
        self.history = lines[: self.epoch]
        if len(self.history) < self.epoch:
            raise CheckpointError(f"{path}: expected {self.epoch} epochs, found {len(lines)}")

    def check_finite(self) -> None:
        """Raises a FloatingPointError that names the parameter if a weight is not finite."""
        for name, parameter in self.net.named_parameters():
            n_bad = parameter.numel() - int(torch.isfinite(parameter).sum())
            if n_bad:
                raise self.not_finite(
                    f"{n_bad} of {parameter.numel()} entries of {described(name)}"
                )

    def not_finite(self, what: str) -> FloatingPointError:
        """The error for numbers that are not finite, `what` they are."""
        return FloatingPointError(
            f"{what} are not finite in epoch {self.epoch + 1}, after {self.batch} batches; "
            f"{self.folder / LAST} keeps the last good state; try an lr below {self.recipe.lr:g}"
        )


def described(name: str) -> str:
    """A parameter's name as people count layers: `1.connection.weight` -> layer 2 (...)."""
    return f"layer {int(name.partition('.')[0]) + 1} ({name})"


@contextmanager
def alone(folder: Path, note: Callable[[str], None]) -> Iterator[None]:
    """No other process trains in the folder meanwhile; one made for nothing is taken away again.

    Args:
        folder: of the run; made if missing.
        note: told where another process is waited for, as one that was stopped may still be saving.

    Raises:
        ValueError: if `folder` is a file, or another process goes on there.
    """
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder}: expected a folder for the run, found a file")
    made = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        note(f"{folder}: another process trains there; waiting {PATIENCE:g} s for its end")
        try:
            lock.acquire(timeout=PATIENCE)
        except Timeout:
            raise ValueError(
                f"{folder}: another process trains there; stop it, or take another folder"
            ) from None
    try:
        yield
    finally:
        if made and [each.name for each in folder.iterdir()] == [LOCK]:
            (folder / LOCK).unlink()
            folder.rmdir()
        lock.release()


def find(folder: Path, resume: bool) -> tuple[Recipe, dict[str, Any]] | None:
    """Recipe and `run.json` of the run to go on with; None where a new one may start.

    Raises:
        ValueError: if `folder` holds a run and `resume` is False.
        CheckpointError: if `run.json` is missing or damaged.
    """
    if not any((folder / name).exists() for name in (RUN, METRICS, RESULT, LAST, BEST)):
        return None
    if not resume:
        raise ValueError(
            f"{folder} already holds a run: go on with it by --resume, or take another folder"
        )
    return read_run(folder)


def result(folder: Path) -> dict[str, Any] | None:
    """What the run in `folder` reached when it was finished, if it was."""
    path = folder / RESULT
    return checkpoint.read_json(path) if path.exists() else None


def agreed(recipe: Recipe, began: Recipe, folder: Path) -> Recipe:
    """The recipe a run goes on with: the one it began with, of which only `epochs` may be raised.

    Raises:
        ValueError: naming the first field that differs.
    """
    for name in (item.name for item in dataclasses.fields(Recipe)):
        old, new = getattr(began, name), getattr(recipe, name)
        longer = name == "epochs" and new > old and began.schedule == "constant"
        if new != old and not longer:
            raise ValueError(
                f"{name}: the run in {folder} began with {old!r}, found {new!r}; "
                "resume it as it began, or take another folder"
            )
    return recipe


def _laid_out(value: torch.Tensor, parameter: torch.Tensor) -> torch.Tensor:
    # The fused Adam walks memory, not indices: its state must lie in memory as the parameter does.
    return value if value.dim() == 0 else torch.empty_like(parameter).copy_(value)
