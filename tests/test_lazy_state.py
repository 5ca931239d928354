"""States of the paper's LIF: with the lazy leak chunks are the whole, and every gradient the oracle's."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.utils import _pytree as pytree

import sparsespike as ss
from cases import EXACT_LIF, GENERAL_LIF, Case, cases
from checks import assert_same_gradient, assert_something_happened
from compare import gradients
from conv_cases import ConvCase
from sparse_cases import SparseCase
from sparsespike.neurons.state import State

Found = tuple[Tensor, Tensor, dict[str, Tensor | None]]


def run(case: Any, backend: str, cuts: tuple[int, ...], seed: int = 0) -> Found:
    """Output, last state and every gradient, from a state on the grid, in chunks that end at the cuts."""
    if isinstance(case, ConvCase):
        layer = ss.Layer(case.connection(), case.neuron, backend=backend)
    else:
        (layer,) = case.layers(backend)
    draw = torch.Generator().manual_seed(seed)
    spikes, leaf = case.spikes()
    n = layer.connection(spikes).shape[2]
    start = torch.randint(-8, 12, (case.batch, 1, n), generator=draw).to(case.dtype) / 8
    start.requires_grad_()
    state, outputs = State(start), []
    loss, at = torch.zeros((), dtype=case.dtype), 0
    above = torch.randint(-8, 9, (case.batch, case.steps, n), generator=draw).to(case.dtype)
    for end in sorted({*cuts, case.steps}):
        out, state = layer(spikes[:, at:end], state=state, return_state=True)
        outputs.append(out.to_dense().flatten(2))
        loss = loss + (outputs[-1] * above[:, at:end]).sum()
        at = end
    last = torch.randint(-8, 9, state.value.shape, generator=draw).to(case.dtype)
    (loss + (state.value * last).sum()).backward()
    found = gradients(layer, leaf) | {"state": start.grad}
    return torch.cat(outputs, 1).detach(), state.value.detach(), found


def compare(case: Any, cuts: tuple[int, ...]) -> Found:
    """Whole and chunks on the CPU against the oracle, whole; what the oracle found."""
    expected = run(case, "dense", ())
    for own in ((), cuts):
        out, state, found = run(case, "cpu", own)
        assert torch.equal(out, expected[0])
        assert torch.equal(state, expected[1])
        for name, grad in expected[2].items():
            assert_same_gradient(found[name], grad, f"gradient of {name}")
    return expected


def assert_alive(found: dict[str, Tensor | None]) -> None:
    for name, grad in found.items():
        assert grad is not None, name
        assert bool((grad != 0).any()), name


@given(data=st.data())
def test_generated_layers_from_and_to_a_state(data):
    case = data.draw(cases(exact=True))
    # Of what is compiled for each: a bias in float64, none in float32; ε at the inputs always.
    case = dataclasses.replace(case, bias=case.dtype is torch.float64, active=case.active or 0.5)
    cuts = data.draw(st.lists(st.integers(1, case.steps), max_size=3))
    compare(case, tuple(cuts))


@pytest.mark.parametrize("reset", ["subtract", "zero", "none"])
@pytest.mark.parametrize("detach", [True, False])
def test_linear(reset, detach):
    neuron = EXACT_LIF.changed(reset=reset, detach_reset=detach, v_reset=-0.5)
    case = Case("stateful", 4, 10, (12, 21), neuron=neuron, bias=True)
    out, _, found = compare(case, (3, 4))
    # The first step looks at the state that was given.
    assert 0 < out[:, 0].sum() < out[:, 0].numel()
    assert_alive(found)


@pytest.mark.parametrize(
    "case",
    [
        ConvCase(neuron=EXACT_LIF.changed(detach_reset=False), channels=5),
        SparseCase("sparse", 3, 9, (20, 37), neuron=EXACT_LIF.changed(reset="zero")),
    ],
    ids=lambda case: type(case).__name__,
)
def test_sites(case):
    out, _, found = compare(case, (2, 7))
    assert out[:, 0].sum() > 0
    assert_alive(found)


class Sum(torch.nn.Module):
    """Two terms into one layer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.skip = ss.Conv2d(2, 3, 3, padding=1), ss.Linear(60, 90)
        self.lif = GENERAL_LIF

    def forward(self, x: ss.Spikes, state: Any = None, return_state: bool = False) -> Any:
        return self.lif(self.conv(x) + self.skip(x), state, return_state)


def layer_of(kind: str, dtype: torch.dtype) -> tuple[Any, ss.Spikes]:
    """A layer off the grid, and 400 steps of input: the scale is folded in twice."""
    torch.manual_seed(0)
    shape = (30,) if kind in ("linear", "sparse") else (2, 5, 6)
    made: Any = {
        "linear": lambda: ss.Layer(ss.Linear(30, 21), GENERAL_LIF),
        "sparse": lambda: ss.Layer(ss.SparseLinear.random(30, 37, fan_in=12, seed=0), GENERAL_LIF),
        "sum": Sum,
    }[kind]()
    with torch.no_grad():
        for weight in made.parameters():
            weight.copy_(torch.randn_like(weight) * 0.2 + 0.15)
    return made.to(dtype), ss.Spikes.from_dense((torch.rand(2, 400, *shape) < 0.02).to(dtype))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("kind", ["linear", "sparse", "sum"])
def test_chunks_are_the_whole_bit_for_bit(kind, dtype):
    layer, spikes = layer_of(kind, dtype)
    with torch.no_grad():
        bare = layer(spikes)
        out, last = layer(spikes, return_state=True)
        assert_something_happened(out)
        for found in (bare, out):
            assert torch.equal(found.to_dense(), out.to_dense())
            assert torch.equal(found.potential, out.potential)
        for length in (1, 37, 250):
            parts, state = [], None
            for at in range(0, 400, length):
                part, state = layer(spikes[:, at : at + length], state=state, return_state=True)
                parts.append(part)
            assert torch.equal(torch.cat([part.to_dense() for part in parts], 1), out.to_dense())
            assert sum(part.n_active for part in parts) == out.n_active
            assert state is not None
            assert torch.equal(state.value, last.value)
            assert torch.equal(state.lazy, last.lazy)


def test_a_state_that_was_changed_counts_as_it_is_now():
    layer, spikes = layer_of("linear", torch.float64)
    with torch.no_grad():
        _, state = layer(spikes[:, :200], return_state=True)
        state.value[1] *= 0.5
        state.value[1, 0, 3] = 2.0
        expected, wanted = layer(spikes[:, 200:], state=State(state.value), return_state=True)
        out, last = layer(spikes[:, 200:], state=state, return_state=True)
    assert out.to_dense()[1, 0, 3] == 1
    assert torch.equal(out.to_dense()[1], expected.to_dense()[1])
    assert torch.equal(last.value[1], wanted.value[1])
    torch.testing.assert_close(last.value, wanted.value)


@pytest.mark.parametrize(
    "change", [torch.zeros_like, lambda t: t.clamp(min=0.0), lambda t: t * 0.5, lambda t: t[[1, 0]]]
)
def test_a_state_that_was_mapped_as_a_tree(change):
    layer, spikes = layer_of("linear", torch.float64)
    layer.neuron = GENERAL_LIF.changed(
        v_th=-0.1, v_reset=-0.4
    )  # rest is above: what pads must not fire
    with torch.no_grad():
        _, state = layer(spikes[:, :200], return_state=True)
        mapped = pytree.tree_map(change, state)
        assert not torch.equal(mapped.value, state.value)
        expected = layer(spikes[:, 200:], state=State(mapped.value))
        out = layer(spikes[:, 200:], state=mapped)
    assert expected.n_spikes > 0
    assert torch.equal(out.to_dense(), expected.to_dense())
    torch.testing.assert_close(out.potential, expected.potential)


def test_what_goes_along_with_a_state():
    layer, spikes = layer_of("linear", torch.float64)
    _, state = layer(spikes, return_state=True)
    assert state.value.requires_grad
    assert state.lazy.shape == (2, 25)  # 21 neurons in blocks of 8, and the scale
    assert not state.lazy.requires_grad
    for same in (state.detach(), state.to("cpu")):
        assert torch.equal(same.lazy, state.lazy)
    leaves, structure = pytree.tree_flatten(state)
    assert [id(leaf) for leaf in leaves] == [id(state.value), id(state.lazy)]
    assert pytree.tree_unflatten(leaves, structure).lazy is state.lazy
    with ss.use_backend("dense"):  # where it means nothing
        expected = layer(spikes, state=State(state.value))
        assert torch.equal(layer(spikes, state=state).to_dense(), expected.to_dense())
    # Of other neurons, or not of these kernels: the potentials count.
    other = dataclasses.replace(state, lazy=state.lazy[:, 1:])
    expected = layer(spikes, state=State(state.value))
    assert torch.equal(layer(spikes, state=other).to_dense(), expected.to_dense())
    with pytest.raises(
        ValueError, match=r"state: expected torch.float64 on cpu, found torch.float"
    ):
        layer(spikes, state=dataclasses.replace(state, lazy=state.lazy.float()))
    with pytest.raises(ValueError, match="state: expected 1 numbers of each neuron, found 2"):
        layer(spikes, state=State(state.value.expand(2, 2, 21).contiguous()))
