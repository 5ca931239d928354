"""Backends take weights and lists of any layout, parts of a batch, duplicates and frozen parameters."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

import sparsespike as ss
from cases import BASE
from checks import assert_same_lists, assert_something_happened
from compare import compare, gradients, run_layer, stored_for
from sparsespike.backends import BACKENDS

FAST = tuple(name for name in BACKENDS if name != "dense")


class Stubborn(ss.LIF):
    """A neuron with equations of its own."""

    def step(self, state, current):
        return state


class Forgetful(ss.Readout):
    """A readout with equations of its own."""

    def step(self, state, current):
        return 0.5 * current


@pytest.mark.parametrize("backend", FAST)
@pytest.mark.parametrize(
    "neuron", [Stubborn(1.0, 1.0), Forgetful(1.0, 1.0)], ids=["lif", "readout"]
)
def test_neuron_without_kernel_is_refused_and_the_dense_backend_named(backend, neuron):
    (layer,) = BASE.layers(backend)
    other = ss.Layer(layer.connection, neuron, backend=backend)
    with pytest.raises(ValueError, match=rf'"{backend}" has no kernel for .*"dense" computes any'):
        other(stored_for(BASE.spikes()[0], backend))
    assert ss.Layer(layer.connection.cpu(), neuron, backend="dense")(BASE.spikes()[0]) is not None


@pytest.mark.parametrize("backend", FAST)
def test_weight_of_any_layout_gives_the_same(backend):
    case = replace(BASE, sizes=(12, 7), bias=True)
    _, expected = run_layer(case, backend)
    weight, bias = case.parameters()[0]
    wide = torch.zeros(7, 24, dtype=torch.float64)
    wide[:, ::2] = weight
    spread = torch.zeros(14, dtype=torch.float64)
    spread[::2] = bias
    for layout in (weight.contiguous(), weight.t().contiguous().t(), wide[:, ::2]):
        (layer,) = case.layers(backend)
        layer.connection.weight = nn.Parameter(layout)
        layer.connection.bias = nn.Parameter(spread[::2])
        spikes, leaf = case.spikes()
        out = layer(stored_for(spikes, backend)).to("cpu")
        upstream = torch.randn(out.n_active, generator=case.generator(), dtype=torch.float64)
        (out.value * upstream).sum().backward()
        compare(gradients(layer, leaf), expected)


@pytest.mark.parametrize("backend", FAST)
def test_strided_input_lists_give_the_same(backend):
    case = replace(BASE, active=0.0)
    (layer,) = case.layers(backend)
    spikes, _ = case.spikes()
    spread = torch.stack([spikes.unit, spikes.unit], 1).flatten()[::2]
    bounds = torch.stack([spikes.offset, spikes.offset], 1).flatten()[::2]
    strided = ss.Spikes.from_lists(spread, bounds, spikes.shape)
    assert_same_lists(
        layer(stored_for(strided, backend)).to("cpu"), layer(stored_for(spikes, backend)).to("cpu")
    )


@pytest.mark.parametrize("backend", FAST)
def test_sliced_batch_gives_the_samples_of_the_whole(backend):
    (layer,) = BASE.layers(backend)
    spikes = stored_for(replace(BASE, batch=5).spikes()[0], backend)
    whole = layer(spikes)
    assert_something_happened(whole.to("cpu"))
    for part in (slice(1, 4), 2):
        assert_same_lists(layer(spikes[part]).to("cpu"), whole[part].to("cpu"))


@pytest.mark.parametrize("backend", FAST)
def test_events_with_duplicates_equal_clamped_events(backend):
    (layer,) = BASE.layers(backend)
    dense, _ = BASE.dense()
    sample, step, unit = (dense == 1).nonzero(as_tuple=True)
    once = ss.Spikes.from_events(sample, step, unit, shape=BASE.spikes()[0].shape)
    twice = ss.Spikes.from_events(
        sample.repeat(2).flip(0), step.repeat(2).flip(0), unit.repeat(2).flip(0), shape=once.shape
    )
    assert twice.n_clamped == once.n_spikes > 0
    outs = [
        layer(stored_for(spikes, backend)).to("cpu")
        for spikes in (once, twice, ss.Spikes.from_dense(dense))
    ]
    assert_same_lists(outs[1], outs[0])
    assert_same_lists(outs[2], outs[0])


@pytest.mark.parametrize("backend", FAST)
def test_frozen_parameters_take_no_gradient(backend):
    case = replace(BASE, bias=True)
    _, expected = run_layer(case, backend)
    for frozen in (("weight",), ("bias",), ("weight", "bias")):
        (layer,) = case.layers(backend)
        for name in frozen:
            layer.connection.get_parameter(name).requires_grad_(False)
        spikes, leaf = case.spikes()
        out = layer(stored_for(spikes, backend)).to("cpu")
        upstream = torch.randn(out.n_active, generator=case.generator(), dtype=torch.float64)
        (out.value * upstream).sum().backward()
        found = gradients(layer, leaf)
        for name in frozen:
            assert found.pop(f"connection.{name}") is None
        compare(found, {name: expected[name] for name in found})


@pytest.mark.parametrize("backend", BACKENDS)
def test_inference_mode_and_no_grad_give_the_same_spikes(backend):
    (layer,) = BASE.layers(backend)
    spikes = stored_for(replace(BASE, active=0.0).spikes()[0], backend)
    expected = replace(layer(spikes).to("cpu"), potential=None)
    for context in (torch.no_grad, torch.inference_mode):
        with context():
            out = layer(spikes)
        assert not out.value.requires_grad
        assert_same_lists(replace(out.to("cpu"), potential=None), expected)
