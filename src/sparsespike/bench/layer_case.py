"""One spiking layer under one input, as every method computes it.

The upstream gradient is a random number per (sample, step) times one per (sample, unit), so that it exists
at the active entries without ever being a tensor (B, T, N).
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from sparsespike.backends import use_backend
from sparsespike.bench import inputs
from sparsespike.bench.blocks import reached
from sparsespike.bench.dense import (
    AnySynapses,
    Pool,
    arranged,
    dense,
    filled,
    in_shape,
    module_of,
    pooled,
)
from sparsespike.bench.gate import HEAD_STEPS, PLANES_ROOM, compare, decided, head_samples
from sparsespike.bench.peers import PEERS, DenseLayer, layer_of
from sparsespike.bench.trial import OURS, Trial, chosen
from sparsespike.descriptions import Conv, SparseLinear
from sparsespike.network import Layer
from sparsespike.neurons.lif import LIF
from sparsespike.spikes.spikes import Spikes


@dataclass(frozen=True, eq=False)
class LayerCase:
    """One spiking layer, its input and its upstream gradient, on the CPU; a trial moves what it needs.

    Attributes:
        source: where input and weights come from.
        spikes: (B, T, N_in), with the active set of the layer below; none active: no gradient is wanted.
        synapses: of the layer.
        weight: of the connection.
        neuron: of the layer.
        per_step: (B, T), and
        per_unit: (B, N_out): the upstream gradient is their product.
        device: where the methods compute.
        backend: of sparsespike.
        pool: what the spikes go through before the synapses, timed with them; or None.
    """

    source: str
    spikes: Spikes
    synapses: AnySynapses
    weight: Tensor
    neuron: LIF
    per_step: Tensor
    per_unit: Tensor
    device: str = "cpu"
    backend: str = "cpu"
    pool: Pool | None = None

    def about(self) -> dict[str, Any]:
        """See `Case`."""
        fired = self.fired()
        n_batch, n_step, n_in = self.spikes.shape
        facts = {
            "source": self.source,
            "batch_size": n_batch,
            "steps": n_step,
            "n_in": n_in,
            "neurons": self.synapses.n_out,
            "connection": _named(self.synapses, self.pool),
            "neuron": repr(self.neuron),
            "b_th": self.neuron.b_th if self.neuron.b_th < float("inf") else "inf",
            "input_rate": self.spikes.rate(),
            "input_activity": self.spikes.activity(),
            "rate": fired.rate(),
            "activity": fired.activity(),
            "blocks": reached(self._below(self.spikes), self.synapses),
        }
        return facts | {"chosen": chosen(self)} if self.backend == "auto" else facts

    def fired(self) -> Spikes:
        """What the layer gives: (B, T, N_out)."""
        with torch.no_grad():
            fired = self._layer("cpu", self.neuron)(self._below(self.spikes))
        assert isinstance(fired, Spikes)
        return fired

    def head(self) -> LayerCase:
        """See `Case`: the first samples and steps."""
        n_batch, n_step, n_in = self.spikes.shape
        n_sample = head_samples(n_batch, n_step, n_in + self.synapses.n_out)
        return dataclasses.replace(
            self,
            spikes=inputs.head(self.spikes, n_sample, HEAD_STEPS),
            per_step=self.per_step[:n_sample, :HEAD_STEPS],
            per_unit=self.per_unit[:n_sample],
        )

    def n_entries(self) -> int:
        """See `Case`."""
        n_batch, n_step, n_in = self.spikes.shape
        return n_batch * n_step * (n_in + self.synapses.n_out)

    def trial(self, method: str) -> Trial:
        """See `Case`: phases "forward", which gives the spikes, and "backward"."""
        if method == OURS:
            return self._event_trial(self.backend, self.neuron)
        layer = layer_of(method, self.neuron, self.device)
        return self._dense_trial(layer, int(method in PEERS))

    def check(self, method: str) -> str | None:
        """See `Case`: spikes and both gradients of the head, in float64 and float32.

        The oracle computes in float64 on the CPU.
        """
        peer = PEERS.get(method)
        twin = self.neuron if peer is None else peer.twin(self.neuron)
        room = PLANES_ROOM if method == OURS and self.backend == "gpu" else 1.0
        for dtype in (torch.float64, torch.float32):
            mine = self.head()._to(torch.float64)
            oracle = dataclasses.replace(mine, neuron=twin, device="cpu", backend="dense")
            below = self._below(oracle.spikes)
            sure = decided(below, oracle.weight, twin, self.synapses, dtype, room)
            oracle = dataclasses.replace(oracle, per_unit=oracle.per_unit * sure)
            expected = oracle._outcome(oracle._event_trial("dense", twin), 0)
            mine = dataclasses.replace(mine, per_unit=oracle.per_unit)._to(dtype)
            found = mine._outcome(mine.trial(method), 0 if peer is None else 1)
            scale = 1.0 if peer is None else peer.slope
            problem = compare(found, expected, sure, scale, exact=peer is None)
            if problem:
                return f"{problem} ({dtype})"
        return None

    def _to(self, dtype: torch.dtype) -> LayerCase:
        return dataclasses.replace(
            self,
            spikes=self.spikes.to(dtype),
            weight=self.weight.to(dtype),
            per_step=self.per_step.to(dtype),
            per_unit=self.per_unit.to(dtype),
        )

    def _layer(self, backend: str, neuron: LIF) -> Layer:
        connection = module_of(self.synapses, self.weight.dtype)
        with torch.no_grad():
            connection.weight.copy_(self.weight)
        return Layer(connection, neuron, backend=backend)

    def _below(self, spikes: Spikes) -> Spikes:
        """What the synapses take of these spikes."""
        return spikes if self.pool is None else self.pool(spikes)

    @property
    def _learning(self) -> bool:
        """Whether the gradient of the input is wanted."""
        return self.spikes.n_active > 0

    def _event_trial(self, backend: str, neuron: LIF) -> Trial:
        layer = self._layer(backend, neuron).to(self.device)
        spikes = inputs.stored(self.spikes, backend, self.device)
        value = spikes.value.detach().requires_grad_(self._learning)
        spikes = dataclasses.replace(spikes, value=value)
        wanted = [*([value] if self._learning else []), layer.connection.weight]

        def forward(_: None) -> Spikes:
            with use_backend(backend):  # of the pool; the layer's is its own
                return layer(self._below(spikes))

        grad = self._grad_at_active(forward(None))

        def backward(fired: Spikes) -> tuple[Tensor, ...]:
            return torch.autograd.grad(fired.value, wanted, grad)

        given = [value, layer.connection.weight, *spikes.storage]
        return Trial({"forward": forward, "backward": backward}, given)

    def _dense_trial(self, layer: DenseLayer, early: int) -> Trial:
        """A dense method; `early` by so many steps comes the gradient, as its spikes do."""
        spikes, weight = self._dense_spikes, self.weight.detach().to(self.device).requires_grad_()
        grad = self._dense_grad[early:][: spikes.shape[1]].transpose(0, 1)
        wanted = [*([spikes] if self._learning else []), weight]

        def forward(_: None) -> Tensor:
            given = spikes if self.pool is None else pooled(spikes, self.pool)
            matrix, synapses = filled(weight, self.synapses)
            return layer(given, matrix, self.neuron, synapses)

        def backward(fired: Tensor) -> tuple[Tensor, ...]:
            return torch.autograd.grad(fired, wanted, grad.to(fired.dtype))

        return Trial({"forward": forward, "backward": backward}, [spikes, weight, grad])

    def _outcome(self, trial: Trial, early: int) -> tuple[Tensor, Tensor, Tensor]:
        """Spikes (B, T, N_out), gradient at the active inputs in lists' order, gradient of the weights."""
        fired = trial.phases["forward"](None)
        *grad_input, grad_weight = trial.phases["backward"](fired)
        nothing = grad_weight.new_empty(0).cpu()
        if isinstance(fired, Spikes):
            given = inputs.stored(self.spikes, self.backend, self.device)
            grad = nothing
            if grad_input:
                grad = dataclasses.replace(given, value=grad_input[0]).to("cpu").to_lists().value
            return fired.to_dense().flatten(2).detach().cpu(), grad, grad_weight.cpu()
        found = fired.detach().cpu().flatten(2)
        if early:
            found = torch.cat((torch.zeros_like(found[:, :1]), found[:, :-1]), 1)
        if not grad_input:
            return found, nothing, grad_weight.cpu()
        row, unit = self.spikes.active_row(), self.spikes.active_unit
        return found, grad_input[0].cpu().flatten(2).flatten(0, 1)[row, unit], grad_weight.cpu()

    def _grad_at_active(self, fired: Any) -> Tensor:
        n_step, n_unit = fired.shape[1:]
        entry = fired.storage.active_entry(fired.shape)
        row = torch.div(entry, n_unit, rounding_mode="floor")
        sample = torch.div(row, n_step, rounding_mode="floor")
        per_step, per_unit = self.per_step.to(entry.device), self.per_unit.to(entry.device)
        return per_step.flatten()[row] * per_unit[sample, entry % n_unit]

    # Shared by the dense methods, so that one process need not hold a copy for each.
    @cached_property
    def _dense_spikes(self) -> Tensor:
        """(B, T, *in_shape), time first and channels last in memory."""
        shape = in_shape(self.synapses) if self.pool is None else self.spikes.unit_shape
        made = dense(self.spikes, shape, self.weight.dtype, self.device)
        return made.requires_grad_(self._learning)

    @cached_property
    def _dense_grad(self) -> Tensor:
        """(T + 1, B, *unit_shape), the last step zero."""
        per_step = torch.cat((self.per_step, torch.zeros_like(self.per_step[:, :1])), 1)
        flat = per_step.to(self.device).t()[:, :, None] * self.per_unit.to(self.device)[None]
        return arranged(flat, self.synapses.unit_shape)


def _named(synapses: AnySynapses, pool: Pool | None) -> str:
    if isinstance(synapses, SparseLinear):
        return f"SparseLinear of {synapses.index.shape[1]:,} synapses"
    if not isinstance(synapses, Conv):
        return "Linear"
    channels, height, width = synapses.in_shape
    kernel = "x".join(map(str, synapses.kernel))
    after = "" if pool is None else f" after {type(pool).__name__}"
    return f"Conv2d {channels}x{height}x{width} to {synapses.n_channel} by {kernel}{after}"
