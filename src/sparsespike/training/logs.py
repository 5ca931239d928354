"""Logs of a run for other programs: TensorBoard's event files, and CSV.

A log holds one row or point per epoch, of what `metrics.jsonl` has. Both are written anew from the history
when a run starts or is resumed, so that nothing is in them twice, whatever stopped the run, and a log that is
asked for late has the epochs from before.
"""

from __future__ import annotations

import csv
import importlib.util
import io
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from sparsespike.data.whole import write

LOGS = ("tensorboard", "csv")
CSV, TENSORBOARD = "metrics.csv", "tensorboard"


class Log(Protocol):
    """Where the epochs of a run are told."""

    def epoch(self, history: Sequence[dict[str, Any]]) -> None:
        """Tells the last epoch of `history`."""
        ...

    def close(self) -> None:
        """No more epochs come in this process."""
        ...


def check(names: Sequence[str]) -> None:
    """Raises unless these logs can be written.

    Raises:
        ValueError: if there is no such log.
        ModuleNotFoundError: without the package that one needs.
    """
    for name in names:
        if name not in LOGS:
            raise ValueError(f"log: expected {' or '.join(LOGS)}, found {name!r}")
    if "tensorboard" in names and importlib.util.find_spec("tensorboard") is None:
        raise ModuleNotFoundError(
            "a log for TensorBoard needs it: pip install 'sparsespike[tensorboard]'"
        )


@contextmanager
def opened(
    names: Sequence[str], folder: Path, history: Sequence[dict[str, Any]]
) -> Iterator[list[Log]]:
    """The logs of a run, with the epochs that it has already.

    Args:
        names: of `LOGS`; checked by `check`.
        folder: of the run.
        history: the metrics of each completed epoch.
    """
    kinds = {"csv": Csv, "tensorboard": TensorBoard}
    logs: list[Log] = [kinds[name](folder, history) for name in dict.fromkeys(names)]
    try:
        yield logs
    finally:
        for log in logs:
            log.close()


def scalars(line: dict[str, Any]) -> dict[str, float]:
    """The numbers of an epoch by name; what was not measured is left out."""
    found = {
        "loss": line["loss"],
        "accuracy/train": line["train_accuracy"],
        "accuracy/validation": line["validation_accuracy"],
        "seconds": line["seconds"],
        "samples_per_second": line["samples_per_second"],
        "peak_memory_mib": line["peak_memory_mib"],
    }
    for i, layer in enumerate(line["layers"], start=1):
        found[f"activity/layer_{i}"] = layer["activity"]
        found[f"rate/layer_{i}"] = layer["rate"]
    return {name: value for name, value in found.items() if value is not None}


class Csv:
    """`metrics.csv`: a row per epoch, names in the first; the whole file is written at every epoch."""

    def __init__(self, folder: Path, history: Sequence[dict[str, Any]]) -> None:
        self.path = folder / CSV
        self.epoch(history)

    def epoch(self, history: Sequence[dict[str, Any]]) -> None:
        """See `Log`."""
        rows = [{"epoch": line["epoch"], **scalars(line)} for line in history]
        names = list(dict.fromkeys(name for row in rows for name in row)) or ["epoch"]
        text = io.StringIO(newline="")
        table = csv.DictWriter(text, names)  # what was not measured stays empty
        table.writeheader()
        table.writerows(rows)
        write(self.path, text.getvalue().encode())

    def close(self) -> None:
        """See `Log`; nothing is open."""


class TensorBoard:
    """`tensorboard/`: TensorBoard's event file, a point per scalar and epoch.

    Its clock is the time spent in training, after the moment at which the first epoch would have begun had
    the run never stopped.
    """

    def __init__(self, folder: Path, history: Sequence[dict[str, Any]]) -> None:
        from torch.utils.tensorboard import SummaryWriter

        place = folder / TENSORBOARD
        for old in place.glob("events.out.tfevents.*"):
            old.unlink()
        self._began = time.time() - sum(line["seconds"] for line in history)
        self._writer = SummaryWriter(str(place))
        for n in range(1, len(history) + 1):
            self.epoch(history[:n])
        self._writer.flush()

    def epoch(self, history: Sequence[dict[str, Any]]) -> None:
        """See `Log`."""
        line = history[-1]
        at = self._began + sum(line["seconds"] for line in history)
        for name, value in scalars(line).items():
            self._writer.add_scalar(name, value, line["epoch"], walltime=at)
        self._writer.flush()

    def close(self) -> None:
        """See `Log`."""
        self._writer.close()
