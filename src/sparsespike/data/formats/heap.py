"""Lists of varying length in an HDF5 file, read from its bytes, with every bound checked.

    dataset:     of each list, its length (4 bytes), a collection (8) and a place in it (4)
    collection:  "GCOL", version, size | objects: place (2), users (2), 0 (4), size (8), bytes
                 padded to 8; the object at place 0 is what is free

Little-endian. (The HDF Group, HDF5 File Format Specification 3.0, III.E "Disk Format: Level 1E -
Global Heap".) The library's own reading of a damaged collection may never end, and it allocates what a
length claims.
"""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

PLACE = np.dtype([("length", "<u4"), ("collection", "<u8"), ("index", "<u4")])
COLLECTION = np.dtype([("name", "S4"), ("version", "u1"), ("zero", "V3"), ("size", "<u8")])
OBJECT = np.dtype([("index", "<u2"), ("users", "<u2"), ("zero", "<u4"), ("size", "<u8")])

# Where the objects of a collection are: (first byte, bytes) by their place in it.
Objects = dict[int, tuple[int, int]]


def lists(
    path: Path, file: h5py.File, dataset: h5py.Dataset, dtype: np.dtype[Any], start: int, stop: int
) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Reads the lists [start, stop); allocates what they hold, which is in the file.

    Args:
        path, file: the file.
        dataset: (n,) lists.
        dtype: of their entries.
        start, stop: 0 <= start <= stop <= n.

    Returns:
        (entries of all of them, (stop - start + 1,) bounds of each).

    Raises:
        ValueError: naming the file, what was expected and what was found, if a list is not where the
            dataset says, or is packed in a way that is not read here.
    """
    settings = file.id.get_create_plist()
    if settings.get_sizes() != (8, 8):
        raise ValueError(f"{path}: expected addresses of 8 bytes, found {settings.get_sizes()}")
    where = f"{path}: {dataset.name}"
    raw = np.asarray(np.memmap(path, np.uint8, "r"))
    places = _places(where, raw, dataset, start, stop)
    offset = np.concatenate([[0], np.cumsum(places["length"], dtype=np.int64)])
    # Lists of a damaged file may share their bytes, and then hold more than the file.
    if offset[-1] * dtype.itemsize > len(raw):
        raise ValueError(
            f"{where}: expected lists of at most {len(raw):,} bytes, the file's, found {offset[-1]:,} "
            f"entries of {dtype.itemsize} bytes"
        )
    collections: dict[int, Objects] = {}
    pieces = [np.empty(0, dtype)]
    for i, (length, collection, index) in enumerate(places.tolist(), start):
        if length == 0:
            continue
        if collection not in collections:
            first = collection + settings.get_userblock()
            collections[collection] = _objects(f"{where}: list {i}", raw, first)
        place, size = collections[collection].get(index, (0, -1))
        if size != length * dtype.itemsize:
            expected = f"{length:,} entries of {dtype.itemsize} bytes"
            found = "no such place" if size < 0 else f"{size:,} bytes"
            raise ValueError(f"{where}: list {i}: expected {expected}, found {found}")
        pieces.append(raw[place : place + size].view(dtype))
    return np.concatenate(pieces), offset


def _places(
    where: str, raw: NDArray[np.uint8], dataset: h5py.Dataset, start: int, stop: int
) -> NDArray[Any]:
    """Where the dataset says that each list is."""
    layout = dataset.id.get_create_plist().get_layout()
    if start == stop:
        return np.empty(0, PLACE)
    if layout == h5py.h5d.CHUNKED:
        return _chunked(where, raw, dataset, start, stop)
    if layout != h5py.h5d.CONTIGUOUS:
        raise ValueError(
            f"{where}: expected a contiguous or chunked dataset, found layout {layout}"
        )
    first = dataset.id.get_offset()
    if first is None:
        return np.zeros(stop - start, PLACE)  # nothing was ever written: all lists are empty
    return _slice(where, raw, first + start * PLACE.itemsize, (stop - start) * PLACE.itemsize).view(
        PLACE
    )


def _chunked(
    where: str, raw: NDArray[np.uint8], dataset: h5py.Dataset, start: int, stop: int
) -> NDArray[Any]:
    settings = dataset.id.get_create_plist()
    (chunk,) = settings.get_chunk()
    filters = [settings.get_filter(i)[0] for i in range(settings.get_nfilters())]
    pieces = []
    for first in range(start // chunk * chunk, stop, chunk):
        info = dataset.id.get_chunk_info_by_coord((first,))
        if info.byte_offset is None:
            places = np.zeros(chunk, PLACE)
        else:
            packed = _slice(where, raw, info.byte_offset, info.size).tobytes()
            used = [f for bit, f in enumerate(filters) if not info.filter_mask >> bit & 1]
            places = np.frombuffer(_unpacked(where, packed, used, chunk * PLACE.itemsize), PLACE)
        pieces.append(places[max(start - first, 0) : stop - first])
    return np.concatenate(pieces)


def _unpacked(where: str, packed: bytes, filters: list[int], expected: int) -> bytes:
    """The bytes of a chunk before its filters, the last of which is undone first."""
    for code in reversed(filters):
        if code == h5py.h5z.FILTER_DEFLATE:
            try:
                packed = zlib.decompressobj().decompress(packed, expected + 1)
            except zlib.error as error:
                raise ValueError(f"{where}: expected a whole chunk, found {error}") from error
        elif code == h5py.h5z.FILTER_SHUFFLE:
            if len(packed) != expected:
                break
            packed = np.frombuffer(packed, np.uint8).reshape(PLACE.itemsize, -1).T.tobytes()
        else:
            raise ValueError(f"{where}: expected the filters gzip and shuffle, found number {code}")
    if len(packed) != expected:
        raise ValueError(f"{where}: expected a chunk of {expected:,} bytes, found {len(packed):,}")
    return packed


def _objects(where: str, raw: NDArray[np.uint8], first: int) -> Objects:
    """The objects of the collection at a byte."""
    head = _slice(where, raw, first, COLLECTION.itemsize).view(COLLECTION)[0]
    size = int(head["size"])
    if head["name"] != b"GCOL" or head["version"] != 1 or size > len(raw) - first:
        raise ValueError(f"{where}: expected a collection at byte {first:,}, found {head}")
    objects: Objects = {}
    place, end = first + COLLECTION.itemsize, first + size
    while place + OBJECT.itemsize <= end:
        index, _, _, n_bytes = raw[place : place + OBJECT.itemsize].view(OBJECT)[0].item()
        place += OBJECT.itemsize
        if index == 0:
            break
        if n_bytes > end - place:
            raise ValueError(
                f"{where}: expected {n_bytes:,} bytes at {place:,}, found {end - place:,}"
            )
        objects[index] = place, n_bytes
        place += n_bytes + -n_bytes % 8
    return objects


def _slice(where: str, raw: NDArray[np.uint8], first: int, n_bytes: int) -> NDArray[np.uint8]:
    if not 0 <= first <= first + n_bytes <= len(raw):
        raise ValueError(
            f"{where}: expected {n_bytes:,} bytes at {first:,}, found a file of {len(raw):,}"
        )
    return raw[first : first + n_bytes]
