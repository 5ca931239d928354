"""A dense current as a term: neurons of any backend take it, and give its gradient."""

from __future__ import annotations

import pytest
import torch

import sparsespike as ss
from sparsespike.connections.injected import injected

B, T, N = 3, 20, 7
F64 = torch.float64


@pytest.mark.parametrize("backend", ["dense", "cpu"])
@pytest.mark.parametrize("lag", [0, 1])
def test_neurons_see_the_current_and_give_its_gradient(backend, lag):
    lif = ss.LIF(alpha=0.8, lag=lag, b_th=0.5)
    torch.manual_seed(0)
    current = torch.randn(B, T, N, dtype=F64).add_(0.3).requires_grad_()
    wish = torch.randn(B, T, N, dtype=F64)
    with ss.use_backend(backend):
        out = lif(injected(current))
        (out.to_dense() * wish).sum().backward()
        assert torch.equal(injected(current).to_dense(), current)
    state = lif.initial(torch.zeros(B, N, dtype=F64))
    twin = current.detach().clone().requires_grad_()
    steps = [] if lag == 0 else [state[1]]
    for now in twin.unbind(1)[: T - lag]:
        state = lif.step(state, now)
        steps.append(state[1])
    expected = torch.stack(steps, 1)
    (expected * wish).sum().backward()
    assert out.n_spikes
    assert torch.equal(out.to_dense().detach(), expected.detach())
    assert twin.grad is not None
    assert twin.grad.any()
    torch.testing.assert_close(current.grad, twin.grad, rtol=1e-11, atol=1e-11)


def test_it_adds_to_what_spikes_bring():
    connection = ss.Linear(4, N, dtype=F64)
    spikes = ss.Spikes.from_dense((torch.rand(B, T, 4) < 0.3).double())
    dense = torch.randn(B, T, N, dtype=F64)
    both = injected(dense) + connection(spikes)
    with ss.use_backend("dense"):
        expected = dense + connection(spikes).to_dense()
        torch.testing.assert_close(both.to_dense(), expected)
        assert ss.LIF(alpha=0.8)(both).n_spikes


@pytest.mark.parametrize(
    "wrong", [torch.zeros(2, 3), torch.zeros(1, 2, 3, dtype=torch.int64), [1.0]]
)
def test_what_is_no_dense_current_is_named(wrong):
    with pytest.raises(ValueError, match=r"dense: expected floats \(B, T, N\), found"):
        injected(wrong)
