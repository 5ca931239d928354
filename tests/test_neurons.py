"""`LIF` and `Readout`: their constants, and one step by hand."""

from __future__ import annotations

import math
from dataclasses import FrozenInstanceError

import pytest
import torch

import sparsespike as ss
from cases import EXACT_LIF, SURROGATES

ONE = torch.ones(1, dtype=torch.float64)


def test_alpha_is_the_leak_of_one_step():
    assert ss.LIF(tau_mem=10e-3, dt=1e-3).alpha == pytest.approx(math.exp(-0.1))
    assert ss.LIF(tau_mem=math.inf, dt=1e-3).alpha == 1.0
    assert ss.Readout(tau_mem=20e-3, dt=2e-3).alpha == pytest.approx(math.exp(-0.1))


def test_defaults_are_the_papers():
    neuron = ss.LIF(tau_mem=10e-3, dt=1e-3)
    assert (neuron.v_th, neuron.v_reset, neuron.v_rest, neuron.b_th) == (1.0, 0.0, 0.0, 0.2)
    assert neuron.surrogate == ss.FastSigmoid(100.0)
    assert neuron.reset == "subtract"
    assert neuron.detach_reset


@pytest.mark.parametrize(
    ("reset", "expected"),
    # alpha 1/2, v_rest 1/4, v_reset -1, V = 1.5 after a spike, current 1/8
    [
        ("subtract", 0.5 * 1.25 + 0.25 + 0.125 - 2.0),
        ("zero", 0.5 * (-1.0 - 0.25) + 0.25 + 0.125),
        ("none", 0.5 * 1.25 + 0.25 + 0.125),
    ],
)
def test_step_after_a_spike(reset, expected):
    neuron = EXACT_LIF.changed(reset=reset, v_rest=0.25, v_reset=-1.0)
    potential, spike = neuron.step((1.5 * ONE, ONE), 0.125 * ONE)
    assert potential.item() == expected
    assert spike.item() == 0.0


@pytest.mark.parametrize("reset", ["subtract", "zero", "none"])
def test_step_without_a_spike_leaks_to_rest(reset):
    neuron = EXACT_LIF.changed(reset=reset, v_rest=0.25)
    potential, _ = neuron.step((0.75 * ONE, 0 * ONE), 0 * ONE)
    assert potential.item() == 0.5


def test_initial_state_rests_in_silence():
    potential, spike = EXACT_LIF.changed(v_rest=0.25).initial(torch.empty(2, 3))
    assert potential.tolist() == [[0.25] * 3] * 2
    assert spike.tolist() == [[0.0] * 3] * 2
    assert ss.Readout(1.0, 1.0).initial(torch.empty(2)).tolist() == [0.0, 0.0]


def test_spike_and_band_are_strict():
    potential = torch.tensor([0.75, 0.76, 1.0, 1.01, 1.24, 1.25], dtype=torch.float64)
    assert EXACT_LIF.spike(potential).tolist() == [0, 0, 0, 1, 1, 1]
    assert EXACT_LIF.active(potential).tolist() == [False, True, True, True, True, False]


@pytest.mark.parametrize("surrogate", SURROGATES, ids=repr)
def test_derivative_of_a_spike_is_the_surrogate_cut_at_the_band(surrogate):
    neuron = EXACT_LIF.changed(surrogate=surrogate)
    potential = torch.linspace(0, 2, 101, dtype=torch.float64, requires_grad=True)
    spike = neuron.spike(potential)
    assert set(spike.tolist()) == {0.0, 1.0}
    spike.sum().backward()
    distance = potential.detach() - 1.0
    expected = surrogate.slope(distance) * (distance.abs() < 0.25)
    assert bool((expected > 0).any())
    assert potential.grad is not None
    assert torch.equal(potential.grad, expected)


@pytest.mark.parametrize("reset", ["subtract", "zero", "none"])
@pytest.mark.parametrize("detach", [True, False])
def test_derivative_through_the_reset(reset, detach):
    """dV[t+1]/dS[t]: minus the jump, or alpha (v_reset - V); nothing where detached or none."""
    neuron = EXACT_LIF.changed(reset=reset, detach_reset=detach, v_reset=-1.0)
    spike = torch.ones(1, dtype=torch.float64, requires_grad=True)
    potential, _ = neuron.step((1.5 * ONE, spike), 0 * ONE)
    if detach or reset == "none":
        assert not potential.requires_grad
        return
    potential.backward()
    assert spike.grad is not None
    assert spike.grad.item() == {"subtract": -2.0, "zero": 0.5 * (-1.0 - 1.5)}[reset]


def test_readout_step_by_hand():
    readout = ss.Readout(tau_mem=1.0, dt=math.log(2.0))
    assert readout.step(4.0 * ONE, 6.0 * ONE).item() == 5.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tau_mem": 0.0}, "tau_mem: expected a time constant in seconds > 0, found 0.0"),
        ({"tau_mem": -1.0}, "tau_mem: expected"),
        ({"tau_mem": math.nan}, "tau_mem: expected"),
        ({"dt": 0.0}, "dt: expected a finite time step in seconds > 0, found 0.0"),
        ({"dt": math.inf}, "dt: expected"),
        ({"dt": math.nan}, "dt: expected"),
        ({"v_th": math.inf}, "v_th: expected a finite number, found inf"),
        ({"v_reset": math.nan}, "v_reset: expected a finite number, found nan"),
        ({"v_rest": math.inf}, "v_rest: expected a finite number, found inf"),
        ({"v_reset": 1.0}, "v_reset: expected less than v_th = 1.0, found 1.0"),
        ({"b_th": 0.0}, "b_th: expected a half-width > 0, found 0.0"),
        ({"b_th": -0.2}, "b_th: expected"),
        ({"b_th": math.nan}, "b_th: expected"),
        (
            {"surrogate": "atan"},
            "surrogate: expected a Surrogate, or an object with .*found 'atan'",
        ),
        ({"reset": "hard"}, 'reset: expected one of "subtract", .*, "none", found \'hard\''),
    ],
    ids=str,
)
def test_lif_refuses_by_name(change, message):
    with pytest.raises(ValueError, match=message):
        EXACT_LIF.changed(**change)


@pytest.mark.parametrize(
    ("tau_mem", "dt", "message"),
    [
        (math.inf, 1.0, "tau_mem: expected a finite time constant for Readout"),
        (0.0, 1.0, "tau_mem: expected"),
        (1.0, -1.0, "dt: expected"),
    ],
)
def test_readout_refuses_by_name(tau_mem, dt, message):
    with pytest.raises(ValueError, match=message):
        ss.Readout(tau_mem=tau_mem, dt=dt)


def test_equal_neurons_have_equal_descriptions_and_changed_ones_another():
    neuron = EXACT_LIF.changed()
    told = neuron.describe()
    assert told == EXACT_LIF.describe()
    assert hash(told) == hash(EXACT_LIF.describe())
    with pytest.raises(FrozenInstanceError):
        told.v_th = 2.0  # pyright: ignore
    neuron.v_th = 2.0
    assert neuron.describe() != told
    assert told == EXACT_LIF.describe()


def test_leaks_are_given_as_time_constants_or_as_factors():
    dt, fast, slow = 1e-3, 5e-3, 20e-3
    of_fast, of_slow = math.exp(-dt / fast), math.exp(-dt / slow)
    pairs = [
        (ss.CuBaLIF(slow, fast, dt), ss.CuBaLIF(alpha_mem=of_slow, alpha_syn=of_fast)),
        (ss.CuBaReadout(slow, fast, dt), ss.CuBaReadout(alpha_mem=of_slow, alpha_syn=of_fast)),
        (ss.Readout(slow, dt), ss.Readout(alpha=of_slow)),
        (ss.Readout(slow, dt), ss.Readout(alpha=of_slow, gain=1 - of_slow)),
        (
            ss.CuBaReadout(slow, fast, dt),
            ss.CuBaReadout(slow, alpha_syn=of_fast, dt=dt, gain=(1 - of_slow) * (1 - of_fast)),
        ),
    ]
    spikes = ss.Spikes.from_dense((torch.rand(2, 30, 5) < 0.3).double())
    connection = ss.Linear(5, 4, dtype=torch.float64)
    for by_time, by_factor in pairs:
        with ss.use_backend("dense"):
            one, other = (neuron(connection(spikes)) for neuron in (by_time, by_factor))
        one, other = (y.to_dense() if isinstance(y, ss.Spikes) else y for y in (one, other))
        assert one.any()
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-14)
        assert by_factor.changed().settings() == by_factor.settings()
    learned = ss.CuBaLIF(alpha_mem=0.9, alpha_syn=0.5, learn=("alpha_mem",), v_init=0.5)
    assert learned.alpha_mem.requires_grad
    assert learned.initial(torch.zeros(1, 2, dtype=torch.float64))[0].tolist() == [[0.5, 0.5]]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: ss.CuBaLIF(tau_syn=1.0, dt=1.0), "tau_mem: expected it, or alpha_mem .* neither"),
        (lambda: ss.CuBaLIF(1.0, 1.0, 1.0, alpha_syn=0.5), "tau_syn: expected it, .* found both"),
        (lambda: ss.CuBaLIF(1.0, alpha_syn=0.5), "dt: expected a time step beside tau_mem"),
        (lambda: ss.CuBaReadout(alpha_mem=1.5, alpha_syn=0.5), r"alpha_mem: expected .* found 1.5"),
        (lambda: ss.Readout(1.0, alpha=0.5), "tau_mem: expected it, or alpha .* found both"),
        (lambda: ss.Readout(1.0), "dt: expected a time step"),
        (
            lambda: ss.CuBaLIF(alpha_mem=0.5, alpha_syn=0.5, learn=("tau_mem",)),
            "learn: expected numbers that were given, found 'tau_mem'",
        ),
    ],
)
def test_leaks_given_wrongly_are_named(make, said):
    with pytest.raises(ValueError, match=said):
        make()
