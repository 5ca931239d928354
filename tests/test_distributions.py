"""Numbers of neurons drawn from distributions: their shape, range and seed, and where they are refused."""

from __future__ import annotations

import copy
import dataclasses
import math
from typing import Any, cast

import pytest
import torch

import sparsespike as ss
from sparsespike.training.recipe import Recipe

N = 4000


def given(n: int = 20) -> ss.Spikes:
    return ss.Spikes.from_dense((torch.rand(2, 30, n) < 0.3).float())


@pytest.mark.parametrize(
    ("distribution", "mean", "std"),
    [
        (ss.Gamma(20e-3, 3.0), 20e-3, 20e-3 / math.sqrt(3.0)),
        (ss.Normal(20e-3, 2e-3), 20e-3, 2e-3),
        (ss.Uniform(10e-3, 30e-3), 20e-3, 20e-3 / math.sqrt(12.0)),
    ],
    ids=str,
)
def test_one_number_is_drawn_for_each_neuron_of_a_layer(distribution, mean, std):
    layer = ss.Layer(ss.Linear(3, N), ss.LIF(distribution, dt=1e-3, learn=("tau_mem",)))
    tau = layer.neuron.tau_mem
    assert isinstance(tau, torch.nn.Parameter)
    assert tau.shape == (N,)
    tau = tau.detach()
    assert float(tau.min()) > 1e-3 / 16
    assert float(tau.mean()) == pytest.approx(mean, abs=5 * std / math.sqrt(N))
    assert float(tau.std()) == pytest.approx(std, rel=0.1)
    assert distribution.mean == pytest.approx(mean)


def test_torchs_seed_or_a_generator_decides():
    def drawn() -> torch.Tensor:
        torch.manual_seed(5)
        layer: Any = ss.Layer(ss.Linear(3, 50), ss.ALIF(ss.Gamma(0.02, 3), 0.2, 0.1, 1e-3))
        return layer.neuron.tau_mem

    assert torch.equal(drawn(), drawn())
    lif = ss.LIF(0.02, 1e-3, v_th=ss.Normal(1.0, 0.1), v_reset=ss.Uniform(-0.5, 0.0))
    before = torch.get_rng_state()
    a, b = (
        copy.deepcopy(lif).draw(50, generator=torch.Generator().manual_seed(1)) for _ in range(2)
    )
    assert torch.equal(a.v_th, b.v_th)
    assert torch.equal(a.v_reset, b.v_reset)
    assert torch.equal(torch.get_rng_state(), before)
    assert not torch.equal(lif.draw(50).v_th, a.v_th)


def test_what_lies_outside_of_a_range_is_drawn_again():
    lif = ss.LIF(ss.Normal(2e-3, 4e-3), 1e-3, v_th=ss.Normal(0.1, 1.0)).draw(N)
    assert float(lif.tau_mem.min()) > 1e-3 / 16
    assert float(lif.v_th.min()) > 0  # v_reset
    leaky = ss.LIF(alpha=ss.Normal(0.9, 0.5)).draw(N)
    assert 0 < float(leaky.alpha.min()) < float(leaky.alpha.max()) < 1
    two = ss.Alpha(ss.Gamma(20e-3, 2), ss.Gamma(10e-3, 2), 1e-3).draw(N)
    assert bool((two.tau_slow > two.tau_fast).all())
    with pytest.raises(ValueError, match=r"^tau_mem: expected a distribution over .*found Normal"):
        ss.LIF(ss.Normal(1e-3, 0.0), 20e-3).draw(3)


def test_a_layer_with_drawn_numbers_is_a_module_like_any_other():
    torch.manual_seed(0)
    lif = ss.LIF(ss.Gamma(10e-3, 3), 1e-3, v_th=ss.Normal(1, 0.1), learn=("tau_mem",))
    assert "tau_mem=Gamma(mean=0.01, shape=3.0) (to be learned)" in repr(lif)
    other = lif.changed(b_th=0.5)
    assert other.tau_mem == ss.Gamma(10e-3, 3.0)
    layer: Any = ss.Layer(ss.Linear(20, 64, dtype=torch.float64), lif)
    assert layer.neuron.tau_mem.dtype == layer.neuron.v_th.dtype == torch.float64
    assert [name for name, _ in layer.named_parameters()] == [
        "connection.weight",
        "neuron.tau_mem",
    ]
    assert {"neuron.tau_mem", "neuron.v_th"} < layer.state_dict().keys()
    spikes = given()
    out = layer(spikes)
    assert out.n_spikes > 0
    out.count().sum().backward()
    assert float(layer.neuron.tau_mem.grad.abs().sum()) > 0
    same: Any = ss.Layer(ss.Linear(20, 64, dtype=torch.float64), other)
    assert not torch.equal(same.neuron.tau_mem, layer.neuron.tau_mem)
    assert isinstance(same.neuron.tau_mem, torch.nn.Parameter)
    same.neuron.b_th = 0.2
    same.load_state_dict(layer.state_dict())
    for each in (same, copy.deepcopy(layer)):
        assert torch.equal(each(spikes).to_dense(), out.to_dense())
    with ss.use_backend("dense"):
        assert torch.equal(layer(spikes).to_dense(), out.to_dense())


def test_a_number_given_in_place_of_a_distribution_is_learned_as_it_was_to_be():
    lif = ss.LIF(ss.Gamma(10e-3, 3), 1e-3, learn=("tau_mem",))
    lif.tau_mem = 5e-3
    assert isinstance(lif.tau_mem, torch.nn.Parameter)
    assert ss.Layer(ss.Linear(20, 9), lif).neuron.tau_mem.shape == ()


@pytest.mark.parametrize("neuron", [ss.LIF, ss.Readout])
def test_a_neuron_whose_numbers_are_still_to_be_drawn_is_refused(neuron):
    lif = neuron(ss.Gamma(10e-3, 3), 1e-3)
    current = ss.Linear(20, 8)(given())
    message = r"^tau_mem: expected numbers that were drawn, found Gamma\(mean=0.01, shape=3.0\)"
    with pytest.raises(ValueError, match=message):
        lif(current)
    with pytest.raises(ValueError, match=message):
        lif.step(lif.initial(torch.zeros(8)), torch.zeros(8))
    with pytest.raises(ValueError, match=r"tau_mem: expected .* Conv2d does not tell how many"):
        ss.Layer(ss.Conv2d(1, 2, 3), lif)
    lif.draw(8)
    assert lif(current).shape == (2, 30, 8)


def test_a_convolution_takes_numbers_drawn_by_hand():
    lif = ss.LIF(ss.Gamma(10e-3, 3), 1e-3, learn=("tau_mem",)).draw(2 * 3 * 4)
    layer: Any = ss.Layer(ss.Conv2d(1, 2, 3), lif)
    image = ss.Spikes.from_dense((torch.rand(2, 20, 1, 5, 6) < 0.5).float())
    layer(image).count().sum().backward()
    assert layer.neuron.tau_mem.grad.shape == (24,)


WRONG: list[tuple[Any, str]] = [
    (lambda: ss.Gamma(0.0, 3), "mean: expected a finite number > 0, found 0"),
    (lambda: ss.Gamma(0.1, math.inf), "shape: expected a finite number > 0, found inf"),
    (lambda: ss.Normal(math.nan, 1), "mean: expected a finite number, found nan"),
    (lambda: ss.Normal(0, -1), "std: expected a finite number >= 0, found -1"),
    (lambda: ss.Uniform(1, 1), "high: expected more than low = 1.0, found 1.0"),
    (lambda: ss.LIF(ss.Uniform(-2, 1), 1e-3), "tau_mem: expected a time constant .*found -0.5"),
    (lambda: ss.LIF(ss.Gamma(1, 1), 1.0, learn=("tau",)), "learn: expected names"),
    (lambda: ss.LIF(ss.Gamma(1, 1), 1.0).draw(0), "n: expected an integer >= 1, found 0"),
    (lambda: ss.LIF(1.0, 1.0, b_th=cast(Any, ss.Gamma(1, 1))), "b_th: expected"),
]


@pytest.mark.parametrize(("make", "message"), WRONG, ids=[message for _, message in WRONG])
def test_distributions_refuse_by_name(make, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        make()


DRAWN = Recipe(
    hidden=(20, 15), neuron="CuBaLIF(tau_mem=Gamma(10e-3, 3), tau_syn=Normal(5e-3, 1e-3))"
)


def test_a_recipe_draws_each_layers_own_from_its_seed():
    net: Any = DRAWN.network(30, 10)
    again: Any = DRAWN.network(30, 10)
    learned: Any = dataclasses.replace(DRAWN, learn=("tau_mem",)).network(30, 10)
    for i, n in enumerate((20, 15)):
        mine, other, third = (each[i].neuron for each in (net, again, learned))
        assert mine.tau_mem.shape == mine.tau_syn.shape == (n,)
        assert float(mine.tau_mem.std()) > 1e-3
        assert torch.equal(mine.tau_mem, other.tau_mem)
        assert torch.equal(mine.tau_mem, third.tau_mem)
        assert isinstance(third.tau_mem, torch.nn.Parameter)
    for neuron, message in (
        ("LIF(tau_mem=Gamma(5e-3, 3))", "neuron: expected .*distributions of these means"),
        ("LIF(gain=Gamma(0, 3))", "neuron: Gamma: mean: expected"),
        ("LIF(gain=Beta(0, 3))", "neuron: expected Name"),
    ):
        with pytest.raises(ValueError, match=message):
            Recipe(neuron=neuron).network(30, 10)
