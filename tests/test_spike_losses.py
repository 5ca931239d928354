"""Losses on spike trains, first spikes and potentials: literal loops, forward and gradient."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

import sparsespike as ss
from checks import assert_close, relative_error

F64 = torch.float64
B, T, N = 3, 25, 4
TAU, DT = 6e-3, 1e-3


def made(seed: int = 0, rate: float = 0.2) -> tuple[ss.Spikes, Tensor, Tensor]:
    """Spikes, their dense leaf and the active entries; one neuron is silent in one sample."""
    draw = torch.Generator().manual_seed(seed)
    dense = (torch.rand(B, T, N, generator=draw) < rate).double()
    dense[1, :, 2] = 0
    active = torch.rand(B, T, N, generator=draw) < 0.5
    leaf = dense.clone().requires_grad_()
    return ss.Spikes.from_dense(leaf, active=active), leaf, active


def literal_van_rossum(own: Tensor, target: Tensor) -> Tensor:
    """1/2 sum_k sum_l s_k s_l exp(-|t_k - t_l| / tau) over all pairs of steps."""
    total = torch.zeros((), dtype=F64)
    for b in range(B):
        for n in range(N):
            sign = own[b, :, n] - target[b, :, n]
            for k in range(T):
                for m in range(T):
                    total = total + sign[k] * sign[m] * math.exp(-abs(k - m) * DT / TAU) / 2
    return total / B


@pytest.mark.parametrize("stored", ["lists", "words"])
def test_van_rossums_distance_is_its_double_sum(stored):
    spikes, leaf, active = made()
    target = made(1)[0].detach()
    assert spikes.n_spikes > 20
    assert spikes.n_spikes != target.n_spikes
    if stored == "words":
        spikes = spikes.to_words()
    found = ss.losses.van_rossum(spikes, target, TAU, DT)
    plain = leaf.detach().requires_grad_()
    expected = literal_van_rossum(plain, target.to(F64).to_dense())
    assert_close(found.detach(), expected.detach(), "distance")
    (3 * found).backward()
    (3 * expected).backward()
    assert leaf.grad is not None
    assert plain.grad is not None
    assert float(expected.detach()) > 1
    assert bool((leaf.grad[(leaf == 0) & active] != 0).any())
    assert relative_error(leaf.grad, plain.grad * active) < 1e-12


def test_van_rossums_distance_is_the_integral_of_filtered_trains():
    spikes, target = made()[0].detach().to(F64), made(1)[0].detach().to(F64)
    fine = torch.arange(0, T * DT + 20 * TAU, 1e-5, dtype=F64)
    total = 0.0
    difference = spikes.to_dense() - target.to_dense()
    for b in range(B):
        for n in range(N):
            trace = torch.zeros_like(fine)
            for t in difference[b, :, n].nonzero()[:, 0].tolist():
                since = (fine - t * DT).clamp(min=0)
                trace += difference[b, t, n] * torch.exp(-since / TAU) * (fine >= t * DT)
            total += float(trace.square().sum()) * 1e-5 / TAU
    found = ss.losses.van_rossum(spikes, target, TAU, DT)
    assert found.item() == pytest.approx(total / B, rel=2e-3)


def test_van_rossums_distance_of_simple_trains():
    def at(*steps: int) -> ss.Spikes:
        where = torch.tensor(steps, dtype=torch.int64)
        nothing = torch.zeros_like(where)
        return ss.Spikes.from_events(nothing, where, nothing, shape=(1, 100_000, 1)).to(F64)

    far = ss.losses.van_rossum(at(3), at(90_000), TAU, DT)
    assert far.item() == pytest.approx(1.0, rel=1e-12)
    assert ss.losses.van_rossum(at(3, 70), at(3, 70), TAU, DT).item() == 0.0
    assert ss.losses.van_rossum(at(3), at(), TAU, DT).item() == 0.5
    assert ss.losses.van_rossum(at(), at(), TAU, DT).item() == 0.0
    near = ss.losses.van_rossum(at(10), at(12), TAU, DT).item()
    assert near == pytest.approx(1 - math.exp(-2 * DT / TAU), rel=1e-12)
    many = ss.losses.van_rossum(at(*range(0, 100_000, 7)), at(*range(3, 100_000, 7)), TAU, DT)
    assert math.isfinite(many.item())


def literal_first(own: Tensor) -> Tensor:
    """sum_t product_{k <= t} (1 - S[k])."""
    total = torch.zeros(B, N, dtype=F64)
    none_yet = torch.ones(B, N, dtype=F64)
    for t in range(T):
        none_yet = none_yet * (1 - own[:, t])
        total = total + none_yet
    return total


def test_first_spikes_and_their_gradient():
    spikes, leaf, active = made()
    upstream = torch.randn(B, N, dtype=F64)
    found = ss.losses.first_spike(spikes)
    plain = leaf.detach().requires_grad_()
    expected = literal_first(plain)
    assert torch.equal(found.detach(), expected.detach())
    assert found[1, 2] == T
    assert found.min() < 5
    (found * upstream).sum().backward()
    (expected * upstream).sum().backward()
    assert leaf.grad is not None
    assert plain.grad is not None
    before = torch.arange(T)[:, None] < expected.detach()[:, None]
    assert bool((leaf.grad[active & before] != 0).all())
    assert bool((leaf.grad[(leaf == 1) & active & (plain.grad != 0)] != 0).any())
    assert relative_error(leaf.grad, plain.grad * active) < 1e-12


def test_time_to_first_spike_is_the_softmax_of_early():
    spikes, leaf, active = made()
    label = [2, 0, 1]
    found = ss.losses.time_to_first_spike(spikes, label, TAU, DT)
    plain = leaf.detach().requires_grad_()
    times = literal_first(plain) * DT
    expected = torch.zeros((), dtype=F64)
    for b in range(B):
        share = torch.exp(-times[b, label[b]] / TAU) / torch.exp(-times[b] / TAU).sum()
        expected = expected - torch.log(share) / B
    assert_close(found.detach(), expected.detach(), "loss")
    found.backward()
    expected.backward()
    assert leaf.grad is not None
    assert plain.grad is not None
    assert bool((leaf.grad != 0).any())
    assert relative_error(leaf.grad, plain.grad * active) < 1e-12


@pytest.mark.parametrize("loss", ["van_rossum", "time_to_first_spike"])
def test_a_layer_learns_when_to_spike(loss):
    torch.manual_seed(0)
    layer = ss.Layer(ss.Linear(30, 3), ss.LIF(10e-3, DT, b_th=0.5, surrogate=ss.FastSigmoid(5)))
    dense = (torch.rand(8, 40, 30) < 0.1).float()
    dense[:, :12] = 0
    x = ss.Spikes.from_dense(dense)
    where = torch.zeros(8, 40, 3)
    where[:, 20, 1] = where[:, 30, 0] = 1
    target = ss.Spikes.from_dense(where)
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.02)
    values = []
    for _ in range(40):
        if loss == "van_rossum":
            value = ss.losses.van_rossum(layer(x), target, TAU, DT)
        else:
            value = ss.losses.time_to_first_spike(layer(x), [2] * 8, TAU, DT)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        values.append(value.item())
    assert values[-1] < 0.6 * values[0]


def test_a_target_trace_on_a_recorded_potential():
    torch.manual_seed(0)
    layer: Any = ss.Layer(ss.Linear(20, 6), ss.LIF(10e-3, DT)).double()
    x = ss.Spikes.from_dense((torch.rand(2, 30, 20) < 0.2).double())
    _, seen = layer.neuron(layer.connection(x), record=[4, 1])
    target = torch.randn(2, 30, 2, dtype=F64)
    found = ss.losses.target_trace(seen, target)
    total = 0.0
    for b in range(2):
        for t in range(30):
            for m in range(2):
                total += float(seen[b, t, m].detach() - target[b, t, m]) ** 2 / (2 * 30 * 2)
    assert found.item() == pytest.approx(total, rel=1e-12)
    found.backward()
    grad = layer.connection.weight.grad
    assert [bool(row.any()) for row in grad] == [False, True, False, False, True, False]


PLAIN = ss.Spikes.from_dense(torch.ones(2, 3, 4))
SUMMED = ss.SumPool2d(2)(ss.Spikes.from_dense(torch.ones(2, 3, 1, 4, 4)))
V = torch.zeros(2, 3, 4)
WRONG: list[tuple[Any, str]] = [
    (lambda x: x.van_rossum(V, PLAIN, 1.0, 1.0), "spikes: expected Spikes, found"),
    (lambda x: x.van_rossum(PLAIN, [PLAIN], 1.0, 1.0), "target: expected Spikes, found"),
    (lambda x: x.van_rossum(PLAIN, PLAIN[0], 1.0, 1.0), r"target: expected \(2, 3, 4\) on cpu, f"),
    (lambda x: x.van_rossum(SUMMED, PLAIN, 1.0, 1.0), "spikes: expected spikes of neurons, found"),
    (lambda x: x.van_rossum(PLAIN, PLAIN, 0.0, 1.0), "tau: expected a finite number of seconds"),
    (lambda x: x.van_rossum(PLAIN, PLAIN, 1.0, math.inf), "dt: expected a finite number of s"),
    (lambda x: x.first_spike(V), "spikes: expected Spikes, found"),
    (lambda x: x.time_to_first_spike(PLAIN, [0, 4], 1.0, 1.0), r"label: expected labels in \[0, 4"),
    (lambda x: x.time_to_first_spike(PLAIN, [0, 1], -1.0, 1.0), "tau: expected a finite"),
    (lambda x: x.target_trace(PLAIN, V), r"potential: expected floats \(B, T, m\), found"),
    (lambda x: x.target_trace(V, V[:1]), r"target: expected floats \(2, 3, 4\) of torch.float32"),
    (lambda x: x.target_trace(V, V.double()), "target: expected floats"),
]


@pytest.mark.parametrize(("use", "message"), WRONG, ids=[message for _, message in WRONG])
def test_losses_on_spikes_refuse_by_name(use, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        use(ss.losses)
