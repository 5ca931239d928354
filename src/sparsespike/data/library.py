"""Datasets by name: where their files are, how they get there, and what reads them.

A set of recordings is converted once: its store goes into `root`/NAME where that can be written, else
into the user's cache folder, and is found there even when the files it came from are gone.
"""

from __future__ import annotations

import gzip
import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, NamedTuple

from sparsespike.compiling.folder import user_cache
from sparsespike.data import catalogue, gesture, heidelberg, images, nmnist
from sparsespike.data.convert import alone
from sparsespike.data.dataset import EventDataset
from sparsespike.data.download import fetch
from sparsespike.data.source import File, Source
from sparsespike.spikes.arguments import described, flag, nearest, path_of, text

MOST_BYTES = 2**37  # of a file whose size nobody states: more than any of these datasets
PIECE = 2**20


@dataclass(frozen=True)
class Entry:
    """One dataset.

    Attributes:
        source: what is known of it.
        find: the file or folder that holds a split, if it is in a folder; else None.
        write: converts the split that was found to a store; None for images.
        encode: gives the split that was found, encoded anew each time; None for recordings.
        folders: where else its files may be.
        advice: another way to them than its addresses.
    """

    source: Source
    find: Callable[[Source, str, Path], Path | None]
    write: Callable[[Source, str, Path, Path], None] | None = None
    encode: Callable[[Source, str, Path], EventDataset] | None = None
    folders: tuple[Path, ...] = ()
    advice: str = ""


class OutOfReach(FileNotFoundError):
    """The files of a dataset are found nowhere and cannot be fetched; the text says what to do.

    Attributes:
        why: they could not be fetched.
    """

    def __init__(self, message: str, why: str) -> None:
        super().__init__(message)
        self.why = why


class Listing(NamedTuple):
    """One line of `sparsespike data list`."""

    name: str
    title: str
    licence: str
    n_samples: dict[str, int]  # by split, as published; empty if any number will do
    folder: Path | None  # where its files or its stores are; None: not present
    n_bytes: int  # of what is there, 0 if nothing is


_FASHION = Entry(
    catalogue.FASHION_MNIST,
    images.find,
    encode=images.read,
    folders=(Path("/usr/share/datasets/fashion-mnist"),),
    advice="apt-get install dataset-fashion-mnist",
)
_ENTRIES = (
    _FASHION,
    replace(_FASHION, source=catalogue.FASHION_SAMPLE, folders=(images.SAMPLE_FOLDER,)),
    Entry(catalogue.MNIST, images.find, encode=images.read),
    Entry(catalogue.NMNIST, nmnist.find, nmnist.write),
    Entry(catalogue.NMNIST_SMALL, nmnist.find, nmnist.write),
    Entry(catalogue.SHD, heidelberg.find, heidelberg.write),
    Entry(catalogue.SSC, heidelberg.find, heidelberg.write),
    Entry(catalogue.FSDD_SPIKES, heidelberg.find, heidelberg.write),
    Entry(catalogue.DVS_GESTURE, gesture.find, gesture.write),
)
ENTRIES = {entry.source.name: entry for entry in _ENTRIES}


def load(
    name: str | Path, split: str = "train", root: Path | str | None = None, download: bool = True
) -> EventDataset:
    """Loads a dataset by name, as events; recordings are converted the first time.

    Args:
        name: one of `available()`, or a path with a "/" in it: of a folder that holds your own stores,
            train.events and test.events, as `EventDataset.save` writes them.
        split: "train" or "test"; SSC has "valid" as well.
        root: folder of the datasets, or of this one, looked in first; None for the user's cache folder.
        download: whether files that are found nowhere may be fetched, into `root`.

    Raises:
        ValueError: if the name or the split is unknown, or a file is damaged.
        OSError: if the files are not in reach, saying what to do.
    """
    if not isinstance(name, str | Path):
        raise ValueError(f"name: expected a name or a path, found {described(name)}")
    if isinstance(name, Path) or "/" in name or os.sep in name:
        return EventDataset.open(_expanded("name", name) / f"{text('split', split)}.events")
    entry, root = _entry(name), None if root is None else _expanded("root", root)
    download = flag("download", download)
    splits = list(entry.source.splits)
    if split not in splits:
        raise ValueError(
            f"split: expected one of {', '.join(splits)}, found {split!r}{nearest(split, splits)}"
        )
    where = _find(entry, split, root)
    if where is None:
        stored = _stored(name, split, root)
        if stored is not None:
            return EventDataset.open(stored)
        _fetch(entry, root, download)
        where = _find(entry, split, root)
        assert where is not None
    if entry.encode is not None:
        return entry.encode(entry.source, split, where)
    assert entry.write is not None
    target = _store_folder(name, root) / f"{split}-{_mark(where)}.events"
    if not target.exists():
        with alone(target):
            if not target.exists():
                entry.write(entry.source, split, where, target)
    return EventDataset.open(target)


def available() -> list[str]:
    """Names of the datasets, present or not."""
    return list(ENTRIES)


def get(name: str, root: Path | str | None = None) -> Path:
    """The folder of a dataset's files, after fetching them if they are found nowhere.

    Args:
        name: one of `available()`.
        root: as in `load`.

    Raises:
        ValueError: if the name is unknown.
        OSError: if the files are not in reach, saying what to do.
    """
    entry, root = _entry(name), None if root is None else _expanded("root", root)
    folder = _present(entry, root)
    return folder if folder is not None else _fetch(entry, root, True)


def listing(root: Path | str | None = None) -> list[Listing]:
    """What is present, where, how large and under which licence; fetches and converts nothing.

    Args:
        root: as in `load`.
    """
    rows, root = [], None if root is None else _expanded("root", root)
    for name, entry in ENTRIES.items():
        source, folder = entry.source, _present(entry, root)
        found = [] if folder is None else [entry.find(source, s, folder) for s in source.splits]
        stored = [_stored(name, split, root) for split in source.splits]
        if folder is None and None not in stored:
            folder = stored[0].parent  # pyright: ignore[reportOptionalMemberAccess]
        things = {path for path in (*found, *stored) if path is not None}
        if folder in things:  # loose files among whatever else lies there
            things = {folder / file.name for file in source.files}
        n_bytes = sum(_size(path) for path in things)
        rows.append(Listing(name, source.title, source.licence, source.n_samples, folder, n_bytes))
    return rows


def _entry(name: str) -> Entry:
    if not isinstance(name, str) or name not in ENTRIES:
        known = available()
        raise ValueError(
            f"dataset: expected one of {', '.join(known)}, found {name!r}{nearest(name, known)}"
        )
    return ENTRIES[name]


def _expanded(name: str, path: Path | str) -> Path:
    """An argument that is a path; "~" is the home folder, "~nobody" stays."""
    return Path(os.path.expanduser(path_of(name, path)))


def _folders(entry: Entry, root: Path | None) -> list[Path]:
    """Where to look, in order; downloads go into the first."""
    name = entry.source.name
    given = [] if root is None else [root / name, root]
    return [*given, user_cache() / name, *entry.folders]


def _find(entry: Entry, split: str, root: Path | None) -> Path | None:
    found = (entry.find(entry.source, split, folder) for folder in _folders(entry, root))
    return next((path for path in found if path is not None), None)


def _present(entry: Entry, root: Path | None) -> Path | None:
    """The first folder that holds every split."""
    source = entry.source
    for folder in _folders(entry, root):
        if all(entry.find(source, split, folder) for split in source.splits):
            return folder
    return None


def _fetch(entry: Entry, root: Path | None, download: bool) -> Path:
    """Downloads what is missing into the first folder, and gives that.

    Raises:
        OSError: if a file cannot be had, saying what to do.
    """
    source, target = entry.source, _folders(entry, root)[0]
    why = "download is off"
    try:
        for file in source.files if download else ():
            if not file.addresses:
                raise FileNotFoundError("no address gives it")
            if not (target / file.name).is_file():
                room = MOST_BYTES if file.n_bytes is None else file.n_bytes + 2**16
                fetch(
                    file.addresses, target / file.name, lambda path, f=file: _check(path, f), room
                )
        if download:
            return target
    except OSError as error:
        why = str(error)
    wanted = ", ".join(file.name for file in source.files)
    other = f"{entry.advice}, or " if entry.advice else ""
    raise OutOfReach(
        f"{source.name}: expected its files in {target}, found none there or anywhere else it looks, and "
        f"could not fetch them ({why}): {other}put {wanted} into {target}; "
        "`sparsespike data get --help` has the addresses",
        why,
    )


def addresses() -> str:
    """For each dataset its files, where they are to be had, and its homepage; lines of text."""
    lines = []
    for entry in _ENTRIES:
        source = entry.source
        if source is catalogue.FASHION_SAMPLE:  # part of the package
            continue
        lines.append(f"{source.name}: {source.homepage}")
        if entry.advice:
            lines.append(f"  {entry.advice}")
        lines.extend(
            f"  {file.name}  {file.addresses[0] if file.addresses else '(by browser)'}"
            for file in source.files
        )
    return "\n".join(lines)


def _check(path: Path, file: File) -> None:
    """Raises a ValueError if a download is not the file, by the best checksum there is of it."""
    if file.unpacked_sha256 is not None:
        with open(path, "rb") as packed:
            gzipped = packed.read(2) == b"\x1f\x8b"
        try:
            with gzip.open(path) if gzipped else open(path, "rb") as contents:
                found = _digest(contents, "sha256")
        except (EOFError, gzip.BadGzipFile) as error:
            raise ValueError(f"expected a whole gzip file, found a damaged one ({error})") from None
        kind, expected = "contents of SHA-256", file.unpacked_sha256
    elif file.md5 is not None:
        with open(path, "rb") as contents:
            found = _digest(contents, "md5")
        kind, expected = "MD5", file.md5
    else:
        return
    if found != expected:
        raise ValueError(f"expected {kind} {expected[:16]}…, found {found[:16]}…")


def _digest(file: BinaryIO | gzip.GzipFile, kind: str) -> str:
    digest = hashlib.new(kind, usedforsecurity=False)
    for piece in _pieces(file):
        digest.update(piece)
    return digest.hexdigest()


def _pieces(file: BinaryIO | gzip.GzipFile) -> Iterator[bytes]:
    while piece := file.read(PIECE):
        yield piece


# ---- stores ------------------------------------------------------------------------------------


def _store_folder(name: str, root: Path | None) -> Path:
    folder = user_cache() if root is None else root
    # The system lets an administrator write anywhere: a folder that says nobody may is left alone.
    writable = folder.is_dir() and os.access(folder, os.W_OK) and folder.stat().st_mode & 0o222
    return (folder if writable else user_cache()) / name


def _stored(name: str, split: str, root: Path | None) -> Path | None:
    """The newest store of a split, whatever files it was made of."""
    folders = dict.fromkeys([_store_folder(name, root), user_cache() / name])
    stores = [path for folder in folders for path in folder.glob(f"{split}-*.events")]
    return max(stores, key=lambda path: path.stat().st_mtime, default=None)


def _mark(where: Path) -> str:
    """Tells files from others of the same name: of their place, sizes and times."""
    inside = sorted(where.iterdir()) if where.is_dir() else [where]
    facts = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in inside]
    return hashlib.sha256(repr((str(where.resolve()), facts)).encode()).hexdigest()[:12]


def _size(path: Path) -> int:
    if path.is_dir():
        return sum(inside.stat().st_size for inside in path.rglob("*") if inside.is_file())
    return path.stat().st_size
