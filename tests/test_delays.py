"""Delays of a connection: the definition, literal loops and the CPU's kernels say the same."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch

import sparsespike as ss
from delay_cases import (
    BAND,
    CASES,
    F64,
    MADE,
    N_IN,
    PAIRS,
    SINGLE,
    B,
    Case,
    N,
    Ran,
    T,
    assert_same,
    inputs,
    literal,
    run,
    synapses_of,
)
from sparsespike.backends.cpu.dynamics.ring import ROLL


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("per", ["synapse", "input", "output"])
def test_the_definition_is_what_arrives_event_by_event(per, sparse):
    dense, _ = inputs()
    for max_steps, learn in itertools.product((0, 1, 5, 60), (False, True)):
        for spread in {1.0, min(1.7, max_steps + 1.0), min(4.0, max_steps + 1.0)}:
            case = Case(per, sparse=sparse)
            connection = case.connection(per, N_IN, max_steps, learn=learn, spread=spread)
            steps = connection.delay.steps.detach()
            assert steps.shape == {"input": (N_IN,), "output": (N,)}.get(
                per, connection.weight.shape
            )
            assert max_steps == 0 or (steps.floor() == steps).all() == (not learn)
            found = connection(ss.Spikes.from_dense(dense)).to_dense()
            assert found.abs().sum() > 0
            expected = literal(dense, synapses_of(connection), spread)
            torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(("case", "name"), PAIRS, ids=str)
def test_the_kernels_are_the_oracle(case, name):
    for max_steps, spread in ((0, 1.0), (1, 1.0), (6, 2.5), (50, 1.0)):
        layer = case.layer(MADE[name](), max_steps, spread=spread)
        assert_same(run("cpu", layer), run("dense", layer), layer)


@pytest.mark.parametrize(("case", "name"), PAIRS, ids=str)
def test_states_hold_what_is_on_its_way(case, name):
    for max_steps, spread in ((0, 1.0), (7, 2.5), (70, 1.0)):
        layer = case.layer(MADE[name](), max_steps, spread=spread)
        expected = run("dense", layer, (T,))
        whole = run("cpu", layer, (T,))
        assert_same(whole, expected, layer)
        # Chunks shorter than the longest delay, and single steps.
        parts = run("cpu", layer, (7, 1, 1, 25, 6))
        assert torch.equal(parts.out, whole.out)
        assert torch.equal(parts.state, whole.state)  # pyright: ignore
        assert_same(parts, expected, layer)
        assert expected.state is not None
        draw = torch.Generator().manual_seed(9)
        given = torch.rand(expected.state.shape, generator=draw, dtype=F64) * 0.2
        if layer.neuron.spiking and not layer.neuron.lag:
            given[:, 1] = (given[:, 1] > 0.1).double()  # who fired in the step before
        resumed = run("dense", layer, (T,), given)
        assert resumed.grads["state"][:, -1].abs().sum() > 0
        assert_same(run("cpu", layer, (T,), given), resumed, layer)


LONG = [
    (CASES[0], "LIF"), (CASES[0], "readout"), (CASES[0], "readout lag 0"), (CASES[4], "readout"),
]  # fmt: skip


@pytest.mark.parametrize(("case", "name"), [pair for pair in LONG if pair in PAIRS], ids=str)
def test_recordings_longer_than_the_ring_of_what_waits(case, name):
    for max_steps in (
        2 * ROLL // 3,
        ROLL + 9,
    ):  # its slots are copied every ROLL, or ROLL + 10, steps
        layer = case.layer(MADE[name](), max_steps)
        expected, whole = (run(backend, layer, (3 * ROLL,)) for backend in ("dense", "cpu"))
        assert_same(whole, expected, layer)
        parts = run("cpu", layer, (ROLL - 1, 1, ROLL + 10, ROLL - 10))
        assert torch.equal(parts.out, whole.out)
        assert torch.equal(parts.state, whole.state)  # pyright: ignore
        assert_same(parts, expected, layer)


def test_states_in_single_precision_are_the_same_in_chunks():
    for case, name in itertools.product(SINGLE, ("LIF", "LIF lag 0")):
        layer = case.layer(MADE[name](), 30, torch.float32)
        whole, parts = run("cpu", layer, (T,)), run("cpu", layer, (3, 1, 36))
        assert whole.out.sum() > 0
        assert torch.equal(parts.out, whole.out)
        assert torch.equal(parts.state, whole.state)  # pyright: ignore
        assert_same(whole, run("dense", layer, (T,)), layer, 2e-5)
        assert_same(run("cpu", layer), run("dense", layer), layer, 2e-5)


def test_several_connections_with_delays_share_what_is_on_its_way():
    torch.manual_seed(3)
    parts = [
        Case("synapse").connection("synapse", N_IN, 9, learn=True),
        Case("output").connection("output", N_IN, 20, learn=True, spread=2.0),
    ]
    layer: Any = ss.Layer(parts, ss.LIF(8.0, 1.0, **BAND))
    dense, active = inputs()
    upstream = torch.randn(B, T, N, dtype=F64)

    def ran(backend: str, cuts: tuple[int, ...]) -> Ran:
        layer.zero_grad()
        given, state, at, outputs = dense.clone().requires_grad_(), None, 0, []
        with ss.use_backend(backend):
            for steps in cuts:
                part = slice(at, at + steps)
                spikes = ss.Spikes.from_dense(given[:, part], active=active[:, part])
                out, state = layer(spikes, spikes, state=state, return_state=True)
                outputs.append(out.to_dense())
                at += steps
            assert state is not None
            out = torch.cat(outputs, 1)
            ((out * upstream).sum() + state.value.square().sum()).backward()
        grads = {name: p.grad.clone() for name, p in layer.named_parameters()}
        assert given.grad is not None
        return Ran(out.detach(), state.value.detach(), grads | {"input": given.grad})

    expected, whole, chunks = ran("dense", (T,)), ran("cpu", (T,)), ran("cpu", (2, 1, 30, 7))
    assert_same(whole, expected, layer)
    assert torch.equal(chunks.out, whole.out)
    assert torch.equal(chunks.state, whole.state)  # pyright: ignore
    assert_same(chunks, expected, layer)
