"""`SparseLinear` on the CPU equals the oracle, and `Linear` with zeros elsewhere."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings

import sparsespike as ss
from cases import EXACT_LIF, NO_LEAK, Case
from checks import assert_same_lists, assert_something_happened
from compare import compare, compare_layer, compare_readout, run_layer
from sparse_cases import SparseCase, sparse_cases
from terms import Terms, compare_terms

SPARSE = SparseCase("sparse", 4, 9, (40, 37), bias=True, seed=1)


# ---- the CPU backend against the oracle ----------------------------------------------------------


def test_exact_cases_give_the_oracles_spikes_and_gradients():
    seen = Counter()

    @settings(max_examples=60)
    @given(sparse_cases())
    def check(case: SparseCase) -> None:
        seen.update(compare_layer(case, "cpu"))

    check()
    for what in ("spiking", "in_band", "learning"):
        assert seen[what] >= 10, seen


def test_general_cases_give_the_oracles_spikes_and_gradients():
    seen = Counter()

    @settings(max_examples=30)
    @given(sparse_cases(exact=False))
    def check(case: SparseCase) -> None:
        if case.is_decided():
            seen.update(compare_layer(case, "cpu"))

    check()
    for what in ("spiking", "in_band", "learning"):
        assert seen[what] >= 3, seen


@pytest.mark.parametrize("reset", ["subtract", "zero"])
@pytest.mark.parametrize("bias", [False, True], ids=["events_alone", "bias_and_attached"])
@pytest.mark.parametrize("n_out", [1, 16, 17, 1100])
def test_rows_of_neurons_of_any_length(n_out, bias, reset):
    neuron = EXACT_LIF.changed(reset=reset, detach_reset=not bias, b_th=0.5)
    case = replace(SPARSE, sizes=(40, n_out), neuron=neuron, bare=0.0, seed=3, bias=bias)
    if not bias:  # a step then costs the blocks that its few events reach
        case = replace(case, dtype=torch.float32, rate=0.05, share=0.4 if n_out < 20 else 0.02)
    seen = compare_layer(case, "cpu")
    assert seen["spiking"]
    assert seen["learning"]


def test_resting_in_the_band_keeps_every_neuron_active():
    case = replace(SPARSE, neuron=EXACT_LIF.changed(v_rest=0.875))
    seen = compare_layer(case, "cpu")
    assert seen["in_band"]
    case = replace(case, neuron=ss.LIF(**NO_LEAK, v_rest=1.5, v_reset=-0.5, b_th=math.inf))
    assert compare_layer(case, "cpu")["spiking"]


@pytest.mark.usefixtures("two_threads")
def test_several_threads_sum_to_the_oracles_gradients():
    assert compare_layer(replace(SPARSE, batch=9), "cpu")["learning"]


def test_a_readout_gives_the_oracles_potential_and_gradients():
    assert compare_readout(SPARSE, "cpu")["learning"]


def test_sparse_and_linear_terms_add_up():
    neuron = EXACT_LIF.changed(b_th=0.5)
    sparse = replace(SPARSE, neuron=neuron)
    linear = Case("linear", 4, 9, (12, 37), rate=0.05, active=0.5, neuron=neuron, seed=2)
    seen = compare_terms(Terms((sparse, linear)), "cpu", readout=False)
    assert seen["learning"]
    assert seen["spiking"]


def test_sparse_and_convolution_terms_add_up():
    below = Case("below", 4, 9, (60, 1), 0.05, dtype=torch.float32, seed=2)
    case = replace(SPARSE, sizes=(20, 3 * 5 * 6), bias=False, rate=0.05, dtype=torch.float32)
    found: dict[str, Any] = {}
    for backend in ("dense", "cpu"):
        conv = ss.Conv2d(2, 3, 3, padding=1)
        draw = torch.Generator().manual_seed(0)
        with torch.no_grad():
            conv.weight.copy_((torch.randn(conv.weight.shape, generator=draw) * 4).round() / 8)
        layer = ss.Layer([conv, case.layers(backend)[0].connection], EXACT_LIF, backend=backend)
        (image, leaf), (flat, other) = below.spikes(), case.spikes()
        out = layer(image.with_unit_shape((2, 5, 6)), flat)
        assert out.unit_shape == (3, 5, 6)
        out.value.mul(torch.randn(out.n_active, generator=draw)).sum().backward()
        assert leaf is not None
        assert other is not None
        gradients: dict[str, Any] = {name: p.grad for name, p in layer.named_parameters()}
        found[backend] = out, gradients | {"image": leaf.grad, "flat": other.grad}
    out, expected = found["dense"]
    assert_something_happened(out, *expected.values())
    assert_same_lists(found["cpu"][0], out)
    compare(found["cpu"][1], expected)


@pytest.mark.parametrize("backend", ["dense", "cpu"])
def test_it_equals_a_linear_of_zeros_elsewhere(backend):
    case = replace(SPARSE, share=0.3)
    out, found = run_layer(case, backend)
    expected_out, expected = run_layer(Dense(**vars(case)), "dense")
    assert_something_happened(expected_out, expected["connection.weight"])  # pyright: ignore
    assert_same_lists(out, expected_out)
    index = case.layers(backend)[0].connection.index
    at = expected["connection.weight"][index[0], index[1]]  # pyright: ignore
    compare(found, expected | {"connection.weight": at})


class Dense(SparseCase):
    """A case of the same weights in a `Linear`."""

    def layers(self, backend: str) -> list[ss.Layer]:
        return Case.layers(self, backend)


def test_many_neurons_of_few_inputs_cost_what_their_synapses_do():
    """Beyond 2 GiB if anything of n_in x n_out were made."""
    n = 30_000
    layer = ss.Layer(ss.SparseLinear.random(n, n, fan_in=5), ss.LIF(10e-3, 1e-3))
    dense = torch.zeros(1, 4, n)
    dense[0, 0, ::2] = 1
    with torch.no_grad():
        layer.connection.weight.fill_(0.49)
    out = layer(ss.Spikes.from_dense(dense))
    out.count().sum().backward()
    index, weight = layer.connection.index, layer.connection.weight
    arrived = torch.zeros(n).index_add(0, index[0], 0.49 * dense[0, 0, index[1]])
    assert out.n_spikes > 0
    assert torch.equal(out.to_dense()[0, 1] > 0, arrived > 1)
    assert weight.grad is not None
    assert weight.grad.any()
