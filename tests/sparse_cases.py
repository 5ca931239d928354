"""Cases whose connection is a `SparseLinear`: the same numbers, with synapses left out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor

import sparsespike as ss
from cases import EXACT_LIF, GENERAL_LIF, Case, cases, device_of
from checks import assert_something_happened


@dataclass(frozen=True)
class SparseCase(Case):
    """As `Case`; its layers are `SparseLinear`s, and `parameters` are zero where there is no synapse.

    Attributes:
        share: of all pairs, those that have a synapse.
        bare: share of neurons, and of inputs, that have none at all.
    """

    share: float = 0.4
    bare: float = 0.2

    def masks(self) -> list[Tensor]:
        """(n_out, n_in) of every layer: where there are synapses."""
        draw = torch.Generator().manual_seed(self.seed + 1)
        found = []
        for n_in, n_out in zip(self.sizes, self.sizes[1:], strict=False):
            mask = torch.rand(n_out, n_in, generator=draw) < self.share
            mask[torch.rand(n_out, generator=draw) < self.bare] = False
            mask[:, torch.rand(n_in, generator=draw) < self.bare] = False
            found.append(mask)
        return found

    def parameters(self) -> list[list[Tensor]]:
        """Weight, zero without a synapse, and bias if any, of every layer, in float64."""
        every = zip(super().parameters(), self.masks(), strict=True)
        return [[own[0] * mask, *own[1:]] for own, mask in every]

    def layers(self, backend: str) -> list[ss.Layer]:
        """The spiking layers, on a backend; synapses in no order."""
        built, draw = [], self.generator()
        for own, mask in zip(self.parameters(), self.masks(), strict=True):
            n_out, n_in = mask.shape
            index = mask.nonzero().t()
            index = index[:, torch.randperm(index.shape[1], generator=draw)]
            sparse = ss.SparseLinear(n_in, n_out, index, self.bias, dtype=self.dtype)
            with torch.no_grad():
                sparse.weight.copy_(own[0][index[0], index[1]])
                if sparse.bias is not None:
                    sparse.bias.copy_(own[1])
            layer = ss.Layer(sparse, self.neuron, backend=backend)
            built.append(layer.to(device_of(backend)))
        return built


@st.composite
def sparse_cases(draw: st.DrawFn, *, exact: bool = True) -> SparseCase:
    """A case of any share of synapses; one dtype each with and without bias: fewer sorts are compiled."""
    case: Any = draw(cases(exact=exact))
    numbers: dict[str, Any] = {**vars(case), "bias": True} | (
        {} if exact else {"neuron": GENERAL_LIF}
    )
    if case.dtype == torch.float32:
        neuron = numbers["neuron"].changed(detach_reset=True)
        numbers |= {"bias": False, "neuron": neuron}
    elif not numbers["neuron"].detach_reset:
        numbers["active"] = max(0.2, case.active)
    share = draw(st.sampled_from([0.0, 0.05, 0.4, 1.0]))
    return SparseCase(**numbers, share=share, bare=draw(st.sampled_from([0.0, 0.3])))


def index_of(*pairs: tuple[int, int]) -> torch.Tensor:
    return torch.tensor(pairs).t()


def ring(n: int = 30, **more: Any) -> ss.SparseLinear:
    """Each neuron has two inputs."""
    neuron = torch.arange(n).repeat(2)
    index = torch.stack([neuron, (neuron + torch.arange(2).repeat_interleave(n)) % n])
    return ss.SparseLinear(n, n, index, **more)


def some_spikes(n: int = 30) -> ss.Spikes:
    draw = torch.Generator().manual_seed(0)
    return ss.Spikes.from_dense(torch.rand(4, 30, n, generator=draw) < 0.2)


def outcome(connection: Any, backend: str = "cpu") -> tuple[ss.Spikes, Any]:
    """Spikes of a layer, and its weight's gradient."""
    out = ss.Layer(connection, EXACT_LIF, backend=backend)(some_spikes())
    connection.zero_grad()
    out.count().square().sum().backward()
    assert_something_happened(out, connection.weight.grad)
    return out, connection.weight.grad
