"""`Current`: lazy, added up, and several terms of a layer equal to the dense oracle."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from torch import nn

import sparsespike as ss
from cases import BASE, EXACT_LIF
from checks import assert_close
from compare import compare, stored_for
from sparsespike import ops
from sparsespike.backends import BACKENDS
from terms import Terms, compare_terms, several

FAST = tuple(name for name in BACKENDS if name != "dense")
every_fast_backend = pytest.mark.parametrize("backend", FAST)
WIDE = "SPARSESPIKE_SWEEP" in os.environ
EXAMPLES = {"cpu": 200 if WIDE else 80, "gpu": 80 if WIDE or torch.cuda.is_available() else 12}
RESETS = (("subtract", True), ("subtract", False), ("zero", False))


def two(neuron: ss.LIF = EXACT_LIF, dtype: torch.dtype = torch.float64) -> Terms:
    one = replace(BASE, neuron=neuron, dtype=dtype, sizes=(12, 7), seed=1)
    return Terms((one, replace(one, sizes=(20, 7), rate=0.1, bias=True, active=1.0, seed=2)))


def connected(n_in: int = 12, n_out: int = 7) -> ss.Linear:
    return ss.Linear(n_in, n_out, dtype=torch.float64)


# ---- what a current is ---------------------------------------------------------------------------


def test_a_current_is_not_computed_and_to_dense_computes_it():
    spikes, _ = BASE.spikes()
    a, b = connected(), ss.Linear(12, 7, bias=True, dtype=torch.float64)
    current = a(spikes) + b(spikes)
    assert isinstance(current, ss.Current)
    assert current.shape == (*spikes.shape[:2], 7)
    assert len(current.terms) == 2
    assert "not computed" in repr(current)
    dense = spikes.to_dense().double()
    expected = nn.functional.linear(dense, a.weight) + nn.functional.linear(dense, b.weight, b.bias)
    assert expected.any()
    assert_close(current.to_dense(), expected, "current")
    current.to_dense().sum().backward()
    assert a.weight.grad is not None
    assert a.weight.grad.any()


def test_currents_of_one_shape_add_and_others_are_refused():
    spikes, _ = BASE.spikes()
    current = connected()(spikes)
    assert len(sum([current, current, current]).terms) == 3  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(ValueError, match=r"current: expected shape .* to add, found"):
        current + connected(12, 8)(spikes)
    with pytest.raises(ValueError, match=r"current: expected dtype torch\.float64 to add"):
        current + ss.Linear(12, 7)(spikes.detach())
    for other in (torch.zeros(1), 3, None):
        with pytest.raises(ValueError, match="current: expected a Current to add, found"):
            current + other
        with pytest.raises(ValueError, match="current: expected a Current to add, found"):
            other + current
    with pytest.raises(ValueError, match="current: expected a Current, as a connection gives it"):
        EXACT_LIF(spikes)


def test_layer_is_neuron_of_connection():
    case = replace(BASE, active=0.0)
    (layer,) = case.layers("cpu")
    spikes = case.spikes()[0]
    layer.backend = None
    by_hand = layer.neuron(layer.connection(spikes))
    assert by_hand.n_spikes > 0
    assert torch.equal(by_hand.unit, layer(spikes).unit)


def test_number_of_inputs_is_that_of_connections():
    layer = two().layer("cpu", readout=False)
    spikes = BASE.spikes()[0]
    with pytest.raises(ValueError, match="spikes: expected 2, one per connection, found 1"):
        layer(spikes)
    with pytest.raises(ValueError, match="connection: expected at least one, found none"):
        ss.Layer([], EXACT_LIF)
    short = ss.Spikes.from_dense(torch.zeros(3, 4, 20))
    with pytest.raises(ValueError, match="expected"):
        layer(spikes, short)


# ---- several terms -------------------------------------------------------------------------------


@every_fast_backend
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize(("reset", "detach"), RESETS)
def test_two_terms_equal_the_oracle(backend, reset, detach, dtype):
    neuron = EXACT_LIF.changed(reset=reset, detach_reset=detach)
    seen = compare_terms(two(neuron, dtype), backend, readout=False)
    assert min(seen["spiking"], seen["in_band"], seen["learning"]), seen


@every_fast_backend
def test_two_terms_of_a_readout_equal_the_oracle(backend):
    assert compare_terms(two(), backend, readout=True)["learning"]


@every_fast_backend
def test_one_connection_called_twice_sums_both_gradients(backend):
    terms = Terms((BASE, BASE))
    layers = {name: terms.layer(name, readout=False) for name in (backend, "dense")}
    grads = {}
    for name, layer in layers.items():
        layer.connection[1].weight = layer.connection[0].weight
        spikes = stored_for(BASE.spikes()[0], name)
        out = layer(spikes, spikes)
        assert out.n_active > 0
        out.value.sum().backward()
        grads[name] = {"weight": layer.connection[0].weight.grad.cpu()}
    assert compare(grads[backend], grads["dense"])["learning"]


class Block(nn.Module):
    """A residual block: two paths meet in one neuron, one term is used by two layers."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.skip = connected(12, 9), connected(9, 7), connected(12, 7)
        self.lif1, self.lif2 = EXACT_LIF, EXACT_LIF

    def forward(self, x: ss.Spikes) -> ss.Spikes:
        return self.lif2(self.second(self.lif1(self.first(x))) + self.skip(x))


@pytest.mark.parametrize("backend", FAST)
def test_a_residual_block_equals_the_oracle(backend):
    case, grads, counts = replace(BASE, rate=0.5), {}, {}
    for name in (backend, "dense"):
        torch.manual_seed(0)
        block = Block()
        for parameter in block.parameters():
            with torch.no_grad():
                parameter.copy_((8 * torch.randn_like(parameter)).round() / 8)
        spikes, leaf = case.spikes()
        with ss.use_backend(name):
            out = block(stored_for(spikes, name))
            count = ops.count(out)
        (count * torch.linspace(-1, 1, 7)).sum().backward()
        assert leaf is not None
        counts[name] = count.detach().cpu()
        grads[name] = {key: p.grad for key, p in block.named_parameters()} | {"input": leaf.grad}
    assert counts["dense"].any()
    assert torch.equal(counts[backend], counts["dense"])
    assert compare(grads[backend], grads["dense"])["learning"]


@every_fast_backend
def test_generated_layers_of_several_terms_equal_the_oracle(backend):
    n_example = EXAMPLES[backend]
    seen = Counter()

    @settings(max_examples=n_example)
    @given(terms=several(most=3 if backend == "gpu" else 2))
    def agree(terms):
        seen.update(compare_terms(terms, backend, readout=False))

    agree()
    assert min(seen["spiking"], seen["in_band"], seen["learning"]) >= n_example // 5, seen


def test_generated_layers_of_three_terms_equal_the_oracle():
    seen = Counter()

    @settings(max_examples=EXAMPLES["cpu"] // 2)
    @given(terms=several(dtype=torch.float64))
    def agree(terms):
        seen.update(compare_terms(terms, "cpu", readout=False))

    agree()
    assert min(seen["spiking"], seen["learning"]) >= EXAMPLES["cpu"] // 10, seen
