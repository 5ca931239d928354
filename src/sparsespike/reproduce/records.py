"""The results of a reproduction: one JSON line per cell, appended, with commit, machine and versions."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from sparsespike.bench.report import environment
from sparsespike.reproduce.cell import Cell, key


class Records:
    """What was found so far.

    A line that a killed process left unfinished is skipped, and told by `damaged`.

    Args:
        path: of the JSONL file; need not exist.
        device: whose results these are; those of others are passed over.

    Attributes:
        damaged: lines that are no record.
    """

    def __init__(self, path: Path, device: str = "cpu") -> None:
        self.path = path
        self.device = device
        self.damaged = 0
        self._found: dict[str, dict[str, Any]] = {}
        if path.exists():
            for line in path.read_text("utf-8").splitlines():
                try:
                    record = json.loads(line)
                    if record["device"] == device:
                        self._found[_text(record["cell"])] = record
                except (ValueError, KeyError, TypeError):
                    self.damaged += 1

    def __len__(self) -> int:
        return len(self._found)

    @property
    def processor(self) -> str:
        """What times are of: "one CPU core", or the GPU by its name."""
        if self.device == "cpu":
            return "one CPU core"
        names = sorted({record["gpu"] for record in self._found.values() if "gpu" in record})
        return " and ".join(names) or "a GPU"

    def find(self, cell: Cell) -> dict[str, Any] | None:
        """What a cell found; None if it has not run."""
        record = self._found.get(_text(key(cell)))
        return None if record is None else record["found"]

    def record(self, cell: Cell) -> dict[str, Any] | None:
        """The whole record of a cell: where, when and by what commit it was found as well."""
        return self._found.get(_text(key(cell)))

    def add(self, cell: Cell, found: dict[str, Any], seconds: float) -> None:
        """Appends the record of a cell.

        Raises:
            ValueError: if a number in it is not finite.
            OSError: if the file cannot be written.
        """
        about = {"bench": "reproduce", **environment(self.device), "seconds": round(seconds, 2)}
        record = {**about, "cell": key(cell), "found": found}
        line = json.dumps(record, allow_nan=False) + "\n"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("ab+") as file:
            if file.tell() and not _ends_a_line(file):
                line = "\n" + line
            file.write(line.encode())
            file.flush()
            os.fsync(file.fileno())
        self._found[_text(key(cell))] = record


def _ends_a_line(file: Any) -> bool:
    """Whether the last byte of a file opened to append ends a line."""
    file.seek(-1, os.SEEK_END)
    return file.read(1) == b"\n"


def _text(cell: dict[str, Any]) -> str:
    return json.dumps(cell, sort_keys=True)
