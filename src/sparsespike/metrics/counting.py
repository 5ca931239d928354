"""`Counting`: the metrics of a network, from all that it runs meanwhile; and `measure`, for some batches."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any, Self

import torch
from torch import nn

from sparsespike.connections.connection import Connection
from sparsespike.connections.sparse import SparseLinear
from sparsespike.metrics import operations
from sparsespike.metrics.found import Activations, Metrics, Synapses
from sparsespike.metrics.watch import Call, Pass, Watch
from sparsespike.spikes.spikes import Spikes


def measure(net: nn.Module, spikes: Spikes | Iterable[Spikes]) -> Metrics:
    """The metrics of a network on some recordings, in `eval()`, without gradients.

    Args:
        net: `ss.Network`, a converted network, or another module that takes `Spikes`.
        spikes: (B, T, N), or batches of such.

    Raises:
        ValueError: as of `Counting`; or if there are no batches.
    """
    counting = Counting(net)
    was = net.training
    net.eval()
    try:
        with torch.no_grad(), counting:
            for batch in [spikes] if isinstance(spikes, Spikes) else spikes:
                net(batch)
    finally:
        net.train(was)
    return counting.metrics()


class Counting:
    """Counts what a network does while this is open: `with ss.metrics.Counting(net) as counting: net(x)`.

    May be opened again, and counts on. A recording may come in chunks, each with the state that the one
    before left.

    Args:
        net: `ss.Network`, a converted network, or another module that takes `Spikes`. What its parts do
            outside of its own calls is not counted.

    Raises:
        ValueError: if the network has layers of PyTorch's. And in a call, if neurons take a dense current,
            or go on from a state whose spikes were not counted.
    """

    def __init__(self, net: nn.Module) -> None:
        self.net = net
        self._watch = Watch(net, self._take)
        self._n_samples = 0
        self._operations: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0])  # MACs, ACs, dense
        self._spikes: dict[str, list[int]] = defaultdict(lambda: [0, 0])  # entries with one, all
        self._waiting: dict[tuple[str, int], int] = {}  # of the last step, for the next call

    def __enter__(self) -> Self:
        self._watch.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._watch.__exit__(*error)

    def metrics(self) -> Metrics:
        """What was counted so far; weights, parameters and buffers as they are now.

        Raises:
            ValueError: if nothing was.
        """
        if not self._n_samples:
            raise ValueError(
                "net: expected a call with samples to count, through connections of sparsespike, found none"
            )
        connections = tuple(
            Synapses(name, *_weights(module), *self._operations[name])
            for name, module in self.net.named_modules()
            if isinstance(module, Connection)
        )
        neurons = tuple(Activations(name, *counts) for name, counts in self._spikes.items())
        parameters = list(self.net.parameters())
        kept = [*parameters, *self.net.buffers()]
        return Metrics(
            self._n_samples,
            connections,
            neurons,
            sum(each.numel() for each in parameters),
            sum(each.numel() * each.element_size() for each in kept),
        )

    def _take(self, found: Pass) -> None:
        self._n_samples += 0 if found.resumes else found.n_batch
        for i, call in enumerate(found.calls):
            self._count(i, call)
        for fired in found.fired:
            counts = self._spikes[fired.name]
            n_batch, n_step, n_unit = fired.spikes.shape
            counts[0] += fired.spikes.n_spikes
            counts[1] += n_batch * n_step * n_unit

    def _count(self, i: int, call: Call) -> None:
        """Adds the operations of one connection, the i-th call of a pass."""
        weight = call.module.weight.detach()
        reached = operations.met(call.told, weight)
        counts = self._operations[call.name]
        n_batch, n_step, _ = call.spikes.shape
        counts[2] += n_batch * n_step * operations.dense(call.told, weight)
        if not (call.later or call.spikes.graded):
            counts[1] += operations.of_all(call.spikes, reached)
            return
        total, multiplies = operations.by_step(call.spikes, reached)
        if call.later:
            key = (call.name, i)
            if call.resumes and key not in self._waiting:
                raise ValueError(
                    f"state: expected one that a call left while it was counted, as {call.name!r} has "
                    "spikes of its last step to come, found another"
                )
            counts[1] += self._waiting.get(key, 0) if call.resumes else 0
            self._waiting[key] = int(total[-1])
            total, multiplies = total[:-1], multiplies[:-1]
        counts[0] += int(total[multiplies].sum())
        counts[1] += int(total[~multiplies].sum())


def _weights(module: Any) -> tuple[int, int]:
    """How many weights a connection has, and how many of them are zero or not there."""
    weight = module.weight
    n_zero, n_weight = int((weight == 0).sum()), weight.numel()
    if isinstance(module, SparseLinear):
        n_all = module.n_in * module.n_out
        return n_all, n_zero + n_all - n_weight
    return n_weight, n_zero
