"""A layer, readout or network on one backend against the dense oracle: lists and every gradient."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace

import torch
from torch import Tensor, nn

import sparsespike as ss
from cases import Case
from checks import (
    assert_close,
    assert_same_gradient,
    assert_same_lists,
    assert_well_formed,
    relative_error,
    tolerance_of,
)


def run_layer(case: Case, backend: str) -> tuple[ss.Spikes, dict[str, Tensor | None]]:
    """Output and every gradient of one spiking layer, under random upstream gradients."""
    (layer,) = case.layers(backend)
    spikes, leaf = case.spikes()
    out = layer(spikes)
    upstream = torch.randn(out.n_active, generator=case.generator(), dtype=torch.float64)
    (out.value * upstream.to(case.dtype)).sum().backward()
    return out, gradients(layer, leaf)


def run_readout(case: Case, backend: str) -> tuple[Tensor, dict[str, Tensor | None]]:
    """Potential and every gradient of one readout layer, under random upstream gradients."""
    layer = ss.Layer(case.layers(backend)[0].connection, readout_of(case), backend=backend)
    spikes, leaf = case.spikes()
    potential = layer(spikes)
    upstream = torch.randn(potential.shape, generator=case.generator(), dtype=torch.float64)
    (potential * upstream.to(case.dtype)).sum().backward()
    return potential, gradients(layer, leaf)


def run_network(
    case: Case, backend: str
) -> tuple[Tensor, list[ss.Spikes], dict[str, Tensor | None]]:
    """Loss, hidden spikes and every gradient of a network: the last layer a readout."""
    *hidden, last = case.layers(backend)
    net = ss.Network(*hidden, ss.Layer(last.connection, readout_of(case), backend=backend))
    spikes, leaf = case.spikes()
    potential, signals = net(spikes, return_spikes=True)
    label = torch.arange(case.batch) % case.sizes[-1]
    loss = ss.losses.cross_entropy(potential, label, reduce="sum")
    for signal in signals:
        loss = loss + ss.losses.activity(signal, upper=0.25, lower=1.5, lower_weight=0.1)
    loss.backward()
    return loss.detach(), signals, gradients(net, leaf)


def readout_of(case: Case) -> ss.Readout:
    tau_mem = 4 * case.neuron.dt if math.isinf(case.neuron.tau_mem) else case.neuron.tau_mem
    return ss.Readout(tau_mem=tau_mem, dt=case.neuron.dt)


def gradients(module: nn.Module, leaf: Tensor | None) -> dict[str, Tensor | None]:
    found = {name: parameter.grad for name, parameter in module.named_parameters()}
    return found | {"input": None if leaf is None else leaf.grad}


def compare(
    found: dict[str, Tensor | None],
    expected: dict[str, Tensor | None],
    tolerance: float | None = None,
) -> Counter:
    assert found.keys() == expected.keys()
    for name, grad in expected.items():
        assert_same_gradient(found[name], grad, f"gradient of {name}", tolerance)
    given = [grad for grad in expected.values() if grad is not None]
    return Counter(cases=1, learning=any(bool((grad != 0).any()) for grad in given))


def compare_layer(case: Case, backend: str) -> Counter:
    """Layer on a backend against the oracle; returns what happened."""
    out, found = run_layer(case, backend)
    out_dense, expected = run_layer(case, "dense")
    assert_well_formed(out)
    assert_same_lists(out, out_dense)
    seen = compare(found, expected, tolerance(case, expected))
    seen.update(spiking=out.n_spikes > 0, in_band=out.n_active > 0)
    return seen


def tolerance(case: Case, expected: dict[str, Tensor | None]) -> float:
    """Relative error of a gradient: what the dtype allows, or a few times what the oracle itself loses.

    Off the grid, a steep surrogate amplifies how float32 potentials are rounded, differently in every
    case. The oracle in float64 tells by how much.
    """
    allowed = tolerance_of(case.dtype)
    if case.exact or case.dtype == torch.float64:
        return allowed
    _, sharp = run_layer(replace(case, dtype=torch.float64), "dense")
    lost = []
    for name, grad in expected.items():
        reference = sharp[name]
        if grad is not None and reference is not None:
            lost.append(relative_error(grad.double(), reference))
    return allowed + 8 * max(lost)


def compare_readout(case: Case, backend: str) -> Counter:
    potential, found = run_readout(case, backend)
    potential_dense, expected = run_readout(case, "dense")
    assert_close(potential, potential_dense, "potential")
    return compare(found, expected)


def compare_network(case: Case, backend: str) -> Counter:
    loss, signals, found = run_network(case, backend)
    loss_dense, signals_dense, expected = run_network(case, "dense")
    for i, (signal, signal_dense) in enumerate(zip(signals, signals_dense, strict=True)):
        assert_well_formed(signal)
        assert_same_lists(signal, signal_dense, f"layer {i}")
    if case.batch:  # the mean over no sample is NaN
        assert_close(loss, loss_dense, "loss")
    seen = compare(found, expected)
    seen.update(spiking=all(signal.n_spikes > 0 for signal in signals))
    return seen
