"""The oracle: every layer as plain PyTorch over dense (B, T, N), gradients by autograd.

Slow and large on purpose; total, since it runs any connection's `current` and any neuron's `step`. The
sparse gradient is autograd of this (eq. 8), so nothing here is derived by hand: the backward passes
run the forward again under autograd.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from sparsespike.descriptions import LayerSpec
from sparsespike.neurons.lif import LIF, Readout
from sparsespike.spikes.lists import Lists
from sparsespike.spikes.spikes import Spikes


def spiking_forward(
    spikes: Spikes, parameter: list[Tensor], spec: LayerSpec, recorded: bool
) -> Spikes:
    """One spiking layer; see `Backend`. The active set is there in any case."""
    potential, fired = _run_spiking(_dense_input(spikes, parameter[0]), parameter, spec)
    active = _lif(spec).active(potential)
    active[:, 0] = False  # V[0] is a constant: nothing to differentiate
    out = replace(Spikes.from_dense(fired, active=active).to_lists(), potential=potential[active])
    return out if isinstance(spikes.storage, Lists) else out.to_words()


def spiking_backward(
    grad_value: Tensor,
    spikes: Spikes,
    parameter: list[Tensor],
    fired: Spikes,
    spec: LayerSpec,
    need_input: bool,
) -> tuple[Tensor, list[Tensor]]:
    """Gradient of `spiking_forward` by autograd; see `Backend`."""
    grad = grad_value.new_zeros(math.prod(fired.shape))
    grad[fired.storage.active_entry(fired.shape)] = grad_value

    def output(value: Tensor, *parameter: Tensor) -> Tensor:
        dense = _dense_input(replace(spikes, value=value), parameter[0])
        return _run_spiking(dense, list(parameter), spec)[1]

    return _gradients(output, grad.view(fired.shape), spikes, parameter, need_input)


def readout_forward(spikes: Spikes, parameter: list[Tensor], spec: LayerSpec) -> Tensor:
    """One readout layer; see `Backend`."""
    return _run_readout(_dense_input(spikes, parameter[0]), parameter, spec)


def readout_backward(
    grad_potential: Tensor,
    spikes: Spikes,
    parameter: list[Tensor],
    spec: LayerSpec,
    need_input: bool,
) -> tuple[Tensor, list[Tensor]]:
    """Gradient of `readout_forward` by autograd; see `Backend`."""

    def potential(value: Tensor, *parameter: Tensor) -> Tensor:
        dense = _dense_input(replace(spikes, value=value), parameter[0])
        return _run_readout(dense, list(parameter), spec)

    return _gradients(potential, grad_potential, spikes, parameter, need_input)


def count_forward(spikes: Spikes) -> Tensor:
    """Spikes of each unit over time; see `Backend`."""
    return spikes.to_dense().sum(1)


def count_backward(grad: Tensor, spikes: Spikes) -> Tensor:
    """Gradient of the counts at the active entries; see `Backend`."""

    def total(value: Tensor) -> Tensor:
        return count_forward(replace(spikes, value=value))

    pull_back = torch.func.vjp(total, spikes.value)[1]
    return pull_back(grad)[0]


def _run_spiking(dense: Tensor, parameter: list[Tensor], spec: LayerSpec) -> tuple[Tensor, Tensor]:
    """(B, T, N_in) -> V and S, each (B, T, N_out)."""
    neuron = _lif(spec)
    current = spec.connection.current(dense, parameter).unbind(1)
    state = neuron.initial(current[0])
    states = [state]
    for current_now in current[:-1]:  # the input of the last step reaches nothing
        state = neuron.step(state, current_now)
        states.append(state)
    potential, spikes = zip(*states, strict=True)
    return torch.stack(potential, 1), torch.stack(spikes, 1)


def _run_readout(dense: Tensor, parameter: list[Tensor], spec: LayerSpec) -> Tensor:
    """(B, T, N_in) -> y, (B, T, N_out)."""
    neuron = spec.neuron
    if not isinstance(neuron, Readout):
        raise ValueError(f"neuron: expected Readout, found {neuron!r}")
    current = spec.connection.current(dense, parameter).unbind(1)
    states = [neuron.initial(current[0])]
    for current_now in current[:-1]:
        states.append(neuron.step(states[-1], current_now))
    return torch.stack(states, 1)


def _lif(spec: LayerSpec) -> LIF:
    if not isinstance(spec.neuron, LIF):
        raise ValueError(f"neuron: expected LIF, found {spec.neuron!r}")
    return spec.neuron


def _dense_input(spikes: Spikes, weight: Tensor) -> Tensor:
    """(B, T, N_in) of 0 and 1 in the weights' dtype."""
    return spikes.to(weight.dtype).to_dense()


def _gradients(
    output: Callable[..., Tensor],
    grad: Tensor,
    spikes: Spikes,
    parameter: list[Tensor],
    need_input: bool,
) -> tuple[Tensor, list[Tensor]]:
    """Autograd of `output(value, *parameter)`; `vjp`, as a custom op runs below the usual autograd."""
    pull_back = torch.func.vjp(output, spikes.value, *parameter)[1]
    grad_value, *grad_parameter = pull_back(grad)
    return grad_value if need_input else spikes.value.new_empty(0), grad_parameter
