"""Delays per input on the GPU: events are moved, and everything else is as without."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import sparsespike as ss
from cases import device_of
from checks import relative_error
from compare import stored_for
from sparsespike.backends.gpu import plan

B, T, N_IN, N = 3, 37, 10, 9
F64 = torch.float64


def delay(learn: bool = True, spread: float = 1.0, most: int = 40) -> ss.Delay:
    """Some events arrive after the last step."""
    drawn = torch.rand(N_IN, generator=torch.Generator().manual_seed(2)) * most
    init = drawn if learn else drawn.floor()
    init[0], init[1] = 0.0, 3.0
    return ss.Delay(most, "input", learn=learn, init=init, spread=spread)


class Layer(nn.Module):
    """Two terms, one of them late, or late sums."""

    def __init__(self, late: ss.Delay, neuron: nn.Module, pooled: bool = False) -> None:
        super().__init__()
        self.late = ss.Linear(N_IN, N, delay=late)
        self.soon = ss.Linear(N_IN, N, bias=False)
        self.neuron = neuron
        self.pool = ss.SumPool2d(2) if pooled else None
        nn.init.normal_(self.late.weight, 0.2, 0.5)
        nn.init.normal_(self.soon.weight, 0.1, 0.3)

    def forward(self, spikes: ss.Spikes) -> ss.Spikes | torch.Tensor:
        if self.pool is not None:
            return self.neuron(self.late(self.pool(spikes)))
        return self.neuron(self.late(spikes) + self.soon(spikes))


def learned() -> ss.LIF:
    return ss.LIF(
        torch.linspace(4, 9, N), 1.0, b_th=0.6, surrogate=ss.FastSigmoid(5.0), learn=("tau_mem",)
    )


CASES = {
    "plain": lambda: Layer(delay(), ss.LIF(8.0, 1.0, b_th=0.6, surrogate=ss.FastSigmoid(5.0))),
    "whole": lambda: Layer(delay(False), ss.LIF(8.0, 1.0, b_th=0.6)),
    "form": lambda: Layer(delay(spread=2.5), learned()),
    "sums": lambda: Layer(delay(), ss.LIF(8.0, 1.0, b_th=0.6), pooled=True),
    "readout": lambda: Layer(delay(), ss.Readout(8.0, 1.0)),
}


@pytest.mark.parametrize("name", CASES)
def test_late_events_are_the_oracles(name, monkeypatch):
    torch.manual_seed(0)
    net = CASES[name]().double()
    shape = (B, T, 1, 2, 2 * N_IN) if name == "sums" else (B, T, N_IN)
    dense = (torch.rand(shape) < 0.2).double().requires_grad_()
    monkeypatch.setattr(plan, "TRANSIENT", 1)
    outs, grads = [], []
    for backend in ("dense", "gpu"):
        own = net.to(device_of(backend))
        own.zero_grad()
        dense.grad = None
        spikes = ss.Spikes.from_dense(dense, active=torch.ones_like(dense, dtype=torch.bool))
        with ss.use_backend(backend):
            out = own(stored_for(spikes, backend)).to("cpu")
        out = out.to_dense() if isinstance(out, ss.Spikes) else out
        up = torch.randn(out.shape, generator=torch.Generator().manual_seed(1), dtype=F64)
        (out * up).sum().backward()
        outs.append(out.detach())
        assert dense.grad is not None
        found = {
            key: p.grad.cpu().clone() for key, p in own.named_parameters() if p.grad is not None
        }
        grads.append({"input": dense.grad.clone(), **found})
    assert bool((outs[0] != 0).any())
    assert outs[0].shape == (B, T, N)
    assert torch.allclose(*outs, rtol=0, atol=0 if name != "readout" else 1e-12)
    learns = name != "whole"
    assert ("late.delay.steps" in grads[0]) == learns
    for key, expected in grads[0].items():
        assert bool((expected != 0).any()), key
        assert relative_error(grads[1][key], expected) < 1e-11, key


def test_late_events_of_states_are_refused_by_name():
    layer = ss.Layer(ss.Linear(N_IN, N, delay=delay()), learned())
    layer.to(device_of("gpu"))
    words = stored_for(ss.Spikes.from_dense((torch.rand(B, T, N_IN) < 0.2).float()), "gpu")
    with pytest.raises(ValueError, match='"gpu" has no kernel for delays with a state'):
        layer(words, return_state=True)
    other = ss.Layer(ss.Linear(N_IN, N, delay=ss.Delay(3)), learned()).to(words.device)
    with pytest.raises(ValueError, match='"gpu" has no kernel for delays per synapse'):
        other(words)
