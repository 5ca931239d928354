"""Time and memory of computations that are cut into phases (forward, backward, ...).

Times of several methods are taken in turns within one run, so that a busy machine slows all alike,
and only their ratios are worth quoting. Memory is what eq. 14 compares: bytes that forward saves
for backward, and the peak of a forward and backward together, whoever allocated it.
"""

from __future__ import annotations

import ctypes
import gc
import os
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

TURN_S, WARM_UPS = 0.2, 3
# Numbers of glibc's mallopt.
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4

# Phases run in order, each on what the one before it returned; the first is given None.
Phases = dict[str, Callable[[Any], Any]]


def run(phases: Phases) -> Any:
    """Runs the phases once; returns what the last one gave."""
    result = None
    for phase in phases.values():
        result = phase(result)
    return result


def wait(device: str) -> None:
    """Waits until a GPU has done what it was asked; nothing on "cpu"."""
    if device == "cuda":
        torch.cuda.synchronize()


def turn(phases: Phases, device: str = "cpu") -> dict[str, float]:
    """Seconds of each phase, the median over the runs of one turn.

    Whoever had the turn before has left its own data in the caches, as no training loop does: the phases
    run again and again until `TURN_S` is over, and the first `WARM_UPS` runs do not count. A phase on a GPU
    ends when the GPU has done it, so launching its kernels counts as well.
    """
    gc.collect()
    gc.disable()
    try:
        runs = [_time_once(phases, device)]
        while sum(sum(taken.values()) for taken in runs) < TURN_S:
            runs.append(_time_once(phases, device))
    finally:
        gc.enable()
    counted = runs[WARM_UPS:] or runs[-1:]
    return {name: float(np.median([taken[name] for taken in counted])) for name in phases}


def time_in_turns(
    methods: Mapping[str, Callable[[], dict[str, float]]],
    *,
    repeats: int,
    limit_s: float,
    tell: Callable[[str], None] = lambda name: None,
) -> dict[str, dict[str, list[float]]]:
    """Seconds of every phase of every method, one turn of each method after the other.

    Args:
        methods: by name, what takes a turn, see `turn`; each has one beforehand, not counted.
        repeats: turns of each method, >= 1.
        limit_s: a method that has taken so many seconds stops, after one counted turn at least.
        tell: called with a method's name before each of its turns, run or not.

    Returns:
        For each method and phase, and for "total", one number per turn.
    """
    spent = dict.fromkeys(methods, 0.0)
    seconds: dict[str, dict[str, list[float]]] = {name: {} for name in methods}
    for i in range(-1, repeats):
        for name, take_turn in methods.items():
            tell(name)
            if i > 0 and spent[name] > limit_s:
                continue
            start = time.perf_counter()
            taken = take_turn()
            spent[name] += time.perf_counter() - start
            taken["total"] = sum(taken.values())
            for phase, duration in taken.items() if i >= 0 else ():
                seconds[name].setdefault(phase, []).append(duration)
    return seconds


def summary(seconds: list[float]) -> dict[str, float]:
    """Median, 20th and 80th percentile in milliseconds."""
    low, median, high = np.percentile(seconds, (20, 50, 80)) * 1e3
    return {"median": round(median, 4), "p20": round(low, 4), "p80": round(high, 4)}


def keep_heap() -> None:
    """From now on memory that this process has freed is its own, for what it allocates next.

    Else glibc asks the system for every large tensor anew, which clears it page by page: a quarter of a
    millisecond per MiB. Elsewhere than on glibc, nothing.
    """
    library = ctypes.CDLL(None) if os.name == "posix" else None
    if hasattr(library, "mallopt"):
        library.mallopt(M_MMAP_MAX, 0)
        library.mallopt(
            M_TRIM_THRESHOLD, -1
        )  # as unsigned the largest: nothing goes back by itself


def saved_bytes(forward: Callable[[], Any], given: Iterable[Tensor]) -> int:
    """Bytes that autograd keeps for backward after `forward`, each storage counted once.

    Args:
        forward: the computation.
        given: tensors that exist anyway, inputs and weights; their storages are not counted.
    """
    known = {tensor.untyped_storage().data_ptr() for tensor in given}
    saved: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        result = forward()  # held until the count is read: a freed storage's address is used again
    total = sum(saved.values())
    del result
    return total


def peak_bytes(computation: Callable[[], Any], device: str = "cpu") -> int | None:
    """Bytes by which this process's memory exceeded its start while `computation` ran.

    On "cuda" what torch has allocated there, whose kernels allocate nothing else; on "cpu" resident memory.

    Counts every allocation that was touched, of torch, NumPy, Numba or anyone else, and freed since
    or not. Meant for a fresh process (see `bench.worker`): memory that is free but still held there
    is used first and not seen. Linux only; elsewhere, or where the kernel forbids the reset, None.
    """
    gc.collect()
    if device == "cuda":
        return _peak_bytes_of_gpu(computation)
    status, clear = Path("/proc/self/status"), Path("/proc/self/clear_refs")
    try:
        ctypes.CDLL("libc.so.6").malloc_trim(0)
        clear.write_text("5")  # sets the high-water mark VmHWM to the present VmRSS
    except OSError:
        return None
    before = _kibibytes(status.read_text(), "VmRSS")
    result = computation()
    after = _kibibytes(status.read_text(), "VmHWM")
    del result
    return max(0, after - before) * 1024


def _peak_bytes_of_gpu(computation: Callable[[], Any]) -> int:
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    result = computation()
    wait("cuda")
    del result
    return torch.cuda.max_memory_allocated() - before


def available_bytes() -> int | None:
    """Memory that a new computation can have without swapping; None where it is not known."""
    try:
        return _kibibytes(Path("/proc/meminfo").read_text(), "MemAvailable") * 1024
    except OSError:
        return None


def _time_once(phases: Phases, device: str) -> dict[str, float]:
    taken, result = {}, None
    wait(device)
    for name, phase in phases.items():
        start = time.perf_counter()
        result = phase(result)
        wait(device)
        taken[name] = time.perf_counter() - start
    return taken


def _kibibytes(text: str, name: str) -> int:
    line = next(line for line in text.splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1])
