"""The file of a dataset: four arrays and a header of plain text, in safetensors.

It is mapped, not read, so that opening takes the same instant whatever its size, and it holds no
code, unlike a pickle.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
import safetensors
import safetensors.numpy
from numpy.typing import NDArray

from sparsespike.data.encode import Rounding

FORMAT = "sparsespike events 1"

DTYPES = {
    "unit": ("uint16", "int32"),
    "time": ("int32", "int64"),
    "offset": ("int64",),
    "label": ("int64",),
}


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
    time_unit: str = "us"

    def __post_init__(self) -> None:
        for key, value in (("n_units", self.n_units), ("n_classes", self.n_classes)):
            if type(value) is not int or not 1 <= value < 2**31:
                raise ValueError(f"{key}: expected an integer in [1, 2^31), found {value!r}")
        if self.rounding not in get_args(Rounding):
            raise ValueError(f"rounding: expected 'floor' or 'nearest', found {self.rounding!r}")
        if self.time_unit != "us":
            raise ValueError(f"time_unit: expected 'us', found {self.time_unit!r}")


def narrowed(given: dict[str, Any], about: About) -> dict[str, NDArray[Any]]:
    """A user's arrays, checked, in the types of `DTYPES`, the smallest that hold them.

    Args:
        given: unit, time, offset and label, as for `EventDataset.from_arrays`.
        about: N and C.

    Raises:
        ValueError: naming the array that breaks a rule.
    """
    arrays = {name: _integers(name, given[name]) for name in DTYPES}
    _check_lengths(arrays)
    if bool((np.diff(arrays["offset"]) < 0).any()):
        raise ValueError("offset: expected a list that never descends, found one that does")
    _check_range("unit", arrays["unit"], about.n_units)
    _check_range("time", arrays["time"], 2**63)
    _check_range("label", arrays["label"], about.n_classes)
    small = {"unit": about.n_units <= 2**16, "time": arrays["time"].max(initial=0) < 2**31}
    return {
        name: np.ascontiguousarray(arrays[name], types[0] if small.get(name) else types[-1])
        for name, types in DTYPES.items()
    }


def read(path: Path) -> tuple[dict[str, NDArray[Any]], About]:
    """Maps a file and checks what can be checked without reading the events.

    Raises:
        ValueError: if the file is damaged, cut short or of another format.
        OSError: if it cannot be opened.
    """
    with open(path, "rb"):
        pass  # a missing or forbidden file is the system's own error, not a damaged one
    try:
        # Through torch: its tensors are views of the mapped file, NumPy's would be copies.
        with safetensors.safe_open(path, framework="pt") as file:
            header = dict(file.metadata() or {})
            names = set(file.keys())
            if header.pop("format", None) != FORMAT or names != set(DTYPES):
                raise ValueError(f"expected the header and the arrays of {FORMAT!r}")
            arrays = {name: file.get_tensor(name).numpy() for name in DTYPES}
        sizes = {name: int(header.pop(name)) for name in ("n_units", "n_classes")}
        about = About(**header, **sizes)  # pyright: ignore[reportArgumentType]
        for name, types in DTYPES.items():
            if arrays[name].ndim != 1 or arrays[name].dtype.name not in types:
                found = f"{arrays[name].dtype} of shape {arrays[name].shape}"
                raise ValueError(f"{name}: expected 1-D {' or '.join(types)}, found {found}")
        _check_lengths(arrays)
        _check_range("label", arrays["label"], about.n_classes)
    except (safetensors.SafetensorError, ValueError, TypeError, KeyError, RuntimeError) as error:
        raise ValueError(f"{path}: no event file, or a damaged one ({error})") from error
    return arrays, about


def write(path: Path, arrays: dict[str, NDArray[Any]], about: About) -> None:
    """Writes a file atomically: beside the target, to the disk, then renamed over it.

    Raises:
        OSError: if that fails; a file that was there before is intact.
    """
    header = {"format": FORMAT, **{key: str(value) for key, value in asdict(about).items()}}
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        safetensors.numpy.save_file(arrays, part, header)
        with open(part, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(part, path)
    except (OSError, safetensors.SafetensorError) as error:
        raise OSError(f"cannot save {path}: {error}") from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink()


def _integers(name: str, value: Any) -> NDArray[Any]:
    array = np.asarray(value)
    if array.size == 0 and array.ndim == 1:
        array = array.astype(np.int64)  # an empty list has no type of its own
    if array.ndim != 1 or array.dtype.kind not in "iu":
        found = f"{array.dtype} of shape {array.shape}"
        raise ValueError(f"{name}: expected a 1-D array of integers, found {found}")
    return array


def _check_lengths(arrays: dict[str, NDArray[Any]]) -> None:
    n_events, n = len(arrays["unit"]), len(arrays["label"])
    offset = arrays["offset"]
    if len(arrays["time"]) != n_events:
        raise ValueError(
            f"time: expected {n_events} entries, as many as unit, found {len(arrays['time'])}"
        )
    if len(offset) != n + 1:
        raise ValueError(
            f"offset: expected {n + 1} entries, one more than label, found {len(offset)}"
        )
    if offset[0] != 0 or offset[-1] != n_events:
        raise ValueError(
            f"offset: expected it to run from 0 to {n_events}, found {offset[0]} to {offset[-1]}"
        )


def _check_range(name: str, values: NDArray[Any], size: int) -> None:
    if len(values) and not (values.min() >= 0 and int(values.max()) < size):
        raise ValueError(
            f"{name}: expected values in [0, {size}), found {values.min()} to {values.max()}"
        )
