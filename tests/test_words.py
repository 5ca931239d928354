"""Words of bits and lists of events are the same spikes: conversions, slices, concatenation, gradients."""

from __future__ import annotations

import pickle
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cases import BASE, Case
from checks import assert_same_lists, assert_well_formed
from sparsespike import Spikes
from sparsespike.spikes.words import STEPS, UNITS, popcount, starts


@st.composite
def spikes(draw: st.DrawFn) -> Spikes:
    case = Case(
        batch=draw(st.integers(0, 3)),
        steps=draw(st.sampled_from([1, 5, 31, 32, 33, 64, 70])),
        sizes=(draw(st.sampled_from([1, 7, 63, 64, 65, 130])), 1),
        rate=draw(st.sampled_from([0.0, 0.1, 1.0])),
        active=draw(st.sampled_from([0.0, 0.3, 1.0])),
        seed=draw(st.integers(0, 99)),
    )
    found = case.spikes()[0]
    return replace(found, value=found.value.detach())


@given(spikes())
def test_lists_to_words_and_back_are_the_same_lists(spikes):
    words = spikes.to_words()
    assert words.words.word.dtype == torch.int32
    assert (words.n_spikes, words.n_active) == (spikes.n_spikes, spikes.n_active)
    assert torch.equal(words.to_dense(), spikes.to_dense())
    back = words.to_lists()
    assert_well_formed(back)
    assert_same_lists(back, spikes)


@given(spikes())
def test_value_is_in_the_order_sample_word_unit_step(spikes):
    words = spikes.to_words()
    if not spikes.n_active:
        return
    dense = torch.zeros(spikes.shape, dtype=torch.bool)
    dense.view(-1)[spikes.storage.active_entry(spikes.shape)] = True
    expected = [(b, t // STEPS, n, t % STEPS) for b, t, n in dense.nonzero().tolist()]
    n_unit = spikes.shape[2]
    entry = words.storage.active_entry(words.shape)
    row, unit = entry // n_unit, entry % n_unit
    sample, step = row // spikes.shape[1], row % spikes.shape[1]
    found = zip(
        sample.tolist(),
        (step // STEPS).tolist(),
        unit.tolist(),
        (step % STEPS).tolist(),
        strict=True,
    )
    assert list(found) == sorted(expected)


@given(spikes())
def test_start_is_where_each_block_begins(spikes):
    words = spikes.to_words().words
    if not spikes.n_active:
        return
    position = 0
    for sample, rows in enumerate(words.active):
        for w, row in enumerate(rows):
            for block, units in enumerate(row.split(UNITS)):
                assert int(words.start[sample, w, block]) == position
                position += int(popcount(units).sum())
    assert position == spikes.n_active


def test_popcount_counts_the_sign_bit_too():
    word = torch.tensor([0, 1, -1, -(2**31), 2**31 - 1, 0x55555555], dtype=torch.int32)
    assert popcount(word).tolist() == [0, 1, 32, 1, 31, 16]


def test_more_active_entries_than_an_index_holds_are_refused(monkeypatch):
    monkeypatch.setattr("sparsespike.spikes.words.popcount", lambda word: word * 0 + 2**30)
    with pytest.raises(ValueError, match=r"fewer than 2\^31 active entries"):
        starts(torch.ones(1, 3, 1, dtype=torch.int32))


@given(spikes())
def test_slices_and_concatenations_of_words_are_those_of_lists(spikes):
    words = spikes.to_words()
    for index in (slice(0, 2), slice(1, None), slice(2, 1)):
        assert_same_lists(words[index].to_lists(), spikes[index])
    both = Spikes.cat([words.to_lists(), spikes]).to_words()
    assert torch.equal(both.to_dense()[..., : spikes.shape[2]], spikes.to_dense())
    plain = words.detach()
    assert not plain.storage.has_active
    assert plain.n_spikes == spikes.n_spikes


def test_conversions_pass_gradients_on():
    found, leaf = replace(BASE, steps=40).spikes()
    assert leaf is not None
    there_and_back = found.to_words().to_lists()
    weight = torch.randn(found.n_active, dtype=found.value.dtype)
    (there_and_back.value * weight).sum().backward()
    assert leaf.grad is not None
    through = leaf.grad.clone()
    dense = torch.zeros_like(through)
    dense.view(-1)[found.storage.active_entry(found.shape)] = weight
    assert torch.equal(through, dense)
    assert bool((through != 0).any())


def test_words_without_values_become_lists_with_them():
    """What a GPU layer gives without gradient: active bits, no list."""
    found = BASE.spikes()[0].to_words()
    bare = replace(
        found,
        storage=found.words._replace(
            start=found.words.word.new_empty(0), total=torch.empty(0, dtype=torch.int64)
        ),
        value=found.value.detach().new_empty(0),
    )
    assert bare.n_active == found.n_active
    assert bare.n_spikes == found.n_spikes
    assert_same_lists(bare.to_lists(), replace(found.to_lists(), value=found.to_lists().value))


def test_words_travel_between_processes():
    words = BASE.spikes()[0].to_words()
    back = pickle.loads(pickle.dumps(words))
    assert_same_lists(back.to_lists(), words.to_lists())


def test_the_wrong_storage_is_refused_with_the_way_out():
    lists = BASE.spikes()[0]
    with pytest.raises(ValueError, match=r"expected words.*to_words"):
        _ = lists.words
    with pytest.raises(ValueError, match=r"expected lists.*to_lists"):
        _ = lists.to_words().unit
