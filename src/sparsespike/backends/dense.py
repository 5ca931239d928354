"""The oracle: every layer as plain PyTorch over dense (B, T, N), gradients by autograd.

Slow and large on purpose; total, since it runs any connection's `current` and any neuron's `step`. The
sparse gradient is autograd of this (eq. 8), so nothing here is derived by hand: the backward passes
run the forward again under autograd.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from sparsespike.backends import Gradient
from sparsespike.descriptions import Equations, Neuron, Own, Precision, Term
from sparsespike.spikes.lists import Lists, check_ends
from sparsespike.spikes.spikes import Spikes


def spiking_forward(
    terms: Sequence[Term], neuron: Neuron, precision: Precision, recorded: bool
) -> tuple[Spikes, list[Tensor]]:
    """One spiking layer; see `Backend`. The active set is there in any case."""
    equations = _equations(neuron)
    potential, fired = _run_spiking(current(terms), equations)
    active = equations.active(potential)
    active[:, 0] = False  # V[0] is a constant: nothing to differentiate
    out = replace(Spikes.from_dense(fired, active=active).to_lists(), potential=potential[active])
    return out if isinstance(terms[0].spikes.storage, Lists) else out.to_words(), []


def spiking_backward(
    grad_value: Tensor,
    terms: Sequence[Term],
    kept: list[Tensor],
    fired: Spikes,
    neuron: Neuron,
    precision: Precision,
    needed: Sequence[bool],
) -> list[Gradient]:
    """Gradient of `spiking_forward` by autograd; see `Backend`."""
    grad = grad_value.new_zeros(math.prod(fired.shape))
    grad[fired.storage.active_entry(fired.shape)] = grad_value
    equations = _equations(neuron)
    return _gradients(
        lambda current: _run_spiking(current, equations)[1], grad.view(fired.shape), terms, needed
    )


def readout_forward(
    terms: Sequence[Term], neuron: Neuron, precision: Precision
) -> tuple[Tensor, list[Tensor]]:
    """One readout layer; see `Backend`."""
    return torch.stack(_states(current(terms), _equations(neuron)), 1), []


def readout_backward(
    grad_potential: Tensor,
    terms: Sequence[Term],
    kept: list[Tensor],
    neuron: Neuron,
    precision: Precision,
    needed: Sequence[bool],
) -> list[Gradient]:
    """Gradient of `readout_forward` by autograd; see `Backend`."""
    equations = _equations(neuron)
    return _gradients(
        lambda current: torch.stack(_states(current, equations), 1), grad_potential, terms, needed
    )


def count_forward(spikes: Spikes) -> Tensor:
    """Spikes of each unit over time; see `Backend`."""
    return spikes.to_dense().flatten(2).sum(1)


def count_backward(grad: Tensor, spikes: Spikes) -> Tensor:
    """Gradient of the counts at the active entries; see `Backend`."""

    def total(value: Tensor) -> Tensor:
        return count_forward(replace(spikes, value=value))

    pull_back = torch.func.vjp(total, spikes.value)[1]
    return pull_back(grad)[0]


def current(terms: Sequence[Term]) -> Tensor:
    """(B, T, N): what the terms bring, added up."""
    for term in terms:
        storage = term.spikes.storage
        if isinstance(storage, Lists):
            check_ends(len(storage.unit), int(storage.offset[-1]))
    brought = [
        term.connection.current(
            term.spikes.to(term.parameter[0].dtype).to_dense().flatten(2), term.parameter
        )
        for term in terms
    ]
    return torch.stack(brought).sum(0) if len(brought) > 1 else brought[0]


def _equations(neuron: Neuron) -> Any:
    """The neuron's equations; those that kernels know carry theirs with their numbers."""
    return neuron.equations if isinstance(neuron, Own) else neuron


def _states(current: Tensor, equations: Equations) -> list[Any]:
    """The state at every step."""
    steps = current.unbind(1)
    states = [equations.initial(steps[0])]
    for current_now in steps[:-1]:  # the input of the last step reaches nothing
        states.append(equations.step(states[-1], current_now))
    return states


def _run_spiking(current: Tensor, equations: Equations) -> tuple[Tensor, Tensor]:
    """(B, T, N) -> V and S, each (B, T, N)."""
    states = _states(current, equations)
    return torch.stack([state[0] for state in states], 1), torch.stack(
        [state[1] for state in states], 1
    )


def _gradients(
    output: Callable[[Tensor], Tensor], grad: Tensor, terms: Sequence[Term], needed: Sequence[bool]
) -> list[Gradient]:
    """Autograd of `output(current(terms))`; `vjp`, as an op runs below the usual autograd."""

    def of_tensors(*flat: Tensor) -> Tensor:
        rest = iter(flat)
        return output(
            current(
                [
                    term._replace(
                        spikes=replace(term.spikes, value=next(rest)),
                        parameter=tuple(next(rest) for _ in term.parameter),
                    )
                    for term in terms
                ]
            )
        )

    flat = [tensor for term in terms for tensor in (term.spikes.value, *term.parameter)]
    rest = iter(torch.func.vjp(of_tensors, *flat)[1](grad))
    gradients = []
    for term, wanted in zip(terms, needed, strict=True):
        value, parameter = next(rest), [next(rest).contiguous() for _ in term.parameter]
        gradients.append(Gradient(value if wanted else value.new_empty(0), parameter))
    return gradients
