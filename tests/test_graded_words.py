"""Graded spikes as words, in layers of bits: all that takes them gives what it gives of lists."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

import sparsespike as ss
from cases import EXACT_LIF, device_of
from checks import assert_close, assert_same_lists, assert_something_happened, assert_well_formed
from compare import compare
from pools import BASE
from sparsespike.backends.gpu import synapses
from sparsespike.spikes.layers import layered
from sparsespike.spikes.words import Words
from sum_pools import Layered, Sums, most_times

# Two words, the second not full; windows that overlap, of up to six units.
IMAGE = replace(BASE, steps=35, rate=0.4, seed=3)
POOL = ss.SumPool2d((2, 3), (2, 2), (1, 1))


def pooled(words: bool, pool: Any = POOL, **change: Any) -> tuple[ss.Spikes, Tensor]:
    """(2, 35, 3x4x3) graded spikes with active entries and potentials, and the leaf of their gradient."""
    spikes, leaf, _ = replace(IMAGE, **change).spikes()
    spikes = replace(spikes, potential=torch.arange(spikes.n_active).double())
    if words:
        spikes = spikes.to(device_of("gpu")).to_words()
    out = pool(spikes)
    assert most_times(out) > 1
    assert_something_happened(out)
    assert isinstance(out.storage, Words) == words
    return out, leaf


def told(out: ss.Spikes, leaf: Tensor) -> dict[str, Any]:
    """All that can be told of graded spikes, whatever the order in which one entry comes again."""
    out.check()
    active, size = out.storage.active_entry(out.shape), out.to_dense().numel()
    potential = None
    if out.potential is not None:
        potential = out.potential.new_zeros(size).index_add(0, active, out.potential)
    grad = None
    if out.value.requires_grad:
        upstream = torch.linspace(-1, 2, size, dtype=torch.float64).to(out.device)
        loss = (out.to_dense().double().flatten() * upstream).sum() + out.count().square().sum()
        (grad,) = torch.autograd.grad(loss, leaf)
    value = out.value.detach()
    return {
        "numbers": out.to_dense().detach(),
        "count": out.count().detach(),
        "active": torch.bincount(active, minlength=size),
        "value": value.new_zeros(size).index_add(0, active, value),
        "potential": potential,
        "grad": grad,
        "told": (out.graded, out.scale, out.shape, out.unit_shape, out.storage.has_active),
        "counts": (out.n_spikes, out.n_active, out.rate(), out.activity(), repr(out)),
        "rows": (out.row().sort().values, out.active_row().sort().values),
    }


def assert_same(found: Any, expected: Any, what: str) -> None:
    if isinstance(expected, Tensor):
        assert_close(found.cpu(), expected, what, 1e-15)
    elif isinstance(expected, tuple):
        for one, other in zip(found, expected, strict=True):
            assert_same(one, other, what)
    else:
        assert found == expected, f"{what}: {found}, expected {expected}"


def dropped(out: ss.Spikes, per: Any) -> ss.Spikes:
    torch.manual_seed(0)
    return ss.Dropout(0.4, per)(out)


def joined(join: Any, out: ss.Spikes) -> ss.Spikes:
    """With plain spikes, stored alike, without active entries and with some."""
    draw = torch.rand(2, 35, 3, 4, 3, generator=torch.Generator().manual_seed(5))
    plain = ss.Spikes.from_dense((draw < 0.3).double(), active=draw > 0.2).to(out.device)
    plain = plain.to_words() if isinstance(out.storage, Words) else plain
    return join([plain.detach(), out, plain])


OPERATIONS: dict[str, Callable[[ss.Spikes], ss.Spikes]] = {
    "as_they_are": lambda out: out,
    "Flatten": lambda out: ss.Flatten()(out),
    "Dropout_sample": lambda out: dropped(out, "sample"),
    "Dropout_event": lambda out: dropped(out, "event"),
    "sample": lambda out: out[1],
    "samples": lambda out: out[[1, 0, 1]],
    "no_sample": lambda out: out[:0],
    "steps": lambda out: out[:, 3:34],
    "a_step": lambda out: out[[1], 33],
    "last_step_of_all": lambda out: out[:, 34],
    "stack": lambda out: ss.Spikes.stack([out[1], out, out[:0]]),
    "stack_with_plain": lambda out: joined(ss.Spikes.stack, out),
    "cat": lambda out: ss.Spikes.cat([out, out[[1, 0]]]),
    "cat_with_plain": lambda out: joined(ss.Spikes.cat, out),
    "float32": lambda out: out.to(torch.float32),
    "to_lists": lambda out: out.to_lists(),
    "to_words": lambda out: out.to_words(),
    "there_and_back": lambda out: out.to_words().to_lists().to_words(),
    "pool_of_pool": lambda out: ss.AvgPool2d((2, 1))(ss.SumPool2d(2, 1)(out)),
    "pickle": lambda out: pickle.loads(pickle.dumps(out)),
    "pickle_of_a_part": lambda out: pickle.loads(pickle.dumps(out[1])),
    "detach": lambda out: out.detach(),
    "collate": lambda out: torch.utils.data.default_collate(list(out)),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_what_is_made_of_them_is_what_is_made_of_lists(name):
    found, expected = (
        told(OPERATIONS[name](out), leaf) for out, leaf in map(pooled, (True, False))
    )
    if name != "no_sample":
        assert expected["numbers"].max() > 1
    for what, value in expected.items():
        if what == "grad" and value is not None and name != "no_sample":
            assert bool(value.any())
        assert_same(found[what], value, what)


def test_layers_are_as_few_as_the_largest_number_or_active_count():
    for change in ({}, {"active": 0.1}, {"active": 1.0, "rate": 0.05}):
        out, _ = pooled(True, **change)
        entry, active = out.storage.entry(out.shape), out.storage.active_entry(out.shape)
        most = max(int(entry.bincount().max()), int(active.bincount().max()))
        assert out.words.n_layers(out.shape) == most > 1
        assert len(out.words.word) == 2 * most
    plain = IMAGE.spikes()[0].to_words()
    assert ss.SumPool2d(1)(plain).words.n_layers(plain.shape) == 1


def test_entries_go_to_layers_in_order():
    entry, active = torch.tensor([7, 2, 7, 7, 0]), torch.tensor([2, 2])
    found, known, shape = layered(entry, active, (2, 1, 4))
    assert found.tolist() == [7, 2, 15, 23, 0]
    assert known is not None
    assert known.tolist() == [2, 10]
    assert shape == (6, 1, 4)
    nothing = torch.empty(0, dtype=torch.int64)
    assert layered(nothing, None, (2, 1, 4))[1:] == (None, (2, 1, 4))


def test_spikes_made_without_gradient_are_pooled_with_their_values():
    """Their words keep bits alone, which after the sum no longer tell the value of each source."""
    spikes = IMAGE.spikes()[0].detach()
    layer = ss.Layer(ss.Conv2d(3, 2, 3, padding=1, dtype=torch.float64), ss.LIF(4.0, 1.0, b_th=1.0))
    with torch.no_grad():
        listed = layer(spikes)
        plain = listed.to_words()
        bare = plain._as(Words)
        nothing = plain.words.start[:0]
        bare = replace(plain, storage=plain.words._replace(start=nothing), value=plain.value[:0])
        assert_something_happened(listed)
        found, expected = POOL(bare), POOL(listed)
    assert most_times(found) > 1
    found = replace(found, potential=None)
    expected = replace(expected, potential=None)
    assert_well_formed(found.to_lists())
    for what, value in told(expected, plain.value).items():
        assert_same(told(found, plain.value)[what], value, what)


@pytest.mark.parametrize("backend", ["dense", "gpu"])
def test_counts_and_regularisers_are_those_of_lists(backend):
    losses = []
    for words in (True, False):
        out, leaf = pooled(words)
        with ss.use_backend(backend if words else "dense"):
            count = ss.ops.count(out)
            loss = ss.losses.activity(out, upper=0.25, lower=25.0)
        assert_close(count.detach(), out.to_dense().flatten(2).sum(1).detach(), "count")
        upstream = torch.linspace(-1, 2, count.numel(), dtype=torch.float64).view(count.shape)
        total = (count * upstream.to(count.device)).sum() + loss
        losses.append((loss.detach().cpu(), torch.autograd.grad(total, leaf)[0]))
    (loss, grad), (expected, wanted) = losses
    assert float(expected) > 0
    assert bool(wanted.any())
    assert_close(loss, expected, "loss")
    assert_close(grad, wanted, "gradient")


def test_words_whose_layers_are_not_whole_are_refused_by_name():
    out, _ = pooled(True)
    words = out.words
    for storage in (words._replace(word=words.word[:-1]), words._replace(word=words.word[:0])):
        with pytest.raises(ValueError, match=r"word: expected \(\d+, 2, 36\) int32 side by side"):
            replace(out, storage=storage).check()
    rows = len(words.word)
    with pytest.raises(ValueError, match=rf"active: expected \({rows}, 2, 36\) int32"):
        replace(out, storage=words._replace(active=words.active[:2])).check()
    with pytest.raises(ValueError, match=rf"start: expected \({rows}, 2, 1\) int32"):
        replace(out, storage=words._replace(start=words.start[:2])).check()
    plain = replace(out, graded=False)
    with pytest.raises(ValueError, match=r"word: expected \(2, 2, 36\) int32 side by side"):
        plain.check()


# ---- connections ---------------------------------------------------------------------------------


def test_each_layer_is_a_term_and_the_first_has_the_bias():
    out, _ = pooled(True, ss.AvgPool2d((2, 3), (2, 2), (1, 1)))
    linear = ss.Linear(36, 4, bias=True, dtype=torch.float64).to(out.device)
    current = linear(out)
    dense = out.to_dense().flatten(2)
    expected = torch.nn.functional.linear(dense, linear.weight, linear.bias)
    assert_close(current.to_dense().detach(), expected.detach(), "current")
    first, *others = current.terms
    assert len(others) == out.words.n_layers(out.shape) - 1 > 0
    assert first.parameter[1] is linear.bias
    assert all(term.parameter == first.parameter[:1] for term in others)
    assert torch.equal(first.parameter[0], linear.weight * out.scale)
    for term in current.terms:
        term.check()
        assert term.spikes.n_spikes == int((term.spikes.to_dense() > 0).sum()) > 0
        assert term.spikes.n_active == len(term.spikes.value) > 0


def test_layers_that_hold_nothing_bring_no_term():
    out = pooled(True)[0].detach()
    bits = out.words.word.unflatten(0, (-1, 2))
    linear = ss.Linear(36, 4, dtype=torch.float64).to(out.device)
    assert len(linear(out).terms) == len(bits) > 2
    for kept in (1, 2, 0):
        fewer = bits.clone()
        fewer[kept:] = 0
        part = replace(out, storage=out.words._replace(word=fewer.flatten(0, 1)))
        assert part.words.n_layers(part.shape) == len(bits)
        assert len(linear(part).terms) == max(1, kept)


def test_a_term_made_by_hand_of_several_layers_is_refused():
    out, _ = pooled(True)
    (term, *_) = ss.Linear(36, 4, dtype=torch.float64).to(out.device)(out).terms
    with pytest.raises(ValueError, match=r"word: expected \(2, 2, 36\) int32 side by side, found"):
        EXACT_LIF(ss.Current((term._replace(spikes=out),)))


SUM = Sums(replace(BASE, steps=34, rate=0.3, kernel=(3, 3), stride=(2, 2), padding=(1, 1)), False)
AVERAGE = Sums(replace(BASE, height=8, width=8, steps=8, rate=0.5))


@pytest.mark.parametrize("backend", ["gpu", "dense"])
@pytest.mark.parametrize("sums", [SUM, AVERAGE], ids=["sum", "average"])
@pytest.mark.parametrize(
    ("kind", "readout"),
    [("Linear", False), ("Linear", True), ("Conv2d", False), ("SparseLinear", False)],
)
def test_layers_on_pooled_words_equal_the_oracle_on_lists(kind, sums, readout, backend):
    bias = sums is SUM
    words = replace(sums, image=replace(sums.image, kind="words"))
    found, pooled_words, grads = Layered(words, kind, bias=bias, readout=readout).run(backend)
    expected, _, wanted = Layered(sums, kind, bias=bias, readout=readout).run("dense")
    assert pooled_words.words.n_layers(pooled_words.shape) > 1
    if readout:
        assert_close(found.detach(), expected.detach(), "potential")
    else:
        assert_something_happened(expected)
        assert_same_lists(found, expected)
    assert compare(grads, wanted)["learning"] == 1


def test_layers_of_one_connection_share_what_stands_for_its_weight(monkeypatch):
    """It is as large as the weight, and kept for the backward pass."""
    made = []
    plain = synapses.planes_of
    monkeypatch.setattr(synapses, "planes_of", lambda *given: made.append(given) or plain(*given))
    found = []
    weights = [ss.Linear(36, 4, dtype=torch.float64) for _ in range(2)]
    for backend in ("gpu", "dense"):
        out, _ = pooled(True)
        assert out.words.n_layers(out.shape) > 1
        one, two = (linear.to(out.device) for linear in weights)
        with ss.use_backend(backend):
            fired = EXACT_LIF(one(out) + two(out))
        assert_something_happened(fired)
        found.append(torch.autograd.grad(fired.value.sum(), [one.weight, two.weight]))
    assert len(made) == 2
    for grad, expected in zip(*found, strict=True):
        assert bool(expected.any())
        assert_close(grad, expected, "gradient")


def test_a_network_that_pools_on_the_gpu_equals_the_oracle():
    torch.manual_seed(1)
    lif = ss.LIF(2.0, 1.0, b_th=0.7, surrogate=ss.FastSigmoid(1.0))
    net = ss.Network(
        ss.Layer(ss.Conv2d(3, 4, 3, padding=1), lif),
        ss.AvgPool2d(2),
        ss.Layer(ss.Conv2d(4, 3, 3, padding=1), lif),
        ss.SumPool2d(2, 1),
        ss.Dropout(0.0),
        ss.Flatten(),
        ss.Layer(ss.Linear(3 * 2 * 3, 4), ss.Readout(4.0, 1.0)),
    ).double()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.mul_(2)
    found = []
    for backend in ("gpu", "dense"):
        net.zero_grad()
        spikes, leaf, _ = replace(BASE, width=8, height=6, steps=9, rate=0.4).spikes()
        if backend == "gpu":
            net.to(device_of("gpu"))
            spikes = spikes.to(device_of("gpu")).to_words()
        else:
            net.cpu()
        with ss.use_backend(backend):
            potential, hidden = net(spikes, return_spikes=True)
            loss = potential.square().sum() + ss.losses.activity(hidden[1], upper=0.0)
        loss.backward()
        for signal in hidden:
            assert_something_happened(signal)
        found.append((potential, [p.grad for p in net.parameters()], leaf.grad, hidden))
    ours, oracle = found
    assert len(ours[3]) == 2
    for mine, other in zip(ours[3], oracle[3], strict=True):
        assert torch.equal(mine.to_dense().cpu(), other.to_dense())
    assert_close(ours[0].detach().cpu(), oracle[0].detach(), "potential")
    for mine, other in zip((*ours[1], ours[2]), (*oracle[1], oracle[2]), strict=True):
        assert bool(other.any())
        assert_close(mine.cpu(), other, "gradient", 1e-11)
