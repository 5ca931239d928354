"""Batches cut into parts on the GPU: the same spikes, and the gradients of the whole batch."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

import sparsespike as ss
from cases import BASE, NO_LEAK, Case
from checks import assert_close, assert_same_lists, assert_something_happened
from compare import compare, compare_layer, compare_network, stored_for
from pools import BASE as IMAGE
from sparsespike.backends.gpu import batches, firing, listing, plan, synapses
from sparsespike.spikes.words import Words
from sum_pools import Layered, Sums

# Two words, the second not full; two blocks of units; without leak, so that potentials stay on the grid.
LIF = ss.LIF(**NO_LEAK).changed(b_th=0.5)
LONG = replace(BASE, batch=3, steps=40, sizes=(12, 66), neuron=LIF)


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Every sample is a part; how many there were of each pass."""
    monkeypatch.setattr(plan, "LARGEST", 1)
    seen, plain = [], batches.parts

    def counted(terms: Any, rows: int = 0) -> list[tuple[int, int]]:
        found = plain(terms, rows)
        seen.append(len(found))
        return found

    monkeypatch.setattr(batches, "parts", counted)
    return seen


@pytest.mark.parametrize("transient", [1, 2**30], ids=["segments", "whole"])
@pytest.mark.parametrize("gradient", ["dense", "sparse"])
def test_parts_of_a_batch_equal_the_oracle(monkeypatch, parts, gradient, transient):
    monkeypatch.setattr(plan, "TRANSIENT", transient)
    with plan.use_forms(gradient, gradient):
        seen = compare_layer(replace(LONG, bias=True), "gpu")
    assert min(seen["spiking"], seen["learning"]), seen
    assert parts == [3, 3]  # forward, backward


def test_two_samples_at_a_time_and_one_left_equal_the_oracle(monkeypatch):
    monkeypatch.setattr(plan, "LARGEST", 2 * 32 * 66 * 8)
    assert plan.batches(3, 66, 8) == [(0, 2), (2, 1)]
    seen = compare_layer(LONG, "gpu")
    assert min(seen["spiking"], seen["learning"]), seen


@pytest.mark.parametrize("reset", ["zero", "subtract"])
def test_an_attached_reset_equals_the_oracle(parts, reset):
    neuron = LIF.changed(reset=reset, detach_reset=False)
    assert compare_layer(replace(LONG, neuron=neuron), "gpu")["learning"]
    assert parts == [3, 3]


def test_a_network_equals_the_oracle(parts):
    """The layer below gets its gradient from all parts; the readout is not cut."""
    case = replace(LONG, steps=20, sizes=(20, 30, 9, 4), rate=0.2)
    assert compare_network(case, "gpu")["learning"]
    assert parts == [3, 3, 3, 3]


@pytest.mark.parametrize("kind", ["Linear", "Conv2d", "SparseLinear"])
def test_every_connection_equals_the_oracle_on_sums_too(parts, kind):
    """Of graded spikes every layer of bits is a term, and so is cut as one."""
    image = replace(
        IMAGE, batch=3, steps=34, rate=0.3, kernel=(3, 3), stride=(2, 2), padding=(1, 1)
    )
    case = Layered(Sums(image, average=False), kind, bias=True)
    found, pooled, grads = case.run("gpu")
    expected, _, wanted = case.run("dense")
    assert pooled.words.n_layers(pooled.shape) > 1
    assert_something_happened(expected)
    assert_same_lists(found, expected)
    assert compare(grads, wanted)["learning"] == 1
    assert parts == [3, 3]


def run(case: Case) -> tuple[ss.Spikes, torch.Tensor]:
    (layer,) = case.layers("gpu")
    out = layer(stored_for(case.spikes()[0], "gpu"))
    draw = torch.linspace(-1, 2, len(out.value), dtype=out.value.dtype, device=out.device)
    return out, torch.autograd.grad((out.value * draw).sum(), layer.connection.weight)[0]


@pytest.mark.parametrize("transient", [1, 2**30], ids=["segments", "whole"])
def test_words_values_and_potentials_are_those_of_the_whole_batch(monkeypatch, transient):
    """Also where a part lists its entries again, with more room."""
    monkeypatch.setattr(plan, "TRANSIENT", transient)
    begun, begin = [], listing.Listing.begin
    monkeypatch.setattr(listing.Listing, "begin", lambda own: begun.append(own) or begin(own))
    case = replace(LONG, neuron=LIF.changed(b_th=1.0))
    expected, wanted = run(case)
    n_begun = len(begun)
    monkeypatch.setattr(plan, "LARGEST", 1)
    found, grad = run(case)
    assert len(begun) == 4 * n_begun
    assert n_begun == (2 if transient == 1 else 1)
    assert_something_happened(found, grad)
    found.check()
    for mine, other in zip(found.words, expected.words, strict=True):
        assert torch.equal(mine, other)
    assert torch.equal(found.value, expected.value)
    assert found.potential is not None
    assert expected.potential is not None
    assert torch.equal(found.potential, expected.potential)
    assert_close(grad, wanted, "gradient")
    again, once_more = run(case)
    assert torch.equal(again.words.word, found.words.word)
    assert torch.equal(once_more, grad)


def test_without_gradient_parts_are_not_listed_and_nobody_waits(monkeypatch, parts):
    monkeypatch.setattr(firing, "Listing", None)
    (layer,) = LONG.layers("gpu")
    spikes = stored_for(LONG.spikes()[0].detach(), "gpu")
    with torch.no_grad():
        found = layer(spikes)
        monkeypatch.setattr(plan, "LARGEST", 2**30)
        expected = layer(spikes)
    assert parts == [3, 1]
    assert found.n_spikes > 0
    assert found.n_active > 0
    for mine, other in zip(found.words, expected.words, strict=True):
        assert torch.equal(mine, other)
    assert len(found.value) == 0


def test_planes_are_made_once(monkeypatch, parts):
    made, plain = [], synapses.planes_of
    monkeypatch.setattr(synapses, "planes_of", lambda *of: made.append(of) or plain(*of))
    run(LONG)
    assert parts == [3, 3]
    assert len(made) == 1


def test_no_sample_is_one_part(parts):
    spikes = stored_for(LONG.spikes()[0], "gpu")[:0]
    (layer,) = LONG.layers("gpu")
    assert layer(spikes).shape == (0, 40, 66)
    assert parts == [1]


def test_more_active_entries_of_all_parts_than_an_index_holds_are_refused():
    word = torch.zeros(2, 1, 1, dtype=torch.int32)
    part = Words(word[:1], torch.tensor([0, 2**30]), word[:1], word[:1])
    many = torch.empty(1, device="meta").expand(2**30)
    with pytest.raises(
        ValueError, match=r"fewer than 2\^31 active entries of a layer, found 2147483648"
    ):
        batches.joined(word, word, [(part, many, many[None]), (part, many, many[None])])


def test_a_large_convolution_has_currents_of_a_part_at_a_time():
    """64 x 28 x 28 units and 256 samples: 1.5 GiB for one word of all of them."""
    found = plan.batches(256, 64 * 28 * 28, 4)
    assert sum(n for _, n in found) == 256
    assert max(n for _, n in found) * 32 * 64 * 28 * 28 * 4 <= plan.LARGEST
    assert len(found) == 4
    assert plan.batches(256, 1000, 4) == [(0, 256)]
