"""A layer, readout or network on one backend against the dense oracle: lists and every gradient."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor, nn

import sparsespike as ss
from cases import Case, device_of
from checks import (
    assert_close,
    assert_same_gradient,
    assert_same_lists,
    assert_well_formed,
    relative_error,
    tolerance_of,
)
from sparsespike.backends import Upstream, load
from sparsespike.descriptions import Cell


def stored_for(spikes: ss.Spikes, backend: str) -> ss.Spikes:
    """The same spikes where a backend computes, in its storage."""
    return spikes.to(device_of(backend)).to_words() if backend == "gpu" else spikes


def run_layer(case: Case, backend: str) -> tuple[ss.Spikes, dict[str, Tensor | None]]:
    """Output and every gradient of one spiking layer, under random upstream gradients."""
    (layer,) = case.layers(backend)
    spikes, leaf = case.spikes()
    out = layer(stored_for(spikes, backend)).to("cpu")
    upstream = torch.randn(out.n_active, generator=case.generator(), dtype=torch.float64)
    (out.value * upstream.to(case.dtype)).sum().backward()
    return out, gradients(layer, leaf)


def run_readout(case: Case, backend: str) -> tuple[Tensor, dict[str, Tensor | None]]:
    """Potential and every gradient of one readout layer, under random upstream gradients."""
    layer = ss.Layer(case.layers(backend)[0].connection, readout_of(case), backend=backend)
    spikes, leaf = case.spikes()
    potential = layer(stored_for(spikes, backend)).to("cpu")
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
    potential, signals = net(stored_for(spikes, backend), return_spikes=True)
    label = torch.arange(case.batch, device=potential.device) % case.sizes[-1]
    loss = ss.losses.cross_entropy(potential, label, reduce="sum")
    for signal in signals:
        loss = loss + ss.losses.activity(signal, upper=0.25, lower=1.5, lower_weight=0.1)
    loss.backward()
    return loss.detach().cpu(), [signal.to("cpu") for signal in signals], gradients(net, leaf)


def readout_of(case: Case) -> ss.Readout:
    tau_mem = 4 * case.neuron.dt if math.isinf(case.neuron.tau_mem) else case.neuron.tau_mem
    return ss.Readout(tau_mem=tau_mem, dt=case.neuron.dt)


def gradients(module: nn.Module, leaf: Tensor | None) -> dict[str, Tensor | None]:
    found = {
        name: None if parameter.grad is None else parameter.grad.cpu()
        for name, parameter in module.named_parameters()
    }
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


def compare_layer(case: Case, *backends: str) -> Counter:
    """Layer on each of the backends against the oracle; returns what happened.

    Off the grid potentials are rounded differently, and a steep surrogate tells the difference: there both
    backward passes start from the oracle's potentials, and rounding of their own sums is all they have.
    """
    out_dense, expected = run_layer(case, "dense")
    allowed = tolerance_of(case.dtype)
    if not case.exact and case.dtype == torch.float32:
        allowed += lost_by_rounding(case, "layer", expected)
    seen = Counter()
    for backend in backends:
        out, found = run_layer(case, backend)
        assert_well_formed(out)
        assert_same_lists(out, out_dense, backend)
        wanted = dict(expected)
        if not case.exact:
            found = gradients_from(out_dense, case, backend)
            if wanted["input"] is not None:
                wanted["input"] = wanted["input"][case.dense()[1]]  # at the active entries
        seen += compare(found, wanted, allowed)
        seen.update(spiking=out.n_spikes > 0, in_band=out.n_active > 0)
    return seen


def gradients_from(out: ss.Spikes, case: Case, backend: str) -> dict[str, Tensor | None]:
    """Every gradient that a fast backend's backward pass makes of given output lists and potentials."""
    (layer,) = case.layers(backend)
    spikes, _ = case.spikes()
    spikes = replace(spikes, value=spikes.value.detach().to(case.dtype))
    upstream = torch.randn(out.n_active, generator=case.generator(), dtype=torch.float64)
    names = [f"connection.{name}" for name, _ in layer.connection.named_parameters()]
    # The gradient above travels as the values do, to whatever order the storage has.
    above = stored_for(replace(out, value=upstream.to(case.dtype)), backend)
    below = stored_for(spikes, backend)
    neuron = Cell(case.neuron.describe())
    with torch.no_grad():
        terms = layer.connection(below).terms
        kept = load(backend).spiking_forward(terms, neuron, "full", True).kept
        (gradient,) = (
            load(backend)
            .spiking_backward(
                Upstream(above.value), terms, kept, above, neuron, "full", [case.active > 0]
            )
            .terms
        )
    found: dict[str, Tensor | None] = {
        name: grad.cpu() for name, grad in zip(names, gradient.parameter, strict=True)
    }
    if not case.active:
        return found | {"input": None}
    return found | {"input": replace(below, value=gradient.value).to("cpu").value}


def compare_readout(case: Case, *backends: str) -> Counter:
    """Readout on each of the backends against the oracle; returns what happened."""
    potential_dense, expected = run_readout(case, "dense")
    seen = Counter()
    for backend in backends:
        potential, found = run_readout(case, backend)
        assert_close(potential, potential_dense, f"potential ({backend})")
        seen += compare(found, expected)
    return seen


def compare_network(case: Case, *backends: str) -> Counter:
    """Network on each of the backends against the oracle; returns what happened."""
    loss_dense, signals_dense, expected = run_network(case, "dense")
    allowed = tolerance_of(case.dtype) + lost_by_rounding(case, "network", expected)
    seen = Counter()
    for backend in backends:
        loss, signals, found = run_network(case, backend)
        for i, (signal, signal_dense) in enumerate(zip(signals, signals_dense, strict=True)):
            assert_well_formed(signal)
            assert_same_lists(signal, signal_dense, f"layer {i} ({backend})")
        if case.batch:  # the mean over no sample is NaN
            assert_close(loss, loss_dense, "loss")
        seen += compare(found, expected, allowed)
        seen.update(spiking=all(signal.n_spikes > 0 for signal in signals))
    return seen


def lost_by_rounding(
    case: Case, what: Literal["layer", "network"], expected: dict[str, Tensor | None]
) -> float:
    """By how much the oracle's own gradients move when its weights move in their last bits; 0 on the grid.

    A steep surrogate amplifies how potentials are rounded, and sums cancel, differently in every case.
    """
    if case.exact:
        return 0.0
    nudged = replace(case, nudge=torch.finfo(case.dtype).eps)
    moved = (run_layer if what == "layer" else run_network)(nudged, "dense")[-1]
    pairs = [(moved[name], grad) for name, grad in expected.items()]
    return 8 * max(relative_error(a, b) for a, b in pairs if a is not None and b is not None)
