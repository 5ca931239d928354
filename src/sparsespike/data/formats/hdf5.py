"""HDF5 in the layout of the Spiking Heidelberg Digits and Spiking Speech Commands.

    spikes/times    (n,) lists of float16, float32 or float64, seconds
    spikes/units    (n,) lists of integers in [0, N)
    labels          (n,) integers
    extra/speaker   (n,) integers, may be missing
    extra/keys      names of the classes, may be missing

(B. Cramer et al., The Heidelberg Spiking Data Sets, 2022, https://compneuro.net.) A file of one's own
in this layout is read the same.

HDF5's library opens the file and says where the lists are; the lists themselves are read here
(`heap`), because the library takes their lengths on trust.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
from numpy.typing import NDArray

from sparsespike.data.encode import nearest_us
from sparsespike.data.formats import heap
from sparsespike.data.recordings import Recordings

TIMES, UNITS, LABELS = "spikes/times", "spikes/units", "labels"
SPEAKER, KEYS = "extra/speaker", "extra/keys"
MAX_CHUNK = 2**28  # bytes of a chunk, which the library allocates whole


class Contents(NamedTuple):
    """What a file holds: n recordings of C classes, and their names, or ()."""

    n: int
    n_classes: int
    classes: tuple[str, ...]


def contents(path: Path) -> Contents:
    """Looks into a file; reads its labels, no events.

    Returns:
        C is the number of names, or one more than the largest label where there are none.

    Raises:
        ValueError: naming the file, what was expected and what was found, if it is damaged or of
            another layout.
        OSError: if it cannot be opened.
    """
    with _opened(path) as file:
        n = _checked_length(path, file)
        classes = _keys(path, file)
        label = _column(path, file, LABELS, 0, n)
        return Contents(n, len(classes) or int(label.max(initial=0)) + 1, classes)


def read(path: Path, n_units: int, start: int = 0, stop: int | None = None) -> Recordings:
    """Recordings [start, stop) of a file; the others are not read.

    Args:
        path: of the file.
        n_units: N.
        start, stop: 0 <= start <= stop <= n; None for n.

    Returns:
        Times rounded as `encode.nearest_us` does; meta "speaker" where the file has it.

    Raises:
        ValueError: naming the file, what was expected and what was found, if it is damaged, of
            another layout, or an event or label breaks its rule.
        OSError: if it cannot be opened.
    """
    with _opened(path) as file:
        n = _checked_length(path, file)
        stop = n if stop is None else stop
        if not 0 <= start <= stop <= n:
            raise ValueError(f"{path}: expected a range within [0, {n}], found {start} to {stop}")
        label = _column(path, file, LABELS, start, stop)
        classes = _keys(path, file)
        if classes and label.max(initial=0) >= len(classes):
            raise ValueError(f"{path}: expected labels in [0, {len(classes)}), found {label.max()}")
        meta = {"speaker": _column(path, file, SPEAKER, start, stop)} if SPEAKER in file else {}
        time, offset = _lists(path, file, TIMES, "f", start, stop)
        unit, unit_offset = _lists(path, file, UNITS, "iu", start, stop)
    _check_units(path, start, unit, unit_offset, offset, n_units)
    try:
        with np.errstate(
            invalid="ignore"
        ):  # NaN of either kind is refused, without a warning before
            time = nearest_us(time)
    except ValueError as error:
        raise ValueError(f"{path}: {TIMES}: {error}") from error
    return Recordings(unit, time, offset, label, meta)


def _check_units(
    path: Path,
    start: int,
    unit: NDArray[Any],
    found: NDArray[np.int64],
    offset: NDArray[np.int64],
    n_units: int,
) -> None:
    """Compares units and their bounds with N and the bounds of the times."""
    differ = found != offset
    if differ.any():
        i = int(differ.argmax()) - 1
        n_times, n_found = np.diff(offset)[i], np.diff(found)[i]
        raise ValueError(
            f"{path}: recording {start + i}: expected as many units as times, {n_times}, found {n_found}"
        )
    if len(unit) and not (unit.min() >= 0 and int(unit.max()) < n_units):
        raise ValueError(
            f"{path}: {UNITS}: expected units in [0, {n_units}), found {unit.min()} to {unit.max()}"
        )


# What the library raises of a damaged file, in its many places.
DAMAGE = (
    OSError,
    RuntimeError,
    LookupError,
    AttributeError,
    TypeError,
    ValueError,
    ArithmeticError,
)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[h5py.File]:
    with open(path, "rb"):
        pass  # a missing or forbidden file is the system's own error, not a damaged one
    try:
        # Without a lock: it is read alone, and not every file system has locks.
        with h5py.File(path, "r", locking=False) as file:
            yield file
    except DAMAGE as error:
        if isinstance(error, ValueError) and str(error).startswith(str(path)):
            raise  # it was said here
        raise ValueError(f"{path}: expected an HDF5 file, found a damaged one ({error})") from error


def _dataset(path: Path, file: h5py.File, name: str) -> h5py.Dataset:
    found = file.get(name)
    if not isinstance(found, h5py.Dataset):
        raise ValueError(f"{path}: expected a dataset {name}, found none")
    if len(found.shape or ()) != 1:
        raise ValueError(f"{path}: {name}: expected a list, found shape {found.shape}")
    if found.chunks and found.chunks[0] * found.id.get_type().get_size() > MAX_CHUNK:
        raise ValueError(
            f"{path}: {name}: expected chunks of at most {MAX_CHUNK:,} bytes, found {found.chunks} entries"
        )
    return found


def _checked_length(path: Path, file: h5py.File) -> int:
    """n, which all datasets must have."""
    n = len(_dataset(path, file, LABELS))
    # Each takes 32 bytes of places alone; nothing may be allocated for those that cannot be there.
    n_bytes = path.stat().st_size
    if n > n_bytes:
        raise ValueError(f"{path}: expected at most {n_bytes:,} recordings, as bytes, found {n:,}")
    for name in (TIMES, UNITS, SPEAKER):
        if name == SPEAKER and name not in file:
            continue
        found = len(_dataset(path, file, name))
        if found != n:
            raise ValueError(
                f"{path}: {name}: expected {n} entries, as many as labels, found {found}"
            )
    return n


def _column(path: Path, file: h5py.File, name: str, start: int, stop: int) -> NDArray[np.int64]:
    dataset = _dataset(path, file, name)
    if dataset.dtype.kind not in "iu":
        raise ValueError(f"{path}: {name}: expected integers, found {dataset.dtype}")
    values = dataset[start:stop]
    if len(values) and not (values.min() >= 0 and int(values.max()) < 2**31):
        raise ValueError(
            f"{path}: {name}: expected values in [0, 2^31), found {values.min()} to {values.max()}"
        )
    return values.astype(np.int64)


def _keys(path: Path, file: h5py.File) -> tuple[str, ...]:
    if KEYS not in file:
        return ()
    dataset = _dataset(path, file, KEYS)
    kind = dataset.id.get_type()
    if len(dataset) * max(1, kind.get_size()) > path.stat().st_size:
        raise ValueError(f"{path}: {KEYS}: expected names, found {len(dataset):,} entries")
    if not isinstance(kind, h5py.h5t.TypeStringID):
        raise ValueError(f"{path}: {KEYS}: expected names, found {dataset.dtype}")
    if kind.is_variable_str():
        data, offset = heap.lists(path, file, dataset, np.dtype(np.uint8), 0, len(dataset))
        text = data.tobytes()
        names = [text[first:last] for first, last in pairwise(offset)]
    else:
        names = dataset[:].tolist()
    try:
        return tuple(name.rstrip(b"\0").decode() for name in names)
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: {KEYS}: expected names in UTF-8, found {error}") from error


def _lists(
    path: Path, file: h5py.File, name: str, kinds: str, start: int, stop: int
) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """(entries, bounds) of the lists [start, stop) of a dataset."""
    dataset = _dataset(path, file, name)
    dtype = h5py.check_vlen_dtype(dataset.dtype)
    if dtype is None or dtype.kind not in kinds:
        wanted = "floating numbers" if kinds == "f" else "integers"
        raise ValueError(
            f"{path}: {name}: expected lists of {wanted}, found {dtype or dataset.dtype}"
        )
    entry = dataset.id.get_type().get_super()
    standard = entry.get_precision() == 8 * dtype.itemsize == 8 * entry.get_size()
    if kinds == "f":
        standard &= (entry.get_fields(), entry.get_ebias()) == FLOATS.get(dtype.itemsize)
    if not standard or entry.get_offset() != 0:
        raise ValueError(f"{path}: {name}: expected {dtype}, found a number of another layout")
    return heap.lists(path, file, dataset, dtype, start, stop)


# Bits of IEEE 754's numbers by their bytes: places of sign and exponent, size of the exponent, place
# and size of the mantissa; bias.
FLOATS = {
    2: ((15, 10, 5, 0, 10), 15),
    4: ((31, 23, 8, 0, 23), 127),
    8: ((63, 52, 11, 0, 52), 1023),
}
