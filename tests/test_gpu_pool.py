"""`MaxPool2d` by the GPU backend's kernels equals plain PyTorch: spikes, active set, values, gradients."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from torch import Tensor

import sparsespike as ss
from cases import device_of
from checks import assert_something_happened
from pools import BASE, LIVELY, Pool, has_a_place, pools
from sparsespike.backends.gpu import launch, pool

# All sorts of windows; three words, the last not full; several blocks of units.
CASES = LIVELY | {
    "padded_many_steps": replace(
        BASE, steps=70, kernel=(3, 3), stride=(1, 2), padding=(1, 1), active=0.7
    ),
    "blocks": replace(BASE, batch=1, channels=9, steps=33, kernel=(2, 3), stride=(1, 1)),
}


def on_device(spikes: ss.Spikes) -> ss.Spikes:
    return spikes.to(device_of("gpu")).to_words()


def compare(case: Pool) -> tuple[ss.Spikes, Tensor]:
    """The kernels' output, and the gradient of its input; equal to plain PyTorch's bit by bit."""
    spikes, leaf, _ = case.spikes()
    potential = torch.arange(spikes.n_active).to(case.dtype)
    spikes = on_device(replace(spikes, potential=potential))
    outcome: list[tuple[ss.Spikes, Tensor]] = []
    for backend in ("gpu", "dense"):
        with ss.use_backend(backend):
            out = case.module()(spikes)
        out.check()
        draw = torch.Generator().manual_seed(1)
        upstream = torch.randn(out.n_active, generator=draw, dtype=torch.float64).to(out.value)
        (grad,) = torch.autograd.grad((out.value * upstream).sum(), leaf, retain_graph=True)
        outcome.append((out, grad))
    (out, grad), (expected, wanted) = outcome
    assert out.unit_shape == expected.unit_shape
    assert torch.equal(out.words.word, expected.words.word)
    assert torch.equal(out.words.active, expected.words.active)
    assert torch.equal(out.words.start, expected.words.start)
    assert out.words.n_spikes() == expected.words.n_spikes()
    assert torch.equal(out.value, expected.value)
    assert out.potential is not None
    assert expected.potential is not None
    assert torch.equal(out.potential, expected.potential)
    assert torch.equal(grad, wanted)
    return out, grad


@pytest.mark.parametrize("name", CASES)
def test_spikes_values_and_gradients_are_those_of_plain_pytorch(name):
    out, grad = compare(CASES[name])
    assert_something_happened(out, grad)
    assert out.value.any()


@settings(max_examples=60)
@given(pools())
def test_generated_pools_are_those_of_plain_pytorch(case):
    if has_a_place(case):
        compare(replace(case, kind="words"))


@pytest.mark.parametrize("change", [{"batch": 0}, {"rate": 0.0}, {"active": 0.0}], ids=str)
def test_where_there_is_little_it_is_plain_pytorchs(change):
    assert compare(replace(BASE, **change))[0].storage.has_active


def test_spikes_without_active_set_or_without_values_stay_so(monkeypatch):
    """And nobody waits for the device to count them."""
    monkeypatch.setattr(pool, "counted", None)
    listed = on_device(LIVELY["many_steps"].spikes()[0].to_words())
    expected = LIVELY["many_steps"].module()(listed)
    words, nothing = listed.words, listed.words.start[:0]
    bare = replace(listed, storage=words._replace(start=nothing), value=listed.value.detach()[:0])
    for part, with_active in ((listed.detach(), False), (bare, True)):
        with ss.use_backend("gpu"):
            out = LIVELY["many_steps"].module()(part)
        out.check()
        assert torch.equal(out.words.word, expected.words.word)
        assert out.words.has_active == with_active
        assert out.n_spikes == expected.n_spikes > 0
        assert len(out.value) == 0
        if with_active:
            assert torch.equal(out.words.active, expected.words.active)


def test_kernels_write_nothing_beyond_their_tensors(monkeypatch):
    """Every tensor that a pooling makes lies between canaries."""
    spikes = on_device(CASES["padded_many_steps"].spikes()[0])
    plain, made = torch.empty, []

    def guarded(shape: Any, dtype: torch.dtype, device: Any) -> Tensor:
        numel = math.prod(shape)
        whole = plain(numel + 128, dtype=dtype, device=device).fill_(77)
        made.append(whole)
        return whole[64 : 64 + numel].view(shape)

    def new_empty(self: Tensor, size: Any, device: Any = None) -> Tensor:
        size = (size,) if isinstance(size, int) else size
        return guarded(size, self.dtype, device or self.device)

    def empty_like(like: Tensor) -> Tensor:
        return guarded(like.shape, like.dtype, like.device)

    monkeypatch.setattr(Tensor, "new_empty", new_empty)
    monkeypatch.setattr(torch, "empty_like", empty_like)
    with ss.use_backend("gpu"):
        assert CASES["padded_many_steps"].module()(spikes).n_active > 0
    assert len(made) >= 5  # spikes, active entries, counts, places, sources
    for whole in made:
        assert bool((whole[:64] == 77).all() and (whole[-64:] == 77).all())


def test_more_active_entries_than_an_index_holds_are_refused(monkeypatch):
    monkeypatch.setattr(pool, "counted", lambda _: (1, 2**31))
    with (
        ss.use_backend("gpu"),
        pytest.raises(ValueError, match=r"fewer than 2\^31 active entries, found 2147483648"),
    ):
        BASE.module()(on_device(BASE.spikes()[0]))


def test_lists_are_refused_with_the_way_out():
    with ss.use_backend("gpu"), pytest.raises(ValueError, match=r"expected words.*to_words"):
        BASE.module()(BASE.spikes()[0].to_lists())


def test_words_on_a_cpu_need_no_kernel(monkeypatch):
    """Unless it is named, as `use_backend("gpu")` does."""
    monkeypatch.setattr(launch, "INTERPRETED", False)
    words = BASE.spikes()[0].to_words()
    assert BASE.module()(words).n_active > 0
    with ss.use_backend("gpu"), pytest.raises(ValueError, match="tensors on a CUDA device"):
        BASE.module()(words)
