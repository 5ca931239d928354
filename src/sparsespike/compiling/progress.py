"""What people see while kernels are compiled: `compiling kernels, once: 3 of 15 at most …`.

A log line once a process has compiled for two seconds, and every five from then on (logger "sparsespike",
level WARNING, which Python prints where no logging is set up). Whoever is in `shows` gets texts instead.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from numba.core import event

from sparsespike.compiling.cache import KernelCache
from sparsespike.compiling.folder import logger

SECONDS_OF_SILENCE = 2.0
SECONDS_BETWEEN_LINES = 5.0

# Called with a text whenever a compilation begins, in place of the log: a live display is one.
shows: list[Callable[[str], None]] = []


@lru_cache(maxsize=1)
def following() -> Compiling:
    """The one listener of this process."""
    compiling = Compiling()
    event.register("numba:compile", compiling)
    return compiling


class Compiling(event.Listener):
    """Follows Numba's compilations of this package's kernels; a load from the disk is none.

    Events come within Numba's lock, one at a time; a kernel that calls others is compiled around them.

    Attributes:
        kernels: all that were defined so far.
    """

    def __init__(self) -> None:
        self.kernels: list[Any] = []
        self._stack: list[Any] = []  # being compiled, the innermost last
        self._began = 0.0
        self._spent = 0.0  # seconds of compiling, but for the compilation that goes on
        self._due = SECONDS_OF_SILENCE  # of compiling, when the next line is
        self._timer: threading.Timer | None = None

    def on_start(self, event: Any) -> None:
        """A compilation begins."""
        dispatcher = event.data["dispatcher"]
        if not isinstance(dispatcher._cache, KernelCache):
            return
        self._stack.append(dispatcher)
        if len(self._stack) == 1:
            self._began = time.monotonic()
            self._wait(max(0.0, self._due - self._spent))
        for show in shows:
            show(self.text(dispatcher))

    def on_end(self, event: Any) -> None:
        """A compilation has ended, well or not."""
        if not isinstance(event.data["dispatcher"]._cache, KernelCache):
            return
        self._stack.pop()
        if not self._stack:
            self._spent += time.monotonic() - self._began
            if self._timer is not None:
                self._timer.cancel()

    def text(self, dispatcher: Any) -> str:
        """Which kernel this is, of all of its room.

        Which of them a step needs is decided while it runs, by dtype and by cost: hence "at most". One that
        is compiled for another combination of types does not count again.
        """
        room = dispatcher.__module__.rpartition(".")[0]
        near = [kernel for kernel in self.kernels if kernel.__module__.rpartition(".")[0] == room]
        done = sum(bool(kernel.overloads) for kernel in near)
        number = max(1, done + (not dispatcher.overloads))
        return (
            f"compiling kernels, once: {number} of {len(near)} at most, {dispatcher._cache.name} …"
        )

    def _wait(self, seconds: float) -> None:
        self._timer = threading.Timer(seconds, self._line)
        self._timer.daemon = True
        self._timer.start()

    def _line(self) -> None:
        stack = self._stack[-1:]
        if not stack:
            return
        if not shows:
            logger.warning(self.text(stack[0]))
        self._due = self._spent + time.monotonic() - self._began + SECONDS_BETWEEN_LINES
        self._wait(SECONDS_BETWEEN_LINES)
