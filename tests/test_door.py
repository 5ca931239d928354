"""What kernels read is checked at every call: what does not fit is refused, by name."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

import sparsespike as ss

TOOL = Path(__file__).parents[1] / "tools" / "fuzz_door.py"


@pytest.mark.timeout(480)  # three sorts of connections, compiled
def test_generated_parameters_and_lists_are_refused_by_name_or_right():
    """A part of what `tools/fuzz_door.py` tries; in a process of its own, since its guard pages kill."""
    command = [sys.executable, "-W", "ignore", str(TOOL), "--cases", "400", "--seed", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert "refused" in done.stdout


def layer_and_term():
    layer = ss.Layer(ss.Linear(3, 2, bias=True), ss.LIF(1.0, 1.0))
    spikes = ss.Spikes.from_dense(torch.ones(1, 4, 3))
    return layer, layer.connection(spikes).terms[0]


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("weight", torch.zeros(2), r"weight: expected \(n_out, n_in\), found \(2,\)"),
        ("weight", torch.zeros(2, 4), "spikes: expected 4 units, found 3"),
        ("weight", torch.zeros(5, 3), r"bias: expected \(5,\), one per neuron, found \(2,\)"),
        ("weight", torch.zeros(2, 3).to_sparse(), "weight: expected a plain dense tensor"),
        ("weight", torch.zeros(2, 3, device="meta"), "bias: expected .* on meta, found .* on cpu"),
        ("bias", torch.zeros(3), r"bias: expected \(2,\), one per neuron, found \(3,\)"),
        ("bias", torch.zeros(2).double(), r"bias: expected torch\.float32 on cpu, found"),
    ],
    ids=str,
)
def test_wrong_parameters_are_refused_by_name(name, value, message):
    layer, term = layer_and_term()
    delattr(layer.connection, name)
    setattr(layer.connection, name, nn.Parameter(value))
    with pytest.raises(ValueError, match=message):
        layer(term.spikes)


def test_a_weight_that_is_no_tensor_is_refused_by_name():
    layer, term = layer_and_term()
    del layer.connection.weight
    layer.connection.weight = "heavy"
    with pytest.raises(ValueError, match=r"weight: expected \(n_out, n_in\), found str"):
        layer(term.spikes)


def test_a_parameter_that_shrank_after_the_connection_was_called_is_refused():
    layer, term = layer_and_term()
    current = layer.connection(term.spikes)
    layer.connection.weight.data = torch.zeros(1, 3)
    with pytest.raises(ValueError, match=r"weight: expected \(2, 3\), found \(1, 3\)"):
        layer.neuron(current)


def test_lists_of_other_lengths_are_refused_by_name():
    layer, term = layer_and_term()
    lists = term.spikes.lists
    for change, message in (
        ({"offset": lists.offset[:-1]}, "offset: expected 5 int64 side by side"),
        ({"unit": lists.unit[:-1]}, "offset: expected the last bound to be 11"),
        ({"unit": lists.unit.long()}, "unit: expected int32 side by side"),
        ({"active_unit": lists.unit}, "active_offset: expected 5 int64 side by side"),
    ):
        spikes = replace(term.spikes, storage=lists._replace(**change))
        with pytest.raises(ValueError, match=message):
            layer(spikes)
    with pytest.raises(ValueError, match="value: expected 0, one per active entry, found 2"):
        layer(replace(term.spikes, value=torch.ones(2)))


def test_checking_costs_little():
    """2 to 4 µs on an idle core; the bound leaves room for a busy one."""
    _, term = layer_and_term()
    least = min(_microseconds(term.check) for _ in range(20))
    assert least < 20


def _microseconds(run, n=500):
    start = time.perf_counter()
    for _ in range(n):
        run()
    return (time.perf_counter() - start) / n * 1e6
