"""Delays of a connection: the definition, literal loops and the CPU's kernels say the same."""

from __future__ import annotations

import itertools
import math
import warnings
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

import sparsespike as ss
from checks import relative_error
from sparsespike.backends.cpu.dynamics.ring import ROLL
from sparsespike.neurons.state import State

B, T, N_IN, N = 3, 40, 9, 7
F64 = torch.float64


def inputs(steps: int = T, dtype: torch.dtype = F64) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(0)
    dense = (torch.rand((B, steps, N_IN), generator=draw) < 0.15).to(dtype)
    return dense, torch.rand((B, steps, N_IN), generator=draw) < 0.5


def shares(steps: float, spread: float) -> dict[int, float]:
    """What of a weight arrives how many steps later."""
    heights = {m: max(0.0, spread - abs(m - steps)) for m in range(math.ceil(steps + spread) + 1)}
    return {m: height / sum(heights.values()) for m, height in heights.items()}


def literal(dense: Tensor, synapses: list[tuple[int, int, float, float]], spread: float) -> Tensor:
    """(B, T, N): what arrives in each step, event by event; synapses: (neuron, unit, weight, delay)."""
    out = torch.zeros(*dense.shape[:2], N, dtype=F64)
    for neuron, unit, weight, steps in synapses:
        for later, share in shares(steps, spread).items():
            for b, t in dense[:, :, unit].nonzero().tolist():
                if t + later < dense.shape[1]:
                    out[b, t + later, neuron] += share * weight
    return out


def synapses_of(connection: Any) -> list[tuple[int, int, float, float]]:
    steps, per = connection.delay.steps.detach(), connection.delay.per
    if isinstance(connection, ss.SparseLinear):
        pairs = [tuple(pair) for pair in connection.index.t().tolist()]
    else:
        pairs = list(itertools.product(range(N), range(N_IN)))
    weight = connection.weight.detach().reshape(-1).tolist()
    own = {"input": lambda s, j, i: steps[i], "output": lambda s, j, i: steps[j]}.get(
        per, lambda s, j, i: steps.reshape(-1)[s]
    )
    return [(j, i, weight[s], float(own(s, j, i))) for s, (j, i) in enumerate(pairs)]


class Case(NamedTuple):
    """A connection with delays, and one from the layer to itself; kernels are compiled for each kind."""

    per: Any
    back: Any = None
    sparse: bool = False
    learn: bool = True

    def __str__(self) -> str:
        told = {self.back: self.back, "sparse": self.sparse, "fixed": not self.learn}
        return "-".join([self.per, *(name for name, there in told.items() if there)])

    def connection(
        self, per: Any, n_in: int, max_steps: int, dtype: torch.dtype = F64, **settings: Any
    ) -> Any:
        delay = ss.Delay(max_steps, per, **settings)
        bias = self.back is not None and n_in == N_IN
        if self.sparse:
            made = ss.SparseLinear.random(n_in, N, fan_in=4, bias=bias, delay=delay, dtype=dtype)
        else:
            made = ss.Linear(n_in, N, bias, delay=delay, dtype=dtype)
        draw = torch.Generator().manual_seed(n_in)
        made.weight.data = torch.randn(made.weight.shape, generator=draw, dtype=dtype) * 0.5
        made.weight.data += 0.3 if n_in == N_IN else 0.0
        return made

    def layer(
        self, neuron: ss.Neuron, max_steps: int, dtype: torch.dtype = F64, spread: float = 1.0
    ) -> ss.Layer:
        torch.manual_seed(max_steps)
        own = None
        if self.back is not None and neuron.spiking:
            learn = self.back != "output"
            own = self.connection(self.back, N, max_steps // 3, dtype, learn=learn)
        made = self.connection(self.per, N_IN, max_steps, dtype, learn=self.learn, spread=spread)
        return ss.Layer(made, neuron, recurrent=own)


CASES = [
    Case("synapse"),
    Case("synapse", back="input"),
    Case("input"),
    Case("input", learn=False),
    Case("output", back="output"),
    Case("synapse", back="output", sparse=True),
]
READ = [CASES[0], CASES[2], CASES[4]]
BAND: dict[str, Any] = {"b_th": 0.4, "surrogate": ss.FastSigmoid(5.0)}
NEURONS: dict[str, Any] = {
    "LIF": lambda: ss.LIF(8.0, 1.0, **BAND),
    "LIF lag 0": lambda: ss.LIF(8.0, 1.0, lag=0, **BAND),
    "attached": lambda: ss.LIF(
        torch.linspace(3, 9, N, dtype=F64), 1.0, reset="zero", detach_reset=False,
        learn=("tau_mem",), **BAND,
    ),
}  # fmt: skip
READOUTS: dict[str, Any] = {
    "readout": lambda: ss.Readout(torch.linspace(3, 9, N, dtype=F64), 1.0, learn=("tau_mem",)),
    "readout lag 0": lambda: ss.Readout(8.0, 1.0, lag=0),
}
MADE = NEURONS | READOUTS
PAIRS = [*itertools.product(CASES, NEURONS), *itertools.product(READ, READOUTS)]


class Ran(NamedTuple):
    """What a layer gave: its output, its last state, and every gradient."""

    out: Tensor
    state: Tensor | None
    grads: dict[str, Tensor]


def run(
    backend: str,
    layer: ss.Layer,
    cuts: tuple[int, ...] | None = None,
    given: Tensor | None = None,
    detach: bool = False,
) -> Ran:
    """In one call without states, or in chunks that hand them on; under a loss that tells entries apart."""
    dtype = layer.connection.weight.dtype
    n_step = sum(cuts or (T,))
    dense, active = inputs(n_step, dtype)
    dense.requires_grad_()
    layer.zero_grad()
    draw = torch.Generator().manual_seed(5)
    upstream = torch.randn((B, n_step, N), generator=draw, dtype=F64).to(dtype)
    leaf = None if given is None else given.clone().requires_grad_()
    state: Any = None if leaf is None else State(leaf)
    outputs, at, loss = [], 0, torch.zeros((), dtype=dtype)
    with ss.use_backend(backend):
        for steps in cuts or (T,):
            part = slice(at, at + steps)
            spikes = ss.Spikes.from_dense(dense[:, part], active=active[:, part])
            if cuts is None:
                out = layer(spikes)
            else:
                out, state = layer(spikes, state=state, return_state=True)
                state = state.detach() if detach else state
            out = out.to_dense() if isinstance(out, ss.Spikes) else out
            outputs.append(out)
            loss = loss + (out * upstream[:, part]).sum()
            at += steps
        last = None if cuts is None else state.value
        if last is not None:
            loss = loss + (last * torch.randn(last.shape, generator=draw, dtype=F64)).sum()
        loss.backward()
    grads = {name: p.grad.clone() for name, p in layer.named_parameters() if p.grad is not None}
    grads |= {} if leaf is None or leaf.grad is None else {"state": leaf.grad}
    assert dense.grad is not None
    out = torch.cat(outputs, 1).detach()
    return Ran(out, None if last is None else last.detach(), grads | {"input": dense.grad})


def assert_same(found: Ran, expected: Ran, layer: ss.Layer, allowed: float = 1e-11) -> None:
    assert expected.out.abs().sum() > 0
    if layer.neuron.spiking:
        assert torch.equal(found.out, expected.out)
    else:
        torch.testing.assert_close(found.out, expected.out, rtol=allowed, atol=allowed)
    if expected.state is not None:
        assert relative_error(found.state, expected.state) < allowed  # pyright: ignore
    learned = {name for name, p in layer.named_parameters() if p.requires_grad}
    assert found.grads.keys() == expected.grads.keys() >= learned
    for key, grad in expected.grads.items():
        assert bool((grad != 0).any()), key
        assert relative_error(found.grads[key], grad) < allowed, key


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


@pytest.mark.parametrize(
    ("case", "name"),
    [(CASES[0], "LIF"), (CASES[0], "readout"), (CASES[0], "readout lag 0"), (CASES[4], "readout")],
    ids=str,
)
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
    case = CASES[1]
    for name in ("LIF", "LIF lag 0"):
        layer = case.layer(MADE[name](), 30, torch.float32)
        whole, parts = run("cpu", layer, (T,)), run("cpu", layer, (3, 1, 36))
        assert whole.out.sum() > 0
        assert torch.equal(parts.out, whole.out)
        assert torch.equal(parts.state, whole.state)  # pyright: ignore
        assert_same(whole, run("dense", layer, (T,)), layer, 2e-5)
        assert_same(run("cpu", layer), run("dense", layer), layer, 2e-5)


def test_a_detached_state_ends_the_gradient_and_nothing_else():
    layer = Case("synapse").layer(NEURONS["LIF"](), 12)
    whole, cut = (run("cpu", layer, (20, 20), detach=detach) for detach in (False, True))
    assert torch.equal(whole.out, cut.out)
    expected = run("dense", layer, (20, 20), detach=True)
    assert_same(cut, expected, layer)
    assert not torch.allclose(whole.grads["connection.weight"], cut.grads["connection.weight"])


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
