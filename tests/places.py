"""`Places`: a Fashion-MNIST of thirty images, and the folders and addresses where it may be."""

import dataclasses
import gzip
import hashlib
from pathlib import Path

import numpy as np
import pytest

from sparsespike.data.catalogue import FASHION_MNIST
from sparsespike.data.library import ENTRIES
from sparsespike.data.source import File


def idx_archive(array: np.ndarray) -> tuple[bytes, str]:
    raw = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes() + array.tobytes()
    return gzip.compress(raw, mtime=0), hashlib.sha256(raw).hexdigest()


class Places:
    """A tiny Fashion-MNIST, and folders of its own for everything."""

    def __init__(self, base: Path, monkeypatch: pytest.MonkeyPatch):
        self.root, self.cache, self.package = base / "root", base / "cache", base / "package"
        rng = np.random.default_rng(0)
        self.archives, self.splits = {}, {}
        for split, prefix, n in (("train", "train", 20), ("test", "t10k", 10)):
            images = rng.integers(0, 256, (n, 28, 28), np.uint8)
            labels = (np.arange(n) % 10).astype(np.uint8)
            pair = []
            for kind, array in (
                (f"{prefix}-images-idx3", images),
                (f"{prefix}-labels-idx1", labels),
            ):
                name = f"{kind}-ubyte.gz"
                self.archives[name], sha256 = idx_archive(array)
                size = len(self.archives[name])
                pair.append(File(name, (), size, unpacked_sha256=sha256))
            self.splits[split] = tuple(pair)
        self.monkeypatch = monkeypatch
        self.come_from("http://127.0.0.1:9/")
        monkeypatch.setenv("XDG_CACHE_HOME", str(self.cache))
        monkeypatch.setenv("no_proxy", "*")

    def come_from(self, *bases: str) -> None:
        """Gives the files these addresses."""
        splits = {
            split: tuple(
                dataclasses.replace(file, addresses=tuple(base + file.name for base in bases))
                for file in files
            )
            for split, files in self.splits.items()
        }
        source = dataclasses.replace(FASHION_MNIST, splits=splits)
        entry = dataclasses.replace(
            ENTRIES["fashion-mnist"], source=source, folders=(self.package,)
        )
        self.monkeypatch.setitem(ENTRIES, "fashion-mnist", entry)

    def put(self, folder: Path) -> Path:
        folder.mkdir(parents=True)
        for name, archive in self.archives.items():
            (folder / name).write_bytes(archive)
        return folder
