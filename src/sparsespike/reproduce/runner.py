"""Runs the cells that are missing: those that may share the machine side by side, then those that take times.

Each cell has a process of its own with one thread. A reproduction may be stopped at any moment, by Ctrl-C or
by `kill -9`, and started again: cells that are done are not repeated, trainings go on where they were saved.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from sparsespike.reproduce.cell import Cell, Place
from sparsespike.reproduce.records import Records

POLL_S = 0.5
# What is said of the time left, before anything has been measured: a core of 2020 or so.
UNMEASURED = 1.0


def run(
    cells: Sequence[Cell], records: Records, place: Place, console: Console, jobs: int
) -> dict[str, str]:
    """Computes every cell without a record, and appends what it finds.

    Args:
        cells: any number; those that are alike are computed once.
        records: what is there already, and takes the results.
        place: where the cells work.
        console: takes a line per cell and the progress bar.
        jobs: processes at once, >= 1.

    Returns:
        By name, why a cell gave no result; the others are done.
    """
    missing = [cell for cell in dict.fromkeys(_with_needs(cells)) if records.find(cell) is None]
    together = [cell for cell in missing if not cell.alone]
    alone = [cell for cell in missing if cell.alone]
    columns = TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn()
    failed: dict[str, str] = {}
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        pace = _Pace(progress, missing, jobs)
        for group, at_once in ((together, jobs), (alone, 1)):
            for cell, seconds, found in _computed(group, place, at_once, pace.tell):
                if isinstance(found, Exception):
                    failed[cell.name] = f"{type(found).__name__}: {found}"
                    console.print(
                        f"{cell.name}: {found}", style="red", markup=False, soft_wrap=True
                    )
                else:
                    records.add(cell, found, seconds)
                pace.done(cell, seconds)
                if not console.is_terminal:
                    console.print(
                        f"{cell.name}: {seconds:.0f} s; {pace.left()}",
                        markup=False,
                        soft_wrap=True,
                    )
    return failed


def _with_needs(cells: Sequence[Cell]) -> Iterator[Cell]:
    """The cells, each after those that it needs."""
    for cell in cells:
        yield from _with_needs(cell.needs)
        yield cell


class _Pace:
    """How much is done, and how long the rest will take at the pace so far."""

    def __init__(self, progress: Progress, cells: Sequence[Cell], jobs: int) -> None:
        self._progress, self._jobs = progress, jobs
        self._left = {cell.name: cell for cell in cells}
        self._expected, self._taken, self._n = 0.0, 0.0, len(cells)
        self._task: TaskID = progress.add_task("", total=max(1e-9, self._work()))

    def _work(self) -> float:
        return sum(cell.seconds / (1 if cell.alone else self._jobs) for cell in self._left.values())

    def done(self, cell: Cell, seconds: float) -> None:
        self._expected += cell.seconds
        self._taken += seconds
        self._left.pop(cell.name, None)
        self._progress.update(self._task, advance=cell.seconds / (1 if cell.alone else self._jobs))

    def left(self) -> str:
        pace = self._taken / self._expected if self._expected else UNMEASURED
        minutes = self._work() * pace / 60
        done = self._n - len(self._left)
        return f"{done} of {self._n} done, about {minutes:.0f} min left"

    def tell(self, under_way: Sequence[Cell]) -> None:
        names = "; ".join(cell.name for cell in under_way)
        self._progress.update(self._task, description=f"{self.left()}: {names}")


def _computed(
    cells: Sequence[Cell], place: Place, at_once: int, tell: Any
) -> Iterator[tuple[Cell, float, dict[str, Any] | Exception]]:
    """Cells with what they found, or why they did not, in the order in which they end."""
    waiting, under_way = list(cells), {}
    pools: dict[Future[Any], ProcessPoolExecutor] = {}
    try:
        while waiting or under_way:
            while len(under_way) < at_once and (ready := _ready(waiting, under_way)):
                cell = ready[0]
                waiting.remove(cell)
                # A pool each: one whose process was killed, say for its memory, takes no more work.
                pool = ProcessPoolExecutor(
                    1,
                    multiprocessing.get_context("spawn"),
                    initializer=_prepare,
                    initargs=(os.getpid(),),
                )
                future = pool.submit(_compute, cell, place)
                under_way[future], pools[future] = cell, pool
            tell(list(under_way.values()))
            done, _ = wait(under_way, timeout=POLL_S, return_when=FIRST_COMPLETED)
            for future in done:
                pools.pop(future).shutdown()
                yield _outcome(under_way.pop(future), future)
    finally:
        for pool in pools.values():
            pool.shutdown(wait=True, cancel_futures=True)


def _ready(waiting: Sequence[Cell], under_way: Mapping[Any, Cell]) -> list[Cell]:
    """Those that need none that is still to come."""
    to_come = {*waiting, *under_way.values()}
    return [cell for cell in waiting if not to_come.intersection(cell.needs)]


def _outcome(cell: Cell, future: Future[Any]) -> tuple[Cell, float, dict[str, Any] | Exception]:
    error = future.exception()
    if error is None:
        seconds, found = future.result()
        return cell, seconds, found
    if isinstance(error, Exception):
        return cell, 0.0, error
    raise error  # an interrupt: the cell has saved where it is


def _prepare(parent: int) -> None:
    """One thread, and an end with the process that asked, lest a cell goes on beside its successor."""
    import torch

    from sparsespike.neurons.silence import SilenceWarning

    torch.set_num_threads(1)
    warnings.simplefilter("ignore", SilenceWarning)  # activity is in the results

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1.0)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()


def _compute(cell: Cell, place: Place) -> tuple[float, dict[str, Any]]:
    start = time.perf_counter()
    found = cell.compute(place)
    return time.perf_counter() - start, found
