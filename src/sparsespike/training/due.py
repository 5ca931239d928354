"""When a run is saved between the ends of its epochs."""

from __future__ import annotations

import re
import time


class Due:
    """Every so many steps, or seconds.

    Args:
        text: "500", steps, or "60s", seconds; both > 0.

    Raises:
        ValueError: if it is neither.
    """

    def __init__(self, text: str) -> None:
        match = re.fullmatch(r"(\d+)|(\d+(?:\.\d+)?) ?s", text.strip())
        steps, seconds = match.groups() if match else (None, None)
        if not float(steps or seconds or 0):
            raise ValueError(
                f'save_every: expected a number of steps, "500", or of seconds, "60s", found {text!r}'
            )
        self._steps = int(steps) if steps else None
        self._seconds = float(seconds or 0)
        self._start()

    def now(self) -> bool:
        """Whether to save after one more step."""
        self._done += 1
        waited = time.monotonic() - self._since
        due = waited >= self._seconds if self._steps is None else self._done >= self._steps
        if due:
            self._start()
        return due

    def _start(self) -> None:
        self._done, self._since = 0, time.monotonic()
