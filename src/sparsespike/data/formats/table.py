"""A recording as a table of text: a time and a unit on each line.

    time, unit
    0.5, 209

Between the two a comma, a semicolon or white space. A first line of two words may name them; empty
lines and those that begin with "#" are passed over.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from sparsespike.data.encode import MICROSECONDS, nearest_us
from sparsespike.data.recordings import Recordings

TimeUnit = Literal["s", "ms", "us"]
IN_A_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000}

NUMBER = r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?"
BETWEEN = r"(?:\s*[,;]\s*|\s+)"
EVENT = re.compile(rf"\s*({NUMBER}){BETWEEN}({NUMBER})\s*")
HEADING = re.compile(rf"\s*[\"'A-Za-z_][^,;]*?{BETWEEN}[\"'A-Za-z_][^,;]*")
NOTHING = re.compile(r"\s*(#.*)?", re.DOTALL)
MAX_LINE = 1000  # characters; a file without ends of lines is not read whole to say so
PIECE = 2**16  # lines whose text is held at once


def read(path: Path, n_units: int, label: int, *, time_unit: TimeUnit) -> Recordings:
    """Reads one recording; holds its events and `PIECE` lines of text.

    Args:
        path: of the table.
        n_units: N; units are whole numbers in [0, N), however written.
        label: of the recording.
        time_unit: of its times, which are >= 0: "s", "ms" or "us". Whole ones are kept exactly,
            others rounded as `encode.nearest_us` does.

    Raises:
        ValueError: naming the file, the line, what was expected and what was found, if a line is not
            an event.
        OSError: if the file cannot be read.
    """
    if time_unit not in get_args(TimeUnit):
        raise ValueError(f"time_unit: expected 's', 'ms' or 'us', found {time_unit!r}")
    units, times = [np.empty(0, np.int32)], [np.empty(0, np.int64)]
    lines: list[tuple[int, str, str]] = []
    # The mark that some spreadsheets begin with is no text; what is not UTF-8 fails as a line.
    with open(path, encoding="utf-8-sig", errors="replace") as file:
        number = 0
        while line := file.readline(MAX_LINE):
            number += 1
            event = EVENT.fullmatch(line)
            heading = number == 1 and HEADING.fullmatch(line)
            cut = len(line) == MAX_LINE and not line.endswith("\n")
            if cut or not (event or heading or NOTHING.fullmatch(line)):
                raise ValueError(
                    f"{path}: line {number}: expected a time and a unit, found {line.rstrip()[:80]!r}"
                )
            if event:
                lines.append((number, event[1], event[2]))
            if len(lines) == PIECE:
                _append(path, lines, n_units, time_unit, units, times)
    _append(path, lines, n_units, time_unit, units, times)
    unit, time = np.concatenate(units), np.concatenate(times)
    return Recordings(unit, time, np.array([0, len(unit)]), np.array([label]), {})


def _append(
    path: Path,
    lines: list[tuple[int, str, str]],
    n_units: int,
    time_unit: TimeUnit,
    units: list[NDArray[np.int32]],
    times: list[NDArray[np.int64]],
) -> None:
    """Checks the events of some lines, (number, time, unit), and moves them to the lists."""
    unit = np.array([float(text) for _, _, text in lines], np.float64)
    seconds = np.array([float(text) for _, text, _ in lines], np.float64) / IN_A_SECOND[time_unit]
    wrong_unit = ~((unit >= 0) & (unit < n_units) & (unit == np.floor(unit)))
    wrong = wrong_unit | ~((seconds >= 0) & (seconds * MICROSECONDS < 2.0**62))
    if wrong.any():
        number, *text = lines[int(wrong.argmax())]
        raise ValueError(
            f"{path}: line {number}: expected a time >= 0 below 2^62 us and a unit in [0, {n_units}), "
            f"found {', '.join(text)}"
        )
    time = nearest_us(seconds)
    # Whole times are exact, even where a float of seconds is not.
    scale = MICROSECONDS // IN_A_SECOND[time_unit]
    whole = [(k, int(text) * scale) for k, (_, text, _) in enumerate(lines) if text.isdigit()]
    if whole:
        index, exact = zip(*whole, strict=True)
        time[list(index)] = exact
    units.append(unit.astype(np.int32))
    times.append(time)
    lines.clear()
