"""Compiles every kernel of the GPU backend for a GPU that need not be there, and tells what each one takes.

    python tools/compile_ahead.py --target sm_90 --json

The backend's own host code runs, on CPU tensors, with every launch replaced by a compilation: kernels are
specialised as on the GPU. Spilled registers are an error (exit code 1).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

os.environ.pop("TRITON_INTERPRET", None)  # read when kernels are defined, in the imports below

import torch
import triton
from rich.console import Console
from rich.progress import track
from rich.table import Table
from triton import knobs
from triton.backends.compiler import GPUTarget
from triton.runtime.driver import driver
from triton.runtime.jit import JITFunction

import sparsespike as ss
from sparsespike.backends import Upstream, gpu
from sparsespike.backends.gpu import plan, pool
from sparsespike.backends.gpu.dynamics.spiking_layer import TOGETHER
from sparsespike.backends.gpu.listing import Listing
from sparsespike.descriptions import Cell, Conv, Dynamics, Linear, SparseLinear, Term
from sparsespike.neurons.neuron import learned
from sparsespike.spikes.windows import WindowAxis, Windows
from sparsespike.spikes.words import Words, starts

TARGETS = {
    "sm_80": GPUTarget("cuda", 80, 32),
    "sm_90": GPUTarget("cuda", 90, 32),
    "sm_100": GPUTarget("cuda", 100, 32),
    "gfx942": GPUTarget("hip", "gfx942", 64),
}
# (B, T, N_in, N_out), sizes that are and are not multiples of 16: Triton tells them apart.
SIZES = ((4, 96, 208, 208), (3, 70, 33, 33))
PRECISIONS = ("full", "tf32", "bfloat16", "float16")


class Stub:
    """A driver that says which GPU there is, and that is all."""

    def __init__(self, target: GPUTarget) -> None:
        self.target = target

    def get_current_device(self) -> int:
        """As Triton asks it."""
        return 0

    def set_current_device(self, device: int) -> None:
        """As Triton asks it."""

    def get_current_stream(self, device: int) -> int:
        """As Triton asks it."""
        return 0

    def get_current_target(self) -> GPUTarget:
        """As Triton asks it."""
        return self.target

    def get_active_torch_device(self) -> torch.device:
        """As Triton asks it."""
        return torch.device("cpu")


@contextlib.contextmanager
def compiling(target: GPUTarget) -> Iterator[dict[str, Any]]:
    """Launches inside compile for `target` and do nothing else; gives the kernels, by hash."""
    found: dict[str, Any] = {}
    launch = JITFunction.run

    def compiled(self: Any, *args: Any, grid: Any, warmup: bool, **options: Any) -> None:
        kernel: Any = launch(self, *args, grid=grid, warmup=True, **options)
        found[kernel.hash] = (self.__name__, kernel)

    with (
        mock.patch.object(driver, "_active", Stub(target)),
        mock.patch.object(JITFunction, "run", compiled),
        mock.patch.object(gpu, "on_device", return_value=contextlib.nullcontext()),
        mock.patch.object(Listing, "counted", return_value=(64, 64)),
        mock.patch.object(pool, "counted", return_value=(64, 64)),
        # Nothing is written: what is read as an index must not be whatever lies in memory.
        mock.patch.object(torch, "empty", torch.zeros),
    ):
        yield found


def run_all(sizes: tuple[int, int, int, int], dtype: torch.dtype) -> Iterator[None]:
    """Calls every function of the backend, in each of its forms; yields after each."""
    n_batch, n_step, n_in, n_out = sizes
    dense = (torch.rand(n_batch, n_step, n_in) < 0.05).to(dtype)
    spikes = ss.Spikes.from_dense(dense, active=dense == 1).to_words()
    zeros = torch.zeros(n_batch, spikes.words.word.shape[1], n_out, dtype=torch.int32)
    value = torch.zeros(64, dtype=dtype)
    own = Words(zeros, torch.tensor([64, 64]), zeros, starts(zeros))
    fired = ss.Spikes((n_batch, n_step, n_out), own, value, value)
    linear = ss.Linear(n_in, n_out, bias=True, dtype=dtype)
    lif, readout = ss.LIF(tau_mem=10e-3, dt=1e-3), ss.Readout(tau_mem=10e-3, dt=1e-3)
    gpu.count_forward(spikes)
    gpu.count_backward(torch.zeros(n_batch, n_in, dtype=dtype), spikes)
    plain = Term(spikes, Linear(n_in, n_out), (linear.weight.detach(),))
    term = plain._replace(parameter=tuple(linear.parameters()))
    # Twice: the currents of the second are added to those of the first.
    terms = [term, plain]
    for neuron in (
        lif,
        *(lif.changed(reset=reset, surrogate=ss.ATan()) for reset in ("zero", "none")),
        *(lif.changed(reset=reset, detach_reset=False) for reset in ("subtract", "zero")),
        *(lif.changed(surrogate=s) for s in (ss.Triangle(), ss.Boxcar(), ss.Sigmoid())),
        *(lif.changed(surrogate=s) for s in (ss.Gaussian(), ss.Exponential(), ss.Circle())),
    ):
        told = Cell(neuron.describe())
        for recorded in (True, False):
            kept = gpu.spiking_forward(terms, told, "full", recorded).kept
        gpu.spiking_backward(Upstream(value), terms, kept, fired, told, "full", [True, True])
        yield
    shape = (n_in // 16, 4, 4) if n_in % 16 == 0 else (n_in // 11, 1, 11)
    conv = Conv(shape, shape[0], (1, 2), padding=((0, 0), (0, 1)))
    through = term._replace(
        connection=conv, parameter=(torch.zeros(conv.weight_shape, dtype=dtype),)
    )
    told = Cell(lif.describe())
    kept = gpu.spiking_forward([through], told, "full", True).kept
    gpu.spiking_backward(Upstream(value), [through], kept, fired, told, "full", [True])
    yield
    axes = (WindowAxis(size, min(2, size), 2, 0, 1, ceil_mode=False) for size in shape[1:])
    windows = Windows(shape[0], *axes)
    for given in (spikes, spikes.detach()):
        gpu.max_pool(given.words, windows)
    yield
    pairs = torch.stack([torch.arange(n_out), torch.arange(n_out) % n_in])
    synapses = term._replace(
        connection=SparseLinear(n_in, n_out, pairs),
        parameter=(torch.zeros(n_out, dtype=dtype), torch.zeros(n_out, dtype=dtype)),
    )
    for own_term in (synapses, synapses._replace(parameter=synapses.parameter[:1])):
        kept = gpu.spiking_forward([own_term], told, "full", True).kept
        gpu.spiking_backward(Upstream(value), [own_term], kept, fired, told, "full", [True])
    yield
    yield from run_forms([readout, *readouts(n_out)], term, plain, fired)
    if n_out % 16:
        yield from run_recurrent(spikes, dtype)
    told = Cell(lif.describe())
    for precision in PRECISIONS if dtype == torch.float32 else PRECISIONS[:1]:
        with mock.patch.object(plan, "TRANSIENT", 1):  # several segments
            # Beside synapses δ is stored in full, whatever a `Linear` multiplies in.
            for given in ([plain], [plain, synapses]):
                kept = gpu.spiking_forward(given, told, precision, True).kept
                needed = [True] * len(given)
                for form in ("dense", "sparse"):
                    with plan.use_forms(form, form):
                        gpu.spiking_backward(
                            Upstream(value), given, kept, fired, told, precision, needed
                        )
        yield


def run_forms(read: list[ss.Neuron], term: Term, plain: Term, fired: ss.Spikes) -> Iterator[None]:
    """Calls what computes readouts and neurons of the form; yields after each."""
    for neuron in read:
        told = Cell(neuron.describe(), learned(neuron))
        told = told._replace(returns_state=isinstance(told.neuron, Dynamics))
        potential, kept, state = gpu.readout_forward([term], told, "full")
        above = Upstream(torch.zeros_like(potential), state)
        gpu.readout_backward(above, [term], kept, told, "full", [True])
        yield
    n_out = fired.shape[2]
    # They load rows one by one, whatever their sizes: where these are multiples of 16, two stand for all.
    for neuron, ends in neurons_of_the_form(n_out)[: None if n_out % 16 else 2]:
        told = Cell(neuron.describe(True), learned(neuron), returns_state=ends)
        told = told._replace(record=torch.tensor([0]) if ends else None)
        with mock.patch.object(plan, "TRANSIENT", 1):
            if not told.number:
                gpu.spiking_forward([plain], told, "full", False)
            ran = gpu.spiking_forward([plain], told, "full", True)
        if ran.state is not None:
            told = told._replace(state=ran.state)
        above = Upstream(fired.value, ran.state, ran.record)
        gpu.spiking_backward(above, [plain], ran.kept, fired, told, "full", [True])
        yield


def run_recurrent(spikes: ss.Spikes, dtype: torch.dtype) -> Iterator[None]:
    """Calls what computes recurrent layers, of as many neurons as fit into one program; yields after each."""
    n_batch, n_step, n_in = spikes.shape
    n_out = TOGETHER[dtype]
    zeros = torch.zeros(n_batch, spikes.words.word.shape[1], n_out, dtype=torch.int32)
    value = torch.zeros(64, dtype=dtype)
    own = Words(zeros, torch.tensor([64, 64]), zeros, starts(zeros))
    fired = ss.Spikes((n_batch, n_step, n_out), own, value, value)
    term = Term(spikes, Linear(n_in, n_out), (torch.zeros(n_out, n_in, dtype=dtype),))
    weight = torch.zeros(n_out, n_out, dtype=dtype), torch.zeros(n_out, dtype=dtype)
    for neuron, ends in neurons_of_the_form(n_out):
        told = Cell(neuron.describe(True), learned(neuron), Linear(n_out, n_out), weight)
        told = told._replace(returns_state=ends)
        with mock.patch.object(plan, "TRANSIENT", 1):
            ran = gpu.spiking_forward([term], told, "full", True)
        above = Upstream(value, ran.state)
        gpu.spiking_backward(above, [term], ran.kept, fired, told, "full", [True])
        yield


def neurons_of_the_form(n: int) -> list[tuple[ss.Neuron, bool]]:
    """Neurons that have each part of a form, and lack it; and whether states and potentials are kept."""
    each, dt = torch.full((n,), 10e-3), 1e-3
    learn: Any = {"learn": ("tau_mem",)}
    attached: Any = {"detach_reset": False, "lag": 0, **learn}
    return [
        (ss.LIF(each, dt), False),
        (ss.LIF(each, dt, reset="zero", **learn), True),
        (ss.LIF(each, dt, reset="clear", **attached), False),
        (ss.CuBaLIF(each, 5e-3, dt, **learn), True),
        (ss.CuBaLIF(each, 5e-3, dt, reset="zero", **attached), True),
        (ss.ALIF(each, 0.1, 0.3, dt), False),
        (ss.ALIF(each, 0.1, 0.3, dt, scheme="2018", detach_reset=False, **learn), True),
        (ss.Alpha(each, 5e-3, dt, detach_reset=False, lag=0, learn=("tau_fast",)), False),
        (ss.Alpha(each, 5e-3, dt, reset="subtract", detach_reset=False, learn=("tau_fast",)), True),
    ]


def readouts(n: int) -> list[ss.Neuron]:
    """Readouts of one state and of two."""
    each = torch.full((n,), 10e-3)
    return [
        ss.Readout(each, 1e-3, learn=("tau_mem",)),
        ss.CuBaReadout(each, 5e-3, 1e-3, lag=0, learn=("tau_syn",)),
    ]


def needs(name: str, kernel: Any) -> dict[str, Any]:
    """Registers, shared memory, spills and tensor-core instructions of a kernel."""
    row = {"kernel": name, "warps": kernel.metadata.num_warps, "shared": kernel.metadata.shared}
    if kernel.metadata.target.backend == "hip":
        text = kernel.asm["amdgcn"]

        def number(key: str) -> int:
            found = re.search(rf"\.{key}:\s*(\d+)", text)
            return int(found.group(1)) if found else 0

        spills = number(
            "vgpr_spill_count"
        )  # those of scalars go to vector registers, not to memory
        matrix = len(re.findall(r"\bv_mfma", text))
        return row | {"registers": number("vgpr_count"), "spills": spills, "tensor": matrix}
    with tempfile.TemporaryDirectory() as folder:
        cubin = Path(folder) / "kernel.cubin"
        cubin.write_bytes(kernel.asm["cubin"])
        usage = subprocess.run(
            [knobs.nvidia.cuobjdump.path, "-res-usage", cubin],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    found = re.search(r"REG:(\d+) STACK:(\d+)", usage)
    assert found is not None, usage
    matrix = len(re.findall(r"wgmma\.mma_async|mma\.sync|tcgen05\.mma", kernel.asm["ptx"]))
    registers, stack = map(int, found.groups())
    return row | {"registers": registers, "spills": stack, "tensor": matrix}


def measure(target: str) -> list[dict[str, Any]]:
    """One row per compiled kernel."""
    rows = []
    with compiling(TARGETS[target]) as found:
        cases = [(sizes, torch.float32) for sizes in SIZES] + [(SIZES[1], torch.float64)]
        for sizes, dtype in cases:
            started = time.perf_counter()
            for _ in run_all(sizes, dtype):
                pass
            seconds = time.perf_counter() - started
            Console(stderr=True).print(f"{target}: {dtype}, {sizes}, {seconds:.0f} s")
    for name, kernel in track(found.values(), f"{target}: reading", console=Console(stderr=True)):
        rows.append(needs(name, kernel))
    return rows


def worst(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Per kernel the most that any of its variants takes, and how many there are."""
    table: dict[str, dict[str, Any]] = {}
    for row in rows:
        most = table.setdefault(row["kernel"], {"kernel": row["kernel"], "variants": 0})
        most["variants"] += 1
        for key in ("registers", "shared", "spills", "tensor"):
            most[key] = max(most.get(key, 0), row[key])
    return sorted(table.values(), key=lambda row: row["kernel"])


def main() -> int:
    """Compiles for one target and prints the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--target", choices=sorted(TARGETS), default="sm_90")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parsed = parser.parse_args()
    rows = worst(measure(parsed.target))
    if parsed.json:
        print(json.dumps({"target": parsed.target, "triton": triton.__version__, "rows": rows}))
    else:
        table = Table(title=f"Kernels for {parsed.target}, the most that any variant takes")
        for name in rows[0]:
            table.add_column(name, justify="left" if name == "kernel" else "right")
        for row in rows:
            table.add_row(*map(str, row.values()))
        Console().print(table)
    spilled = [row["kernel"] for row in rows if row["spills"]]
    if spilled:
        print(f"registers spilled: {', '.join(spilled)}", file=sys.stderr)
    return 1 if spilled else 0


if __name__ == "__main__":
    sys.exit(main())
