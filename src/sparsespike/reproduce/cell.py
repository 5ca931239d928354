"""A cell: one measurement of a reproduction, which runs by itself, in a process of its own.

A cell is a frozen dataclass whose fields say all that decides what it finds: the record of a cell is
looked up by them, so that a reproduction that was stopped goes on with the cells that are missing.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from sparsespike.bench.trial import Device


@dataclass(frozen=True)
class Place:
    """Where a reproduction is at work.

    Attributes:
        out: its folder.
        data: folder of the datasets; None for the default of `sparsespike.data.load`.
        device: where networks are trained and layers timed.
    """

    out: Path
    data: Path | None = None
    device: Device = "cpu"

    @property
    def runs(self) -> Path:
        """Folder of the trained networks."""
        return self.out / "runs" / self.device

    @property
    def records(self) -> Path:
        """The results, one line per cell."""
        return self.out / "results" / "reproduction.jsonl"

    @property
    def page(self) -> Path:
        """The HTML page; the Markdown page and the folder of figures are beside it, of the same stem."""
        stem = "reproduction" if self.device == "cpu" else f"reproduction-{self.device}"
        return self.out / "docs" / f"{stem}.html"


class Cell:
    """One measurement: a base of frozen dataclasses.

    Attributes:
        alone: whether it takes times, so that nothing else may run beside it.
    """

    alone: ClassVar[bool] = False

    @property
    def name(self) -> str:
        """What it is, for people: "train fashion-mnist, seed 0"."""
        raise NotImplementedError

    @property
    def needs(self) -> tuple[Cell, ...]:
        """Cells that must have run before."""
        return ()

    @property
    def seconds(self) -> float:
        """How long it takes a core, roughly; only to tell how much is left."""
        raise NotImplementedError

    def compute(self, place: Place) -> dict[str, Any]:
        """What it finds, plain values for JSON."""
        raise NotImplementedError


def key(cell: Cell) -> dict[str, Any]:
    """What a cell's record is looked up by: its kind and the fields it is compared by, as JSON has them."""
    return {"kind": type(cell).__name__, **_plain(cell)}


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        compared = (field.name for field in dataclasses.fields(value) if field.compare)
        return {name: _plain(getattr(value, name)) for name in compared}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return "inf" if value == math.inf else value  # for which JSON has no number
