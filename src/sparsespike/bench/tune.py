"""`sparsespike bench gpu --tune`: below which share of events the sparse form of each sum is faster.

The backward pass has two sums, ∇W over the spikes of the input and ε at its active entries, and two forms of
each that differ in rounding only (`backends/gpu/plan.py`). Each is timed against the dense form, by size and
share.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import torch
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from sparsespike.backends.gpu import plan
from sparsespike.bench import measure
from sparsespike.bench.crossing import crossing
from sparsespike.connections.linear import Linear
from sparsespike.network import Layer
from sparsespike.neurons.lif import LIF
from sparsespike.spikes.spikes import Spikes

UNITS = (100, 200, 400, 1000, 2000)
SHARES = (0.0005, 0.001, 0.002, 0.003, 0.005, 0.008, 0.012, 0.02, 0.03, 0.05)
STEPS = 100
FORMS: dict[str, tuple[plan.Form, plan.Form]] = {
    "dense": ("dense", "dense"),
    "gradient": ("sparse", "dense"),
    "input": ("dense", "sparse"),
}

Limits = dict[str, dict[str, float]]


class Timing(NamedTuple):
    """Milliseconds of one backward pass with both sums dense, and with one of them sparse.

    Attributes:
        units: N, of input and layer.
        share: of the input's entries that spike, and of those that are active.
        dense: both sums dense.
        gradient: ∇W sparse.
        input: ε sparse.
    """

    units: int
    share: float
    dense: float
    gradient: float
    input: float


def run(console: Console, batch_size: int) -> Limits:
    """Measures the GPU in force, prints what it found and writes it to `plan.tuned_path`.

    Args:
        console: takes the table.
        batch_size: samples B.

    Returns:
        See `break_even`.
    """
    timings = []
    for units in UNITS:
        console.print(f"{units} units ...")
        for share in SHARES:
            timings.append(time_forms(units, share, batch_size, STEPS, "cuda"))
    limits = break_even(timings)
    console.print(_table(timings, limits))
    path = write({plan.model_of(torch.device("cuda")): limits})
    console.print(f"written to {path}", soft_wrap=True)
    return limits


def time_forms(units: int, share: float, batch_size: int, steps: int, device: str) -> Timing:
    """Times one layer's backward pass in every form.

    Args:
        units: N, of input and layer.
        share: of entries that spike, and independently of those that are active.
        batch_size: B.
        steps: T.
        device: "cuda"; or "cpu", where kernels are interpreted.
    """
    torch.manual_seed(0)
    shape = batch_size, steps, units
    fired = torch.rand(shape, device=device) < share
    active = torch.rand(shape, device=device) < share
    spikes = Spikes.from_dense(fired.float(), active=active).to_words()
    del fired, active
    value = spikes.value.detach().requires_grad_()
    lif = LIF(tau_mem=10e-3, dt=1e-3)
    layer = Layer(Linear(units, units), lif, backend="gpu").to(device)
    # V has a standard deviation of about 0.4, so that some 2 % of the entries are active.
    decay = lif.alpha**2
    std = 0.4 * math.sqrt((1 - decay) / (units * share))
    weight = torch.nn.init.normal_(layer.connection.weight, std=std)
    out = layer(Spikes(spikes.shape, spikes.storage, value))
    assert isinstance(out, Spikes)
    grad = torch.randn_like(out.value)

    def backward(_: None) -> tuple[torch.Tensor, ...]:
        return torch.autograd.grad(out.value, (value, weight), grad, retain_graph=True)

    taken = {}
    for name, forms in FORMS.items():
        with plan.use_forms(*forms):
            backward(None)  # compiles
            taken[name] = measure.turn({"backward": backward}, device)["backward"] * 1e3
    return Timing(units, share, **taken)


def break_even(timings: Iterable[Timing]) -> Limits:
    """Per sum and number of units, the share below which the sparse form is faster.

    Returns:
        {"gradient": {"200": share, ...}, "input": {...}}, as in the table of `plan.break_even`.
    """
    by_units: dict[int, list[Timing]] = {}
    for timing in sorted(timings):
        by_units.setdefault(timing.units, []).append(timing)
    kinds: dict[str, Callable[[Timing], float]] = {
        "gradient": lambda timing: timing.gradient / timing.dense,
        "input": lambda timing: timing.input / timing.dense,
    }
    return {
        name: {
            str(units): crossing([row.share for row in rows], [ratio(row) for row in rows])
            for units, rows in by_units.items()
        }
        for name, ratio in kinds.items()
    }


def write(found: dict[str, Limits]) -> Path:
    """Puts the limits of one or more GPU models into the table of this machine; others stay.

    Returns:
        The file.

    Raises:
        ValueError: if the file that is there cannot be read.
        OSError: if it cannot be written.
    """
    path = plan.tuned_path()
    table = {}
    if path.exists():
        try:
            table = json.loads(path.read_text())
        except ValueError as error:
            raise ValueError(f"{path}: expected a table of break-even points, {error}") from None
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    part.write_text(json.dumps({**table, **found}, indent=2) + "\n")
    part.replace(path)
    plan.break_even.cache_clear()
    return path


def _table(timings: list[Timing], limits: Limits) -> Table:
    shown = Table(title="backward pass, ms", box=SIMPLE_HEAD)
    for heading in ("units", "share", "dense", "∇W sparse", "ε sparse"):
        shown.add_column(heading, justify="right")
    for row in timings:
        shown.add_row(str(row.units), f"{row.share:.2%}", *(f"{ms:.3g}" for ms in row[2:]))
        if row.share == SHARES[-1]:
            even = (f"< {limits[name][str(row.units)]:.2%}" for name in ("gradient", "input"))
            shown.add_row(str(row.units), "", "sparse wins", *even, end_section=True, style="bold")
    return shown
