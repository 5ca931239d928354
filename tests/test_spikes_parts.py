"""Parts of a batch, and batches joined of samples: as the dense tensors are, gradients included."""

from __future__ import annotations

import pickle
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import default_collate

from cases import BASE
from checks import assert_same_lists, assert_something_happened, assert_well_formed
from sparsespike import Spikes

MASK = [True, False, True]
INDICES = {
    "list": ([2, 0], [2, 0]),
    "repeated": ([1, 1, 2], [1, 1, 2]),
    "negative": ([-1, 0], [2, 0]),
    "empty": ([], []),
    "range": (range(2), [0, 1]),
    "bools": (MASK, [0, 2]),
    "bool_tensor": (torch.tensor(MASK), [0, 2]),
    "bool_array": (np.array(MASK), [0, 2]),
    "none": (np.zeros(3, bool), []),
    "int64_tensor": (torch.tensor([2, 1]), [2, 1]),
    "int32_tensor": (torch.tensor([2, 1], dtype=torch.int32), [2, 1]),
    "uint8_array": (np.array([2, 1], np.uint8), [2, 1]),
    "stride": (slice(None, None, 2), [0, 2]),
    "reversed": (slice(None, None, -1), [2, 1, 0]),
    "backwards": (slice(0, 2, -1), []),
    "slice": (slice(1, 3), [1, 2]),
    "int": (1, [1]),
    "int64": (np.int64(-1), [2]),
    "scalar_tensor": (torch.tensor(2), [2]),
}
STEPS = {
    "first": (slice(None, 10), slice(0, 10)),
    "last": (slice(-3, None), slice(37, 40)),
    "middle": (slice(30, 35), slice(30, 35)),
    "one": (7, slice(7, 8)),
    "int64": (np.int64(-1), slice(39, 40)),
    "past_the_end": (slice(20, 99), slice(20, 40)),
    "all": (slice(None), slice(0, 40)),
}


def batch(kind: str) -> tuple[Spikes, Tensor]:
    """(3, 40, N) spikes with active entries and potentials, and the leaf of their gradient."""
    spikes, leaf = replace(BASE, steps=40).spikes()
    assert leaf is not None
    assert_something_happened(spikes)
    assert spikes.shape[0] == 3
    spikes = replace(spikes, potential=torch.arange(spikes.n_active).double())
    return (spikes.to_words() if kind == "words" else spikes), leaf


def assert_is_part(part: Spikes, spikes: Spikes, leaf: Tensor, rows: Any, steps: Any) -> None:
    dense = spikes.to_dense()[rows][:, steps]
    assert part.shape == dense.shape
    assert type(part.storage) is type(spikes.storage)
    assert torch.equal(part.to_dense(), dense)
    as_lists = part.to_lists()
    assert_well_formed(as_lists)
    active = torch.zeros(spikes.shape).view(-1)
    active[spikes.storage.active_entry(spikes.shape)] = 1
    assert part.n_active == int(active.view(spikes.shape)[rows][:, steps].sum())
    potential = torch.zeros(spikes.shape).double().view(-1)
    assert spikes.potential is not None
    assert part.potential is not None
    potential[spikes.storage.active_entry(spikes.shape)] = spikes.potential
    found = torch.zeros(part.shape).double().view(-1)
    found[part.storage.active_entry(part.shape)] = part.potential
    assert torch.equal(found.view(part.shape), potential.view(spikes.shape)[rows][:, steps])
    if not part.n_active:
        return
    upstream = torch.randn(part.shape, dtype=torch.float64)
    (grad,) = torch.autograd.grad((part.to_dense() * upstream).sum(), leaf, retain_graph=True)
    (expected,) = torch.autograd.grad((dense * upstream).sum(), leaf, retain_graph=True)
    assert bool((expected != 0).any())
    torch.testing.assert_close(grad, expected, rtol=1e-14, atol=0)


@pytest.mark.parametrize("kind", ["lists", "words"])
@pytest.mark.parametrize("name", INDICES)
def test_samples_are_those_of_the_dense_tensor(name, kind):
    index, rows = INDICES[name]
    spikes, leaf = batch(kind)
    assert_is_part(spikes[index], spikes, leaf, rows, slice(None))


@pytest.mark.parametrize("kind", ["lists", "words"])
@pytest.mark.parametrize("name", STEPS)
def test_steps_are_those_of_the_dense_tensor(name, kind):
    index, steps = STEPS[name]
    spikes, leaf = batch(kind)
    assert_is_part(spikes[:, index], spikes, leaf, slice(None), steps)
    assert_is_part(spikes[[2, 0], index], spikes, leaf, [2, 0], steps)


@pytest.mark.parametrize(
    ("index", "message"),
    [
        (None, "index: expected samples"),
        (..., "index: expected samples"),
        (True, "index: expected samples"),
        (1.0, "index: expected samples"),
        ("0", "index: expected samples"),
        ([0.5], "index: expected samples"),
        ([[0]], "index: expected samples"),
        ([True, False], "index: expected a mask of 3 samples, found 2"),
        (torch.ones(3, 2, dtype=torch.bool), "index: expected samples"),
        ((0, 0, 0), "index: expected samples.*found 3 parts"),
        ((0, slice(0, 0)), "index: expected samples.*found slice"),
        ((0, slice(None, None, 2)), "index: expected samples.*steps"),
        ((0, [1, 2]), "index: expected samples.*steps"),
    ],
    ids=str,
)
def test_other_indices_are_refused_in_words(index, message):
    with pytest.raises(ValueError, match=message):
        batch("lists")[0][index]


@pytest.mark.parametrize("index", [3, -4, [0, 3], np.array([-4]), (0, 40), (slice(None), -41)])
def test_out_of_range_is_an_index_error(index):
    with pytest.raises(IndexError):
        batch("lists")[0][index]


# ---- stack ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kinds", [("lists", "lists"), ("words", "words"), ("words", "lists")])
def test_stack_joins_samples_and_passes_gradients_to_each_part(kinds):
    (a, leaf_a), (b, leaf_b) = batch(kinds[0]), batch(kinds[1])
    joined = Spikes.stack([a, b[1:]])
    assert joined.shape == (5, *a.shape[1:])
    assert type(joined.storage) is type(a.storage)
    assert_well_formed(joined.to_lists())
    dense = torch.cat([a.to_dense(), b.to_dense()[1:]])
    assert torch.equal(joined.to_dense(), dense)
    assert joined.n_active == a.n_active + b[1:].n_active
    assert joined.potential is not None
    upstream = torch.randn(dense.shape, dtype=torch.float64)
    found = torch.autograd.grad(
        (joined.to_dense() * upstream).sum(), [leaf_a, leaf_b], retain_graph=True
    )
    expected = torch.autograd.grad((dense * upstream).sum(), [leaf_a, leaf_b])
    for one, other in zip(found, expected, strict=True):
        assert bool((other != 0).any())
        assert torch.equal(one, other)


@pytest.mark.parametrize("kind", ["lists", "words"])
def test_a_batch_is_its_samples_stacked(kind):
    spikes, _ = batch(kind)
    again = Spikes.stack(list(spikes))
    assert_same_lists(again.to_lists(), spikes.to_lists())
    assert_same_lists(default_collate(list(spikes)).to_lists(), spikes.to_lists())
    if kind == "words":
        assert torch.equal(again.words.start, spikes.words.start)


@pytest.mark.parametrize("kind", ["lists", "words"])
@pytest.mark.parametrize("order", [1, -1])
def test_stack_of_plain_and_active_parts(kind, order):
    spikes, leaf = batch(kind)
    joined = Spikes.stack([spikes, spikes.detach()][::order])
    assert joined.n_active == spikes.n_active > 0
    assert_well_formed(joined.to_lists())
    joined.value.sum().backward()
    assert leaf.grad is not None
    assert int(leaf.grad.sum()) == spikes.n_active
    assert Spikes.stack([spikes.detach(), spikes.detach()]).n_active == 0


def bare_words() -> Spikes:
    """What a GPU layer gives without gradient: active bits, no values."""
    words = batch("words")[0]
    nothing = words.words.word.new_empty(0)
    return replace(
        words,
        storage=words.words._replace(start=nothing, total=torch.empty(0, dtype=torch.int64)),
        value=words.value.detach().new_empty(0),
        potential=None,
    )


def test_words_without_values_keep_their_bits_in_every_part():
    bare, whole = bare_words(), batch("words")[0]
    for part, expected in (
        (bare[[2, 0]], whole[[2, 0]]),
        (bare[:, 3:37], whole[:, 3:37]),
        (Spikes.stack([bare, bare]), Spikes.stack([whole, whole])),
    ):
        assert len(part.value) == 0
        assert part.n_active == expected.n_active > 0
        assert torch.equal(part.to_lists().to_dense(), expected.to_dense().float())
    assert Spikes.stack([bare, whole]).n_active == whole.n_active


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ([], "parts: expected at least one Spikes"),
        (None, "parts: expected a list of Spikes"),
        (Spikes.from_dense(torch.zeros(2, 3, 4)), "parts: expected a list of Spikes, found one"),
        ([torch.zeros(2, 3, 4)], r"parts: expected a list of Spikes, found torch.float32 of shape"),
        (
            [Spikes.from_dense(torch.zeros(1, t, 4)) for t in (3, 2)],
            "parts: expected 3 steps of 4 units each",
        ),
        (
            [Spikes.from_dense(torch.zeros(1, 3, n)) for n in (4, 5)],
            "parts: expected 3 steps of 4 units each",
        ),
        (
            [Spikes.from_dense(torch.zeros(1, 3, 4)).to(d) for d in ("cpu", "meta")],
            "parts: expected all on cpu, found one on meta",
        ),
    ],
    ids=["none", "no_list", "one", "dense", "steps", "units", "devices"],
)
def test_stack_refuses(parts, message):
    with pytest.raises(ValueError, match=message):
        Spikes.stack(parts)
    if "steps of" not in message:
        with pytest.raises(ValueError, match=message):
            Spikes.cat(parts)


# ---- what was lost -------------------------------------------------------------------------------


def lossy() -> Spikes:
    """3 samples: 2 clamped events in the first, 1 late in the second, 1 and 3 in the third."""
    sample = torch.tensor([0, 0, 0, 1, 1, 2, 2, 2, 2, 2])
    step = torch.tensor([0, 0, 0, 1, 4, 0, 0, 4, 5, 99])
    spikes = Spikes.from_events(
        sample, step, torch.zeros_like(step), shape=(3, 4, 2), drop_late=True
    )
    assert (spikes.n_spikes, spikes.n_clamped, spikes.n_late) == (3, 3, 4)
    return spikes


def test_repr_tells_clamped_and_late():
    assert repr(lossy()).endswith("3 clamped, 4 late)")
    assert "late" not in repr(lossy()[[]])


def test_late_events_are_refused_unless_told_otherwise():
    one = torch.tensor([4])
    with pytest.raises(ValueError, match=r"step: expected values in \[0, 4\), found 4"):
        Spikes.from_events(one * 0, one, one * 0, shape=(1, 4, 1))
    with pytest.raises(ValueError, match="step: expected values in"):
        Spikes.from_events(one * 0, -one, one * 0, shape=(1, 4, 1), drop_late=True)


def counts(spikes: Spikes) -> tuple[int, int]:
    return spikes.n_clamped, spikes.n_late


def test_parts_of_a_batch_have_their_own_losses():
    spikes = lossy()
    assert [counts(part) for part in spikes] == [(2, 0), (0, 1), (1, 3)]
    assert counts(spikes[[2, 0]]) == (3, 3)
    assert counts(spikes[:, :2]) == counts(spikes)
    assert counts(Spikes.stack([spikes[1:], spikes[:1]])) == counts(spikes)
    assert counts(Spikes.cat([spikes, spikes])) == (6, 8)
    assert [counts(part) for part in Spikes.cat([spikes, spikes])] == [(4, 0), (0, 2), (2, 6)]


def test_losses_known_in_sum_only_stay_with_every_part():
    spikes = replace(Spikes.from_dense(torch.ones(2, 3, 4)), n_clamped=5, n_late=7)
    for part in (spikes[0], spikes[[1]], spikes[:, :2]):
        assert counts(part) == (5, 7)
    assert counts(replace(lossy(), n_late=9)[0]) == (3, 9)


@pytest.mark.parametrize(
    "use",
    [
        Spikes.detach,
        lambda spikes: spikes.to("cpu"),
        lambda spikes: spikes.to(torch.float64),
        Spikes.to_words,
        lambda spikes: spikes.to_words().to_lists(),
        lambda spikes: pickle.loads(pickle.dumps(spikes)),
        lambda spikes: Spikes.stack([spikes]),
        lambda spikes: Spikes.cat([spikes]),
        lambda spikes: default_collate([spikes]),
        lambda spikes: spikes[torch.tensor([True] * 3)],
    ],
)
def test_losses_are_carried_through(use):
    assert counts(lossy().to("meta")) == counts(use(lossy())) == (3, 4)
    assert counts(use(lossy())[1]) == (0, 1)


# ---- arguments -----------------------------------------------------------------------------------


def test_arrays_are_taken_where_tensors_are():
    dense = (np.random.default_rng(0).random((2, 3, 4)) < 0.5).astype(np.uint8)
    spikes = Spikes.from_dense(dense, active=dense == 0)
    assert spikes.n_spikes == int(dense.sum()) > 0
    assert spikes.n_active == 24 - spikes.n_spikes
    sample, step, unit = np.nonzero(dense)
    again = Spikes.from_events(
        sample.astype(np.uint16), step, unit, shape=(np.int64(2), 3, torch.tensor(4))
    )
    assert_same_lists(again, spikes.detach())
    same = Spikes.from_lists(again.unit.numpy(), again.offset.numpy(), np.array([2, 3, 4]))
    assert_same_lists(same, again)


@pytest.mark.parametrize("shape", [4, (2, 3), (2, 3, 4, 5), (2.0, 3, 4), (2, 0, 4), None, "234"])
def test_other_shapes_are_refused_by_name(shape):
    index = torch.tensor([0])
    for build in (
        lambda: Spikes.from_events(index, index, index, shape=shape),
        lambda: Spikes.from_lists(index, index, shape),
    ):
        with pytest.raises(ValueError, match=r"^shape: expected \(B, T, N\)"):
            build()


@pytest.mark.parametrize(
    "value", [0, None, 0.5, "units", [0, 1], np.zeros(2), np.zeros((1, 1), int)]
)
def test_other_lists_are_refused_by_name(value):
    index = torch.tensor([0])
    with pytest.raises(ValueError, match=r"^unit: expected a 1-D tensor of integers, found"):
        Spikes.from_events(index, index, value, shape=(1, 1, 1))
    with pytest.raises(ValueError, match=r"^offset: expected a 1-D tensor of integers, found"):
        Spikes.from_lists(index, value, (1, 1, 1))


@pytest.mark.parametrize("target", [None, "gpu7", torch.int32, 1.5, torch.zeros(1)])
def test_to_refuses_what_is_neither_device_nor_floating(target):
    with pytest.raises(ValueError, match="target: expected a device or a floating dtype"):
        Spikes.from_dense(torch.ones(1, 2, 3)).to(target)
