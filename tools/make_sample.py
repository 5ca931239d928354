"""Makes the sample of Fashion-MNIST that the package embeds: `python tools/make_sample.py`.

Draws as many images of each class, by a fixed seed, the training sample from the training images
and the test sample from the test images, in their order. Same input, same bytes: gzip's time and
name are empty.
"""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np

from sparsespike import data
from sparsespike.data import idx, images
from sparsespike.data.catalogue import FASHION_MNIST

SEED = 2017
PER_CLASS = {"train": 600, "test": 100}


def main() -> None:
    """Writes the four files into the package's source."""
    source = data.get("fashion-mnist")
    for split, (images_file, labels_file) in FASHION_MNIST.splits.items():
        pixels = idx.read_images(source / images_file.name, images_file.unpacked_sha256)
        labels = idx.read_labels(source / labels_file.name, 10, labels_file.unpacked_sha256)
        generator = np.random.default_rng(SEED)
        drawn = [
            generator.choice(np.flatnonzero(labels == label), PER_CLASS[split], replace=False)
            for label in range(10)
        ]
        index = np.sort(np.concatenate(drawn))
        for file, array in ((images_file, pixels[index]), (labels_file, labels[index])):
            write(images.SAMPLE_FOLDER / file.name, array)


def write(path: Path, array: np.ndarray) -> None:
    """Writes an idx file of unsigned bytes, compressed."""
    header = bytes([0, 0, idx.UBYTE, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    packed = gzip.compress(header + array.tobytes(), compresslevel=9, mtime=0)
    path.write_bytes(packed)
    print(f"{path}: {len(packed):,} bytes")


if __name__ == "__main__":
    main()
