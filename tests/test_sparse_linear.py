"""`SparseLinear`, the module: how its synapses are chosen, kept, converted and checked."""

from __future__ import annotations

import builtins
import copy
import io
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.utils import prune

import sparsespike as ss
from cases import EXACT_LIF, GENERAL_LIF
from checks import assert_close, assert_same_lists
from sparse_cases import SparseCase, index_of, outcome, ring, some_spikes

SPARSE = SparseCase("sparse", 4, 9, (40, 37), bias=True, seed=1)


# ---- the module ----------------------------------------------------------------------------------


def test_random_synapses_are_as_many_as_asked_for_and_distinct():
    for k in (1, 3, 10, 19, 20):
        index = ss.SparseLinear.random(20, 33, fan_in=k).index
        assert torch.equal(index[0].bincount(minlength=33), torch.full((33,), k))
        assert len(index.unique(dim=1).t()) == 33 * k
        index = ss.SparseLinear.random(33, 20, fan_out=k).index
        assert torch.equal(index[1].bincount(minlength=33), torch.full((33,), k))
        assert len(index.unique(dim=1).t()) == 33 * k
    a, b, c = (ss.SparseLinear.random(50, 50, fan_in=5, seed=seed).index for seed in (1, 1, 2))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


@pytest.mark.parametrize("k", [2, 5])
def test_random_synapses_choose_every_set_as_often(k):
    n_row = 7000
    index = ss.SparseLinear.random(7, n_row, fan_in=k).index
    sets = (2 ** index[1].view(n_row, k)).sum(1).bincount()
    sets = sets[sets > 0]
    assert len(sets) == 21
    mean = n_row / 21
    assert bool(((sets - mean).abs() < 5 * math.sqrt(mean)).all())


def test_weights_start_as_wide_as_a_linears_of_that_many_inputs():
    sparse = ss.SparseLinear.random(400, 500, fan_in=25, bias=True)
    assert sparse.fan_in == 25
    assert sparse.weight.abs().max().item() <= 0.2
    assert abs(sparse.weight.std().item() - 0.2 / math.sqrt(3)) < 2e-3
    assert sparse.bias is not None
    assert sparse.bias.shape == (500,)
    torch.manual_seed(0)
    layer = ss.Layer(ss.SparseLinear.random(400, 500, fan_in=25), GENERAL_LIF)
    linear = ss.Layer(ss.Linear(25, 500), GENERAL_LIF)
    assert abs(layer.connection.weight.std() / linear.connection.weight.std() - 1) < 0.03


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta:UserWarning")
def test_torch_sparse_round_trips():
    draw = torch.Generator().manual_seed(0)
    matrix = torch.randn(9, 14, generator=draw).relu()
    assert (matrix == 0).any()
    for layout in (torch.sparse_coo, torch.sparse_csr, torch.sparse_csc):
        sparse = ss.SparseLinear.from_sparse(matrix.to_sparse(layout=layout))
        assert (sparse.n_in, sparse.n_out) == (14, 9)
        assert sparse.n_synapses == int((matrix > 0).sum())
        back = sparse.to_sparse()
        assert back.is_coalesced()
        assert torch.equal(back.to_dense(), matrix)
    twice = torch.sparse_coo_tensor(
        index_of((1, 2), (1, 2)), torch.ones(2), (3, 4), check_invariants=True
    )
    assert ss.SparseLinear.from_sparse(twice).weight.tolist() == [2.0]


def test_to_sparse_is_differentiable():
    sparse = ss.SparseLinear(3, 2, index_of((1, 2), (0, 0), (1, 0)))
    factor = torch.arange(6.0).view(2, 3) + 1
    (sparse.to_sparse().to_dense() * factor).sum().backward()
    assert sparse.weight.grad is not None
    assert sparse.weight.grad.tolist() == [6.0, 1.0, 4.0]


def test_scipy_round_trips():
    scipy: Any = pytest.importorskip("scipy.sparse")
    dense = np.array([[0.0, 1.5, 0.0], [2.0, 0.0, -0.5]])
    for kind in (
        scipy.csr_matrix,
        scipy.csr_array,
        scipy.coo_array,
        scipy.csc_array,
        scipy.lil_array,
    ):
        sparse = ss.SparseLinear.from_sparse(kind(dense))
        assert sparse.weight.dtype == torch.float64
        assert np.array_equal(sparse.to_scipy().toarray(), dense)
    whole = ss.SparseLinear.from_sparse(scipy.eye_array(4, dtype=np.int64))
    assert whole.weight.dtype == torch.float32
    sparse = ring()
    theirs = sparse.to_scipy()
    theirs.data[:] = 0
    assert sparse.weight.any()
    assert np.array_equal(theirs.row, sparse.index[0].numpy())


def test_scipy_is_asked_for_where_it_is_missing(monkeypatch):
    usual = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name.startswith("scipy"):
            raise ImportError(name)
        return usual(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ValueError, match="to_scipy: expected SciPy, found none"):
        ring().to_scipy()


@pytest.mark.parametrize("bias", [False, True])
def test_a_pruned_linear_goes_on_as_sparse(bias):
    torch.manual_seed(0)
    linear = ss.Linear(30, 30, bias, dtype=torch.float64 if bias else torch.float32)
    with torch.no_grad():
        linear.weight.copy_((torch.randn(30, 30) * 4).round() / 8)
    prune.l1_unstructured(linear, "weight", 0.7)
    with torch.no_grad():
        linear.get_parameter("weight_orig").mul_(2)  # `weight` is older than that
    sparse = ss.SparseLinear.from_masked(linear)
    assert sparse.n_synapses == 270
    expected = ss.Layer(linear, EXACT_LIF, backend="dense")(some_spikes())
    out, _ = outcome(sparse)
    assert_same_lists(out, expected)
    again = ss.SparseLinear.from_masked(prune.remove(linear, "weight"))
    assert torch.equal(again.to_sparse().to_dense(), linear.weight)
    assert (again.bias is None) is not bias


def test_state_dicts_copies_and_files_keep_the_synapses():
    one, other = (
        ss.SparseLinear.random(30, 30, fan_in=4, bias=True, seed=seed, dtype=torch.float64)
        for seed in (0, 1)
    )
    with torch.no_grad():
        one.weight.fill_(0.5)
    before, _ = outcome(other)
    expected, gradient = outcome(one)
    assert expected.n_spikes != before.n_spikes
    assert set(one.state_dict()) == {"weight", "bias", "index"}
    other.load_state_dict(one.state_dict())  # in place: the layer sees it
    file = io.BytesIO()
    torch.save(one, file)
    file.seek(0)
    for same in (other, copy.deepcopy(one), torch.load(file, weights_only=False)):
        out, found = outcome(same)
        assert_same_lists(out, expected)
        assert torch.equal(found, gradient)
        assert [name for name, _ in same.named_parameters()] == ["weight", "bias"]


def test_an_index_changed_after_the_forward_pass_leaves_its_backward_pass_alone():
    sparse = ring()
    _, expected = outcome(sparse)
    for backend in ("cpu", "dense"):
        out = ss.Layer(sparse, EXACT_LIF, backend=backend)(some_spikes())
        kept = sparse.index.clone()
        sparse.index.fill_(10**6)
        sparse.zero_grad()
        out.count().square().sum().backward()
        assert sparse.weight.grad is not None
        assert_close(sparse.weight.grad, expected, "gradient")
        with pytest.raises(ValueError, match="index: expected output neurons"):
            sparse(some_spikes())
        sparse.index.copy_(kept)


def test_descriptions_are_kept_while_the_index_is_and_no_longer():
    from sparsespike.backends.cpu import sparse_form

    sparse = ring()
    first = sparse(some_spikes()).terms[0].connection
    assert sparse(some_spikes()).terms[0].connection is first
    outcome(sparse)
    n = len(sparse_form._orders)
    sparse.index.add_(0)
    assert sparse(some_spikes()).terms[0].connection is not first
    del first
    assert len(sparse_form._orders) == n - 1
    with torch.inference_mode():
        within = ring()
        out = ss.Layer(within, EXACT_LIF)(some_spikes())
    assert out.n_spikes > 0


def test_a_layer_without_synapses_is_silent():
    sparse = ss.SparseLinear(30, 30, torch.empty(2, 0, dtype=torch.int64))
    out = ss.Layer(sparse, EXACT_LIF)(some_spikes())
    assert out.n_spikes == 0
    assert some_spikes().n_spikes > 0


# ---- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("index", "message"),
    [
        (index_of((2, 0)), r"index: expected output neurons \(row 0\) in \[0, 2\), found 2"),
        (index_of((0, 3)), r"index: expected input units \(row 1\) in \[0, 3\), found 3"),
        (index_of((0, -1)), r"index: expected input units \(row 1\) in \[0, 3\), found -1"),
        (index_of((1, 2), (0, 0), (1, 2)), r"index: expected no synapse twice, .*\(1, 2\)"),
        (index_of((1, 2), (1, 2)), r"index: expected no synapse twice, .*\(1, 2\)"),
        (
            torch.zeros(3, 2, dtype=torch.int64),
            r"index: expected \(2, n_synapses\), found \(3, 2\)",
        ),
        (torch.zeros(2, dtype=torch.int64), r"index: expected \(2, n_synapses\), found \(2,\)"),
        (torch.zeros(2, 1), r"index: expected integers, found torch\.float32"),
        (torch.zeros(2, 1, dtype=torch.bool), r"index: expected integers, found torch\.bool"),
        ([[0, 1], [0]], r"index: expected integers \(2, n_synapses\), found list"),
        ("all", r"index: expected integers \(2, n_synapses\), found 'all'"),
        (None, r"index: expected integers \(2, n_synapses\), found None"),
    ],
    ids=str,
)
def test_a_wrong_index_is_refused_by_name(index, message):
    with pytest.raises(ValueError, match=message):
        ss.SparseLinear(3, 2, index)
    if isinstance(index, torch.Tensor):  # and where it got into a layer some other way
        sparse = ss.SparseLinear(3, 2, index_of((0, 0)))
        sparse.index = index
        layer = ss.Layer(sparse, EXACT_LIF)
        with pytest.raises(ValueError, match=message):
            layer(ss.Spikes.from_dense(torch.ones(1, 3, 3)))


def test_other_wrong_arguments_are_refused_by_name():
    for n in (0, 2.0, None):
        with pytest.raises(ValueError, match="n_in: expected an integer"):
            ss.SparseLinear(n, 2, index_of((0, 0)))  # pyright: ignore[reportArgumentType]
        with pytest.raises(ValueError, match="n_out: expected an integer"):
            ss.SparseLinear.random(2, n, fan_in=1)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="fan_in: expected it or fan_out, one of the two"):
        ss.SparseLinear.random(3, 2)
    with pytest.raises(ValueError, match="fan_in: expected it or fan_out, one of the two"):
        ss.SparseLinear.random(3, 2, fan_in=1, fan_out=1)
    with pytest.raises(ValueError, match=r"fan_in: expected an integer in \[1, 4\), found 4"):
        ss.SparseLinear.random(3, 2, fan_in=4)
    with pytest.raises(ValueError, match=r"fan_out: expected an integer in \[1, 3\), found 0"):
        ss.SparseLinear.random(3, 2, fan_out=0)
    for matrix in (torch.zeros(2, 3), np.zeros((2, 3)), None, torch.zeros(2, 3, 4).to_sparse()):
        with pytest.raises(ValueError, match="matrix: expected a sparse matrix"):
            ss.SparseLinear.from_sparse(matrix)
    with pytest.raises(ValueError, match=r"linear: expected an ss\.Linear, found Identity"):
        ss.SparseLinear.from_masked(torch.nn.Identity())  # pyright: ignore[reportArgumentType]


def test_wrong_parameters_and_spikes_are_refused_by_name():
    spikes = ss.Spikes.from_dense(torch.ones(1, 3, 3))
    sparse = ss.SparseLinear(3, 2, index_of((0, 0), (1, 2)), True, dtype=torch.float64)
    layer = ss.Layer(sparse, EXACT_LIF)
    with pytest.raises(ValueError, match="spikes: expected 3 units, found 30"):
        layer(some_spikes())
    layer.connection.weight = torch.nn.Parameter(torch.zeros(3).double())
    with pytest.raises(ValueError, match=r"weight: expected \(2,\), one per synapse, found \(3,\)"):
        layer(spikes)
    layer.connection.weight = torch.nn.Parameter(torch.zeros(2, 3))
    with pytest.raises(ValueError, match=r"weight: expected \(n_synapses,\), found \(2, 3\)"):
        layer(spikes)
    layer.connection.weight = torch.nn.Parameter(torch.ones(2).double())
    layer.connection.bias = torch.nn.Parameter(torch.zeros(3).double())
    with pytest.raises(ValueError, match=r"bias: expected \(2,\), one per neuron, found \(3,\)"):
        layer(spikes)
    layer.connection.bias = torch.nn.Parameter(torch.tensor(2.0).double())  # shared
    assert layer(spikes).n_spikes > 0


def test_print_shows_sizes_and_synapses():
    text = repr(ss.Layer(ring(), EXACT_LIF))
    assert "30, 30, n_synapses=60, bias=False" in text
