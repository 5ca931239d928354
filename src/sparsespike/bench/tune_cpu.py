"""`sparsespike bench tune`: measures the cost model of the backend "auto" on this machine.

A few layers are run event-driven and dense, each pass by itself, on one thread. What counts is the least
of some runs, by the processor time of this thread: other processes that want the same cores do not count.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from types import ModuleType
from typing import Any

import torch
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from sparsespike.backends import Upstream, costs, cpu
from sparsespike.backends.costs import NUMBERS, Costs, Measured
from sparsespike.backends.cpu import form, plan, unpacked
from sparsespike.connections.conv import Conv2d
from sparsespike.connections.linear import Linear
from sparsespike.descriptions import Cell
from sparsespike.neurons.lif import LIF
from sparsespike.spikes.spikes import Spikes

# As `Measured.sizes` has them; samples of 100 steps.
LINEAR: dict[tuple[int, ...], int] = {
    (4, 200): 32,
    (50, 50): 32,
    (200, 200): 32,
    (784, 200): 16,
    (200, 1000): 16,
    (1000, 1000): 8,
}
CONV: dict[tuple[int, ...], int] = {
    (1, 28, 32, 5): 3,
    (2, 34, 16, 5): 3,
    (16, 28, 32, 3): 3,
    (32, 14, 64, 3): 4,
    (64, 7, 64, 3): 8,
}
DOUBLE = ((1000, 1000), 4), ((32, 14, 64, 3), 1)  # compared with float64
STEPS = 100
# Where the two forms cost about the same there are many events; few would measure what comes with a call.
RATE, FIRED, ACTIVE = 0.25, 0.05, 0.08
SECONDS, RUNS = 0.15, 3  # of each pass, at least


def run(console: Console) -> Costs:
    """Measures, prints what it found and writes it to `costs.path`.

    Args:
        console: takes a progress bar and a table.

    Raises:
        OSError: if the file cannot be written.
    """
    columns = TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with (
            torch.no_grad(),
            Progress(*columns, console=console, transient=True) as progress,
        ):
            task = progress.add_task("", total=len(LINEAR) + len(CONV) + 2)
            found = measured(lambda what: progress.update(task, description=what, advance=1))
    finally:
        torch.set_num_threads(threads)
    path = costs.write(found, datetime.now(UTC).isoformat(timespec="seconds"))
    console.print(_table(found))
    console.print(f"written to {path}", soft_wrap=True)
    return found


def measured(tell: Callable[[str], None] = lambda what: None) -> Costs:
    """The costs of this machine; on one thread, without gradients.

    Args:
        tell: called with what is measured next.
    """
    tell("calls")
    small = Case((1, 1), 1, torch.float32, steps=2)
    call = max(1.0, small.forward(unpacked) - small.forward(cpu))
    tell("float64")
    linear, conv = (
        Case(sizes, samples, torch.float64).forward(unpacked)
        / Case(sizes, samples, torch.float32).forward(unpacked)
        for sizes, samples in DOUBLE
    )

    def layers(known: dict[tuple[int, ...], int]) -> tuple[Measured, ...]:
        found = []
        for sizes, samples in known.items():
            tell(" ".join(map(str, sizes)))
            found.append(_layer(Case(sizes, samples, torch.float32), call))
        return tuple(found)

    return Costs(layers(LINEAR), layers(CONV), call, (linear, conv))


def _layer(case: Case, call: float) -> Measured:
    """What the passes of a layer cost, less what `Costs` counts by itself."""
    forward = {module: case.forward(module) for module in (cpu, unpacked)}
    backward = {
        (module, wanted): case.backward(module, wanted)
        for module in (cpu, unpacked)
        for wanted in (False, True)
    }
    weight, both = (backward[unpacked, wanted] - call for wanted in (False, True))
    numbers = {
        "scatter": forward[cpu] / (case.n_spikes * case.reach),
        "forward": (forward[unpacked] - call) / case.n_product,
        "weight": weight / case.n_product,
        "input": (both - weight) / case.n_product,
    }
    if len(case.sizes) == 2:
        numbers |= {
            "gradient": backward[cpu, False] / case.planned(False),
            "gather": backward[cpu, True] / case.planned(True),
        }
    else:
        events = backward[cpu, False], backward[cpu, True] - backward[cpu, False]
        each = case.n_spikes * case.reach, case.n_active * case.reach
        numbers |= {"gradient": events[0] / each[0], "gather": events[1] / each[1]}
    # A difference of two times may come out at nothing on a busy machine.
    return Measured(case.sizes, **{name: max(1e-4, numbers[name]) for name in NUMBERS})


class Case:
    """A layer under random spikes, which also says which of its own entries are active.

    Args:
        sizes: as `Measured` has them.
        samples: B.
        dtype: of the weights.
        steps: T.
    """

    def __init__(
        self, sizes: tuple[int, ...], samples: int, dtype: torch.dtype, steps: int = STEPS
    ) -> None:
        draw = torch.Generator().manual_seed(0)
        if len(sizes) == 2:
            connection, shape = Linear(*sizes, dtype=dtype), sizes[:1]
        else:
            c_in, size, c_out, kernel = sizes
            connection = Conv2d(c_in, c_out, kernel, padding=kernel // 2, dtype=dtype)
            shape = c_in, size, size
        connection.weight.mul_(1e-3)  # nothing fires: to list what does takes both forms as long
        spikes = _random((samples, steps, *shape), RATE, RATE, dtype, draw)
        self.sizes, self.terms = sizes, connection(spikes).terms
        described = self.terms[0].connection
        lif = LIF(tau_mem=10e-3, dt=1e-3)
        self.neuron = lif.describe()
        self.cell = Cell(self.neuron)
        fired = _random((samples, steps, described.n_out), FIRED, ACTIVE, dtype, draw)
        self.fired = replace(fired, potential=lif.v_th + 0.1 * (fired.value - 0.5))
        self.grad = Upstream(torch.randn(len(fired.value), generator=draw, dtype=dtype))
        size = connection.weight.element_size()
        self.n_spikes, self.n_active = len(spikes.unit), len(spikes.active_unit)
        self.n_product = samples * steps * costs.products(described)
        self.reach = costs.reach(described, size)

    def forward(self, module: ModuleType) -> float:
        """Nanoseconds of a forward pass."""
        return least(lambda: module.spiking_forward(self.terms, self.cell, "full", True))

    def backward(self, module: ModuleType, wanted: bool) -> float:
        """Nanoseconds of a backward pass, with or without ε."""
        kept = module.spiking_forward(self.terms, self.cell, "full", True).kept
        return least(
            lambda: module.spiking_backward(
                self.grad, self.terms, kept, self.fired, self.cell, "full", [wanted]
            )
        )

    def planned(self, wanted: bool) -> float:
        """What `plan.py` says of a `Linear`'s backward pass."""
        parameter = self.terms[0].parameter
        constants = form.lif(self.neuron, form.numpy_dtype(parameter[0]))
        spikes = self.terms[0].spikes
        return min(plan.costs(spikes, self.fired, parameter, constants, wanted).values())


def least(run: Callable[[], Any]) -> float:
    """Nanoseconds of this thread, the least of some runs; one before that does not count."""
    run()
    taken: list[int] = []
    while len(taken) < RUNS or sum(taken) < SECONDS * 1e9:
        start = time.thread_time_ns()
        run()
        taken.append(time.thread_time_ns() - start)
    return float(min(taken))


def _random(
    shape: tuple[int, ...], rate: float, active: float, dtype: torch.dtype, draw: torch.Generator
) -> Spikes:
    fired = torch.rand(shape, generator=draw) < rate
    return Spikes.from_dense(fired.to(dtype), active=torch.rand(shape, generator=draw) < active)


def _table(found: Costs) -> Table:
    shown = Table(title="nanoseconds", box=SIMPLE_HEAD)
    for heading in ("layer", *NUMBERS):
        shown.add_column(heading, justify="right")
    for layer in (*found.linear, *found.conv):
        numbers = (f"{getattr(layer, name):.3g}" for name in NUMBERS)
        shown.add_row(" ".join(map(str, layer.sizes)), *numbers)
    return shown
