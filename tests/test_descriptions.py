"""What a layer is told of its neuron is read at each call: surrogates, neurons and numbers of one's own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import nn

import sparsespike as ss
from checks import assert_close
from test_modules import spikes


def slope_gradient(surrogate: object) -> float:
    torch.manual_seed(0)
    lif = ss.LIF(20e-3, 1e-3, surrogate=surrogate, b_th=0.5)  # pyright: ignore
    layer = ss.Layer(ss.Linear(30, 20), lif)
    layer(spikes()).count().sum().backward()
    assert layer.connection.weight.grad is not None
    return layer.connection.weight.grad.abs().sum().item()


def test_a_surrogate_defined_twice_is_the_one_at_hand():
    def define(value: float) -> type[ss.Surrogate]:
        @dataclass(frozen=True)
        class Mine(ss.Surrogate):
            def slope(self, distance):
                return torch.full_like(distance, value)

        return Mine

    one, none = slope_gradient(define(1.0)()), slope_gradient(define(0.0)())
    assert one > 0
    assert none == 0


def test_any_class_is_a_surrogate_with_any_attributes():
    class Scaled(ss.Surrogate):
        def __init__(self, scale):
            self.scale = scale

        def slope(self, distance):
            return torch.full_like(distance, self.scale)

    class Foreign:
        scale = 3.0
        table = ({"any": "thing"}, torch.zeros(2))

        def slope(self, distance):
            return distance * 0 + self.scale

    class Steeper(ss.FastSigmoid):
        def slope(self, distance):
            return 2 * super().slope(distance)

    one = slope_gradient(Scaled(1.0))
    assert one > 0
    assert slope_gradient(Scaled(2.0)) == pytest.approx(2 * one)
    assert slope_gradient(Scaled(torch.tensor(100.0))) == pytest.approx(100 * one)
    assert slope_gradient(Foreign()) == pytest.approx(3 * one)
    assert slope_gradient(Steeper()) == pytest.approx(2 * slope_gradient(ss.FastSigmoid()))


def test_a_surrogate_changed_after_the_forward_pass_counts_from_the_next():
    class Scaled(ss.Surrogate):
        scale = 1.0

        def slope(self, distance):
            return torch.full_like(distance, self.scale)

    surrogate = Scaled()
    layer = ss.Layer(ss.Linear(30, 20), ss.LIF(20e-3, 1e-3, surrogate=surrogate, b_th=0.5))
    weight, grads = layer.connection.weight, []
    for _ in range(2):
        out = layer(spikes())
        surrogate.scale = 5.0
        grads += torch.autograd.grad(out.count().sum(), weight)
    assert grads[0].any()
    assert_close(grads[1], 5 * grads[0], "gradient")


def test_a_slope_of_another_shape_is_refused():
    class Wrong(ss.Surrogate):
        def slope(self, distance):
            return torch.ones(3)

    with pytest.raises(ValueError, match="surrogate: expected a slope of the distance's shape"):
        slope_gradient(Wrong())


def test_equal_descriptions_compile_once():
    from sparsespike.backends.cpu import drive

    def run(v_th: float) -> int:
        ss.Layer(ss.Linear(30, 20), ss.LIF(20e-3, 1e-3, v_th=v_th))(spikes())
        return len(drive.forward.signatures)

    assert run(1.0) == run(0.7) == run(0.3)


class Decaying(ss.Neuron):
    """A neuron of one's own: fires where an input came, and forgets at once."""

    def __init__(self, v_th):
        super().__init__()
        self.v_th = v_th

    def initial(self, like):
        return torch.zeros_like(like), torch.zeros_like(like)

    def step(self, state, current):
        return current, (current > self.v_th).to(current.dtype)

    def active(self, potential):
        return torch.ones_like(potential, dtype=torch.bool)


def test_a_neuron_of_ones_own_runs_on_the_oracle_and_is_refused_elsewhere():
    layer = ss.Layer(ss.Linear(30, 20), Decaying(0.1))
    with ss.use_backend("dense"):
        few, many = layer(spikes()).n_spikes, ss.Layer(layer.connection, Decaying(0.0))(spikes())
    assert 0 < few < many.n_spikes
    with pytest.raises(ValueError, match=r'"cpu" has no kernel for Decaying.*"dense" computes any'):
        layer(spikes())
    layer.neuron.part = nn.Linear(2, 2)
    with ss.use_backend("dense"), pytest.raises(ValueError, match=r"itself, found part\.weight"):
        layer(spikes())


def test_numbers_may_be_pythons_numpys_or_of_torch():
    import numpy as np

    kinds: list[Any] = [float, np.float32, np.float64, torch.tensor, np.array]
    for kind in kinds:
        lif = ss.LIF(kind(0.5), kind(0.25), v_th=kind(2), surrogate=ss.FastSigmoid(kind(25)))
        assert (
            lif.describe() == ss.LIF(0.5, 0.25, v_th=2.0, surrogate=ss.FastSigmoid(25.0)).describe()
        )
    assert ss.Linear(np.int64(3), torch.tensor(4)).weight.shape == (4, 3)  # pyright: ignore


def change(lif: ss.LIF, name: str, value: Any) -> None:
    setattr(lif, name, value)
    lif.describe()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("fast", "expected one number for all neurons.*found 'fast'"),
        (True, "expected one number for all neurons.*found True"),
        (torch.ones(4, 2), r"expected one number.*, found .*\(4, 2\)"),
        (torch.ones((), requires_grad=True), "expected a constant.*, found a"),
        (1j, "expected one number for all neurons.*found 1j"),
    ],
    ids=repr,
)
def test_a_wrong_number_is_refused_by_name(value, message):
    for name in ("tau_mem", "dt", "v_th", "v_reset", "v_rest", "b_th", "gain", "v_init"):
        with pytest.raises(ValueError, match=f"{name}: {message}"):
            ss.LIF(**{"tau_mem": 1.0, "dt": 1.0, name: value})  # pyright: ignore
        lif = ss.LIF(1.0, 1.0)
        with pytest.raises(ValueError, match=f"{name}: {message}"):
            change(lif, name, value)
    with pytest.raises(ValueError, match=rf"FastSigmoid\.beta: {message}"):
        ss.FastSigmoid(value)
    with pytest.raises(ValueError, match=f"tau_mem: {message}"):
        ss.Readout(value, 1.0)


@pytest.mark.parametrize("name", ["dt", "b_th"])
@pytest.mark.parametrize("value", [torch.ones(4), nn.Parameter(torch.ones(()))], ids=repr)
def test_what_is_one_number_for_all_is_no_parameter_and_no_list(name, value):
    with pytest.raises(ValueError, match=f"{name}: expected"):
        ss.LIF(**{"tau_mem": 1.0, "dt": 1.0, name: value})
