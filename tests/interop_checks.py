"""A network of another library against ours: spikes, potentials and every gradient."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

import sparsespike as ss
from interop_nets import Case


def tensors(out: Any) -> list[Tensor]:
    """What a network gave, without states."""
    if isinstance(out, Tensor):
        return [out]
    return [each for part in out if part is not None for each in tensors(part)]


def compared(case: Case, make: Any, backend: str, **how: Any) -> dict[str, int]:
    """Runs both, compares spikes, potentials and every gradient, and tells what happened."""
    exact = 1e-11 if case.x.dtype == torch.float64 else 2e-6
    x = case.x.clone().requires_grad_()
    theirs = tensors(case.run(case.net, x))
    net = make(case.net, freeze=True, **how)
    mine_x = case.x.clone().requires_grad_()
    with ss.use_backend(backend):
        mine = tensors(net(mine_x))
        assert len(mine) == len(theirs)
        draw = torch.Generator().manual_seed(0)
        wish = [torch.randn(each.shape, generator=draw, dtype=x.dtype) for each in theirs]
        seen = {"spikes": 0, "learning": 0}
        for a, b in zip(mine, theirs, strict=True):
            assert a.shape == b.shape
            if bool(((b == 0) | (b == b.max())).all()):
                assert torch.equal(a, b)
                seen["spikes"] += int((b != 0).sum())
            torch.testing.assert_close(a, b, rtol=exact, atol=exact)
        parameters = [p for p in case.net.parameters() if p.requires_grad]
        grads = []
        for out, given in ((theirs, x), (mine, mine_x)):
            loss = sum(
                ((each * w).sum() for each, w in zip(out, wish, strict=True)), torch.zeros(())
            )
            grads.append(torch.autograd.grad(loss, [given, *parameters], allow_unused=True))
    for a, b in zip(*grads, strict=True):
        assert (a is None) == (b is None or not b.any()) or a is not None
        if b is None:
            continue
        a = torch.zeros_like(b) if a is None else a
        assert (a - b).abs().max() <= 10 * exact * max(1.0, float(b.abs().max()))
        seen["learning"] += int((a != 0).sum())
    return seen
