"""Neurons of the form in layers of any size: whole tiles, single blocks, a few neurons; learned or not."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import sparsespike as ss
from checks import relative_error

F64 = torch.float64
B, T, N_IN = 2, 30, 12
SIZES = (
    1,
    7,
    17,
    33,
    64,
    71,
)  # in blocks of eight: less than one, tiles of two and four, and what is left
BAND: dict[str, Any] = {"b_th": 0.4, "surrogate": ss.FastSigmoid(5.0)}


def tau(n: int, low: float = 3.0) -> Tensor:
    return torch.linspace(low, low + 6, n, dtype=F64)


def lif(n: int, learn: bool) -> ss.Neuron:
    names = ("tau_mem", "v_th") if learn else ()
    return ss.LIF(tau(n), 1.0, learn=names, detach_reset=False, **BAND)


def alif(n: int, learn: bool) -> ss.Neuron:
    names = ("tau_mem", "tau_adapt", "beta") if learn else ()
    return ss.ALIF(tau(n), tau(n, 20.0), 0.3, 1.0, learn=names, **BAND)


def adlif(n: int, learn: bool) -> ss.Neuron:
    names = ("tau_mem", "tau_adapt", "a", "b") if learn else ()
    return ss.AdLIF(tau(n), tau(n, 20.0), 0.1, 0.2, 1.0, learn=names, **BAND)


def alpha(n: int, learn: bool) -> ss.Neuron:
    names = ("tau_slow", "tau_fast") if learn else ()
    return ss.Alpha(tau(n, 6.0), tau(n, 2.0) / 2, 1.0, learn=names, **BAND)


class Tilted(ss.Neuron):
    """A threshold for half of one state, a reset of both to a value: what no neuron of the library has."""

    numbers = ("leak",)

    def __init__(self, leak: Tensor, learn: bool) -> None:
        self.leak, self.b_th, self.surrogate = leak, BAND["b_th"], BAND["surrogate"]
        self.detach_reset = False
        self.learn(self.numbers if learn else ())

    def matrices(self) -> ss.Matrices:
        return ss.Matrices(
            A=[[self.leak, -0.1], [0.2, self.leak]],
            b=[2.0, 0.0],
            w=[0.5, 0.0],
            theta=1.0,
            A_1=[[0.0, 0.0], [0.2, self.leak]],
        )


def tilted(n: int, learn: bool) -> ss.Neuron:
    return Tilted(torch.linspace(0.5, 0.9, n, dtype=F64), learn)


def readout(n: int, learn: bool) -> ss.Neuron:
    return ss.CuBaReadout(tau(n), tau(n, 2.0), 1.0, learn=("tau_mem",) if learn else ())


def layer_of(make: Any, n: int, learn: bool, dtype: torch.dtype = F64) -> ss.Layer:
    torch.manual_seed(n)
    layer = ss.Layer(ss.Linear(N_IN, n), make(n, learn)).to(dtype)
    gain = 0.2 if make in (lif, alif) else 1.0  # the others scale their input down
    nn.init.normal_(layer.connection.weight, 0.8 * gain, gain)
    return layer


def given(dtype: torch.dtype = F64) -> tuple[Tensor, ss.Spikes]:
    draw = torch.Generator().manual_seed(0)
    dense = (torch.rand(B, T, N_IN, generator=draw) < 0.3).to(dtype).requires_grad_()
    return dense, ss.Spikes.from_dense(dense, active=torch.rand(B, T, N_IN, generator=draw) < 0.5)


def ran(layer: ss.Layer, backend: str) -> tuple[Tensor, dict[str, Tensor]]:
    layer.zero_grad()
    dense, spikes = given()
    with ss.use_backend(backend):
        out = layer(spikes)
        value = out.to_dense() if isinstance(out, ss.Spikes) else out
        up = torch.randn(value.shape, generator=torch.Generator().manual_seed(1), dtype=F64)
        (value * up).sum().backward()
    found = {name: p.grad.clone() for name, p in layer.named_parameters() if p.grad is not None}
    assert dense.grad is not None
    return value.detach(), found | {"input": dense.grad}


def assert_as_the_oracle(layer: ss.Layer) -> None:
    out, expected = ran(layer, "dense")
    mine, found = ran(layer, "cpu")
    assert out.abs().sum() > 0
    torch.testing.assert_close(mine, out, rtol=1e-12, atol=1e-12)
    assert found.keys() == expected.keys() == {*dict(layer.named_parameters()), "input"}
    for name, grad in expected.items():
        assert bool((grad != 0).any()), name
        assert relative_error(found[name], grad) < 1e-11, name


@pytest.mark.parametrize("learn", [False, True], ids=["fixed", "learned"])
@pytest.mark.parametrize("make", [lif, alif, adlif, alpha, tilted, readout])
def test_layers_of_any_size_are_the_oracle(make, learn):
    for n in SIZES:
        assert_as_the_oracle(layer_of(make, n, learn))


def test_band_edges_and_threshold_are_strict():
    """Potentials exactly at v_th and at v_th -+ b_th: no spike, not active (eq. 4, 7)."""
    potential = torch.tensor([0.5, 0.75, 0.875, 1.0, 1.125, 1.25], dtype=F64)
    gain = 1.0 - math.exp(-1.0)
    for neuron, scale in (
        (ss.LIF(alpha=torch.full((6,), 0.5, dtype=F64), b_th=0.25, lag=0), 1.0),
        (ss.AdLIF(1.0, 1.0, 0.0, 0.0, 1.0, b_th=0.25), gain),
    ):
        connection = ss.Linear(6, 6, dtype=F64)
        with torch.no_grad():
            connection.weight.copy_(torch.diag(potential / scale))
        assert torch.equal(connection.weight.diagonal() * scale, potential)
        dense = torch.zeros(1, 3, 6, dtype=F64)
        dense[0, 0] = 1.0
        out: Any = ss.Layer(connection, neuron)(ss.Spikes.from_dense(dense))
        row = slice(*out.active_offset[neuron.lag : neuron.lag + 2].tolist())
        assert torch.equal(out.potential[row], potential[2:5])
        assert out.active_unit[row].tolist() == [2, 3, 4]
        assert out.to_dense()[0, neuron.lag].tolist() == [0, 0, 0, 0, 1, 1]


def test_a_band_without_end_is_the_oracle_where_a_spike_drives_the_neuron():
    layer: Any = layer_of(adlif, 33, True)
    layer.neuron.b_th = math.inf
    assert_as_the_oracle(layer)


@pytest.mark.parametrize("make", [lif, adlif])
def test_without_a_gradient_nothing_but_the_gradient_is_missing(make):
    for dtype in (F64, torch.float32):
        for n in SIZES:
            layer = layer_of(make, n, True, dtype)
            spikes = given(dtype)[1]
            out = layer(spikes)
            with torch.no_grad():
                alone = layer(spikes)
            assert out.n_spikes > 0
            for name in ("unit", "offset", "active_unit", "active_offset", "potential", "value"):
                assert torch.equal(getattr(alone, name), getattr(out, name)), name
