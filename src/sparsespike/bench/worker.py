"""One method in a process of its own: `python -m sparsespike.bench.worker`. Memory first, then times.

A process that has computed something else before holds memory that is free, and would use that first,
unseen; and what others allocated and freed changes how the allocator serves the next method, and its
times. So each method gets a fresh process, which waits while the others have their turns.
"""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
import tempfile
import threading
import time
from typing import Any, NamedTuple

import torch

from sparsespike.bench import measure
from sparsespike.bench.trial import FASTEST, Bench, Refusal

# Seconds for starting Python, importing torch and building the case, beside the method's own.
STARTING_S = 60.0


class Memory(NamedTuple):
    """What a method needs.

    Attributes:
        saved: bytes that forward keeps for backward.
        peak: bytes in use at most while all phases run; None where the system does not tell.
        seconds: of that one run.
    """

    saved: int
    peak: int | None
    seconds: float


class Worker:
    """A process for one method, with as many threads as this one.

    Args:
        bench: describes the case.
        method: one of its methods.
        limit_s: seconds that one run of the method may take.

    Attributes:
        memory: what the method needs.

    Raises:
        Refusal: if it takes much longer, or dies (say because memory is short); also from `turn`.
    """

    def __init__(self, bench: Bench, method: str, limit_s: float) -> None:
        self._limit_s = limit_s
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115, closed by `close`
        self._process = subprocess.Popen(
            [sys.executable, "-m", "sparsespike.bench.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
        )
        try:
            # A pickle, as the reader is this very program and options are no plain JSON (paths, infinity).
            self._send(pickle.dumps((bench, method, torch.get_num_threads())))
            self.memory = Memory(**self._answer())
        except BaseException:
            self.close()
            raise

    def turn(self) -> dict[str, float]:
        """Seconds of each phase, see `measure.turn`."""
        self._send(b"turn\n")
        return self._answer()

    def close(self) -> None:
        """Ends the process."""
        self._process.kill()
        self._process.communicate()
        self._errors.close()

    def _send(self, message: bytes) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(message)
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # it has died: `_answer` tells why

    def _answer(self) -> dict[str, Any]:
        """The next line that the process prints, a JSON object."""
        late = threading.Event()

        def give_up() -> None:
            late.set()
            self._process.kill()

        timer = threading.Timer(STARTING_S + 3 * self._limit_s, give_up)
        timer.start()
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        timer.cancel()
        if line:
            return json.loads(line)
        status = self._process.wait()
        if late.is_set():
            raise Refusal(
                f"one run takes longer than {self._limit_s:g} s (--limit), "
                f"{STARTING_S:g} s for its start aside"
            )
        if status < 0:
            raise Refusal(f"its process was ended by signal {-status}, as when memory is short")
        self._errors.seek(0)
        last = self._errors.read().decode(errors="replace").strip().splitlines()[-1:]
        raise Refusal(f"failed in its process: {' '.join(last)}")


def _serve() -> None:
    """Measures memory, then times a turn at every line that comes."""
    bench, method, threads = pickle.load(sys.stdin.buffer)
    torch.set_num_threads(threads)
    if method == FASTEST:
        measure.keep_heap()
    trial = bench.case().trial(method)
    measure.run(trial.phases)  # loads kernels; which ones depends on the whole of the case
    measure.wait(bench.device)
    start = time.perf_counter()
    peak = measure.peak_bytes(lambda: measure.run(trial.phases), bench.device)
    seconds = time.perf_counter() - start
    forward = next(iter(trial.phases.values()))
    saved = measure.saved_bytes(lambda: forward(None), trial.given)
    print(json.dumps(Memory(saved, peak, seconds)._asdict()), flush=True)
    for _ in sys.stdin.buffer:
        print(json.dumps(measure.turn(trial.phases, bench.device)), flush=True)


if __name__ == "__main__":
    _serve()
