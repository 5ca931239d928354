"""`SparseLinear` on the GPU backend equals the dense oracle: spikes bit by bit, and every gradient."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

import sparsespike as ss
from cases import EXACT_LIF, NO_LEAK, Case, device_of
from compare import compare, compare_layer, compare_readout, run_layer, run_readout, stored_for
from sparse_cases import SparseCase
from sparsespike.backends.gpu import plan, sparse
from sparsespike.backends.gpu.sparse_order import order_of
from terms import Terms, compare_terms

DEVICE = device_of("gpu")
DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
SPARSE = SparseCase("sparse", 3, 9, (40, 37), bias=True, seed=1)
# Three words, the last not full; two blocks of neurons; more synapses than a program takes.
LONG = SparseCase(
    "long",
    2,
    70,
    (20, 70),
    0.03,
    0.3,
    neuron=ss.LIF(**NO_LEAK, b_th=0.5),
    bias=True,
    share=0.15,
    seed=2,
)


def assert_equals_the_oracle(case: SparseCase) -> None:
    seen = compare_layer(case, "gpu")
    assert min(seen["spiking"], seen["in_band"], seen["learning"]), seen


@DTYPES
@pytest.mark.parametrize("bias", [False, True])
def test_a_layer_equals_the_oracle(bias, dtype):
    assert_equals_the_oracle(replace(SPARSE, bias=bias, dtype=dtype))


@DTYPES
@pytest.mark.parametrize("transient", [1, 2**30], ids=["many", "one"])
def test_segments_equal_the_oracle(monkeypatch, transient, dtype):
    monkeypatch.setattr(plan, "TRANSIENT", transient)
    assert_equals_the_oracle(replace(LONG, dtype=dtype))


@pytest.mark.parametrize("sizes", [(1, 1), (5, 1), (1, 130), (64, 64), (65, 3)], ids=str)
def test_layers_of_every_size_equal_the_oracle(sizes):
    assert_equals_the_oracle(replace(SPARSE, sizes=sizes, share=0.9, bare=0.0, rate=0.5))


def test_shares_of_samples_and_words_equal_the_oracle(monkeypatch):
    """As many programs share ∇W as there are samples and words."""
    monkeypatch.setattr(plan, "TRANSIENT", 2 * 2 * 32 * 70 * 8)
    monkeypatch.setattr(sparse, "PROGRAMS", 4)
    assert_equals_the_oracle(LONG)


def test_a_segment_writes_the_entries_that_lie_in_it_alone():
    term = LONG.layers("gpu")[0].connection(stored_for(LONG.spikes()[0], "gpu")).terms[0]
    n_active = len(term.spikes.value)
    gradient = sparse.SparseSynapses(term).gradient(n_active)
    delta = torch.randn(2, 32, 70, dtype=torch.float64, device=DEVICE)
    gradient.input.fill_(torch.nan)
    gradient.add(delta, 1, 1)
    entry = term.spikes.storage.active_entry(term.spikes.shape)
    within = entry // 20 % 70 // 32 == 1
    assert 0 < int(within.sum()) < n_active
    assert torch.equal(gradient.input.isfinite(), within)


def test_a_readout_equals_the_oracle():
    assert compare_readout(LONG, "gpu")["learning"]


@pytest.mark.parametrize(
    "change",
    [{"batch": 0}, {"rate": 0.0}, {"share": 0.0}, {"rate": 0.0, "active": 1e-9}, {"active": 0.0}],
    ids=str,
)
def test_where_there_is_little_it_equals_the_oracle(change):
    compare_layer(replace(SPARSE, **change), "gpu")


def test_terms_add_up_to_the_oracles(monkeypatch):
    """Beside a `Linear`, and a second set of synapses, in segments."""
    monkeypatch.setattr(plan, "TRANSIENT", 1)
    linear = Case("linear", 2, 70, (12, 70), 0.03, 0.3, neuron=LONG.neuron, seed=3)
    seen = compare_terms(Terms((LONG, linear, replace(LONG, seed=4))), "gpu", readout=False)
    assert min(seen["spiking"], seen["in_band"], seen["learning"]), seen


def test_beside_a_convolution_it_equals_the_oracle():
    flat = replace(SPARSE, sizes=(20, 3 * 5 * 6), bias=False)
    image = Case("image", 3, 9, (60, 1), 0.2, seed=2)
    outcome = {}
    for backend in ("dense", "gpu"):
        torch.manual_seed(0)
        conv = ss.Conv2d(2, 3, 3, padding=1, dtype=torch.float64)
        with torch.no_grad():
            conv.weight.copy_((conv.weight * 32).round() / 8)
        both = [conv, flat.layers(backend)[0].connection]
        layer = ss.Layer(both, EXACT_LIF, backend=backend).to(device_of(backend))
        (first, leaf), (second, other) = image.spikes(), flat.spikes()
        given = first.with_unit_shape((2, 5, 6)), second
        out = layer(*(stored_for(spikes, backend) for spikes in given)).to("cpu")
        upstream = torch.randn(out.n_active, generator=flat.generator(), dtype=torch.float64)
        (out.value * upstream).sum().backward()
        assert out.n_spikes > 0
        assert leaf is not None
        assert other is not None
        outcome[backend] = {
            **{name: _on_cpu(p.grad) for name, p in layer.named_parameters()},
            "image": leaf.grad,
            "flat": other.grad,
        }
    assert all(bool((grad != 0).any()) for grad in outcome["dense"].values())
    assert compare(outcome["gpu"], outcome["dense"])["learning"]


def _on_cpu(grad: Tensor | None) -> Tensor:
    assert grad is not None
    return grad.cpu()


# ---- precision, order ----------------------------------------------------------------------------


def test_switches_of_precision_change_nothing():
    case = replace(LONG, dtype=torch.float32, exact=False)
    potential, grads = run_readout(case, "gpu")
    before = torch.backends.cuda.matmul.fp32_precision
    try:
        torch.backends.cuda.matmul.fp32_precision = "tf32"
        with torch.autocast(DEVICE, torch.float16):
            coarse, again = run_readout(case, "gpu")
    finally:
        torch.backends.cuda.matmul.fp32_precision = before
    assert torch.equal(coarse, potential)
    for name, grad in grads.items():
        assert grad is not None
        assert grad.any()
        assert torch.equal(grad, again[name])  # pyright: ignore[reportArgumentType]


def test_beside_a_linear_under_autocast_delta_stays_as_it_is():
    """∇W of the synapses is that of full precision, whatever the `Linear` beside them multiplies in."""
    linear = Case("linear", 2, 70, (12, 70), 0.03, 0.3, neuron=LONG.neuron, seed=3)
    terms = Terms(tuple(replace(case, dtype=torch.float32) for case in (linear, LONG)))
    full = terms.run("gpu", readout=True)[1]["connection.1.weight"]
    with torch.autocast(DEVICE, torch.float16):
        coarse = terms.run("gpu", readout=True)[1]["connection.1.weight"]
    assert full is not None
    assert coarse is not None
    assert full.any()
    assert torch.equal(full, coarse)


def test_same_bits_on_every_run():
    case = replace(LONG, dtype=torch.float32, exact=False)
    grads, again = run_layer(case, "gpu")[1], run_layer(case, "gpu")[1]
    for name, grad in grads.items():
        assert grad is not None
        assert torch.equal(grad, again[name])  # pyright: ignore[reportArgumentType]


def test_orders_are_sorted_once_and_lead_back_to_the_index():
    connection = LONG.layers("gpu")[0].connection._described()
    order = order_of(connection)
    assert order_of(connection) is order
    neuron, unit = connection.index
    assert torch.equal(order.unit, unit[order.given])
    assert torch.equal(order.neuron, neuron[order.from_given])
    assert torch.equal(order.from_unit, unit[order.from_given])
    assert torch.equal(order.given[order.across], order.from_given)
    by_neuron, by_input = neuron[order.given].long(), order.from_unit.long()
    assert torch.equal(order.neuron_bound.diff(), by_neuron.bincount(minlength=70))
    assert torch.equal(order.unit_bound.diff(), by_input.bincount(minlength=20))
    assert bool(((by_neuron * 20 + order.unit).diff() > 0).all())
    assert bool(((by_input * 70 + order.neuron).diff() > 0).all())
