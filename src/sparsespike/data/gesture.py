"""DVS128 Gesture: eleven hand and arm gestures before an event camera, in AEDAT 3.1 files.

A. Amir et al., A Low Power, Fully Event-Based Gesture Recognition System, CVPR 2017. A file is one
person under one light; a table beside it says when each gesture begins and ends. `trials_to_train.txt`
and `trials_to_test.txt` name the files of each split. Read unpacked, or from the archive as published.
"""

from __future__ import annotations

import shutil
import tarfile
import zlib
from pathlib import Path

from sparsespike.data.convert import convert
from sparsespike.data.formats import aedat3
from sparsespike.data.recordings import Recordings
from sparsespike.data.source import Source

ARCHIVE, FOLDER = "DvsGesture.tar.gz", "DvsGesture"


def find(source: Source, split: str, folder: Path) -> Path | None:
    """The folder with the list of a split, or the archive."""
    for unpacked in (folder / FOLDER, folder):
        if (unpacked / _list(split)).is_file():
            return unpacked
    return folder / ARCHIVE if (folder / ARCHIVE).is_file() else None


def write(source: Source, split: str, where: Path, store: Path) -> None:
    """Converts one split to a store.

    Args:
        source: what is known of the dataset.
        split: "train" or "test".
        where: as found; an archive is unpacked beside the store, and that removed afterwards.
        store: path to write.

    Raises:
        ValueError: if a file or the archive is damaged, naming it.
        OSError: if a file is missing, or cannot be read or written.
    """
    if where.is_file():
        unpacked = store.with_name(f"{store.name}.unpacked")
        try:
            _unpack(where, unpacked)
            write(source, split, unpacked / FOLDER, store)
        finally:
            shutil.rmtree(unpacked, ignore_errors=True)
        return
    names = [line.strip() for line in (where / _list(split)).read_text().splitlines()]

    def contents(name: str) -> Recordings:
        return aedat3.read_file(where / name, source.sensor, source.n_classes)

    convert(store, source.about("nearest"), [name for name in names if name], contents, store.stem)


def _list(split: str) -> str:
    return f"trials_to_{split}.txt"


def _unpack(archive: Path, folder: Path) -> None:
    try:
        with tarfile.open(archive) as packed:
            packed.extractall(folder, filter="data")
    except (tarfile.TarError, EOFError, zlib.error) as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise ValueError(f"{archive}: no tar archive, or a damaged one ({error})") from None
