"""Data: events from files to batches."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from sparsespike.data import fashion_mnist
from sparsespike.data.dataset import Counts, EventDataset
from sparsespike.data.loader import EventLoader
from sparsespike.recipe import nearest

__all__ = [
    "Counts",
    "EventDataset",
    "EventLoader",
    "Listing",
    "available",
    "get",
    "listing",
    "load",
]

# Each family has load(name, split, root, download), get(name, root, download), find(name, root) and
# LICENCE.
FAMILIES = {fashion_mnist.NAME: fashion_mnist, fashion_mnist.SAMPLE: fashion_mnist}
SPLITS = ["train", "test"]


class Listing(NamedTuple):
    """One line of `sparsespike data list`."""

    name: str
    licence: str
    folder: Path | None  # None: not present
    n_bytes: int  # of its files, 0 if not present


def load(
    name: str, split: str = "train", root: Path | str | None = None, download: bool = True
) -> EventDataset:
    """Loads a dataset by name, as events.

    Args:
        name: one of `available()`.
        split: "train" or "test".
        root: folder of the datasets, looked in first; None for the user's cache folder.
        download: whether files that are found nowhere may be fetched, into `root`.

    Raises:
        ValueError: if the name or the split is unknown, or a file is damaged.
        OSError: if the files are not in reach, saying what to do.
    """
    family = _family(name)
    if split not in SPLITS:
        raise ValueError(
            f"split: expected 'train' or 'test', found {split!r}{nearest(split, SPLITS)}"
        )
    return family.load(name, split, _folder(root), download)


def available() -> list[str]:
    """Names of the datasets, present or not."""
    return list(FAMILIES)


def get(name: str, root: Path | str | None = None) -> Path:
    """The folder of a dataset's files, after fetching them if they are found nowhere.

    Args:
        name: one of `available()`.
        root: as in `load`.

    Raises:
        ValueError: if the name is unknown.
        OSError: if the files are not in reach, saying what to do.
    """
    return _family(name).get(name, _folder(root), True)


def listing(root: Path | str | None = None) -> list[Listing]:
    """What is present, where, how large and under which licence; opens and fetches nothing.

    Args:
        root: as in `load`.
    """
    rows = []
    for name, family in FAMILIES.items():
        folder = family.find(name, _folder(root))
        files = [] if folder is None else [f for f in folder.glob("*.gz") if f.is_file()]
        rows.append(Listing(name, family.LICENCE, folder, sum(f.stat().st_size for f in files)))
    return rows


def _folder(root: Path | str | None) -> Path | None:
    return None if root is None else Path(root).expanduser()


def _family(name: str):
    if name not in FAMILIES:
        known = available()
        raise ValueError(
            f"dataset: expected one of {', '.join(known)}, found {name!r}{nearest(name, known)}"
        )
    return FAMILIES[name]
