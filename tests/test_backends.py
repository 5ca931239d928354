"""Every backend computes the same spikes and the same gradients as the dense oracle."""

from __future__ import annotations

import math
import os
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from torch import nn

import sparsespike as ss
from cases import (
    BASE,
    EXACT_LIF,
    GENERAL_LIF,
    LIVELY,
    LONG,
    NETWORKS,
    QUIET,
    SURROGATES,
    Case,
    cases,
    device_of,
)
from compare import (
    compare_layer,
    compare_network,
    compare_readout,
    run_layer,
    stored_for,
)
from sparsespike.backends import BACKENDS
from sparsespike.backends.cpu import form, plan
from sparsespike.backends.cpu.adjoint import LISTED
from sparsespike.backends.cpu.grouped import EVENTS, ROWS
from sparsespike.spikes.lists import Lists

FAST = tuple(name for name in BACKENDS if name != "dense")
RESETS = (
    ("subtract", True),
    ("subtract", False),
    ("zero", True),
    ("zero", False),
    ("none", True),
)
# The forms that a reset allows: none that leaves δ out where the reset acts on it.
FORMS = tuple(
    (plan.Forms(gradient, spread), reset, detach)
    for gradient in (plan.AT_ONCE, plan.GROUPED, plan.TRACED)
    for spread in (False, True)
    for reset, detach in RESETS
    if (reset != "zero" or not spread) and (gradient != plan.TRACED or (reset != "zero" and detach))
)
DTYPES = (torch.float32, torch.float64)
# In Triton's interpreter a case takes a hundred times as long as compiled. There every reset, case, surrogate
# and dtype has its turn, but not every combination of them; `make sweep` runs all.
WIDE = "SPARSESPIKE_SWEEP" in os.environ
THINNED = not torch.cuda.is_available() and not WIDE
# Generated cases of each sort.
EXAMPLES = {"cpu": 600 if WIDE else 200, "gpu": 12 if THINNED else 200}
PARAMETERS = tuple((bias, dtype) for bias in (False, True) for dtype in DTYPES)


def backends_of(turn: int) -> tuple[str, ...]:
    """The fast backends that take part in a combination: in the interpreter, every so many-th."""
    return FAST if not THINNED or turn == 0 else ("cpu",)


every_parameter = pytest.mark.parametrize(
    ("bias", "dtype"), PARAMETERS, ids=[f"{'bias' if b else 'no_bias'}-{d}" for b, d in PARAMETERS]
)


# ---- named cases ---------------------------------------------------------------------------------


@every_parameter
@pytest.mark.parametrize("surrogate", SURROGATES, ids=lambda s: type(s).__name__)
@pytest.mark.parametrize(("reset", "detach"), RESETS)
def test_layer_equals_oracle_for_every_neuron(reset, detach, surrogate, bias, dtype):
    neuron = EXACT_LIF.changed(reset=reset, detach_reset=detach, surrogate=surrogate)
    case = replace(BASE, neuron=neuron, bias=bias, dtype=dtype)
    turn = (
        SURROGATES.index(surrogate)
        + RESETS.index((reset, detach))
        + PARAMETERS.index((bias, dtype))
    )
    backends = backends_of(turn % 6)
    seen = compare_layer(case, *backends)
    assert min(seen["spiking"], seen["in_band"], seen["learning"]) == len(backends), seen


@every_parameter
@pytest.mark.parametrize(("reset", "detach"), RESETS)
@pytest.mark.parametrize("case", LIVELY, ids=str)
def test_layer_equals_oracle_in_every_case(case, reset, detach, bias, dtype):
    turn = LIVELY.index(case) + RESETS.index((reset, detach)) + PARAMETERS.index((bias, dtype))
    backends = backends_of(turn % 10)
    neuron = case.neuron.changed(reset=reset, detach_reset=detach)
    seen = compare_layer(replace(case, neuron=neuron, bias=bias, dtype=dtype), *backends)
    assert seen["spiking"] == len(backends), seen
    assert seen["learning"] == len(backends) or case.name == "narrow_band", seen


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("case", LIVELY + LONG, ids=str)
@pytest.mark.parametrize(("reset", "detach"), RESETS)
def test_every_form_of_the_gradients_equals_the_oracle(monkeypatch, reset, detach, case, dtype):
    neuron = case.neuron.changed(reset=reset, detach_reset=detach)
    forms = [form for form, *allowed in FORMS if tuple(allowed) == (reset, detach)]
    turns = iter(forms)
    monkeypatch.setattr(plan, "forms", lambda *_: next(turns))
    seen = compare_layer(replace(case, neuron=neuron, dtype=dtype), *("cpu",) * len(forms))
    assert next(turns, None) is None  # every form was taken
    assert seen["learning"] == len(forms) > 1 or case.name == "narrow_band", seen


def test_long_cases_fill_the_room_for_rows_and_for_events():
    rows, events, listed = ((case, case.spikes()[0]) for case in LONG)
    assert (rows[1].offset.diff() > 0).sum() > ROWS
    assert events[1].n_spikes > EVENTS
    assert (events[1].offset.diff() > 0).sum() < ROWS
    out = run_layer(listed[0], "cpu")[0]
    assert (out.active_offset.diff() > 0).sum() < ROWS
    assert (listed[1].active_offset.diff() > 0).sum() > LISTED


def test_forms_follow_the_number_of_terms():
    """Few active entries against many spikes and active inputs, and the other way round."""
    few, many = (torch.zeros(n, dtype=torch.int32) for n in (40, 90000))
    apart = {len(unit): torch.linspace(0, len(unit), 10001).long() for unit in (few, many)}
    nothing = torch.zeros(0)
    detached, attached = EXACT_LIF, EXACT_LIF.changed(detach_reset=False)
    zero = EXACT_LIF.changed(reset="zero")
    for out, unit, offset, neuron, expected in (
        (few, many, apart[90000], detached, (plan.TRACED, True)),
        (few, many, apart[90000], attached, (plan.GROUPED, True)),
        (few, many, apart[90000], zero, (plan.GROUPED, False)),
        (many, few, apart[40], detached, (plan.AT_ONCE, False)),
        (many, many, apart[90000], detached, (plan.GROUPED, False)),
    ):
        shape = 100, 100, 256
        events = ss.Spikes(shape, Lists(unit, offset, unit, offset))
        fired = ss.Spikes(shape, Lists(many, nothing, out, apart[len(out)]))
        constants = form.lif(neuron.describe(), np.dtype(np.float32))
        found = plan.forms(events, fired, list(ss.Linear(256, 256).parameters()), constants, True)
        assert found == plan.Forms(*expected), neuron
    biased = list(ss.Linear(256, 256, bias=True).parameters())
    assert plan.forms(events, fired, biased, constants, True).gradient == plan.AT_ONCE


@pytest.mark.parametrize("bias", [False, True], ids=["no_bias", "bias"])
@pytest.mark.parametrize("case", QUIET, ids=str)
def test_layer_equals_oracle_where_nothing_happens(case, bias):
    compare_layer(replace(case, bias=bias), *FAST)


@every_parameter
@pytest.mark.parametrize("case", LIVELY + QUIET, ids=str)
def test_readout_equals_oracle_in_every_case(case, bias, dtype):
    backends = backends_of(((LIVELY + QUIET).index(case) + PARAMETERS.index((bias, dtype))) % 4)
    seen = compare_readout(replace(case, bias=bias, dtype=dtype), *backends)
    assert seen["learning"] == len(backends) or case in QUIET, seen


@every_parameter
@pytest.mark.parametrize(("reset", "detach"), RESETS)
@pytest.mark.parametrize("case", NETWORKS, ids=str)
def test_network_equals_oracle(case, reset, detach, bias, dtype):
    turn = NETWORKS.index(case) + RESETS.index((reset, detach)) + PARAMETERS.index((bias, dtype))
    backends = backends_of(turn % 4)
    neuron = case.neuron.changed(reset=reset, detach_reset=detach)
    seen = compare_network(replace(case, neuron=neuron, bias=bias, dtype=dtype), *backends)
    every = seen["spiking"] == seen["learning"] == len(backends)
    assert every or case.name == "second_layer_silent", seen


# ---- generated cases -----------------------------------------------------------------------------


@pytest.mark.parametrize("backend", FAST)
def test_generated_exact_layers_equal_the_oracle(backend):
    seen = Counter()

    @settings(max_examples=EXAMPLES[backend])
    @given(case=cases(exact=True))
    def agree(case):
        seen.update(compare_layer(case, backend))

    agree()
    assert min(seen["spiking"], seen["in_band"], seen["learning"]) >= EXAMPLES[backend] // 4, seen


@pytest.mark.parametrize("backend", FAST)
def test_generated_general_layers_equal_the_oracle(backend):
    seen = Counter()

    @settings(max_examples=EXAMPLES[backend])
    @given(case=cases(exact=False, most_steps=40))
    def agree(case):
        assume(case.is_decided())
        seen.update(compare_layer(case, backend))

    agree()
    assert min(seen["spiking"], seen["in_band"], seen["learning"]) >= EXAMPLES[backend] // 4, seen


@pytest.mark.parametrize("backend", FAST)
def test_generated_readouts_equal_the_oracle(backend):
    seen = Counter()

    @settings(max_examples=EXAMPLES[backend] // 2)
    @given(case=cases(exact=False, most_steps=40))
    def agree(case):
        seen.update(compare_readout(case, backend))

    agree()
    assert seen["learning"] >= EXAMPLES[backend] // 8, seen


@pytest.mark.parametrize("backend", FAST)
def test_generated_networks_equal_the_oracle(backend):
    seen = Counter()

    @settings(max_examples=EXAMPLES[backend] * 3 // 10)
    @given(case=cases(exact=True, layers=3))
    def agree(case):
        seen.update(compare_network(case, backend))

    agree()
    assert min(seen["spiking"], seen["learning"]) >= EXAMPLES[backend] * 3 // 40, seen


@pytest.mark.parametrize("backend", FAST)
def test_generated_general_networks_equal_the_oracle(backend):
    seen = Counter()

    @settings(max_examples=EXAMPLES[backend] * 3 // 10)
    @given(case=cases(exact=False, layers=3, most_steps=20))
    def agree(case):
        case = replace(case, dtype=torch.float64)
        assume(case.is_decided())
        seen.update(compare_network(case, backend))

    agree()
    assert min(seen["spiking"], seen["learning"]) >= EXAMPLES[backend] // 20, seen


# ---- long recordings and odd leaks ---------------------------------------------------------------


@pytest.mark.parametrize("tau_mem", [0.2e-3, 1e-3, 10e-3, 10.0], ids=lambda tau: f"tau={tau:g}")
def test_long_recording_equals_oracle(tau_mem):
    """600 steps: the lazy leak is folded many times, and gaps are long."""
    neuron = GENERAL_LIF.changed(tau_mem=tau_mem)
    case = Case(steps=600, rate=0.02, sizes=(12, 7), neuron=neuron, exact=False, seed=5, batch=2)
    assert case.is_decided()
    backends = backends_of(int(tau_mem != 10e-3))
    seen = compare_layer(case, *backends)
    assert seen["spiking"] == seen["learning"] == len(backends), seen


@pytest.mark.parametrize(("reset", "detach"), RESETS)
def test_neuron_without_memory_equals_oracle(reset, detach):
    """dt / tau_mem = 1000: alpha is zero, in float32 and in float64."""
    neuron = ss.LIF(tau_mem=1e-6, dt=1e-3, b_th=0.25, reset=reset, detach_reset=detach)
    assert neuron.alpha == 0
    for dtype in DTYPES:
        case = replace(BASE, neuron=neuron, dtype=dtype)
        backends = backends_of((RESETS.index((reset, detach)) + DTYPES.index(dtype)) % 2)
        seen = compare_layer(case, *backends) + compare_readout(case, *backends)
        assert seen["learning"] == 2 * len(backends), seen


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_almost_no_memory_equals_oracle(dtype):
    """alpha = 1e-40 is zero in float32, or denormal, and a number in float64."""
    neuron = ss.LIF(tau_mem=1.0, dt=-math.log(1e-40), b_th=0.25)
    case = replace(BASE, neuron=neuron, dtype=dtype)
    assert compare_layer(case, *FAST)["learning"] == len(FAST)
    assert compare_readout(case, *FAST)["learning"] == len(FAST)


def test_band_edges_and_threshold_are_strict():
    """Potentials exactly at v_th and at v_th -+ b_th: no spike, not active (eq. 4, 7)."""
    for backend in BACKENDS:
        linear = ss.Linear(1, 5, dtype=torch.float64)
        with torch.no_grad():
            linear.weight.copy_(torch.tensor([[0.75], [0.875], [1.0], [1.125], [1.25]]))
        dense = torch.tensor([[[1.0], [0.0]]], dtype=torch.float64)
        layer = ss.Layer(linear, EXACT_LIF, backend=backend).to(device_of(backend))
        out = layer(stored_for(ss.Spikes.from_dense(dense), backend)).to("cpu")
        assert out.unit.tolist() == [3, 4], backend
        assert out.active_unit.tolist() == [1, 2, 3], backend
        assert out.potential.tolist() == [0.875, 1.0, 1.125], backend


def test_last_input_step_reaches_nothing():
    for backend in BACKENDS:
        dense = torch.zeros(1, 4, 3)
        dense[0, 3] = 1
        linear = ss.Linear(3, 5)
        nn.init.constant_(linear.weight, 1.0)
        spikes = stored_for(ss.Spikes.from_dense(dense), backend)
        linear.to(spikes.device)
        assert ss.Layer(linear, EXACT_LIF, backend=backend)(spikes).n_spikes == 0
        readout = ss.Readout(tau_mem=1.0, dt=1.0)
        assert not ss.Layer(linear, readout, backend=backend)(spikes).any()
