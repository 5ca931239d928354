"""Memory of one method, measured in a process of its own: `python -m sparsespike.bench.probe`.

A process that has computed before holds memory that is free, and would use that first, unseen. So
each method gets a fresh one, which builds the case, runs it once to load kernels and libraries (which
ones depends on the whole of the case), gives back what is free, and then measures.
"""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
import time
from typing import NamedTuple

import torch

from sparsespike.bench import measure
from sparsespike.bench.trial import Bench, Refusal

# Seconds for starting Python, importing torch and building the case, beside the method's own.
STARTING_S = 60.0


class Memory(NamedTuple):
    """What a process of its own found.

    Attributes:
        saved: bytes that forward keeps for backward.
        peak: bytes in use at most while all phases run; None where the system does not tell.
        seconds: of that one run.
    """

    saved: int
    peak: int | None
    seconds: float


def memory(bench: Bench, method: str, limit_s: float) -> Memory:
    """Memory of a method, from a fresh process with as many threads as this one.

    Args:
        bench: describes the case.
        method: one of its methods.
        limit_s: seconds that the method may take.

    Raises:
        Refusal: if it takes much longer, or dies (say because memory is short).
    """
    # A pickle, as the reader is this very program and options are no plain JSON (paths, infinity).
    task = pickle.dumps((bench, method, torch.get_num_threads()))
    command = [sys.executable, "-m", "sparsespike.bench.probe"]
    try:
        done = subprocess.run(
            command, input=task, capture_output=True, timeout=STARTING_S + 3 * limit_s, check=False
        )
    except subprocess.TimeoutExpired:
        raise Refusal(
            f"one run takes longer than {limit_s:g} s (--limit), {STARTING_S:g} s for its start aside"
        ) from None
    if done.returncode < 0:
        raise Refusal(
            f"its process was ended by signal {-done.returncode}, as when memory is short"
        )
    if done.returncode:
        last = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
        raise Refusal(f"failed in its process: {' '.join(last)}")
    return Memory(**json.loads(done.stdout.splitlines()[-1]))


def _measure(bench: Bench, method: str) -> Memory:
    trial = bench.case().trial(method)
    measure.run(trial.phases)
    start = time.perf_counter()
    peak = measure.peak_bytes(lambda: measure.run(trial.phases))
    seconds = time.perf_counter() - start
    forward = next(iter(trial.phases.values()))
    return Memory(measure.saved_bytes(lambda: forward(None), trial.given), peak, seconds)


if __name__ == "__main__":
    bench, method, threads = pickle.load(sys.stdin.buffer)
    torch.set_num_threads(threads)
    print(json.dumps(_measure(bench, method)._asdict()))
