"""`Keeping`: an `EventDataset` and its file: written, mapped, verified, sent to other processes."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from sparsespike.data import store
from sparsespike.data.binning import Kept
from sparsespike.data.recordings import Recordings
from sparsespike.data.store import About
from sparsespike.spikes.arguments import path_of


class Keeping:
    """The methods of `EventDataset` that keep it in a file and take it from there."""

    about: About
    path: Path | None
    _recordings: Recordings
    _stored: About
    _sample: NDArray[np.int64] | None

    def __init__(self, recordings: Recordings, about: About, *, path: Path | None = None) -> None:
        raise NotImplementedError

    def recordings(self) -> Recordings:
        """The events of all samples."""
        raise NotImplementedError

    @classmethod
    def open(cls, path: Path | str) -> Self:
        """Maps a file that `save` wrote; its events are read when a batch needs them.

        Raises:
            ValueError: if the file is damaged, cut short or of another format.
            OSError: if it cannot be opened.
        """
        path = path_of("path", path).absolute()
        return cls(*store.read(path), path=path)

    def save(self, path: Path | str) -> None:
        """Writes one file atomically; a file that was there before is replaced or intact.

        Raises:
            ValueError: if `path` is none.
            OSError: if it cannot be written.
        """
        store.write(path_of("path", path), [self.recordings()], self.about)

    def verify(self) -> None:
        """Compares the file with its checksum; reads all of it. Nothing to do in memory.

        Raises:
            ValueError: if the file is damaged.
            OSError: if it cannot be read.
        """
        if self.path is not None:
            store.verify(self.path)

    def __getstate__(self) -> dict[str, Any]:
        state = {**self.__dict__, "_kept": Kept()}
        if self.path is not None:
            del state["_recordings"]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if self.path is not None:
            self._recordings, about = store.read(self.path)
            last = -1 if self._sample is None else int(self._sample.max(initial=-1))
            if about != self._stored or last >= len(self._recordings.label):
                raise ValueError(f"{self.path}: the file was replaced by that of another dataset")
