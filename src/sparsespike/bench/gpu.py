"""`sparsespike bench gpu`: the paper's sizes on a GPU, within minutes; or tuning, or what fits its memory.

Every case goes through the runner of the other benchmarks: gate, memory, time. A case that cannot be begun in
time is named and left out; one that fails is named, and the others go on.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from rich.console import Console

from sparsespike.bench import report, runner
from sparsespike.bench.layer import LayerBench
from sparsespike.bench.step import StepBench
from sparsespike.bench.trial import OURS, Method, backend_on

# The paper's own loop, the best of autograd and of plain PyTorch, and the library with kernels of its own.
METHODS: tuple[Method, ...] = (OURS, "paper-loop", "clean-dense", "fused-dense", "spikingjelly")


@dataclass(frozen=True)
class GpuBench:
    """Options of `sparsespike bench gpu`.

    Attributes:
        tune: instead, find below which share of spikes and of active inputs the sparse form of each sum is
            faster on this GPU, and write that to the table that the backend reads.
        fit: instead, find the longest recording and the largest layer that fit the GPU's memory.
        neurons: units of the fully connected layers, each >= 1.
        steps: time steps of the layers, each >= 2.
        b_th: half-widths of the active band, each > 0.
        batch_size: samples B, >= 1.
        methods: what to run.
        repeats: timed runs of each method, >= 1.
        limit: seconds after which a method is given up or not repeated further, > 0.
        minutes: after so many no further case begins, > 0.
        seed: of input, weights and upstream gradient, >= 0.
        out: folder whose bench-gpu.jsonl takes one more line per method.
    """

    tune: bool = False
    fit: bool = False
    neurons: tuple[int, ...] = (200, 1000)
    steps: tuple[int, ...] = (100, 300, 500)
    b_th: tuple[float, ...] = (0.2, 0.05)
    batch_size: int = 256
    methods: tuple[Method, ...] = METHODS
    repeats: int = 5
    limit: float = 5.0
    minutes: float = 14.0
    seed: int = 0
    out: Path = Path("results")

    def __post_init__(self) -> None:
        if self.tune and self.fit:
            raise ValueError("fit: expected none beside --tune, found both")
        if not self.minutes > 0:
            raise ValueError(f"minutes: expected a number > 0, found {self.minutes}")

    def cases(self) -> Iterator[LayerBench | StepBench]:
        """What is run, in order: layers, the paper's own half-width first; after the first, others.

        These are a training step, a convolution, the same after each sort of pooling, and a sparse layer.

        Raises:
            ValueError: if an option is out of range, or there is no GPU.
        """
        shared: dict[str, Any] = {
            "device": "cuda",
            "batch_size": self.batch_size,
            "methods": self.methods,
            "repeats": self.repeats,
            "limit": self.limit,
            "seed": self.seed,
            "out": self.out,
        }
        for i, (b_th, n_step, n_unit) in enumerate(
            (b_th, n_step, n_unit)
            for b_th in self.b_th
            for n_step in self.steps
            for n_unit in self.neurons
        ):
            yield LayerBench(neurons=n_unit, steps=n_step, b_th=b_th, **shared)
            if i == 0:
                yield StepBench(**shared)
                once: dict[str, Any] = {"steps": n_step, "b_th": b_th, **shared}
                for pool in (None, "max", "avg"):
                    yield LayerBench(connection="conv2d", preset="14x14-k3", pool=pool, **once)
                yield LayerBench(connection="sparse", neurons=max(self.neurons), **once)


class Card(NamedTuple):
    """What a GPU does per second, measured.

    Attributes:
        bytes_per_s: read and written by a copy, both counted.
        products_per_s: multiply-adds of a large bfloat16 matrix product.
    """

    bytes_per_s: float
    products_per_s: float


def run(bench: GpuBench, console: Console) -> None:
    """Runs what the options say; prints tables, and appends rows to bench-gpu.jsonl.

    Args:
        bench: the options.
        console: takes tables and progress.

    Raises:
        ValueError: if there is no GPU; if a gate or a case failed, after all others were run.
    """
    backend_on("cuda")
    if bench.tune:
        from sparsespike.bench import tune  # imports Triton

        tune.run(console, bench.batch_size)
    elif bench.fit:
        from sparsespike.bench import fit

        found = fit.run(console, bench.minutes)
        about = {"bench": "gpu", "kind": "fit", **report.environment("cuda")}
        report.append_lines(bench.out / "bench-gpu.jsonl", [{**about, **line} for line in found])
    else:
        _run_cases(bench, console)


def measured_card() -> Card:
    """Measures the GPU in force: a copy of 1 GiB, a product of 8192 x 8192 matrices."""
    source = torch.empty(2**28, device="cuda")
    target = torch.empty_like(source)
    left = torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16)
    copy_s = _fastest(lambda: target.copy_(source))
    product_s = _fastest(lambda: left @ left)
    return Card(2 * source.nbytes / copy_s, 8192**3 / product_s)


def floor_ms(case: dict[str, Any], card: Card) -> dict[str, float]:
    """The least milliseconds of a `Linear` layer: all that comes in and goes out once, or its products.

    Products are two bfloat16 planes on tensor cores, or as many as there are events to add a row of weights
    for, whichever is less; the events' additions are taken to cost what products cost, so this is a bound
    that no kernel reaches.

    Args:
        case: what `LayerCase.about` gives.
        card: of `measured_card`.
    """
    n_row, n_in, n_out = case["batch_size"] * case["steps"], case["n_in"], case["neurons"]
    words = (
        n_row * (2 * n_in + 2 * n_out) / 8
    )  # bits of spikes and active entries, of input and output
    weights = 4 * n_in * n_out
    active_in, active = (
        n_row * n_in * case["input_activity"],
        n_row * n_out * case["activity"],
    )
    dense = 2 * n_row * n_in * n_out
    n_spikes = n_row * n_in * case["input_rate"]
    forward = (words + weights + 8 * active, min(dense, n_spikes * n_out))
    backward = (
        words + 2 * weights + 8 * active + 4 * active_in,
        min(dense, n_spikes * n_out) + min(dense, active_in * n_out),
    )
    floors = {
        name: max(n_bytes / card.bytes_per_s, products / card.products_per_s) * 1e3
        for name, (n_bytes, products) in (("forward", forward), ("backward", backward))
    }
    return {name: float(f"{floor:.3g}") for name, floor in floors.items()}


def _run_cases(bench: GpuBench, console: Console) -> None:
    start, wrong = time.monotonic(), []
    card = measured_card()
    console.print(
        f"{torch.cuda.get_device_name()}: copy {card.bytes_per_s / 1e12:.2f} TB/s, "
        f"bfloat16 {2 * card.products_per_s / 1e12:.0f} TFLOP/s"
    )
    cases = list(bench.cases())
    for i, case in enumerate(cases, 1):
        spent = (time.monotonic() - start) / 60
        name = _name(case)
        if spent > bench.minutes:
            console.print(f"{name}: not begun, {spent:.1f} minutes are over (--minutes)")
            continue
        console.print(f"{i} of {len(cases)}, {spent:.1f} min: {name}", soft_wrap=True)
        try:
            rows = _run_case(case, card, bench.out / "bench-gpu.jsonl", console)
        except (RuntimeError, OSError) as error:  # a kernel, memory, or data that are not there
            wrong.append(f"{name}: {' '.join(str(error).split())[:300]}")
            console.print(wrong[-1], soft_wrap=True)
            continue
        wrong += [f"{name}, {row.method}: {row.reason}" for row in rows if row.status == "wrong"]
    if wrong:
        raise ValueError(f"not timed: {'; '.join(wrong)}")


def _run_case(
    case: LayerBench | StepBench, card: Card, path: Path, console: Console
) -> list[runner.Row]:
    kind = "layer" if isinstance(case, LayerBench) else "step"
    about = {"bench": "gpu", "kind": kind, **report.environment("cuda"), "seed": case.seed}
    about["case"], rows = runner.run(case, console)
    torch.cuda.empty_cache()  # what the gate held is for the next case's processes
    if about["case"].get("connection") == "Linear":
        about["floor_ms"] = floor_ms(about["case"], card)
    report.append(path, about, rows)
    console.print(report.table(report.headline(about["case"]), report.caption(about), rows))
    ours = next((row for row in rows if row.method == OURS and row.ms), None)
    for phase, floor in about.get("floor_ms", {}).items() if ours else ():
        assert ours is not None
        times = ours.ms[phase]["median"] / floor
        console.print(f"{phase}: floor_ms {floor:.3g}, {OURS} takes {times:.1f} times as long")
    for line in report.remarks(rows):
        console.print(line, soft_wrap=True)
    return rows


def _name(case: LayerBench | StepBench) -> str:
    if isinstance(case, StepBench):
        return f"step of {case.recipe}, B = {case.batch_size}"
    size = f"N = {case.neurons}"
    if case.connection == "sparse":
        size += ", sparse"
    elif case.connection == "conv2d":
        size = f"convolution {case.preset}" + (f" after {case.pool} pooling" if case.pool else "")
    return f"layer, T = {case.steps}, {size}, half-width {case.b_th}"


def _fastest(computation: Any) -> float:
    """Seconds of the fastest of a few runs, by the GPU's own clock."""
    taken = []
    for _ in range(10):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        computation()
        end.record()
        torch.cuda.synchronize()
        taken.append(start.elapsed_time(end) / 1e3)
    return min(taken)
