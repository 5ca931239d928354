"""Event datasets: time is rounded exactly, both ways of binning agree with the definition."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sparsespike import data
from sparsespike.data import Counts, EventDataset, EventLoader, binning, encode

BOTH_PATHS = pytest.mark.parametrize("kept", [True, False], ids=["kept", "per batch"])
STORES = pytest.mark.parametrize(
    ("n_units", "time_scale"), [(5, 1), (70_000, 10**6)], ids=["uint16-int32", "int32-int64"]
)


def drawn(
    n: int = 12,
    *,
    n_units: int = 5,
    time_scale: int = 1,
    rounding: encode.Rounding = "floor",
    seed=0,
) -> EventDataset:
    """Samples of 0 to 40 events at up to 20 ms times `time_scale`, many at the same time."""
    rng = np.random.default_rng(seed)
    length = rng.integers(0, 41, n)
    length[:2] = 0, 40
    n_events = int(length.sum())
    return EventDataset.from_arrays(
        rng.integers(0, 5, n_events) * (n_units // 5),
        rng.integers(0, 41, n_events) * 500 * time_scale,
        np.concatenate([[0], np.cumsum(length)]),
        rng.integers(0, 3, n),
        n_units=n_units,
        n_classes=3,
        rounding=rounding,
    )


def literal(events: EventDataset, index, steps: int, dt_us: int):
    """(unit, offset, n_clamped, n_late) by the definition, in exact fractions and plain loops."""
    unit, offset, n_clamped, n_late = [], [0], 0, 0
    for i in index:
        rows: list[list[int]] = [[] for _ in range(steps)]
        for e in range(int(events.offset[i]), int(events.offset[i + 1])):
            exact = Fraction(int(events.time[e]), dt_us)
            step = round(exact) if events.about.rounding == "nearest" else math.floor(exact)
            if step < steps:
                rows[step].append(int(events.unit[e]))
            else:
                n_late += 1
        for row in rows:
            unit += sorted(set(row))
            offset.append(len(unit))
            n_clamped += len(row) - len(set(row))
    return unit, offset, n_clamped, n_late


def assert_batch(events: EventDataset, index, steps: int, dt_us: int) -> None:
    unit, offset, n_clamped, _ = literal(events, index, steps, dt_us)
    spikes, label = events.batch(index, steps, dt_us * 1e-6)
    assert spikes.shape == (len(index), steps, events.n_units)
    assert (spikes.unit.dtype, spikes.offset.dtype) == (torch.int32, torch.int64)
    assert spikes.unit.tolist() == unit
    assert spikes.offset.tolist() == offset
    assert spikes.n_clamped == n_clamped
    assert label.dtype == torch.int64
    assert label.tolist() == [int(events.label[i]) for i in index]


def use_path(monkeypatch, kept: bool) -> None:
    monkeypatch.setattr(binning, "BINNED_BYTES", 2**30 if kept else -1)


# ---- rounding of time --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dt", "expected"),
    [(1e-3, 1000), (2e-3, 2000), (0.0007, 700), (1e-6, 1), (0.3, 300_000), (1, 10**6)],
)
def test_dt_in_microseconds(dt, expected):
    assert encode.microseconds(dt) == expected


@pytest.mark.parametrize("dt", [0.0, -1e-3, 1e-7, 1.5e-6, 1 / 3000, math.nan, math.inf, 1e300])
def test_dt_that_is_no_whole_number_of_microseconds_is_refused(dt):
    with pytest.raises(ValueError, match=r"^dt: expected"):
        encode.microseconds(dt)


@given(time=st.integers(0, 2**62), dt=st.integers(1, 2**40), nearest=st.booleans())
@settings(deadline=None, max_examples=200)
def test_step_is_the_exact_rounding(time, dt, nearest):
    exact = Fraction(time, dt)
    assert encode.step_of(time, dt, nearest) == (round(exact) if nearest else math.floor(exact))


@pytest.mark.parametrize(("time", "step"), [(499, 0), (500, 0), (501, 1), (1500, 2), (2500, 2)])
def test_nearest_breaks_ties_to_even(time, step):
    assert encode.step_of(time, 1000, True) == step


# ---- binning -----------------------------------------------------------------------------------


@BOTH_PATHS
@STORES
@pytest.mark.parametrize("rounding", ["floor", "nearest"])
@pytest.mark.parametrize(
    ("steps", "dt_us"), [(25, 1000), (8, 1000), (1, 500), (4, 7000), (60, 333)]
)
def test_batch_is_the_literal_definition(
    monkeypatch, kept, n_units, time_scale, rounding, steps, dt_us
):
    use_path(monkeypatch, kept)
    events = drawn(n_units=n_units, time_scale=time_scale, rounding=rounding)
    index = [3, 1, 0, 11, 1]
    assert literal(events, index, steps, dt_us * time_scale)[0], "something must happen"
    assert_batch(events, index, steps, dt_us * time_scale)


@BOTH_PATHS
@given(
    samples=st.lists(
        st.lists(st.tuples(st.integers(0, 3), st.integers(0, 12)), max_size=12),
        min_size=1,
        max_size=4,
    ),
    steps=st.integers(1, 9),
    dt_us=st.integers(1, 4),
    rounding=st.sampled_from(["floor", "nearest"]),
    pick=st.data(),
)
@settings(deadline=None, max_examples=100)
def test_any_batch_is_the_literal_definition(kept, samples, steps, dt_us, rounding, pick):
    events = EventDataset.from_arrays(
        np.array([unit for sample in samples for unit, _ in sample], np.int64),
        np.array([time for sample in samples for _, time in sample], np.int64),
        np.cumsum([0, *map(len, samples)]),
        np.zeros(len(samples), np.int64),
        n_units=4,
        n_classes=1,
        rounding=rounding,
    )
    index = pick.draw(st.lists(st.integers(0, len(samples) - 1), max_size=6))
    with pytest.MonkeyPatch.context() as monkeypatch:
        use_path(monkeypatch, kept)
        assert_batch(events, index, steps, dt_us)
        assert_batch(events, index, steps + 1, dt_us)
        _, _, n_clamped, n_late = literal(events, range(len(samples)), steps, dt_us)
        n_spikes = events.n_events - n_clamped - n_late
        assert events.count(steps, dt_us * 1e-6) == (events.n_events, n_spikes, n_clamped, n_late)


@BOTH_PATHS
def test_duplicates_are_clamped_and_late_events_counted(monkeypatch, kept):
    use_path(monkeypatch, kept)
    events = EventDataset.from_arrays(
        np.array([2, 2, 2, 1, 0]),
        np.array([0, 999, 1000, 9999, 10_000]),
        np.array([0, 5]),
        np.array([1]),
        n_units=3,
        n_classes=2,
    )
    spikes, _ = events.batch([0], steps=10)
    assert spikes.n_clamped == 1
    assert spikes.to_dense()[0].nonzero().tolist() == [[0, 2], [1, 2], [9, 1]]
    assert events.count(10) == Counts(n_events=5, n_spikes=3, n_clamped=1, n_late=1)


def test_both_paths_agree_on_real_images(monkeypatch):
    test = data.load("fashion-mnist-sample", "test")
    index = np.random.default_rng(0).permutation(1000)[:256]
    kept, counts = test.batch(index, steps=60)[0], test.count(60)
    use_path(monkeypatch, kept=False)
    per_batch = test.batch(index, steps=60)[0]
    assert kept.n_spikes > 256 * 100
    assert torch.equal(kept.unit, per_batch.unit)
    assert torch.equal(kept.offset, per_batch.offset)
    assert test.count(60) == counts
    assert counts.n_late > 0


def test_batch_is_valid_spikes():
    spikes, _ = drawn().batch(range(12), steps=25)
    checked = type(spikes).from_lists(spikes.unit, spikes.offset, spikes.shape)
    assert torch.equal(checked.to_dense(), spikes.to_dense())
    assert spikes.n_active == 0


@pytest.mark.parametrize(
    "index",
    [[3, 1], (3, 1), range(3, 0, -2), np.array([3, 1], np.uint8), torch.tensor([3, 1])],
    ids=str,
)
def test_index_may_be_any_list_of_integers(index):
    assert drawn().batch(index, steps=5)[1].tolist() == drawn().label[[3, 1]].tolist()


@pytest.mark.parametrize(
    "index", [[12], [-1], np.array([0.5]), np.array([True]), np.array([[0]])], ids=str
)
def test_a_bad_index_is_named(index):
    for use in (drawn().subset, lambda index: drawn().batch(index, 5)):
        with pytest.raises(ValueError, match=r"^index: expected"):
            use(index)


@pytest.mark.parametrize(("name", "value"), [("steps", 0), ("steps", True), ("dt", 0.0)])
def test_a_bad_grid_is_named(name, value):
    for use in (drawn().count, lambda **grid: drawn().batch([0], **grid)):
        with pytest.raises(ValueError, match=f"^{name}: expected"):
            use(**{"steps": 5, name: value})


def test_the_public_example_runs():
    train = data.load("fashion-mnist-sample", split="train")
    spikes, label = train.batch(range(4), steps=100)
    assert spikes.shape == (4, 100, 784)
    assert label.shape == (4,)
    loader = EventLoader(train, batch_size=256, shuffle=True, seed=0)
    assert len(loader) == 24
    assert sum(len(label) for _, label in loader) == 6000


# ---- rounding ----------------------------------------------------------------------------------


@given(
    step=st.integers(0, 10**6),
    dt=st.integers(1, 10**7),
    nearest=st.booleans(),
    by=st.integers(0, 3),
)
def test_the_first_time_of_a_step_is_where_its_rounding_begins(step, dt, nearest, by):
    first = encode.first_time(step, dt, nearest)
    assert encode.step_of(first, dt, nearest) >= step
    assert first == 0 or encode.step_of(first - 1, dt, nearest) < step
    inside = min(first + by, encode.first_time(step + 1, dt, nearest) - 1)
    if inside >= first:
        assert encode.step_of(inside, dt, nearest) == step


@given(
    seed=st.integers(0, 2**32),
    n_units=st.sampled_from([1, 63, 64, 65, 3000]),
    steps=st.sampled_from([1, 7, 200]),
    dt=st.sampled_from([1, 3, 1000]),
    nearest=st.booleans(),
    ordered=st.booleans(),
)
@settings(deadline=None, max_examples=100)
def test_bits_and_sorting_bin_alike(seed, n_units, steps, dt, nearest, ordered):
    rng = np.random.default_rng(seed)
    # Many events take the table of bits, the same ones spread over samples of one or two are sorted.
    n = int(rng.integers(1, 400))
    unit = rng.integers(0, n_units, n).astype(np.int32)
    time = rng.integers(0, steps * dt + 2 * dt, n)
    time = np.sort(time) if ordered else time
    found = []
    for sort in (False, True):
        bits = np.zeros((steps, (n_units + 63) // 64), np.uint64)
        scratch, ends = np.empty((3, n), np.int64), np.empty(steps + 1, np.int64)
        out, offset = np.zeros(n + 1, np.int32), np.zeros(steps, np.int64)
        if sort:
            kept = encode._sort_events(
                unit, time, dt, nearest, np.empty(n_units + 1, np.int64), ends, scratch
            )
            count = encode._list_sorted(scratch[0], ends, out, 0, offset)
        else:
            kept = encode._set_bits(unit, time, dt, nearest, n_units, bits)
            count = encode._list_bits(bits, out, 0, offset)
            assert not bits.any(), "left as it was found"
        found.append((kept, count, out[:count].tolist(), offset.tolist()))
    assert found[0] == found[1]
    steps_of = [encode.step_of(t, dt, nearest) for t in time]
    assert found[0][0] == sum(step < steps for step in steps_of)


def test_seconds_in_half_precision_keep_their_step_to_half_a_microsecond():
    """Of SHD's times, which are float16, rounding to microseconds moves few to another step."""
    seconds = np.arange(2**15, dtype=np.uint16).view(np.float16)
    seconds = seconds[np.isfinite(seconds) & (seconds < 2)]
    stored = encode.nearest_us(seconds)
    moved = []
    for dt in (1000, 2000):
        for value, time in zip(seconds.tolist(), stored.tolist(), strict=True):
            exact = round(Fraction(value) * 10**6 / dt)
            if encode.step_of(time, dt, True) != exact:
                moved.append((dt, value))
                distance = abs(Fraction(value) * 10**6 - (2 * exact + 1) * dt // 2)
                assert min(distance, abs(distance - dt)) <= 0.5
    assert len(moved) == 9, "of 2 x 16,384 times"
