"""N-MNIST: MNIST's digits before a moving event camera, one `.bin` file a recording.

G. Orchard, A. Jayawant, G. K. Cohen, N. Thakor, Converting Static Image Datasets to Spiking
Neuromorphic Datasets Using Saccades, Frontiers in Neuroscience 9:437, 2015. As published, `Train` and
`Test` hold a folder for each digit; both are read unpacked, or inside their zip archive.
"""

from __future__ import annotations

import re
import threading
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from sparsespike.data.convert import convert
from sparsespike.data.formats import nmnist
from sparsespike.data.recordings import Recordings
from sparsespike.data.source import Source

FILES_PER_PIECE = 512
MOST_BYTES = 2**24  # of one recording: 4,000 times the mean; a damaged archive may claim more


def find(source: Source, split: str, folder: Path) -> Path | None:
    """The folder `Train` or `Test`, or the archive that holds it.

    An archive is `Train.zip` or `Test.zip`, as published, or, for a selection of recordings, any zip
    file in the folder that has `Train` and `Test` in it.
    """
    for name in (split.capitalize(), split):
        if (folder / name).is_dir():
            return folder / name
        if (folder / f"{name}.zip").is_file():
            return folder / f"{name}.zip"
    if source.n_samples:
        return None
    archives = sorted(folder.glob("*.zip")) if folder.is_dir() else [folder]
    return next((path for path in archives if _holds(path, split)), None)


def write(source: Source, split: str, where: Path, store: Path) -> None:
    """Converts one split to a store.

    Args:
        source: what is known of the dataset.
        split: "train" or "test".
        where: as found.
        store: path to write.

    Raises:
        ValueError: if a recording or the archive is damaged, naming it, or recordings are missing.
        OSError: if a file cannot be read or written.
    """
    archive = None if where.is_dir() else _Archive(where)
    if archive is None:
        names = [str(path.relative_to(where.parent)) for path in sorted(where.glob("*/*.bin"))]
    else:
        names = archive.names
    labelled = sorted((name, label) for name in names for label in _label(name, split))
    expected = source.n_samples.get(split, len(labelled))
    if len(labelled) != expected or not labelled:
        raise ValueError(
            f"{where}: expected {expected:,} recordings {split.capitalize()}/<digit>/*.bin, "
            f"found {len(labelled):,}: unpack or download it again"
        )

    def contents(piece: Sequence[tuple[str, int]]) -> Recordings:
        read_one = archive.read if archive else lambda name: _read_file(where.parent / name)
        files = [(f"{where}: {name}", read_one(name), label) for name, label in piece]
        return nmnist.read(files, source.sensor)

    starts = range(0, len(labelled), FILES_PER_PIECE)
    pieces = [labelled[start : start + FILES_PER_PIECE] for start in starts]
    convert(store, source.about("nearest"), pieces, contents, store.stem)


def _label(name: str, split: str) -> list[int]:
    """[digit] of a recording of the split, else []."""
    match = re.search(rf"(?:^|[/\\]){split}[/\\](\d)[/\\][^/\\]+\.bin$", name, re.IGNORECASE)
    return [int(match[1])] if match else []


def _holds(path: Path, split: str) -> bool:
    try:
        return any(_label(name, split) for name in _Archive(path).names)
    except (ValueError, OSError):
        return False


def _read_file(path: Path) -> bytes:
    with open(path, "rb") as file:
        return _whole(file, str(path))


def _whole(file: IO[bytes], name: str) -> bytes:
    contents = file.read(MOST_BYTES + 1)
    if len(contents) > MOST_BYTES:
        raise ValueError(
            f"{name}: expected a recording of at most {MOST_BYTES:,} bytes, found more"
        )
    return contents


class _Archive:
    """A zip archive that threads read from, each by a handle of its own.

    Raises:
        ValueError: if it is damaged.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._threads = path, threading.local()
        self.names = self._handle().namelist()

    def read(self, name: str) -> bytes:
        """Contents of one file in it."""
        try:
            with self._handle().open(name) as file:
                return _whole(file, f"{self._path}: {name}")
        except (zipfile.BadZipFile, EOFError, zlib.error, NotImplementedError) as error:
            raise ValueError(f"{self._path}: {name}: the archive is damaged ({error})") from None

    def _handle(self) -> zipfile.ZipFile:
        if not hasattr(self._threads, "handle"):
            try:
                self._threads.handle = zipfile.ZipFile(self._path)
            except (zipfile.BadZipFile, ValueError) as error:
                raise ValueError(
                    f"{self._path}: no zip archive, or a damaged one ({error})"
                ) from None
        return self._threads.handle
