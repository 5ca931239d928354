"""Runs a benchmark: gate, then memory, then time, one row per method."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import Any, Literal

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from sparsespike.bench import measure
from sparsespike.bench.peers import PEERS
from sparsespike.bench.trial import OURS, Bench, Case, Refusal, check_memory
from sparsespike.bench.worker import Worker


@dataclass
class Row:
    """One method's result.

    Attributes:
        method: its name.
        status: "ok"; "wrong" if the gate failed; "skipped" if it was not run.
        reason: of another status than "ok".
        note: what the method is, where that is not said by its name.
        version: of a peer's library.
        ms: for each phase and "total", median, p20 and p80 in milliseconds.
        runs: timed turns.
        saved_mib: memory that forward keeps for backward.
        peak_mib: memory in use at most, beyond input and weights; None where the system does not
            tell.
        ratio: median of each phase, and memory, as multiples of sparsespike's.
        memory_saved_percent: eq. 14 with this method as the original.
        epoch_s: seconds for the training steps of an epoch; None for a layer.
    """

    method: str
    status: Literal["ok", "wrong", "skipped"] = "ok"
    reason: str = ""
    note: str = ""
    version: str | None = None
    ms: dict[str, dict[str, float]] = field(default_factory=dict)
    runs: int = 0
    saved_mib: float | None = None
    peak_mib: float | None = None
    ratio: dict[str, float] = field(default_factory=dict)
    memory_saved_percent: float | None = None
    epoch_s: float | None = None


def run(bench: Bench, console: Console) -> tuple[dict[str, Any], list[Row]]:
    """Checks, measures and times every method of a benchmark.

    Args:
        bench: the methods and their case.
        console: takes the progress bar, if it is a terminal.

    Returns:
        (what the case is, rows in the order of `bench.methods`).
    """
    columns = TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn()
    progress = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
    workers: dict[str, Worker] = {}
    with progress, contextlib.ExitStack() as ending:
        task = progress.add_task("case", total=(bench.repeats + 3) * len(bench.methods))
        case = bench.case()
        about = case.about()
        rows = []
        for method in bench.methods:
            row = Row(method)
            if method in PEERS:
                row.note, row.version = PEERS[method].note, PEERS[method].version()
            try:
                progress.update(task, description=f"{method}: gate", advance=1)
                _gate(row, case)
                progress.update(task, description=f"{method}: memory", advance=1)
                if row.status == "ok":
                    check_memory(method, case, bench.device)
                    worker = Worker(bench, method, bench.limit)
                    ending.callback(worker.close)
                    _weigh(row, bench, worker)
                    workers[method] = worker
            except Refusal as refusal:
                row.status, row.reason = "skipped", str(refusal)
            rows.append(row)
        progress.update(
            task, completed=2 * len(rows) + (bench.repeats + 1) * (len(rows) - len(workers))
        )
        seconds = measure.time_in_turns(
            {method: worker.turn for method, worker in workers.items()},
            repeats=bench.repeats,
            limit_s=bench.limit,
            tell=lambda method: progress.update(task, description=f"{method}: time", advance=1),
        )
    for row in rows:
        for phase, taken in seconds.get(row.method, {}).items():
            row.ms[phase], row.runs = measure.summary(taken), len(taken)
        if row.ms and "steps_per_epoch" in about:
            row.epoch_s = round(about["steps_per_epoch"] * row.ms["total"]["median"] / 1e3, 2)
    _compare(rows)
    return about, rows


def _gate(row: Row, case: Case) -> None:
    problem = case.check(row.method)
    if problem is not None:
        row.status, row.reason = "wrong", problem


def _weigh(row: Row, bench: Bench, worker: Worker) -> None:
    found = worker.memory
    row.saved_mib, row.peak_mib = _mib(found.saved), _mib(found.peak)
    if found.seconds > bench.limit:
        raise Refusal(f"one run takes {found.seconds:.1f} s, more than {bench.limit:g} s (--limit)")


def _mib(n: int | None) -> float | None:
    return None if n is None else round(n / 2**20, 3)


def _compare(rows: list[Row]) -> None:
    """Fills in the ratios to sparsespike, where it was run."""
    ours = next((row for row in rows if row.method == OURS and row.ms), None)
    if ours is None:
        return
    for row in rows:
        for phase, taken in row.ms.items():
            row.ratio[phase] = round(taken["median"] / ours.ms[phase]["median"], 3)
        if row.saved_mib is not None and ours.saved_mib:
            row.ratio["saved"] = round(row.saved_mib / ours.saved_mib, 3)
        if row.peak_mib and ours.peak_mib:
            row.ratio["peak"] = round(row.peak_mib / ours.peak_mib, 3)
            row.memory_saved_percent = round(100 * (1 - ours.peak_mib / row.peak_mib), 2)
