"""The loss of a batch, and its gradient: at once, or in chunks of time, in memory that does not grow with T.

In chunks the loss is still that of the whole recording, since pooled readouts and spike counts add up over
chunks. A first pass, without gradient, finds them, and with them the derivative of the loss by each. A second
pass goes through the chunks again, each with a graph of its own that is walked back at once. What is left out
is what goes back through the state from one chunk into the one before: truncated backpropagation through
time (R. J. Williams, J. Peng, An efficient gradient-based algorithm for on-line training of recurrent network
trajectories, Neural Computation 2(4), 1990), with one step of the optimiser per batch. The second forward
pass is the price; a loss on every chunk by itself would want the class to be told by each of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from sparsespike import losses, ops
from sparsespike.backends.held import Held
from sparsespike.losses.regulariser import LOWER, of_counts
from sparsespike.spikes.spikes import Spikes
from sparsespike.training.ranks import held_back
from sparsespike.training.recipe import Recipe


class Counted(NamedTuple):
    """What is counted of a spiking layer.

    Attributes:
        shape: (B, T, N).
        n_spikes, n_active: spikes and active entries.
    """

    shape: tuple[int, int, int]
    n_spikes: int
    n_active: int


class Outcome(NamedTuple):
    """A batch's loss, still to be walked back.

    Attributes:
        loss: scalar, the mean over the batch.
        logit: (B, C), the pooled readout.
        hidden: of each spiking layer, in order.
        backward: adds the gradient to those of the network's parameters.
    """

    loss: Tensor
    logit: Tensor
    hidden: Sequence[Counted | Spikes]
    backward: Callable[[], None]


def outcome(
    net: nn.Module, spikes: Spikes, label: Tensor, recipe: Recipe, weight: float = 1.0
) -> Outcome:
    """The loss of one batch: cross-entropy of the pooled readout, and what each layer's activity costs.

    Args:
        net: the network, or one that sends its gradients to other ranks.
        spikes: (B, T, N); of no samples the loss is 0.
        label: (B,), int64.
        recipe: gives `chunk`, `reduce` and the numbers of the loss.
        weight: of the gradient, where the batch is a part of a larger one.
    """
    if not _in_chunks(spikes, recipe):
        potential, hidden = net(spikes, return_spikes=True)  # (B, T, C), one Spikes per layer
        logit = losses.logits(potential, recipe.reduce)  # (B, C), pooled once for loss and accuracy
        loss = _loss(logit, [ops.count(layer) for layer in hidden], label, recipe)
        return Outcome(loss.detach(), logit, hidden, (loss * weight).backward)
    pool = Pool(recipe.reduce, spikes.shape[1])
    counted: list[list[Counted]] = []
    counts: list[Tensor] = []
    with torch.no_grad(), torch.random.fork_rng(devices=[]):  # dropout draws alike in both passes
        for potential, hidden in chunks(net, spikes, recipe.chunk):
            pool.add(potential)
            counted.append([_counted(layer) for layer in hidden])
            found = [ops.count(layer) for layer in hidden]
            counts = [a + b for a, b in zip(counts, found, strict=True)] if counts else found
    leaves = [pool.logit(), *counts]
    for leaf in leaves:
        leaf.requires_grad_()
    with torch.enable_grad():
        loss = _loss(leaves[0], leaves[1:], label, recipe)

    def backward() -> None:
        slopes = torch.autograd.grad(loss * weight, leaves)
        for i, (potential, hidden) in enumerate(chunks(net, spikes, recipe.chunk)):
            parts = [pool.part(i, potential), *(ops.count(layer) for layer in hidden)]
            torch.autograd.backward(parts, list(slopes))

    return Outcome(loss.detach(), leaves[0].detach(), _added(counted), backward)


def read(
    net: nn.Module, spikes: Spikes, recipe: Recipe
) -> tuple[Tensor, Sequence[Counted | Spikes]]:
    """The pooled readout (B, C) of a batch and its spiking layers, in chunks where the recipe has them."""
    if not _in_chunks(spikes, recipe):
        potential, hidden = net(spikes, return_spikes=True)
        return losses.logits(potential, recipe.reduce), hidden
    pool = Pool(recipe.reduce, spikes.shape[1])
    counted = []
    for potential, hidden in chunks(net, spikes, recipe.chunk):
        pool.add(potential)
        counted.append([_counted(layer) for layer in hidden])
    return pool.logit(), _added(counted)


def chunks(net: nn.Module, spikes: Spikes, chunk: int) -> Iterator[tuple[Tensor, list[Spikes]]]:
    """Readout and spikes of every chunk of time, the state handed on without its history."""
    state: Any = None
    held = Held()
    for start in range(0, spikes.shape[1], chunk):
        end = start + chunk
        with held_back(net, end < spikes.shape[1]):  # the last chunk's gradients go with all others
            part = spikes[:, start:end]
            with held:
                potential, hidden, state = net(part, True, state=state, return_state=True)
            state = state.detach()
            yield potential, hidden


class Pool:
    """The logits of a whole recording from the readouts of its chunks.

    Args:
        reduce: as `losses.logits` takes it.
        steps: T of the whole.
    """

    def __init__(self, reduce: losses.Reduce, steps: int) -> None:
        self.reduce: losses.Reduce = reduce
        self.steps = steps
        self._n = 0
        self._logit: Tensor | None = None
        self._from = torch.empty(0)  # (B, C): the chunk that has the maximum

    def add(self, potential: Tensor) -> None:
        """Takes the next chunk's readout, (B, t, C)."""
        if self._logit is None:
            self._logit = self._pooled(potential)
            self._from = torch.zeros_like(self._logit, dtype=torch.int64)
        elif self.reduce == "max":
            found = self._pooled(potential)
            higher = found > self._logit  # of equal ones the first, as `max` over the whole
            self._from[higher] = self._n
            self._logit = torch.where(higher, found, self._logit)
        elif self.reduce == "last":
            self._logit = self._pooled(potential)
        else:
            self._logit = self._logit + self._pooled(potential)
        self._n += 1

    def logit(self) -> Tensor:
        """(B, C) of all chunks that were added."""
        assert self._logit is not None
        return self._logit

    def part(self, i: int, potential: Tensor) -> Tensor:
        """(B, C): what chunk i brings to the logits, differentiable, once all are known."""
        found = self._pooled(potential)
        if self.reduce == "max":
            return torch.where(self._from == i, found, 0.0)
        return found if self.reduce != "last" or i == self._n - 1 else found * 0.0

    def _pooled(self, potential: Tensor) -> Tensor:
        if self.reduce == "mean":  # a chunk's share of the mean of the whole
            return losses.logits(potential, "sum") / self.steps
        return losses.logits(potential, self.reduce)


def _in_chunks(spikes: Spikes, recipe: Recipe) -> bool:
    return 0 < recipe.chunk < spikes.shape[1]


def _loss(logit: Tensor, counts: Sequence[Tensor], label: Tensor, recipe: Recipe) -> Tensor:
    """Cross-entropy and regulariser, from logits (B, C) and the spikes of each layer's neurons, (B, N)."""
    if not len(label):  # a sum over nothing, whose gradient is 0: a mean would be NaN
        return sum((count.sum() for count in counts), start=logit.sum())
    loss = functional.cross_entropy(logit, label, label_smoothing=recipe.label_smoothing)
    for count in counts:
        loss = loss + of_counts(
            count,
            upper=recipe.activity_upper,
            upper_weight=recipe.activity_upper_weight,
            lower=LOWER,
            lower_weight=recipe.activity_lower_weight,
        )
    return loss


def _counted(layer: Spikes) -> Counted:
    return Counted(layer.shape, layer.n_spikes, layer.n_active)


def _added(parts: Sequence[Sequence[Counted]]) -> list[Counted]:
    """The layers of the whole, from those of its chunks."""
    found = []
    for layers in zip(*parts, strict=True):
        n_batch, _, n_unit = layers[0].shape
        n_step, n_spikes, n_active = (
            sum(each) for each in zip(*((x.shape[1], *x[1:]) for x in layers), strict=True)
        )
        found.append(Counted((n_batch, n_step, n_unit), n_spikes, n_active))
    return found
