"""A neuron that no form describes, written by a user: AdEx, compared with a loop over time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import sparsespike as ss
from checks import relative_error

F64 = torch.float64
B, T, N_IN, N = 3, 60, 12, 8


class AdEx(ss.Neuron):
    """Adaptive exponential integrate-and-fire neuron, by Euler steps, in units of v_th - v_rest.

    R. Brette, W. Gerstner, Adaptive exponential integrate-and-fire model as an effective description of
    neuronal activity, Journal of Neurophysiology 94(5), 2005.
    """

    numbers = ("tau_mem", "tau_adapt", "a", "b", "sharpness")

    def __init__(
        self,
        tau_mem: Any,
        tau_adapt: Any,
        a: Any,
        b: Any,
        dt: float,
        sharpness: Any = 0.1,
        peak: float = 1.5,
        learn: Sequence[str] = (),
    ) -> None:
        self.tau_mem, self.tau_adapt, self.a, self.b = tau_mem, tau_adapt, a, b
        self.dt, self.sharpness, self.peak = dt, sharpness, peak
        self.learn(learn)

    def initial(self, like: Tensor) -> tuple[Tensor, ...]:
        return torch.zeros_like(like), torch.zeros_like(like), torch.zeros_like(like)

    def step(self, state: Any, current: Tensor) -> tuple[Tensor, ...]:
        potential, spike, adapt = state
        left = potential * (1 - spike.detach())  # reset to rest
        swing = self.sharpness * torch.exp((left - 1.0) / self.sharpness)
        after = left + self.dt / self.tau_mem * (swing - left - adapt) + current
        adapt = adapt + self.dt / self.tau_adapt * (self.a * left - adapt) + self.b * spike
        distance = after - self.peak
        slope = torch.where(self.active(after), self.surrogate.slope(distance.detach()), 0.0)
        fired = (distance > 0).to(after.dtype) + slope * (distance - distance.detach())
        return after, fired, adapt

    def active(self, potential: Tensor) -> Tensor:
        return (potential.detach() - self.peak).abs() < self.b_th


class Spike(torch.autograd.Function):
    """S, and the fast sigmoid cut at the band, by hand."""

    @staticmethod
    def forward(ctx: Any, distance: Tensor) -> Tensor:  # pyright: ignore
        ctx.save_for_backward(distance)
        return (distance > 0).to(distance.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:  # pyright: ignore
        (distance,) = ctx.saved_tensors
        slope = 1 / (5.0 * distance.abs() + 1) ** 2
        return grad * torch.where(distance.abs() < 0.4, slope, 0.0)


def literal(x: Tensor, weight: Tensor, p: dict[str, Any]) -> Tensor:
    """S (B, T, N) of inputs (B, T, N_in), step by step, neuron by neuron."""
    samples = []
    for b in range(len(x)):
        neurons = []
        for j in range(len(weight)):
            V, S, W = torch.zeros((), dtype=F64), torch.zeros((), dtype=F64), 0.0
            spikes = [S]
            for t in range(x.shape[1] - 1):
                current = (weight[j] * x[b, t]).sum()
                if S.item():
                    V = torch.zeros((), dtype=F64)
                pull = p["sharpness"] * torch.exp((V - 1) / p["sharpness"])
                slope = (pull - V - W) / p["tau_mem"][j]
                W = W + 1.0 * (p["a"] * V - W) / p["tau_adapt"] + p["b"][j] * S
                V = V + 1.0 * slope + current
                S = Spike.apply(V - 1.5)
                spikes.append(S)
            neurons.append(torch.stack(spikes))
        samples.append(torch.stack(neurons, 1))
    return torch.stack(samples)


def layer_of_adex() -> Any:
    torch.manual_seed(0)
    neuron = AdEx(
        torch.linspace(5, 12, N, dtype=F64),
        30.0,
        0.2,
        torch.linspace(0.0, 0.3, N, dtype=F64),
        1.0,
        learn=("tau_mem", "tau_adapt", "a", "b", "sharpness"),
    )
    neuron.b_th, neuron.surrogate = 0.4, ss.FastSigmoid(5.0)
    layer = ss.Layer(ss.Linear(N_IN, N, dtype=F64), neuron).double()
    nn.init.normal_(layer.connection.weight, 0.15, 0.3)
    return layer


def test_adex_on_the_dense_backend_is_the_loop():
    layer = layer_of_adex()
    draw = torch.Generator().manual_seed(1)
    dense = (torch.rand(B, T, N_IN, generator=draw) < 0.15).double()
    upstream = torch.randn(B, T, N, generator=draw, dtype=F64)
    leaf = dense.clone().requires_grad_()
    with ss.use_backend("dense"):
        out = layer(ss.Spikes.from_dense(leaf))
        (out.to_dense() * upstream).sum().backward()
    values = {name: p.detach().requires_grad_() for name, p in layer.neuron.named_parameters()}
    weight = layer.connection.weight.detach().requires_grad_()
    given = dense.clone().requires_grad_()
    expected = literal(given, weight, values)
    assert 0.01 < float(expected.detach().mean()) < 0.5
    assert out.n_active > 0
    assert torch.equal(out.to_dense().detach(), expected.detach())
    (expected * upstream).sum().backward()
    pairs = [("input", leaf.grad, given.grad), ("w", layer.connection.weight.grad, weight.grad)]
    pairs += [(name, p.grad, values[name].grad) for name, p in layer.neuron.named_parameters()]
    for name, mine, other in pairs:
        assert bool((other != 0).any()), name
        assert relative_error(mine, other) < 1e-11, name


@pytest.mark.parametrize("backend", ["cpu", "auto", "gpu"])
def test_other_backends_refuse_it_by_name(backend):
    layer = layer_of_adex().float()
    spikes = ss.Spikes.from_dense((torch.rand(2, 10, N_IN) < 0.2).float())
    spikes = spikes.to_words() if backend == "gpu" else spikes
    with ss.use_backend(backend), pytest.raises(ValueError, match="no kernel for AdEx"):
        layer(spikes)


def test_its_state_cannot_be_handed_on_and_says_so():
    with (
        ss.use_backend("dense"),
        pytest.raises(ValueError, match=r"state: expected a neuron .*AdEx"),
    ):
        layer_of_adex()(ss.Spikes.from_dense(torch.zeros(1, 5, N_IN)), return_state=True)
