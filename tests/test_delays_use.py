"""Layers with delays as they are used: moved, masked, silent, on threads, out of range, wrong."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch

import sparsespike as ss
from delay_cases import CASES, F64, N_IN, NEURONS, B, Case, N, assert_same, inputs, run


def test_a_detached_state_ends_the_gradient_and_nothing_else():
    layer = Case("synapse").layer(NEURONS["LIF"](), 12)
    whole, cut = (run("cpu", layer, (20, 20), detach=detach) for detach in (False, True))
    assert torch.equal(whole.out, cut.out)
    expected = run("dense", layer, (20, 20), detach=True)
    assert_same(cut, expected, layer)
    assert not torch.allclose(whole.grads["connection.weight"], cut.grads["connection.weight"])


def test_whole_delays_move_events_and_nothing_else():
    dense, _ = inputs()
    plain = ss.Linear(N_IN, N, dtype=F64)
    lif = ss.LIF(8.0, 1.0)
    now = lif(plain(ss.Spikes.from_dense(dense))).to_dense()
    assert now.sum() > 0
    for per in ("synapse", "input", "output"):
        late = ss.Linear(N_IN, N, delay=ss.Delay(4, per, init=4.0), dtype=F64)
        late.load_state_dict(plain.state_dict(), strict=False)
        then = lif(late(ss.Spikes.from_dense(dense))).to_dense()
        assert torch.equal(then[:, 4:], now[:, :-4])
        assert then[:, :4].sum() == 0


def test_auto_and_threads_compute_the_same():
    before = torch.get_num_threads()
    for case in (CASES[1], CASES[2]):
        layer = case.layer(NEURONS["LIF"](), 12)
        try:
            torch.set_num_threads(1)
            expected, stateful = run("cpu", layer), run("cpu", layer, (30, 10))
            assert_same(run("auto", layer), expected, layer, 1e-15)
            torch.set_num_threads(2)
            assert_same(run("cpu", layer), expected, layer, 1e-12)
            assert_same(run("cpu", layer, (30, 10)), stateful, layer, 1e-12)
        finally:
            torch.set_num_threads(before)


def test_a_delay_out_of_its_range_counts_as_the_end_and_can_come_back():
    layer = Case("synapse").layer(NEURONS["LIF"](), 3)
    steps = layer.connection.delay.steps
    found = []
    for value in (-2.0, 0.0):
        with torch.no_grad():
            steps.fill_(value)
        found.append(run("cpu", layer))
        assert bool((found[-1].grads["connection.delay.steps"] != 0).any())
    assert torch.equal(found[0].out, found[1].out)


def test_a_spread_may_shrink_while_one_trains():
    layer = Case("synapse").layer(NEURONS["LIF"](), 8, spread=5.0)
    wide = run("cpu", layer)
    layer.connection.delay.spread = 1
    assert not torch.equal(run("cpu", layer).out, wide.out)
    assert_same(run("cpu", layer), run("dense", layer), layer)
    assert "spread" not in repr(layer)
    for wrong in (0.5, 9.5, float("nan"), "wide"):
        with pytest.raises(ValueError, match=r"spread: expected steps in \[1, 9\], found"):
            layer.connection.delay.spread = wrong


def test_a_masked_linear_keeps_its_delays_as_sparse_synapses():
    dense, _ = inputs()
    for per in ("synapse", "input", "output"):
        linear = ss.Linear(N_IN, N, delay=ss.Delay(6, per, learn=True, spread=1.5), dtype=F64)
        with torch.no_grad():
            linear.weight[torch.rand(N, N_IN) < 0.5] = 0.0
        sparse = ss.SparseLinear.from_masked(linear)
        assert 0 < sparse.n_synapses < N * N_IN
        torch.testing.assert_close(
            sparse(ss.Spikes.from_dense(dense)).to_dense(),
            linear(ss.Spikes.from_dense(dense)).to_dense(),
        )


def test_silence_no_synapse_and_a_single_step_do_no_harm():
    neuron = NEURONS["LIF"]()
    for case in (CASES[0], CASES[2]):
        layer = case.layer(neuron, 5)
        for shape in ((2, 1, N_IN), (2, 30, N_IN), (0, 4, N_IN)):
            spikes = ss.Spikes.from_dense(torch.zeros(shape, dtype=F64).requires_grad_())
            with warnings.catch_warnings(action="ignore"):
                out = layer(spikes)
            assert out.n_spikes == 0
            out.value.sum().backward()
    empty = torch.empty((2, 0), dtype=torch.int64)
    sparse = ss.SparseLinear(N_IN, N, empty, True, delay=ss.Delay(3, learn=True), dtype=F64)
    own = ss.SparseLinear(N, N, empty, delay=ss.Delay(3, "output"), dtype=F64)
    assert sparse.delay is not None
    assert sparse.bias is not None
    assert sparse.delay.steps.shape == (0,)
    with torch.no_grad():
        sparse.bias.fill_(0.3)
    out = ss.Layer(sparse, neuron, recurrent=own)(ss.Spikes.from_dense(inputs()[0]))
    out.value.sum().backward()
    assert out.n_spikes > 0
    assert sparse.bias.grad is not None
    assert (sparse.bias.grad != 0).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_steps": -1}, "max_steps: expected"),
        ({"per": "neuron"}, "per: expected one of"),
        ({"learn": 1}, "learn: expected True or False"),
        ({"init": "normal"}, "init: expected"),
        ({"init": 9.0}, r"init: expected steps in \[0, 4\]"),
        ({"init": torch.zeros(3)}, "init: expected a number or"),
        ({"spread": 0.0}, r"spread: expected steps in \[1, 5\], found 0.0"),
    ],
    ids=str,
)
def test_wrong_delays_are_refused_by_name(settings, message):
    with pytest.raises(ValueError, match=message):
        ss.Linear(N_IN, N, delay=ss.Delay(**{"max_steps": 4, **settings}))


def test_what_delays_cannot_do_is_refused():
    delay = ss.Delay(2)
    layer: Any = ss.Layer(ss.Linear(N_IN, N, delay=delay), ss.LIF(8.0, 1.0))
    spikes = ss.Spikes.from_dense(inputs()[0].float())
    with pytest.raises(ValueError, match="delay: expected one of its own"):
        ss.SparseLinear.random(3, 4, fan_in=2, delay=delay)
    with pytest.raises(ValueError, match=r"delay: expected an ss\.Delay"):
        ss.Linear(3, 4, delay=5)  # pyright: ignore
    _, state = layer(spikes, return_state=True)
    assert state.value.shape == (B, 1 + 2 * 3, N)
    late = layer.connection = ss.Linear(N_IN, N, delay=ss.Delay(5))
    assert late.delay is not None
    for backend in ("cpu", "dense"):
        with ss.use_backend(backend), pytest.raises(ValueError, match=r"state: expected 1 numbers"):
            layer(spikes, state=state)
    with torch.no_grad():
        late.delay.steps[0, 0] = float("nan")
    with pytest.raises(ValueError, match="delay: expected steps in"):
        layer(spikes)
