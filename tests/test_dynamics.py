"""Neurons of the form of `Matrices`: the published loops, the oracle and the CPU's kernels say the same."""

from __future__ import annotations

import os
from typing import Any

import pytest
import torch
from torch import Tensor

import sparsespike as ss
from checks import relative_error
from published import READOUTS, SPIKING_NEURONS, N, Published, run
from sparsespike.connections.current import Current

B, T, N_IN = 3, 60, 20
F64 = torch.float64


def inputs(seed: int = 0, dtype: torch.dtype = F64) -> tuple[Tensor, Tensor]:
    """0 and 1 (B, T, N_in), and which entries take a gradient."""
    draw = torch.Generator().manual_seed(seed)
    shape = B, T, N_IN
    return (torch.rand(shape, generator=draw) < 0.1).to(dtype), torch.rand(
        shape, generator=draw
    ) < 0.5


def drawn(*shape: int, seed: int, scale: float = 1.0, shift: float = 0.0) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    return scale * (torch.randn(shape, generator=draw, dtype=F64) + shift)


def built(published: Published, detach: bool, recurrent: bool, dtype: torch.dtype) -> ss.Layer:
    """A layer of the neurons, its weights drawn."""
    neuron = published.neuron(detach)
    own = ss.Linear(N, N) if recurrent else None
    layer = ss.Layer(ss.Linear(N_IN, N), neuron, recurrent=own).to(dtype)
    gain = 3 * published.gain / N_IN**0.5
    with torch.no_grad():
        layer.connection.weight.copy_(drawn(N, N_IN, seed=1, scale=gain, shift=0.3))
        if own is not None:
            own.weight.copy_(drawn(N, N, seed=2, scale=gain / 2))
    return layer


def loops(published: Published) -> bool:
    """Whether its kernels run with recurrence: those of three states, one neuron's, in the sweep alone."""
    states = len(published.neuron(True).matrices().b)
    return published in SPIKING_NEURONS and (states < 3 or "SPARSESPIKE_SWEEP" in os.environ)


WATCHED = 3, 0, 11


def gradients(layer: ss.Layer, leaf: Tensor) -> dict[str, Tensor]:
    found = {name: p.grad for name, p in layer.named_parameters()}
    found["input"] = leaf.grad
    assert all(each is not None for each in found.values()), found
    return {name: each for name, each in found.items() if each is not None}


def run_layer(
    published: Published,
    backend: str,
    detach: bool,
    recurrent: bool = False,
    dtype: torch.dtype = F64,
    cuts: tuple[int, ...] = (T,),
) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """Output, last state, and every gradient, in one call or in chunks."""
    layer = built(published, detach, recurrent, dtype)
    dense, active = inputs(dtype=dtype)
    dense.requires_grad_()
    upstream = drawn(B, T, N, seed=3).to(dtype)
    outputs, loss, state, at = [], torch.zeros((), dtype=dtype), None, 0
    with ss.use_backend(backend):
        for steps in cuts:
            part = slice(at, at + steps)
            spikes = ss.Spikes.from_dense(dense[:, part], active=active[:, part])
            out, state = layer(spikes, state=state, return_state=True)
            out = out.to_dense() if isinstance(out, ss.Spikes) else out
            outputs.append(out)
            loss = loss + (out * upstream[:, part]).sum()
            at += steps
        assert state is not None
        loss = loss + (state.value * drawn(*state.value.shape, seed=4).to(dtype)).sum()
        loss.backward()
    return torch.cat(outputs, 1).detach(), state.value.detach(), gradients(layer, dense)


def assert_close(found: dict[str, Tensor], expected: dict[str, Tensor], allowed: float) -> None:
    for name, grad in expected.items():
        assert bool((grad != 0).any()) or name.endswith(("v_reset", "v_rest")), (
            f"{name}: no gradient"
        )
        assert relative_error(found[name], grad) < allowed, name


@pytest.mark.parametrize("detach", [True, False])
@pytest.mark.parametrize("recurrent", [False, True])
@pytest.mark.parametrize("published", [*SPIKING_NEURONS, *READOUTS], ids=str)
def test_the_oracle_is_the_published_loop(published, recurrent, detach):
    if published in READOUTS and (recurrent or detach):
        pytest.skip("a readout has no spikes")
    layer = built(published, detach, recurrent, F64)
    dense, active = inputs()
    upstream = drawn(B, T, N, seed=3)
    dense.requires_grad_()
    with ss.use_backend("dense"):
        out = layer(ss.Spikes.from_dense(dense, active=active))
        mine = out.to_dense() if isinstance(out, ss.Spikes) else out
        (mine * upstream).sum().backward()
    found = gradients(layer, dense)
    number = {name: p.detach().requires_grad_() for name, p in layer.neuron.named_parameters()}
    weight = layer.connection.weight.detach().requires_grad_()
    own = layer.recurrent.weight.detach().requires_grad_() if recurrent else None
    given = dense.detach().requires_grad_()
    _, literal = run(published, number, given @ weight.T, detach, own)
    (literal * upstream).sum().backward()
    if isinstance(out, ss.Spikes):
        assert 0.005 < literal.mean() < 0.8
        assert torch.equal(mine.detach(), literal.detach())
    else:
        torch.testing.assert_close(mine, literal, rtol=1e-12, atol=1e-12)
    expected: Any = {f"neuron.{name}": p.grad for name, p in number.items()}
    expected["connection.weight"] = weight.grad
    assert given.grad is not None
    expected["input"] = torch.where(active, given.grad, 0.0)
    if own is not None:
        expected["recurrent.weight"] = own.grad
    expected = {
        name: torch.zeros_like(found[name]) if g is None else g for name, g in expected.items()
    }
    assert_close(found, expected, 1e-11)


@pytest.mark.parametrize("detach", [True, False])
@pytest.mark.parametrize("recurrent", [False, True])
@pytest.mark.parametrize("published", [*SPIKING_NEURONS, *READOUTS], ids=str)
def test_the_kernels_are_the_oracle(published, recurrent, detach):
    if published in READOUTS and (recurrent or detach):
        pytest.skip("a readout has no spikes")
    if recurrent and not loops(published):
        pytest.skip("`make sweep` has it")
    out, state, expected = run_layer(published, "dense", detach, recurrent)
    found_out, found_state, found = run_layer(published, "cpu", detach, recurrent)
    if published in SPIKING_NEURONS:
        assert torch.equal(found_out, out)
        assert out.sum() > 0
    else:
        torch.testing.assert_close(found_out, out, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(found_state, state, rtol=1e-11, atol=1e-11)
    assert_close(found, expected, 1e-11)


@pytest.mark.parametrize("published", [*SPIKING_NEURONS, *READOUTS], ids=str)
def test_chunks_are_the_whole(published):
    for recurrent in (False, True) if loops(published) else (False,):
        for detach in (True, False):
            out, state, expected = run_layer(published, "cpu", detach, recurrent)
            parts, last, found = run_layer(published, "cpu", detach, recurrent, cuts=(7, 1, 30, 22))
            assert torch.equal(parts, out)
            assert torch.equal(last, state)
            assert_close(found, expected, 1e-11)


@pytest.mark.parametrize(
    "published", [SPIKING_NEURONS[0], SPIKING_NEURONS[12], READOUTS[2]], ids=str
)
def test_single_precision(published):
    out, _, expected = run_layer(published, "dense", True, published in SPIKING_NEURONS)
    single, state, found = run_layer(
        published, "cpu", True, published in SPIKING_NEURONS, torch.float32
    )
    parts, last, _ = run_layer(
        published, "cpu", True, published in SPIKING_NEURONS, torch.float32, (31, 29)
    )
    assert torch.equal(parts, single)
    assert torch.equal(last, state)
    if published in SPIKING_NEURONS:
        assert torch.equal(single.double(), out)
    assert_close({name: g.double() for name, g in found.items()}, expected, 2e-4)


@pytest.mark.parametrize("published", [SPIKING_NEURONS[5], SPIKING_NEURONS[2]], ids=str)
@pytest.mark.parametrize("cuts", [(T,), (1, 58, 1)], ids=str)
def test_ranges_of_samples_in_threads_of_their_own_give_the_same(published, cuts):
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        out, state, expected = run_layer(published, "cpu", False, True, cuts=cuts)
        for threads in (2, 3):
            torch.set_num_threads(threads)
            mine, last, found = run_layer(published, "cpu", False, True, cuts=cuts)
            assert torch.equal(mine, out)
            assert torch.equal(last, state)
            assert_close(found, expected, 1e-12)
    finally:
        torch.set_num_threads(before)


def test_auto_computes_neurons_of_the_form_event_driven():
    for published in (SPIKING_NEURONS[0], READOUTS[0]):
        out, _, expected = run_layer(published, "cpu", True)
        mine, _, found = run_layer(published, "auto", True)
        assert torch.equal(mine, out)
        assert_close(found, expected, 1e-15)


def test_a_current_made_by_hand_drives_any_neuron():
    layer = built(SPIKING_NEURONS[0], True, False, F64)
    dense, active = inputs()
    current = layer.connection(ss.Spikes.from_dense(dense, active=active))
    assert isinstance(current, Current)
    assert layer.neuron(current).n_spikes == layer(ss.Spikes.from_dense(dense)).n_spikes > 0


@pytest.mark.parametrize("detach", [True, False])
@pytest.mark.parametrize("published", SPIKING_NEURONS, ids=str)
def test_a_recorded_potential_is_the_oracles_and_has_a_gradient(published, detach):
    dense, active = inputs()
    upstream, on_spikes = drawn(B, T, len(WATCHED), seed=5), drawn(B, T, N, seed=6)
    found = []
    for backend in ("dense", "cpu"):
        layer = built(published, detach, False, F64)
        given = dense.clone().requires_grad_()
        current = layer.connection(ss.Spikes.from_dense(given, active=active))
        with ss.use_backend(backend):
            spikes, seen = layer.neuron(current, record=WATCHED)
            ((seen * upstream).sum() + (spikes.to_dense() * on_spikes).sum()).backward()
        found.append((seen.detach(), gradients(layer, given)))
    (expected, wanted), (mine, got) = found
    assert expected.std() > 0
    torch.testing.assert_close(mine, expected, rtol=1e-12, atol=1e-12)
    assert_close(got, wanted, 1e-11)


def test_a_loss_on_the_potential_alone_has_a_gradient():
    for backend in ("dense", "cpu"):
        layer = ss.Layer(ss.Linear(N_IN, N), ss.LIF(10.0, 1.0, v_th=1e6))
        dense, _ = inputs(dtype=torch.float32)
        with ss.use_backend(backend):
            _, seen = layer.neuron(layer.connection(ss.Spikes.from_dense(dense)), record=[1])
            seen.square().mean().backward()
        grad = layer.connection.weight.grad
        assert grad is not None
        assert grad[1].abs().sum() > 0
        assert grad[0].abs().sum() == 0


@pytest.mark.parametrize(
    ("record", "message"),
    [([N], r"in \[0, 16\)"), ([0.5], "a list of neurons"), (3, "a list of neurons")],
    ids=repr,
)
def test_neurons_to_record_are_checked(record, message):
    layer = ss.Layer(ss.Linear(N_IN, N), ss.LIF(10.0, 1.0))
    current = layer.connection(ss.Spikes.from_dense(inputs(dtype=torch.float32)[0]))
    with pytest.raises(ValueError, match=f"record: expected .*{message}"):
        layer.neuron(current, record=record)
    with pytest.raises(ValueError, match="record: expected neurons that spike"):
        ss.Readout(10.0, 1.0)(current, record=[0])


@pytest.mark.parametrize("reset", ["subtract", "zero"])
def test_an_endless_band_with_a_differentiated_reset_is_the_oracles(reset):
    """Its floor is -inf, and -inf less itself is no zero."""
    lif = ss.LIF(alpha=0.6, reset=reset, detach_reset=False, b_th=float("inf"), lag=0)
    found = {}
    for backend in ("dense", "cpu"):
        layer = ss.Layer(ss.Linear(N_IN, N, dtype=F64), lif)
        with torch.no_grad():
            layer.connection.weight.copy_(drawn(N, N_IN, seed=1, scale=0.5))
        with ss.use_backend(backend):
            spikes = layer(ss.Spikes.from_dense(inputs()[0]))
            assert spikes.n_active == B * T * N
            assert spikes.n_spikes
            (spikes.to_dense() * drawn(B, T, N, seed=3)).sum().backward()
        found[backend] = {"weight": layer.connection.weight.grad}
    assert_close(found["cpu"], found["dense"], 1e-11)
