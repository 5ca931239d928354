"""Threads: ranges of samples, each a call of a kernel that releases Python's lock.

They run in the OpenMP team that torch itself computes with, where torch brings one (Linux): its threads
are awake and on their cores when a training step comes from torch's operators to ours, while a second
pool would take the cores from the first. `torch.get_num_threads()` rules both. Elsewhere, and in a forked
child, where an OpenMP team does not survive, they run in a small pool of Python threads. Numba's own
parallel loops are not used: one of its thread pools aborts when two Python threads call it, another when
the process was forked.
"""

from __future__ import annotations

import ctypes
import itertools
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

import torch

Result = TypeVar("Result")
_Body = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


def ranges(n: int) -> list[tuple[int, int]]:
    """Splits n samples into one range per thread, none empty (one range if n is 0)."""
    count = max(1, min(torch.get_num_threads(), n))
    bounds = [n * i // count for i in range(count + 1)]
    return list(itertools.pairwise(bounds))


def run_all(run: Callable[[int, int], Result], parts: Sequence[tuple[int, int]]) -> list[Result]:
    """The results of run(first, last) for every range, in order.

    Raises:
        Exception: the first that a range raised, when all have ended.
    """
    if len(parts) == 1:
        return [run(*parts[0])]
    team = None if _forked else _team()
    if team is None:
        return list(_pool().map(lambda part: run(*part), parts))
    results: dict[int, Result] = {}
    errors: list[BaseException] = []
    turn = itertools.count()

    def body(_: int | None) -> None:
        # Each takes the next range: a team may come with fewer threads than it was asked for.
        while (i := next(turn)) < len(parts):
            try:
                results[i] = run(*parts[i])
            except BaseException as error:  # no exception passes through OpenMP
                errors.append(error)

    team(_Body(body), None, len(parts), 0)
    if errors:
        raise errors[0]
    return [results[i] for i in range(len(parts))]


@lru_cache(maxsize=1)
def _team() -> Callable[..., None] | None:
    """`GOMP_parallel` of the OpenMP library that torch has loaded, or None."""
    for path in sorted((Path(torch.__file__).parent / "lib").glob("libgomp*.so*")):
        parallel = getattr(ctypes.CDLL(str(path)), "GOMP_parallel", None)
        if parallel is not None:
            parallel.argtypes = (_Body, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint)
            parallel.restype = None
            return parallel
    return None


@lru_cache(maxsize=1)
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="sparsespike")


def _after_fork() -> None:
    _pool.cache_clear()
    _forked.append(True)


_forked: list[bool] = []  # not empty in a forked child
os.register_at_fork(after_in_child=_after_fork)
