"""The file of a dataset: flat arrays and a header of plain text, in the format safetensors.

It is mapped, not read, so that opening takes the same instant whatever its size, and it holds no
code, unlike a pickle. It is written piece by piece, so that it may be larger than memory.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO, get_args

import numpy as np
import safetensors
from numpy.typing import NDArray

from sparsespike.data.encode import Rounding
from sparsespike.data.recordings import Recordings, Sensor, as_array, checked_sensor
from sparsespike.spikes.arguments import described, integer, items, text

FORMAT = "sparsespike events 2"

DTYPES = {
    "unit": ("uint16", "int32"),
    "time": ("int32", "int64"),
    "offset": ("int64",),
    "label": ("int64",),
}
META = "meta."  # before the name of what else is known of each sample, int64
STORED_AS = {"uint16": "U16", "int32": "I32", "int64": "I64"}  # safetensors' names
MOST = (
    2**26
)  # units, classes: binning keeps a few bytes for each, which a damaged header must not ask for
PIECE = 2**22  # entries written at once


@dataclass(frozen=True)
class About:
    """What the arrays of a store mean.

    Attributes:
        name: of the dataset.
        n_units: N; units are in [0, N).
        n_classes: C; labels are in [0, C).
        rounding: how `encode` turns a time into a step: "floor" or "nearest" (ties to even).
        licence: of the recordings.
        citation: the publication to cite.
        sensor: shape of the units, see `data.recordings`; () for (N,).
        classes: names of the classes, or ().
        n_dropped: events that were left out when the store was made, see `Recordings`.
        time_unit: always "us", microseconds.

    Raises:
        ValueError: naming the field that is out of range.
    """

    name: str
    n_units: int
    n_classes: int
    rounding: Rounding = "floor"
    licence: str = ""
    citation: str = ""
    sensor: Sensor = ()
    classes: tuple[str, ...] = ()
    n_dropped: int = 0
    time_unit: str = "us"

    def __post_init__(self) -> None:
        for key in ("name", "licence", "citation"):
            text(key, getattr(self, key))
        for key, value in (("n_units", self.n_units), ("n_classes", self.n_classes)):
            try:
                object.__setattr__(self, key, integer(key, value, 1, MOST))
            except ValueError:
                raise ValueError(
                    f"{key}: expected an integer in [1, 2^26), found {described(value)}"
                ) from None
        if self.rounding not in get_args(Rounding):
            raise ValueError(f"rounding: expected 'floor' or 'nearest', found {self.rounding!r}")
        given = self.sensor if isinstance(self.sensor, Iterable) else (self.sensor,)
        object.__setattr__(self, "sensor", checked_sensor(tuple(given) or (self.n_units,)))
        if math.prod(self.sensor) != self.n_units:
            raise ValueError(f"sensor: expected {self.n_units} units in all, found {self.sensor}")
        object.__setattr__(self, "classes", tuple(items("classes", self.classes, "names")))
        for name in self.classes:
            text("classes", name)
        if len(self.classes) not in (0, self.n_classes):
            raise ValueError(
                f"classes: expected {self.n_classes} names or none, found {len(self.classes)}"
            )
        if type(self.n_dropped) is not int or self.n_dropped < 0:
            raise ValueError(f"n_dropped: expected an integer >= 0, found {self.n_dropped!r}")
        if self.time_unit != "us":
            raise ValueError(f"time_unit: expected 'us', found {self.time_unit!r}")


def narrowed(given: Recordings, about: About) -> Recordings:
    """A user's arrays, checked, in the types of `DTYPES`, the smallest that hold them.

    Args:
        given: anything NumPy takes for an array in each field.
        about: N and C.

    Raises:
        ValueError: naming the array that breaks a rule.
    """
    arrays = {name: _integers(name, getattr(given, name)) for name in DTYPES}
    meta = {name: _integers(f"meta {name!r}", value) for name, value in given.meta.items()}
    _check_lengths(given._replace(**arrays, meta=meta))
    if bool((np.diff(arrays["offset"]) < 0).any()):
        raise ValueError("offset: expected a list that never descends, found one that does")
    _check_range("unit", arrays["unit"], about.n_units)
    _check_range("time", arrays["time"], 2**63)
    _check_range("label", arrays["label"], about.n_classes)
    small = {"unit": about.n_units <= 2**16, "time": arrays["time"].max(initial=0) < 2**31}
    kept = {
        name: np.ascontiguousarray(arrays[name], types[0] if small.get(name) else types[-1])
        for name, types in DTYPES.items()
    }
    more = {name: np.ascontiguousarray(value, np.int64) for name, value in meta.items()}
    return given._replace(**kept, meta=more)


def read(path: Path) -> tuple[Recordings, About]:
    """Maps a file and checks what can be checked without reading events and labels.

    Raises:
        ValueError: if the file is damaged, cut short or of another format.
        OSError: if it cannot be opened.
    """
    return _mapped(path)[:2]


def verify(path: Path) -> None:
    """Reads all of a file and compares it with the checksum in its header.

    Raises:
        ValueError: if it does not match, or the file cannot be mapped.
        OSError: if it cannot be opened.
    """
    recordings, about, expected = _mapped(path)
    columns = _columns([recordings])
    found = _start_of_checksum(about, columns)
    for column in columns.values():
        for piece in _pieces(column):
            found = zlib.crc32(piece, found)
    if f"{found:08x}" != expected:
        raise ValueError(
            f"{path}: expected contents of CRC-32 {expected}, found {found:08x}: the file is damaged"
        )


def write(path: Path, parts: Sequence[Recordings], about: About) -> None:
    """Writes recordings, one part after the other, atomically: beside the target, then renamed.

    Args:
        path: the file, replaced if it exists.
        parts: as `narrowed` gives them or `read` maps them; at least one.
        about: of all of them.

    Raises:
        OSError: if that fails; a file that was there before is intact.
    """
    if path.is_dir():
        raise IsADirectoryError(f"cannot save {path}: expected a file, found a folder")
    columns = _columns(parts)
    beside = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with open(beside, "wb") as file:
            # The checksum is known last: until then, one of the same length keeps its place.
            file.write(_header(columns, about, "0" * 8))
            checksum = _start_of_checksum(about, columns)
            for column in columns.values():
                for piece in _pieces(column):
                    file.write(piece)
                    checksum = zlib.crc32(piece, checksum)
            file.seek(0)
            file.write(_header(columns, about, f"{checksum:08x}"))
            _to_disk(file)
        os.replace(beside, path)
    except OSError as error:
        raise OSError(f"cannot save {path}: {error}") from error
    finally:
        with contextlib.suppress(OSError):
            beside.unlink()


def _to_disk(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


# One array of the file: its type, and the arrays whose entries follow each other in it.
Column = tuple[str, list[NDArray[Any]]]


def _columns(parts: Sequence[Recordings]) -> dict[str, Column]:
    """The columns of a file by name, those of the widest types first, so that each is aligned."""
    columns: dict[str, Column] = {"offset": ("int64", _joined_offsets(parts))}
    columns["label"] = "int64", [part.label for part in parts]
    for name in sorted(parts[0].meta):
        columns[META + name] = "int64", [part.meta[name] for part in parts]
    wide = any(part.time.dtype == np.int64 for part in parts)
    events = {"time": "int64" if wide else "int32", "unit": parts[0].unit.dtype.name}
    for name, dtype in sorted(events.items(), key=lambda item: -np.dtype(item[1]).itemsize):
        columns[name] = dtype, [getattr(part, name) for part in parts]
    return columns


def _joined_offsets(parts: Sequence[Recordings]) -> list[NDArray[np.int64]]:
    ends = np.cumsum([0, *(len(part.unit) for part in parts)])
    joined = [part.offset[1:] + start for part, start in zip(parts, ends, strict=False)]
    return [np.zeros(1, np.int64), *joined]


def _pieces(column: Column) -> Iterator[bytes]:
    dtype, arrays = column
    for array in arrays:
        for start in range(0, len(array), PIECE):
            yield array[start : start + PIECE].astype(f"<{np.dtype(dtype).str[1:]}").tobytes()


def _header(columns: dict[str, Column], about: About, checksum: str) -> bytes:
    """The length, then a JSON of each array's type, shape and place (docs of safetensors)."""
    entries: dict[str, Any] = {
        "__metadata__": {"format": FORMAT, "about": _about_text(about), "crc32": checksum}
    }
    end = 0
    for name, (dtype, arrays) in columns.items():
        size = sum(map(len, arrays))
        start, end = end, end + size * np.dtype(dtype).itemsize
        entries[name] = {"dtype": STORED_AS[dtype], "shape": [size], "data_offsets": [start, end]}
    text = json.dumps(entries, ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _about_text(about: About) -> str:
    return json.dumps(asdict(about), ensure_ascii=False)


def _start_of_checksum(about: About, columns: dict[str, Column]) -> int:
    return zlib.crc32(json.dumps([_about_text(about), list(columns)]).encode())


def _mapped(path: Path) -> tuple[Recordings, About, str]:
    """(recordings, what they mean, the checksum in the header); see `read`."""
    with open(path, "rb"):
        pass  # a missing or forbidden file is the system's own error, not a damaged one
    try:
        # Through torch: its tensors are views of the mapped file, NumPy's would be copies.
        with safetensors.safe_open(path, framework="pt") as file:
            header = dict(file.metadata() or {})
            arrays = {name: file.get_tensor(name).numpy() for name in file.keys()}  # noqa: SIM118
        if header.get("format") != FORMAT:
            found = header.get("format", "none")
            raise ValueError(f"expected the format {FORMAT!r}, found {found!r}")
        about = About(**json.loads(header["about"]))
        meta = {name for name in arrays if name.startswith(META)}
        if set(arrays) - meta != set(DTYPES):
            raise ValueError(f"expected the arrays {', '.join(DTYPES)}, found {sorted(arrays)}")
        for name, array in arrays.items():
            types = DTYPES.get(name, ("int64",))
            if array.ndim != 1 or array.dtype.name not in types:
                found = f"{array.dtype} of shape {array.shape}"
                raise ValueError(f"{name}: expected 1-D {' or '.join(types)}, found {found}")
        recordings = Recordings(
            **{name: arrays[name] for name in DTYPES},
            meta={name.removeprefix(META): arrays[name] for name in sorted(meta)},
        )
        _check_lengths(recordings)
        return recordings, about, header.get("crc32", "")
    except (
        safetensors.SafetensorError,
        ValueError,
        TypeError,
        KeyError,
        RuntimeError,
    ) as error:
        raise ValueError(f"{path}: no event file, or a damaged one ({error})") from error


def check_labels(label: NDArray[np.int64], about: About) -> None:
    """Raises a ValueError if a label of a mapped file is out of range."""
    if len(label) and not (label.min() >= 0 and int(label.max()) < about.n_classes):
        raise ValueError(
            f"{about.name}: a label is damaged: expected [0, {about.n_classes}), "
            f"found {label.min()} to {label.max()}"
        )


def _integers(name: str, value: Any) -> NDArray[Any]:
    array = as_array(name, value, "a 1-D array of integers")
    if array.ndim != 1 or array.dtype.kind not in "iu":
        found = f"{array.dtype} of shape {array.shape}"
        raise ValueError(f"{name}: expected a 1-D array of integers, found {found}")
    return array


def _check_lengths(given: Recordings) -> None:
    n_events, n, offset = len(given.unit), len(given.label), given.offset
    if len(given.time) != n_events:
        raise ValueError(
            f"time: expected {n_events} entries, as many as unit, found {len(given.time)}"
        )
    if len(offset) != n + 1:
        raise ValueError(
            f"offset: expected {n + 1} entries, one more than label, found {len(offset)}"
        )
    if offset[0] != 0 or offset[-1] != n_events:
        raise ValueError(
            f"offset: expected it to run from 0 to {n_events}, found {offset[0]} to {offset[-1]}"
        )
    for name, value in given.meta.items():
        if len(value) != n:
            raise ValueError(
                f"meta {name!r}: expected {n} entries, as many as label, found {len(value)}"
            )


def _check_range(name: str, values: NDArray[Any], size: int) -> None:
    if len(values) and not (values.min() >= 0 and int(values.max()) < size):
        raise ValueError(
            f"{name}: expected values in [0, {size}), found {values.min()} to {values.max()}"
        )
