"""snnTorch's neurons that each go to themselves alone: weights without a matrix."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

import sparsespike as ss

for peer in ("snntorch", "spikingjelly", "norse"):
    pytest.importorskip(peer, reason="installed by `make peers`", exc_type=ImportError)

# ruff: noqa: E402
from interop_checks import compared
from interop_nets import Case, run_snntorch, snn, spikes, wide

ALONE: dict[str, Callable[[], nn.Module]] = {
    "one number": lambda: snn.RLeaky(0.8, all_to_all=False, V=0.4, init_hidden=True),
    "of each": lambda: snn.RLeaky(
        0.8, all_to_all=False, V=torch.linspace(-1, 1, 8), init_hidden=True
    ),
    "not learned": lambda: snn.RLeaky(
        0.8, all_to_all=False, V=torch.linspace(-1, 1, 8), learn_recurrent=False, init_hidden=True
    ),
    "of currents": lambda: snn.RSynaptic(0.5, 0.8, all_to_all=False, V=-0.5, init_hidden=True),
}


@pytest.mark.parametrize("kind", ALONE)
@pytest.mark.parametrize("share", [True, False])
def test_neurons_that_each_go_to_themselves_alone(kind, share):
    made: Any = wide(nn.Sequential(nn.Linear(6, 8), ALONE[kind](), nn.Linear(8, 5)))
    net = made[:2]
    case = Case(net, spikes(15, 3, 6), run_snntorch)
    ours = ss.interop.from_snntorch(net, share=share)
    own = ours.body.get_submodule("1.recurrent").weight
    assert (own is net[1].V) == (share and kind != "not learned")
    if share:
        seen = compared(case, ss.interop.from_snntorch, "dense")
        assert min(seen.values()) > 0
        again: Any = ss.interop.to_snntorch(ours)
        assert torch.equal(run_snntorch(again, case.x)[0], run_snntorch(net, case.x))
        assert again[1].recurrent.V is own
    with ss.use_backend("dense"):
        assert torch.equal(ours(case.x), run_snntorch(net, case.x))


def test_weights_of_another_number_of_neurons_are_refused():
    net = nn.Sequential(
        nn.Linear(6, 8), snn.RLeaky(0.8, all_to_all=False, V=torch.ones(7), init_hidden=True)
    )
    with (
        ss.use_backend("dense"),
        pytest.raises(ValueError, match=r"V: expected one number, or 8, .* found 7"),
    ):
        ss.interop.from_snntorch(net)(spikes(15, 3, 6).float())
