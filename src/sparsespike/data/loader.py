"""`EventLoader`: batches in an order that the seed and the epoch fix, made ahead by a thread."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator, Sequence
from queue import SimpleQueue
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import ConcatDataset, Subset

from sparsespike.data.binning import checked_grid
from sparsespike.data.collate import as_event_dataset
from sparsespike.data.dataset import EventDataset
from sparsespike.data.encode import MICROSECONDS
from sparsespike.data.late import LateEventsWarning, Watch
from sparsespike.data.transform import Transform, checked_augment
from sparsespike.spikes.arguments import flag, integer
from sparsespike.spikes.spikes import Spikes

Batch = tuple[Spikes, Tensor]

BATCHES_AHEAD = 3


class SharedBatchesWarning(UserWarning):
    """Several processes train together, and each reads the same batches."""


class EventLoader:
    """Batches of a dataset. Iterating gives one epoch after the other, each in its own order.

    Args:
        dataset: the samples; what torch's `random_split`, `Subset` and `ConcatDataset` make of such, too.
        batch_size: samples of a batch, >= 1; the last of an epoch holds what is left.
        shuffle: whether each epoch has an order of its own, a function of `seed` and epoch alone;
            otherwise the dataset's.
        seed: of the order, >= 0.
        steps: T, >= 1; None for that of the dataset's grid, which is 100 where nobody says another.
        dt: time step, seconds; None for that of the dataset's grid, which is 1 ms.
        augment: transforms of `data.transform` for every batch, in order; what they draw is a function
            of `seed`, epoch and batch alone, and of `rank` where there are several.
        rank, world_size: this process and how many there are that train together, in [0, world_size).
            All go through the same batches, in the same order, and each reads only its share of each:
            equal parts where that is possible, else some have a sample more, or none. Each process has
            the mean of a loss over its share alone; times `len(label)` and divided by the samples of the
            batch, and added up over the processes, these give the mean of the whole batch.

    Warns once (`LateEventsWarning`) where more than 1 % of the events come at step T or later, and
    (`SharedBatchesWarning`) where a process group of several is there, and each would train on all samples.

    Raises:
        ValueError: naming the argument that is out of range.
    """

    def __init__(
        self,
        dataset: EventDataset | Subset[Any] | ConcatDataset[Any],
        batch_size: int,
        shuffle: bool = False,
        seed: int = 0,
        steps: int | None = None,
        dt: float | None = None,
        augment: Sequence[Transform] = (),
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.dataset = as_event_dataset(dataset)
        self.batch_size = integer("batch_size", batch_size, 1)
        self.seed = integer("seed", seed, 0)
        own = self.dataset.grid
        self.grid = checked_grid(
            own.steps if steps is None else steps, own.dt_us / MICROSECONDS if dt is None else dt
        )
        self.steps, self.dt = self.grid.steps, self.grid.dt_us / MICROSECONDS
        self.augment = checked_augment(augment, self.dataset.about.sensor)
        self.shuffle = flag("shuffle", shuffle)
        self.world_size = integer("world_size", world_size, 1)
        self.rank = integer("rank", rank, 0, self.world_size)
        self.watch = Watch(self.grid, bool(self.augment))
        self._next_epoch = 0

    def __len__(self) -> int:
        """Batches of an epoch."""
        return -(-len(self.dataset) // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        self._next_epoch += 1
        return self.batches(self._next_epoch - 1)

    def n_samples(self, number: int) -> int:
        """Samples of batch `number`, of all processes together."""
        return min(self.batch_size, len(self.dataset) - number * self.batch_size)

    def batches(self, epoch: int, first: int = 0) -> Iterator[Batch]:
        """The batches of one epoch, from batch `first` on: a run resumes where it stopped.

        A thread makes `BATCHES_AHEAD` batches ahead; it ends when the iterator is closed or
        dropped, and what it raises is raised here.

        Args:
            epoch: counted from 0.
            first: in [0, len(self)].

        Returns:
            Iterator of (spikes of shape (B, T, N), label of shape (B,)); see `EventDataset.batch`.

        Raises:
            ValueError: if an argument is out of range; from the iterator, if recordings begin at step T
                or later, as those with absolute times do, or a sample is damaged.
        """
        epoch = integer("epoch", epoch, 0)
        self._warn_of_shared()
        return _ahead(self, epoch, integer("first", first, 0, len(self) + 1))

    def batch(self, order: NDArray[np.int64], epoch: int, number: int) -> Batch:
        """This process's share of batch `number` of an epoch, given the epoch's order of the samples."""
        start, n = number * self.batch_size, self.n_samples(number)
        index = order[start + self._cut(n, self.rank) : start + self._cut(n, self.rank + 1)]
        # The 1 keeps this apart from the order of the samples, which is drawn from seed and epoch.
        place = [self.seed, epoch, number, 1, *([self.rank] if self.world_size > 1 else [])]
        draw = np.random.default_rng(place) if self.augment else None
        spikes, label = self.dataset.batch(index, self.steps, self.dt, self.augment, draw)
        self.watch.check(self.dataset, index, spikes)
        return spikes, label

    def order(self, epoch: int) -> NDArray[np.int64]:
        """(n,) the samples in the order of an epoch."""
        if not self.shuffle:
            return np.arange(len(self.dataset))
        return np.random.default_rng([self.seed, epoch]).permutation(len(self.dataset))

    def _cut(self, n: int, rank: int) -> int:
        """Where the share of a process begins among n samples."""
        return rank * n // self.world_size

    def _warn_of_shared(self) -> None:
        several = torch.distributed.is_available() and torch.distributed.is_initialized()
        if not (several and self.shuffle) or self.world_size > 1:
            return  # rank 0 alone may score some samples
        if torch.distributed.get_world_size() > 1:
            warnings.warn(
                f"every one of the {torch.distributed.get_world_size()} processes reads all samples; "
                "EventLoader(..., rank=torch.distributed.get_rank(), "
                "world_size=torch.distributed.get_world_size()) reads a share in each",
                SharedBatchesWarning,
                stacklevel=3,
            )

    def __repr__(self) -> str:
        order = f"shuffled by seed {self.seed}" if self.shuffle else "in order"
        augmented = "".join(f", {transform}" for transform in self.augment)
        share = f", rank {self.rank} of {self.world_size}" if self.world_size > 1 else ""
        return (
            f"EventLoader({len(self):,} batches of {self.batch_size}, {order}{augmented}{share}, "
            f"T={self.steps}, dt={self.dt:g} s, of {self.dataset!r})"
        )


def _ahead(loader: EventLoader, epoch: int, first: int) -> Iterator[Batch]:
    """Yields the batches that a thread makes ahead."""
    made: SimpleQueue[Batch | Exception] = SimpleQueue()
    room, stopped = threading.Semaphore(BATCHES_AHEAD), threading.Event()
    thread = threading.Thread(
        target=_make,
        args=(loader, epoch, first, made, room, stopped),
        name="EventLoader",
        daemon=True,
    )
    thread.start()
    try:
        for _ in range(first, len(loader)):
            item = made.get()
            if isinstance(item, Exception):
                raise item
            room.release()
            message = loader.watch.message(loader.dataset, item[0])
            if message is not None:
                warnings.warn(message, LateEventsWarning, stacklevel=2)
            yield item
    finally:
        stopped.set()
        room.release()
        # The garbage collector may close a dropped iterator in any thread, this one included.
        if thread is not threading.current_thread():
            thread.join()


def _make(
    loader: EventLoader,
    epoch: int,
    first: int,
    made: SimpleQueue[Batch | Exception],
    room: threading.Semaphore,
    stopped: threading.Event,
) -> None:
    try:
        order = loader.order(epoch)
        for number in range(first, len(loader)):
            room.acquire()
            if stopped.is_set():
                return
            made.put(loader.batch(order, epoch, number))
    except Exception as error:
        made.put(error)
