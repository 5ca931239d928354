"""Derivatives of the neurons' matrices by learned numbers: jets compute what autograd does."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import sparsespike as ss
from published import READOUTS, SPIKING_NEURONS, N
from sparsespike.descriptions import Dynamics
from sparsespike.descriptions.jets import Jet

F64 = torch.float64


def entries_of(found: Any, n: int) -> dict[str, Tensor]:
    """(entries, n) of every field that there is, in float64."""
    return {
        name: torch.stack([torch.as_tensor(each, dtype=F64).expand(n) for each in row])
        for name, row in found.items()
        if row is not None
    }


def assert_jets_are_autograd(neuron: ss.Neuron, n: int) -> None:
    """Values bit by bit those of plain PyTorch, derivatives those of autograd."""
    told, number = neuron.describe(True), tuple(neuron.parameters())
    assert isinstance(told, Dynamics)
    assert told.trusted
    values, slopes = told.followed(number, n)
    with torch.no_grad():
        plain = told.entries(number, n)
        _, expected = dataclasses.replace(told, trusted=False).followed(number, n)
    for name, row in entries_of(plain, n).items():
        assert torch.equal(entries_of(values, n)[name], row), name
    exact = 1e-6 if number[0].dtype is torch.float32 else 1e-14
    assert len(slopes) == len(expected) == len(number) > 0
    acts = [
        any(bool((row != 0).any()) for row in entries_of(each, n).values()) for each in expected
    ]
    assert any(acts) or list(told.names) == ["v_reset"]  # which not every reset needs
    for found, wanted in zip(slopes, expected, strict=True):
        for name, row in entries_of(wanted, n).items():
            torch.testing.assert_close(
                entries_of(found, n)[name], row, rtol=exact, atol=exact, msg=name
            )


@pytest.mark.parametrize("published", [*SPIKING_NEURONS, *READOUTS], ids=str)
def test_jets_compute_what_autograd_does(published):
    for dtype in (F64, torch.float32):
        neuron = published.neuron(True).to(dtype)
        assert_jets_are_autograd(neuron, N)
        shared = {name: float(value.detach()[3]) for name, value in neuron.named_parameters()}
        assert_jets_are_autograd(neuron.changed(**shared).to(dtype), 5)
        for name in shared:  # one number learned, the others given for each neuron, or for all
            others = {other: neuron.get_parameter(other).data for other in shared if other != name}
            for given in (others, {other: shared[other] for other in others}):
                one = neuron.changed(**given, learn=(name,)).to(dtype)
                assert [each for each, _ in one.named_parameters()] == [name]
                assert_jets_are_autograd(one, N)


def test_numbers_that_left_their_range_have_a_slope_all_the_same():
    lif = ss.LIF(torch.tensor([1e-6, 10e-3]), 1e-3, learn=("tau_mem",))
    told: Any = lif.describe(True)
    values, (slope,) = told.followed(tuple(lif.parameters()), 2)
    assert values["A"][0][0] == torch.exp(torch.tensor(-16.0))
    assert (slope["A"][0] > 0).all()
    assert_jets_are_autograd(lif, 2)


def test_one_operation_after_the_other_is_autograd():
    draw = torch.Generator().manual_seed(0)
    x, y, z = (torch.rand(7, generator=draw, dtype=F64) + 0.5 for _ in range(3))

    def of(a: Any, b: Any) -> Any:
        c = (a * b - z) / (b + 2.0) + (3.0 - a) * z + z * b
        return (-(1.0 / a) - c + a / z).exp() + (b / a - (z - b) * (z + b)).log() * (z / a)

    leaves = [nn.Parameter(x), nn.Parameter(y * 3)]
    jet = of(*(Jet(each.detach(), {m: 1.0}) for m, each in enumerate(leaves)))
    out = of(*leaves)
    assert torch.equal(jet.detach(), out)
    for m, expected in enumerate(torch.autograd.grad(out.sum(), leaves)):
        assert (expected != 0).all()
        torch.testing.assert_close(jet.slopes[m], expected, rtol=1e-13, atol=1e-13)
