"""The dense backend, the oracle of everything else, is the paper's equations."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace

import numpy as np
import torch
from hypothesis import assume, given, settings

import paper_equations as paper
import sparsespike as ss
from cases import BASE, Case, cases
from checks import assert_close, relative_error


def constants_of(neuron: ss.LIF) -> paper.Constants:
    return paper.Constants(neuron.alpha, neuron.v_th, neuron.v_reset, neuron.v_rest, neuron.b_th)


def slope_of(surrogate: ss.Surrogate):
    return lambda distance: surrogate.slope(torch.tensor(distance, dtype=torch.float64)).item()


def compare_with_paper(case: Case) -> Counter:
    """Forward, epsilon and weight gradient of one layer; returns what happened."""
    layer = case.layers("dense")[0]
    spikes, leaf = case.spikes()
    out = layer(spikes)
    grad_dense = torch.randn(out.shape, generator=case.generator(), dtype=case.dtype)
    key = out.active_row() * out.shape[2] + out.active_unit
    at_active = grad_dense.flatten()[key]
    (out.value * at_active).sum().backward()

    constants = constants_of(case.neuron)
    weight = case.parameters()[0][0].numpy().T
    dense_in, active_in = (tensor.numpy() for tensor in case.dense())
    expected = {name: [] for name in ("s", "v", "active", "grad_in")}
    grad_weight = np.zeros(weight.shape)
    for sample in range(case.batch):
        v, s = paper.forward(dense_in[sample], weight, constants)
        slope = paper.spike_gradient(v, constants, slope_of(case.neuron.surrogate))
        epsilon = grad_dense[sample].numpy()
        delta = paper.delta_by_definition(epsilon, slope, constants.alpha)
        assert (
            np.abs(delta - paper.delta_by_recurrence(epsilon, slope, constants.alpha)).max() < 1e-12
        )
        grad_weight += paper.weight_gradient(epsilon, slope, dense_in[sample], constants.alpha)
        expected["s"].append(s)
        expected["v"].append(v)
        expected["active"].append(paper.active(v, constants))
        expected["grad_in"].append(paper.input_gradient(delta, weight, active_in[sample]))

    stacked = {name: torch.from_numpy(np.stack(found)) for name, found in expected.items()}
    assert torch.equal(out.to_dense(), stacked["s"])
    assert torch.equal(key, stacked["active"].flatten().nonzero()[:, 0])
    assert out.potential is not None
    assert_close(out.potential, stacked["v"][stacked["active"]], "potential")
    assert layer.connection.weight.grad is not None
    assert_close(layer.connection.weight.grad, torch.from_numpy(grad_weight.T), "grad_weight")
    if leaf is not None:
        assert leaf.grad is not None
        assert_close(leaf.grad, stacked["grad_in"], "grad_input")
    return Counter(cases=1, spiking=out.n_spikes > 0, learning=bool((grad_weight != 0).any()))


def in_the_papers_reach(case: Case) -> Case:
    """The same case with what the paper has: reset by subtraction, detached, no bias, float64."""
    neuron = case.neuron.changed(reset="subtract", detach_reset=True)
    small = tuple(min(size, 9) for size in case.sizes)
    few = min(2, max(1, case.batch))
    return replace(case, neuron=neuron, bias=False, dtype=torch.float64, sizes=small, batch=few)


def test_oracle_equals_the_papers_equations():
    assert compare_with_paper(in_the_papers_reach(BASE)) == Counter(cases=1, spiking=1, learning=1)


def test_oracle_equals_the_papers_equations_on_exact_cases():
    seen = Counter()

    @settings(max_examples=40)
    @given(case=cases(exact=True))
    def compare(case):
        seen.update(compare_with_paper(in_the_papers_reach(case)))

    compare()
    assert min(seen["spiking"], seen["learning"]) >= 5, seen


def test_oracle_equals_the_papers_equations_on_general_cases():
    seen = Counter()

    @settings(max_examples=40)
    @given(case=cases(exact=False, most_steps=14))
    def compare(case):
        case = in_the_papers_reach(case)
        assume(case.is_decided())
        seen.update(compare_with_paper(case))

    compare()
    assert min(seen["spiking"], seen["learning"]) >= 5, seen


def test_unrolled_potential_equals_the_difference_equation():
    case = in_the_papers_reach(replace(BASE, exact=False))
    constants = constants_of(case.neuron)
    dense, weight = case.dense()[0][0].numpy(), case.parameters()[0][0].numpy().T
    v, s = paper.forward(dense, weight, constants)
    assert s.sum() > 0
    again = paper.unrolled(dense, s, weight, constants)
    assert relative_error(torch.from_numpy(again), torch.from_numpy(v)) < 1e-12


def test_the_two_forms_of_the_weight_gradient_are_equal():
    """Sum over active entries with the trace (eq. 9-10) = sum over input events with delta."""
    case = in_the_papers_reach(BASE)
    constants = constants_of(case.neuron)
    dense, weight = case.dense()[0][0].numpy(), case.parameters()[0][0].numpy().T
    v, _ = paper.forward(dense, weight, constants)
    slope = paper.spike_gradient(v, constants, slope_of(case.neuron.surrogate))
    epsilon = np.random.default_rng(0).standard_normal(v.shape)
    by_trace = paper.weight_gradient(epsilon, slope, dense, constants.alpha)
    by_events = dense.T @ paper.delta_by_definition(epsilon, slope, constants.alpha)
    assert np.abs(by_trace).max() > 0
    assert np.abs(by_trace - by_events).max() < 1e-12 * np.abs(by_trace).max()


def test_leak_of_the_exact_cases_is_one_half():
    assert BASE.neuron.alpha == 0.5
    assert ss.LIF(tau_mem=math.inf, dt=1.0).alpha == 1.0
