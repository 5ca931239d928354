"""MNIST and Fashion-MNIST: 28 x 28 grey images in idx files, as one spike per bright pixel.

Encoded anew at each load by `encoders.latency_events`, the paper's code, which takes less time than
reading a store of them would.
"""

from __future__ import annotations

from pathlib import Path

from sparsespike.data import encoders, idx, store
from sparsespike.data.dataset import EventDataset
from sparsespike.data.recordings import Recordings
from sparsespike.data.source import Source

SAMPLE_FOLDER = Path(__file__).parent / "sample"


def find(source: Source, split: str, folder: Path) -> Path | None:
    """The folder, if it holds images and labels of a split."""
    return folder if all((folder / f.name).is_file() for f in source.splits[split]) else None


def read(source: Source, split: str, folder: Path) -> EventDataset:
    """One split, encoded.

    Args:
        source: what is known of the dataset.
        split: "train" or "test".
        folder: as found.

    Raises:
        ValueError: if a file is damaged or another dataset's, naming it.
        OSError: if it cannot be read.
    """
    images_file, labels_file = source.splits[split]
    images_path, labels_path = folder / images_file.name, folder / labels_file.name
    images = idx.read_images(images_path, images_file.unpacked_sha256)
    labels = idx.read_labels(labels_path, source.n_classes, labels_file.unpacked_sha256)
    height, width = source.sensor[1:]
    if images.shape[1:] != (height, width):
        raise ValueError(
            f"{images_path}: expected images of {height} x {width}, found {images.shape[1:]}"
        )
    if len(images) != len(labels):
        raise ValueError(f"{labels_path}: expected {len(images)} labels, found {len(labels)}")
    unit, time, offset = encoders.latency_events(images)
    given = Recordings(unit, time, offset, labels, {})
    about = source.about("floor")
    return EventDataset(store.narrowed(given, about), about)
