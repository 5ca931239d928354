"""Conversion: a set of recordings in whatever files into one store, once.

Pieces are read by threads and kept as small stores beside the target until all are there, so that a
conversion that was stopped goes on where it was, and memory holds a few pieces at most.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)

try:
    import fcntl
except ImportError:  # Windows, where two at once do the work twice, and the last one's store stays
    fcntl = None

from sparsespike.data import store
from sparsespike.data.recordings import Recordings
from sparsespike.data.store import About

Piece = TypeVar("Piece")


def convert(
    path: Path,
    about: About,
    pieces: Sequence[Piece],
    read: Callable[[Piece], Recordings],
    origin: str,
) -> None:
    """Writes a store of all pieces, in their order.

    Args:
        path: the store, replaced if it exists.
        about: of the recordings; the events that `read` drops are added to its `n_dropped`.
        pieces: what to read, each some recordings: file names, ranges. At least one.
        read: gives the recordings of a piece; runs in several threads at once.
        origin: tells one source from another: pieces kept by an earlier attempt are used only if it
            had the same. Letters, digits and dashes.

    Raises:
        ValueError: if there is no piece, or a piece's recordings break the rules of a store.
        OSError: if a file cannot be read or written; the pieces done are kept.
    """
    if not pieces:
        raise ValueError(f"{path}: expected recordings to convert, found none")
    parts = path.with_name(f"{path.name}.{origin}.parts")
    parts.mkdir(exist_ok=True)

    def done(number: int) -> Path:
        part = parts / f"{number:06}"
        if not part.exists():
            recordings = read(pieces[number])
            whole = dataclasses.replace(about, n_dropped=recordings.n_dropped)
            store.write(part, [store.narrowed(recordings, whole)], whole)
        return part

    with ThreadPoolExecutor(os.cpu_count()) as threads, _bar() as bar:
        task = bar.add_task(f"converting {about.name}", total=len(pieces))
        running = [threads.submit(done, number) for number in range(len(pieces))]
        try:
            for finished in as_completed(running):
                finished.result()
                bar.advance(task)
        except BaseException:
            threads.shutdown(wait=True, cancel_futures=True)
            raise
    mapped = [store.read(piece.result()) for piece in running]
    n_dropped = about.n_dropped + sum(part.n_dropped for _, part in mapped)
    recordings = [recordings for recordings, _ in mapped]
    store.write(path, recordings, dataclasses.replace(about, n_dropped=n_dropped))
    shutil.rmtree(parts)


@contextlib.contextmanager
def alone(path: Path) -> Iterator[None]:
    """Waits until no other process or thread makes the store `path`; a dead one's claim ends with it.

    Who waited finds the store made, and has to look. The folder is made if missing.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    claim = path.with_name(f"{path.name}.lock")
    with open(claim, "w") as file:
        if fcntl is not None:
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
    if path.exists():
        claim.unlink(missing_ok=True)


def _bar() -> Progress:
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
