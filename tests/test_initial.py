"""Initial widths: the theory against simulated potentials, its limits, and layers that stay alive."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch

import sparsespike as ss
from sparsespike.neurons import initial
from sparsespike.neurons.initial import moment, readout_spread, spread, sums
from sparsespike.neurons.lif import Reset

LEAKS = [0.0, math.exp(-1 / 5), math.exp(-1 / 10), math.exp(-1 / 50), 1.0]


def drawn(n_out: int, n_in: int, std: float, seed: int) -> torch.Tensor:
    """(n_out, n_in) float64 weights, uniform, of mean zero and that standard deviation."""
    bound = math.sqrt(3.0) * std
    generator = torch.Generator().manual_seed(seed)
    weight = torch.empty(n_out, n_in, dtype=torch.float64)
    return weight.uniform_(-bound, bound, generator=generator)


def poisson(rate: float, *shape: int, seed: int = 0) -> torch.Tensor:
    """Spikes, 0 or 1, each there with probability `rate`; float64."""
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(*shape, generator=generator) < rate).double()


def summed(alpha: float, current: torch.Tensor) -> torch.Tensor:
    """V after the last step, of neurons that never fire: (B, T, N) -> (B, N)."""
    potential = torch.zeros_like(current[:, 0])
    for now in current.unbind(1):
        potential = alpha * potential + now
    return potential


def built(sizes: list[int], neuron: ss.LIF, rate: float, seed: int = 0) -> ss.Network:
    """Layers of one neuron, their weights as wide as `spread` says; `rate` of the first one's input."""
    torch.manual_seed(seed)
    layers = []
    for i, (below, above) in enumerate(pairwise(sizes)):
        std = spread(
            neuron.alpha,
            neuron.v_th - neuron.v_rest,
            below,
            rate if i == 0 else initial.RATE,
            reset=None if neuron.reset == "none" else neuron.v_th - neuron.v_reset,
        )
        connection = ss.Linear(below, above)
        with torch.no_grad():
            connection.weight.copy_(drawn(above, below, std, seed + i))
        layers.append(ss.Layer(connection, neuron))
    return ss.Network(*layers)


def shares(net: ss.Network, n_in: int, rate: float, steps: int = 200) -> list[float]:
    """Share of the steps at which each layer's neurons fire, for Poisson input of that rate."""
    spikes = ss.Spikes.from_dense(poisson(rate, 4, steps, n_in, seed=9).float())
    with torch.no_grad():
        _, hidden = net(spikes, return_spikes=True)
    return [each.n_spikes / math.prod(each.shape) for each in hidden]


@pytest.mark.parametrize("alpha", LEAKS)
@pytest.mark.parametrize("rate", [0.01, 0.2, 1.0])
def test_the_potential_of_random_weights_is_as_wide_as_the_theory_says(
    alpha: float, rate: float
) -> None:
    n_in, n_out, std = 300, 500, 0.1
    weight = drawn(n_out, n_in, std, seed=1)
    found = summed(alpha, poisson(rate, 20, initial.STEPS, n_in) @ weight.t())
    expected = std * math.sqrt(n_in * moment(alpha, rate))
    assert found.std().item() == pytest.approx(expected, rel=0.08)
    assert abs(found.mean().item()) < 0.2 * expected


@pytest.mark.parametrize("tau", [5e-3, 10e-3, 50e-3])
def test_the_readout_starts_as_wide_as_stated(tau: float) -> None:
    neuron = ss.Readout(tau_mem=tau, dt=1e-3)
    weight = drawn(300, 400, readout_spread(neuron.alpha, 400), seed=2)
    current = poisson(initial.RATE, 16, initial.STEPS, 400, seed=3) @ weight.t()
    state = neuron.initial(current[:, 0])
    for now in current.unbind(1):
        state = neuron.step(state, now)
    assert state.std().item() == pytest.approx(initial.READOUT, rel=0.08)


def test_sums_are_those_of_the_powers() -> None:
    for alpha in LEAKS:
        for steps in (1, 7, 100):
            powers = [alpha**k for k in range(steps)]
            squares = [power * power for power in powers]
            assert sums(alpha, steps) == pytest.approx((sum(powers), sum(squares)), rel=1e-12)


def test_at_a_low_rate_fluctuations_are_those_of_rossbroich() -> None:
    alpha, rate = math.exp(-0.1), 1e-5
    assert moment(alpha, rate) == pytest.approx(rate / (1 - alpha**2), rel=1e-3)


def test_a_dense_input_is_one_steady_current() -> None:
    alpha = math.exp(-0.1)
    assert moment(alpha, 1.0) == pytest.approx(sums(alpha)[0] ** 2, rel=1e-12)


def test_without_leak_what_counts_is_finite() -> None:
    assert sums(1.0) == (initial.STEPS, initial.STEPS)
    assert spread(1.0, 1.0, 200, reset=1.0) == pytest.approx(
        spread(math.exp(-1e-9), 1.0, 200, reset=1.0), rel=1e-6
    )


def test_more_of_anything_needs_narrower_weights() -> None:
    few, many = (spread(0.9, 1.0, n, reset=1.0) for n in (100, 400))
    assert few == pytest.approx(2 * many, rel=1e-12)
    rates = [spread(0.9, 1.0, 500, rate, reset=1.0) for rate in (1e-3, 5e-3, 1e-2, 0.05, 0.3, 1.0)]
    assert rates == sorted(rates, reverse=True)
    leaks = [spread(alpha, 1.0, 500, reset=1.0) for alpha in LEAKS]
    assert leaks == sorted(leaks, reverse=True)
    readouts = [readout_spread(0.9, 500, rate) for rate in (1e-3, 1e-2, 0.1, 1.0)]
    assert readouts == sorted(readouts, reverse=True)


def test_the_unit_of_potential_is_free() -> None:
    one = spread(0.9, 1.0, 300, reset=1.0)
    assert spread(0.9, 50.0, 300, reset=50.0) == pytest.approx(50 * one, rel=1e-12)
    free = spread(0.9, 1.0, 300)
    assert spread(0.9, 50.0, 300) == pytest.approx(50 * free, rel=1e-12)


def test_connections_into_one_layer_share_the_variance() -> None:
    alone = spread(0.9, 1.0, 300, reset=1.0)
    half = spread(0.9, 1.0, 300, reset=1.0, share=0.5)
    assert 2 * half**2 == pytest.approx(alone**2, rel=1e-12)
    part = readout_spread(0.9, 300, share=0.25)
    assert 4 * part**2 == pytest.approx(readout_spread(0.9, 300) ** 2, rel=1e-12)


def test_no_single_spike_is_worth_more_than_stated() -> None:
    for n_in in (1, 2, 5, 50):
        bound = math.sqrt(3.0) * spread(0.9, 1.0, n_in, 1e-4, reset=1.0)
        assert bound <= initial.LARGEST * (1 + 1e-12)


def test_a_rest_at_or_above_threshold_gives_weights_too() -> None:
    assert spread(0.9, -0.5, 100, reset=1.0) == spread(0.9, initial.NEAREST, 100, reset=1.0) > 0
    assert spread(0.9, 0.0, 100, reset=1.0) > 0


@pytest.mark.parametrize("tau", [5e-3, 10e-3, 50e-3, math.inf])
@pytest.mark.parametrize("reset", ["subtract", "zero"])
def test_five_layers_stay_alive_and_do_not_explode(tau: float, reset: Reset) -> None:
    neuron = ss.LIF(tau_mem=tau, dt=1e-3, reset=reset)
    found = shares(built([784, 300, 300, 300, 300, 300], neuron, initial.RATE), 784, initial.RATE)
    assert all(0.002 < share < 0.05 for share in found), found


@pytest.mark.parametrize("rate", [0.001, 0.005, 0.05, 0.3, 1.0])
def test_a_layer_told_the_rate_of_its_input_fires_at_its_own(rate: float) -> None:
    neuron = ss.LIF(tau_mem=10e-3, dt=1e-3)
    (found,) = shares(built([784, 300], neuron, rate), 784, rate)
    assert 0.003 < found < 0.06


def test_without_reset_a_layer_starts_below_threshold_most_of_the_time() -> None:
    neuron = ss.LIF(tau_mem=10e-3, dt=1e-3, reset="none")
    found = shares(built([784, 300, 300], neuron, initial.RATE), 784, initial.RATE)
    assert all(0.0002 < share < 0.05 for share in found), found


@pytest.mark.parametrize("n_in", [3, 10, 50, 1000])
def test_few_inputs_and_many_keep_a_layer_alive(n_in: int) -> None:
    neuron = ss.LIF(tau_mem=10e-3, dt=1e-3)
    (found,) = shares(built([n_in, 300], neuron, 0.02), n_in, 0.02)
    assert 0.002 < found < 0.05


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda: sums(1.5), "alpha"),
        (lambda: sums(math.nan), "alpha"),
        (lambda: sums(0.5, 0), "steps"),
        (lambda: moment(0.5, 0.0), "rate"),
        (lambda: moment(0.5, 1.1), "rate"),
        (lambda: spread(-0.1, 1.0, 10, reset=1.0), "alpha"),
        (lambda: spread(0.9, math.inf, 10, reset=1.0), "threshold"),
        (lambda: spread(0.9, 0.0, 10), "threshold"),
        (lambda: spread(0.9, 1.0, 0, reset=1.0), "n_in"),
        (lambda: spread(0.9, 1.0, 10, 0.0, reset=1.0), "rate"),
        (lambda: spread(0.9, 1.0, 10, reset=0.0), "reset"),
        (lambda: spread(0.9, 1.0, 10, reset=1.0, share=0.0), "share"),
        (lambda: readout_spread(1.0, 10), "alpha"),
        (lambda: readout_spread(0.9, 0), "n_in"),
        (lambda: readout_spread(0.9, 10, math.nan), "rate"),
        (lambda: readout_spread(0.9, 10, share=2.0), "share"),
    ],
)
def test_what_is_out_of_range_is_refused_by_name(call, name: str) -> None:
    with pytest.raises(ValueError, match=f"^{name}: expected"):
        call()
