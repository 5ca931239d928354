"""`EventLoader`: batches in an order that the seed and the epoch fix, made ahead by a thread."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from queue import SimpleQueue

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from sparsespike.data.dataset import EventDataset
from sparsespike.data.encode import microseconds
from sparsespike.data.transform import Transform
from sparsespike.spikes.spikes import Spikes

Batch = tuple[Spikes, Tensor]

BATCHES_AHEAD = 3


class EventLoader:
    """Batches of a dataset. Iterating gives one epoch after the other, each in its own order.

    Args:
        dataset: the samples.
        batch_size: samples of a batch, >= 1; the last of an epoch holds what is left.
        shuffle: whether each epoch has an order of its own, a function of `seed` and epoch alone;
            otherwise the dataset's.
        seed: of the order, >= 0.
        steps: T, >= 1.
        dt: time step, seconds.
        augment: transforms of `data.transform` for every batch, in order; what they draw is a function
            of `seed`, epoch and batch alone.

    Raises:
        ValueError: naming the argument that is out of range.
    """

    def __init__(
        self,
        dataset: EventDataset,
        batch_size: int,
        shuffle: bool = False,
        seed: int = 0,
        steps: int = 100,
        dt: float = 1e-3,
        augment: Sequence[Transform] = (),
    ) -> None:
        for name, value, least in (
            ("batch_size", batch_size, 1),
            ("seed", seed, 0),
            ("steps", steps, 1),
        ):
            if type(value) is not int or value < least:
                raise ValueError(f"{name}: expected an integer >= {least}, found {value!r}")
        microseconds(dt)
        sensor = dataset.about.sensor
        for transform in augment:
            if transform.sensor(sensor) != sensor:
                raise ValueError(
                    f"augment: expected transforms that keep the sensor {sensor}, found {transform}; "
                    "give it to EventDataset.transformed"
                )
        self.augment = tuple(augment)
        self.dataset = dataset
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.seed = seed
        self.steps = steps
        self.dt = dt
        self._next_epoch = 0

    def __len__(self) -> int:
        """Batches of an epoch."""
        return -(-len(self.dataset) // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        self._next_epoch += 1
        return self.batches(self._next_epoch - 1)

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
            ValueError: if an argument is out of range.
        """
        if epoch < 0:
            raise ValueError(f"epoch: expected an integer >= 0, found {epoch!r}")
        if not 0 <= first <= len(self):
            raise ValueError(f"first: expected a batch in [0, {len(self)}], found {first!r}")
        return _ahead(self, epoch, first)

    def batch(self, order: NDArray[np.int64], epoch: int, number: int) -> Batch:
        """Batch `number` of an epoch, given the epoch's order of the samples."""
        start = number * self.batch_size
        index = order[start : start + self.batch_size]
        # The 1 keeps this apart from the order of the samples, which is drawn from seed and epoch.
        draw = np.random.default_rng([self.seed, epoch, number, 1]) if self.augment else None
        return self.dataset.batch(index, self.steps, self.dt, self.augment, draw)

    def order(self, epoch: int) -> NDArray[np.int64]:
        """(n,) the samples in the order of an epoch."""
        if not self.shuffle:
            return np.arange(len(self.dataset))
        return np.random.default_rng([self.seed, epoch]).permutation(len(self.dataset))

    def __repr__(self) -> str:
        order = f"shuffled by seed {self.seed}" if self.shuffle else "in order"
        augmented = "".join(f", {transform}" for transform in self.augment)
        return (
            f"EventLoader({len(self):,} batches of {self.batch_size}, {order}{augmented}, "
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
