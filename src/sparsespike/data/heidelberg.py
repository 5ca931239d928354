"""SHD, SSC and what has their form: spoken words through a model of the inner ear, in HDF5.

B. Cramer, Y. Stradmann, J. Schemmel, F. Zenke, The Heidelberg Spiking Data Sets for the Systematic
Evaluation of Spiking Neural Networks, IEEE TNNLS 33(7), 2022. Read as published, packed by zip or
gzip, or unpacked.
"""

from __future__ import annotations

import gzip
import zipfile
import zlib
from pathlib import Path
from typing import IO

from sparsespike.data.convert import convert
from sparsespike.data.formats import hdf5
from sparsespike.data.recordings import Recordings
from sparsespike.data.source import Source

RECORDINGS_PER_PIECE = 256
# HDF5 of spikes shrinks to a half or so; what claims to unpack to far more is no such file.
MOST_TIMES_PACKED = 64
PIECE = 2**20


def find(source: Source, split: str, folder: Path) -> Path | None:
    """The HDF5 file of a split, as published or otherwise packed."""
    (file,) = source.splits[split]
    stem = file.name.partition(".h5")[0]
    names = [file.name, f"{stem}.h5", f"{stem}.h5.gz", f"{stem}.h5.zip"]
    return next((folder / name for name in names if (folder / name).is_file()), None)


def write(source: Source, split: str, where: Path, store: Path) -> None:
    """Converts one split to a store.

    Args:
        source: what is known of the dataset.
        split: one of its splits.
        where: as found; what is packed is unpacked beside the store, and that removed afterwards.
        store: path to write.

    Raises:
        ValueError: if the file is damaged, or has another number of recordings than published.
        OSError: if a file cannot be read or written.
    """
    if where.suffix == ".h5":
        _convert(source, split, where, store)
    else:
        unpacked = store.with_name(f"{store.name}.h5.part")
        try:
            _unpack(where, unpacked)
            _convert(source, split, unpacked, store)
        finally:
            unpacked.unlink(missing_ok=True)


def _convert(source: Source, split: str, path: Path, store: Path) -> None:
    found = hdf5.contents(path)
    expected = source.n_samples.get(split, found.n)
    if found.n != expected:
        raise ValueError(f"{path}: expected {expected:,} recordings, found {found.n:,}")

    def read_from(start: int) -> Recordings:
        stop = min(start + RECORDINGS_PER_PIECE, found.n)
        return hdf5.read(path, source.sensor[0], start, stop)

    about = source.about("nearest", found.classes or source.classes)
    convert(store, about, range(0, found.n, RECORDINGS_PER_PIECE), read_from, store.stem)


def _unpack(packed: Path, target: Path) -> None:
    most = MOST_TIMES_PACKED * packed.stat().st_size
    try:
        if packed.suffix == ".gz":
            with gzip.open(packed) as source, open(target, "wb") as file:
                _copy(source, file, most, packed)
        else:
            with zipfile.ZipFile(packed) as archive:
                inside = [name for name in archive.namelist() if name.endswith(".h5")]
                if len(inside) != 1:
                    raise ValueError(f"{packed}: expected one .h5 file in it, found {inside}")
                with archive.open(inside[0]) as source, open(target, "wb") as file:
                    _copy(source, file, most, packed)
    except (gzip.BadGzipFile, zipfile.BadZipFile, EOFError, zlib.error) as error:
        raise ValueError(f"{packed}: a damaged archive ({error})") from None


def _copy(source: IO[bytes] | gzip.GzipFile, target: IO[bytes], most: int, packed: Path) -> None:
    n_bytes = 0
    while piece := source.read(PIECE):
        n_bytes += len(piece)
        if n_bytes > most:
            raise ValueError(f"{packed}: expected at most {most:,} bytes in it, found more")
        target.write(piece)
