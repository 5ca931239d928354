"""`Spikes` in use: counts, joins, slices and copies, and the gradients through them."""

from __future__ import annotations

import copy
import io
import pickle
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from torch import Tensor

import sparsespike as ss
from cases import BASE
from checks import assert_same_lists, assert_well_formed
from sparsespike import Spikes
from test_events import dense_spikes, small

# ---- numbers -------------------------------------------------------------------------------------


@settings(max_examples=40)
@given(dense=dense_spikes())
def test_counts_and_rates(dense):
    spikes = Spikes.from_dense(dense, active=dense == 0)
    assert torch.equal(spikes.count(), dense.sum(1))
    assert spikes.count().dtype == torch.float32
    assert spikes.n_spikes == int(dense.sum())
    assert spikes.n_active == dense.numel() - int(dense.sum())
    assert spikes.rate() == pytest.approx(dense.sum().item() / max(1, dense.numel()))
    assert spikes.activity() == pytest.approx(spikes.n_active / max(1, dense.numel()))
    assert len(spikes) == dense.shape[0]


def test_count_hands_every_active_entry_its_units_gradient():
    leaf = small().double().requires_grad_()
    active = torch.rand(2, 3, 4) < 0.5
    count = Spikes.from_dense(leaf, active=active).count()
    upstream = torch.randn(2, 4, dtype=torch.float64)
    (count * upstream).sum().backward()
    assert leaf.grad is not None
    assert torch.equal(leaf.grad, upstream[:, None] * active)


@pytest.mark.parametrize("name", ["to_dense", "count"])
def test_silent_layer_still_belongs_to_the_graph(name):
    """A loss on a layer without active entries has gradient zero; its backward must not raise."""
    layer = ss.Layer(ss.Linear(4, 3), ss.LIF(tau_mem=1.0, dt=1.0, v_th=1e6))
    out = layer(Spikes.from_dense(small()))
    assert out.n_active == 0
    getattr(out, name)().sum().backward()
    grad = layer.connection.weight.grad
    assert grad is None or not grad.any()


# ---- cat and slices ------------------------------------------------------------------------------


def with_gradient(seed: int, n_unit: int = 5) -> tuple[Spikes, Tensor]:
    case = replace(BASE, sizes=(n_unit, 1), seed=seed)
    spikes, leaf = case.spikes()
    assert leaf is not None
    return spikes, leaf


def test_cat_joins_units_and_passes_gradients_to_each_part():
    pairs = [with_gradient(seed, n_unit) for seed, n_unit in enumerate((5, 1, 9))]
    parts, leaves = zip(*pairs, strict=True)
    joined = Spikes.cat(parts)
    assert_well_formed(joined)
    assert joined.shape == (BASE.batch, BASE.steps, 15)
    assert torch.equal(joined.to_dense(), torch.cat([part.to_dense() for part in parts], 2))
    upstream = torch.randn(joined.shape, dtype=torch.float64)
    total = (joined.to_dense() * upstream).sum()
    found = torch.autograd.grad(total, leaves, retain_graph=True)
    expected = torch.autograd.grad(
        (torch.cat([part.to_dense() for part in parts], 2) * upstream).sum(), leaves
    )
    for one, other in zip(found, expected, strict=True):
        assert bool((other != 0).any())
        assert torch.equal(one, other)


def test_cat_of_plain_and_active_parts():
    spikes, leaf = with_gradient(0)
    plain = spikes.detach()
    joined = Spikes.cat([plain, spikes])
    assert_well_formed(joined)
    assert joined.n_active == spikes.n_active > 0
    joined.value.sum().backward()
    assert leaf.grad is not None
    assert int(leaf.grad.sum()) == spikes.n_active
    assert Spikes.cat([plain, plain]).n_active == 0


def test_cat_of_one_part_is_that_part_and_clamps_add_up():
    spikes, _ = with_gradient(0)
    assert_same_lists(Spikes.cat([spikes]), spikes)
    assert Spikes.cat([replace(spikes, n_clamped=2), replace(spikes, n_clamped=3)]).n_clamped == 5


def test_cat_refuses():
    with pytest.raises(ValueError, match="parts: expected at least one"):
        Spikes.cat([])
    for other in (torch.zeros(1, 3, 4), torch.zeros(2, 4, 4)):
        with pytest.raises(ValueError, match="parts: expected 2 samples of 3 steps"):
            Spikes.cat([Spikes.from_dense(small()), Spikes.from_dense(other)])


INDICES = (slice(None), slice(1, 3), slice(-1, None), slice(2, 1), slice(5, 9), 0, 2, -1)


@pytest.mark.parametrize("index", INDICES, ids=str)
def test_slice_is_the_slice_of_the_dense_tensor(index):
    spikes, leaf = with_gradient(0)
    part = spikes[index]
    rows = index if isinstance(index, slice) else slice(index % 3, index % 3 + 1)
    assert_well_formed(part)
    assert torch.equal(part.to_dense(), spikes.to_dense()[rows])
    upstream = torch.randn(part.shape, dtype=torch.float64)
    if not part.n_active:
        return
    (found,) = torch.autograd.grad((part.to_dense() * upstream).sum(), leaf, retain_graph=True)
    (expected,) = torch.autograd.grad((spikes.to_dense()[rows] * upstream).sum(), leaf)
    assert bool((expected != 0).any())
    assert torch.equal(found, expected)


def test_slices_keep_potentials():
    (layer,) = BASE.layers("dense")
    out = layer(BASE.spikes()[0])
    parts = [out[i] for i in range(len(out))]
    assert torch.equal(torch.cat([part.potential for part in parts]), out.potential)
    assert torch.equal(torch.cat([part.value for part in out]), out.value)
    with pytest.raises(IndexError, match="sample 3 of a batch of 3"):
        out[3]


# ---- moving, storing, showing --------------------------------------------------------------------


def test_to_dtype_changes_the_values_only_and_passes_gradients():
    spikes, leaf = with_gradient(0)
    single = spikes.to(torch.float32)
    assert single.value.dtype == torch.float32
    assert single.unit.dtype == torch.int32
    single.value.sum().backward()
    assert leaf.grad is not None
    assert int(leaf.grad.sum()) == spikes.n_active


def test_to_device_moves_everything():
    (layer,) = BASE.layers("dense")
    out = layer(BASE.spikes()[0]).to("meta")
    for name in ("unit", "offset", "active_unit", "active_offset", "value", "potential"):
        assert getattr(out, name).device.type == "meta", name
    assert out.device.type == "meta"
    assert_same_lists(layer(BASE.spikes()[0]).to("cpu"), layer(BASE.spikes()[0]))


def test_detach_drops_history_and_active_set():
    spikes, _ = with_gradient(0)
    plain = replace(spikes, n_clamped=4).detach()
    assert plain.n_active == 0
    assert not plain.value.requires_grad
    assert plain.n_clamped == 4
    assert torch.equal(plain.to_dense(), spikes.to_dense().detach())


def copies(spikes: Spikes) -> list[Any]:
    file = io.BytesIO()
    torch.save(spikes, file)
    file.seek(0)
    return [
        pickle.loads(pickle.dumps(spikes)),
        copy.deepcopy(spikes),
        torch.load(file, weights_only=False),
    ]


def test_pickled_and_copied_spikes_are_the_same_without_history():
    (layer,) = BASE.layers("dense")
    out = replace(layer(BASE.spikes()[0]), n_clamped=3)
    for again in copies(out):
        assert_same_lists(again, out)
        assert again.n_clamped == 3
        assert not again.value.requires_grad
    assert out.value.requires_grad


def test_pickled_slice_does_not_carry_the_whole_batch():
    spikes = Spikes.from_dense((torch.rand(200, 10, 50) < 0.5).float())
    assert len(pickle.dumps(spikes[0])) < len(pickle.dumps(spikes)) / 20


def test_repr_says_sizes_and_rates():
    spikes = replace(Spikes.from_dense(small(), active=small() == 1), n_clamped=2)
    assert repr(spikes) == (
        "Spikes(B=2, T=3, N=4: 3 spikes, rate 12.500%, 3 active (12.500%), 2 clamped)"
    )
    assert "clamped" not in repr(Spikes.from_dense(small()))


def test_spikes_cannot_be_changed():
    with pytest.raises(AttributeError):
        Spikes.from_dense(small()).n_clamped = 1  # pyright: ignore[reportAttributeAccessIssue]
