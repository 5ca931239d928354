"""The loader's order is a function of seed and epoch alone; its thread always ends."""

import gc
import pickle
import threading

import numpy as np
import pytest
import torch

from sparsespike.data import EventDataset, EventLoader
from sparsespike.data.loader import BATCHES_AHEAD


def numbered(n: int) -> EventDataset:
    """n samples of one event; sample i has unit i and label i: a batch tells its order."""
    i = np.arange(n)
    return EventDataset.from_arrays(
        i, np.zeros(n, np.int64), np.arange(n + 1), i, n_units=n, n_classes=n
    )


def threads() -> int:
    return sum(thread.name == "EventLoader" for thread in threading.enumerate())


def order(batches) -> list[list[int]]:
    return [label.tolist() for _, label in batches]


@pytest.fixture(autouse=True)
def _no_thread_stays():
    before = threads()
    yield
    assert threads() == before


@pytest.mark.parametrize(
    ("n", "size", "expected"), [(10, 3, [3, 3, 3, 1]), (6, 3, [3, 3]), (2, 9, [2])]
)
def test_every_sample_comes_once_and_the_last_batch_is_kept(n, size, expected):
    loader = EventLoader(numbered(n), batch_size=size, shuffle=True, seed=0)
    batches = list(loader.batches(0))
    assert [len(label) for _, label in batches] == expected
    assert len(loader) == len(expected)
    assert sorted(label for batch in order(batches) for label in batch) == list(range(n))
    for spikes, label in batches:
        assert spikes.shape == (len(label), 100, n)
        torch.testing.assert_close(spikes.unit.long(), label)


def test_without_shuffle_the_order_is_the_datasets():
    loader = EventLoader(numbered(5), batch_size=2)
    assert order(loader) == order(loader) == [[0, 1], [2, 3], [4]]


def test_order_depends_on_seed_and_epoch_alone():
    def epochs(seed):
        loader = EventLoader(numbered(50), 7, shuffle=True, seed=seed)
        return [order(loader.batches(epoch)) for epoch in range(3)]

    assert epochs(1) == epochs(1)
    assert epochs(1) != epochs(2)
    first, second, third = epochs(1)
    assert first != second != third != first


def test_iterating_gives_successive_epochs():
    loader = EventLoader(numbered(50), 7, shuffle=True, seed=3)
    assert order(loader) == order(loader.batches(0))
    assert order(loader) == order(loader.batches(1))


@pytest.mark.parametrize("first", [0, 1, 5, 8])
def test_resuming_gives_the_rest_of_the_epoch(first):
    loader = EventLoader(numbered(50), 7, shuffle=True, seed=3)
    assert len(loader) == 8
    assert order(loader.batches(4, first=first)) == order(loader.batches(4))[first:]


def test_an_early_stop_ends_the_thread():
    loader = EventLoader(numbered(500), 1, shuffle=True, seed=0)
    for number, _ in enumerate(loader.batches(0)):
        if number == 3:
            break
    gc.collect()
    assert threads() == 0


def test_an_iterator_never_used_starts_no_thread():
    loader = EventLoader(numbered(5), 1)
    batches = loader.batches(0)
    assert threads() == 0
    del batches


def test_an_iterator_dropped_in_a_cycle_ends_its_thread():
    holder: list = []
    batches = EventLoader(numbered(500), 1).batches(0)
    next(batches)
    holder.extend([batches, holder])
    del batches, holder
    gc.collect()
    assert threads() == 0


def test_only_a_few_batches_are_made_ahead():
    class Counting(EventLoader):
        made = 0

        def batch(self, order, epoch, number):
            self.made += 1
            return super().batch(order, epoch, number)

    loader = Counting(numbered(100), 1)
    batches = loader.batches(0)
    for _ in range(10):
        next(batches)
    batches.close()  # pyright: ignore[reportAttributeAccessIssue]
    assert 10 <= loader.made <= 10 + BATCHES_AHEAD


def test_an_error_in_the_thread_is_raised_here():
    class Failing(EventLoader):
        def batch(self, order, epoch, number):
            if number == 2:
                raise ValueError("batch 2 is damaged")
            return super().batch(order, epoch, number)

    batches = Failing(numbered(9), 1).batches(0)
    assert [int(next(batches)[1]) for _ in range(2)] == [0, 1]
    with pytest.raises(ValueError, match="batch 2 is damaged"):
        next(batches)


def test_two_epochs_at_once_do_not_mix():
    loader = EventLoader(numbered(30), 4, shuffle=True, seed=1)
    pairs = list(zip(loader.batches(0), loader.batches(1), strict=True))
    assert order(pair[0] for pair in pairs) == order(loader.batches(0))
    assert order(pair[1] for pair in pairs) == order(loader.batches(1))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("batch_size", 0),
        ("batch_size", 2.0),
        ("seed", -1),
        ("steps", 0),
        ("dt", 0.0),
        ("dt", 1.5e-6),
    ],
)
def test_bad_arguments_are_named(name, value):
    with pytest.raises(ValueError, match=rf"^{name}: expected"):
        EventLoader(numbered(3), **{"batch_size": 2, name: value})


@pytest.mark.parametrize(("name", "value"), [("epoch", -1), ("first", -1), ("first", 3)])
def test_bad_positions_are_named_at_once(name, value):
    loader = EventLoader(numbered(3), 2)
    with pytest.raises(ValueError, match=rf"^{name}: expected"):
        loader.batches(**{"epoch": 0, name: value})


def test_an_empty_dataset_has_no_batches():
    loader = EventLoader(numbered(3).subset([]), 2)
    assert len(loader) == 0
    assert list(loader.batches(0)) == []


def test_a_loader_can_be_pickled():
    loader = EventLoader(numbered(9), 2, shuffle=True, seed=5)
    again = pickle.loads(pickle.dumps(loader))
    assert order(again.batches(2)) == order(loader.batches(2))


def test_repr_says_what_it_loads():
    text = repr(EventLoader(numbered(9), 2, shuffle=True, seed=5))
    assert "5 batches of 2, shuffled by seed 5, T=100, dt=0.001 s" in text
