"""`Linear`, `Layer` and `Network`: sizes, refusals, storage, and the gradient without a band."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import sparsespike as ss
from cases import BASE, EXACT_LIF, NETWORKS, NO_LEAK
from checks import assert_same_lists, assert_something_happened
from compare import compare, run_layer
from sparsespike.backends import BACKENDS

# ---- modules -------------------------------------------------------------------------------------


def test_layer_refuses_what_it_cannot_run():
    layer = ss.Layer(ss.Linear(3, 2), EXACT_LIF)
    with pytest.raises(ValueError, match="spikes: expected Spikes, found Tensor"):
        layer(torch.zeros(1, 2, 3))
    with pytest.raises(ValueError, match="spikes: expected 3 units, found 4"):
        layer(ss.Spikes.from_dense(torch.zeros(1, 2, 4)))
    dense = torch.zeros(1, 2, 3, dtype=torch.float64, requires_grad=True)
    with pytest.raises(ValueError, match=r"spikes: expected values in the weights' torch\.float32"):
        layer(ss.Spikes.from_dense(dense))
    with pytest.raises(ValueError, match="weight: expected float32 or float64"):
        layer.half()(ss.Spikes.from_dense(torch.zeros(1, 2, 3)))
    with pytest.raises(ValueError, match="backend: expected one of"):
        ss.Layer(ss.Linear(3, 2), EXACT_LIF, backend="abacus")
    with pytest.raises(ValueError, match="neuron: expected LIF, Readout or another Neuron"):
        ss.Layer(ss.Linear(3, 2), nn.ReLU())  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("neuron", [EXACT_LIF, ss.Readout(1.0, 1.0)], ids=["lif", "readout"])
@pytest.mark.parametrize("name", ["weight", "bias"])
def test_parameters_that_are_not_finite_are_refused_by_name(name, neuron, backend):
    layer = ss.Layer(ss.Linear(3, 2, bias=True), neuron, backend=backend)
    with torch.no_grad():
        layer.connection.get_parameter(name)[1:].fill_(math.nan)
    with pytest.raises(ValueError, match=f"{name}: expected finite numbers, found"):
        layer(ss.Spikes.from_dense(torch.ones(1, 4, 3)))


def test_network_refuses_layers_that_do_not_fit():
    readout = ss.Readout(tau_mem=1.0, dt=1.0)
    with pytest.raises(ValueError, match="layers: expected at least one"):
        ss.Network()
    with pytest.raises(ValueError, match="layers: expected layer 1 to take 2 units, found 4"):
        ss.Network(ss.Layer(ss.Linear(3, 2), EXACT_LIF), ss.Layer(ss.Linear(4, 2), readout))
    with pytest.raises(ValueError, match="layers: expected spikes out of layer 0, found a Readout"):
        ss.Network(ss.Layer(ss.Linear(3, 2), readout), ss.Layer(ss.Linear(2, 2), readout))


@pytest.mark.parametrize("n_in", [0, -1, 2.0, "3", None])
def test_linear_refuses_sizes_by_name(n_in):
    with pytest.raises(ValueError, match="n_in: expected an integer >= 1"):
        ss.Linear(n_in, 2)
    with pytest.raises(ValueError, match="n_out: expected an integer >= 1"):
        ss.Linear(2, n_in)


def test_linear_keeps_its_weight_as_nn_linear_does():
    linear, theirs = ss.Linear(5, 3), nn.Linear(5, 3, bias=False)
    assert linear.weight.shape == (3, 5)
    assert linear.weight.is_contiguous()
    linear.load_state_dict(theirs.state_dict())
    assert torch.equal(linear.weight, theirs.weight)
    theirs.load_state_dict(linear.state_dict())
    assert linear.double().weight.is_contiguous()


def test_linear_starts_uniform_within_its_bound():
    weight = ss.Linear(100, 400, bias=True).weight
    assert weight.abs().max().item() <= 0.1
    assert abs(weight.std().item() - 0.1 / math.sqrt(3)) < 1e-3


def test_print_shows_sizes_neuron_and_backend():
    text = repr(ss.Network(ss.Layer(ss.Linear(3, 2), EXACT_LIF, backend="dense")))
    assert "3, 2, bias=False" in text
    assert "LIF(tau_mem=1.0" in text
    assert "backend='dense'" in text


def test_network_returns_every_layers_spikes():
    case = NETWORKS[0]
    net = ss.Network(*case.layers("dense"))
    spikes, _ = case.spikes()
    out, hidden = net(spikes, return_spikes=True)
    assert [signal.shape[2] for signal in hidden] == list(case.sizes[1:])
    assert out is hidden[-1]
    assert_same_lists(net(spikes), out)


def test_no_leak_case_really_has_none():
    assert ss.LIF(**NO_LEAK).alpha == 1.0


# ---- b_th = inf is ordinary backpropagation through time -----------------------------------------


class ATanSpike(torch.autograd.Function):
    """The step with ATan's derivative, as other libraries write it."""

    @staticmethod
    def forward(ctx: Any, distance: Tensor) -> Tensor:
        ctx.save_for_backward(distance)
        return (distance > 0).to(distance.dtype)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> Tensor:
        (distance,) = ctx.saved_tensors
        return grad_outputs[0] / (1 + (math.pi * distance).square())


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("detach", [True, False])
def test_infinite_band_is_ordinary_surrogate_gradient(backend, detach):
    neuron = EXACT_LIF.changed(b_th=math.inf, surrogate=ss.ATan(2.0), detach_reset=detach)
    case = replace(BASE, neuron=neuron, active=1.0)
    out, found = run_layer(case, backend)
    assert out.n_active == case.batch * (case.steps - 1) * case.sizes[1]
    upstream = torch.randn(out.n_active, generator=case.generator(), dtype=torch.float64)

    weight = case.parameters()[0][0].requires_grad_()
    dense = case.dense()[0].requires_grad_()
    potential = torch.zeros(case.batch, case.sizes[1], dtype=torch.float64)
    spike = torch.zeros_like(potential)
    later = []
    for current in (dense @ weight.t()).unbind(1)[:-1]:
        reset = spike.detach() if detach else spike
        potential = 0.5 * potential + current - reset
        spike = ATanSpike.apply(potential - 1.0)
        later.append(spike)
    plain = torch.stack(later, 1)
    (plain.flatten() * upstream).sum().backward()

    assert torch.equal(out.to_dense()[:, 1:], plain)
    assert_something_happened(out)
    compare(found, {"connection.weight": weight.grad, "input": dense.grad})
