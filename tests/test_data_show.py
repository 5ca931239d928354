"""Looking at data: pictures show the events where they are, statistics are those of plain loops."""

import io
import sys

import matplotlib.image
import numpy as np
import pytest
from rich.console import Console

from sparsespike.data import Counts, EventDataset, stats
from sparsespike.data.show import GUTTER, INK, OFF, ON, RASTER_ROWS, draw, terminal

CAMERA = (2, 4, 6)
SENSORS = pytest.mark.parametrize("sensor", [(48,), (1, 6, 8), CAMERA], ids=str)


def sample_of(events, sensor=(48,), **known) -> EventDataset:
    """One sample of the given (unit, microseconds)."""
    unit, time = np.array(events, np.int64).reshape(-1, 2).T
    return EventDataset.from_arrays(
        unit,
        time,
        np.array([0, len(unit)]),
        np.array([1]),
        n_units=int(np.prod(sensor)),
        n_classes=2,
        sensor=sensor,
        **known,
    )


def drawn(n: int, sensor=(48,), seed=0) -> EventDataset:
    """One sample of `n` events within 50 ms."""
    rng = np.random.default_rng(seed)
    units = rng.integers(0, int(np.prod(sensor)), n)
    return sample_of(np.stack([units, rng.integers(0, 50_000, n)], 1), sensor)


def raster(text) -> list[str]:
    """The lines of the raster, without what is left of it."""
    return [line[GUTTER:] for line in text.plain.split("\n")[1 : 1 + RASTER_ROWS]]


# ---- the terminal ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("unit", "dot"),
    [(0, 63), (1, 62), (31, 32), (63, 0), (62, 1)],
)
def test_one_event_is_one_dot_at_the_height_of_its_unit(unit, dot):
    lines = raster(terminal(sample_of([(unit, 7000)], (64,)), 0, 80))
    # The last event is at the right end; the dots of a column count from its top.
    code = ord(lines[dot // 4][71]) - 0x2800
    assert code == [0x08, 0x10, 0x20, 0x80][dot % 4]
    assert sum(character != " " for line in lines for character in line) == 1


def test_a_dot_is_where_its_time_is():
    lines = raster(terminal(sample_of([(0, 0), (0, 50_000), (0, 99_999)], (64,)), 0, 80))
    assert [i for i, character in enumerate(lines[-1]) if character != " "] == [0, 36, 71]


def test_more_events_are_brighter_and_higher():
    events = [(5, t) for t in range(100)] + [(5, 99_999)]
    text = terminal(sample_of(events), 0)
    colours = {str(span.style) for span in text.spans if str(span.style).startswith("#")}
    assert len(colours) == 2
    over_time = text.plain.split("\n")[1 + RASTER_ROWS]
    assert over_time == "events │█" + " " * 70 + "▁"


def test_a_cameras_image_has_its_pixels_in_place():
    on, off = 24 + 2 * 6 + 3, 0  # ON at x = 3, y = 2; OFF at x = 0, y = 0
    text = terminal(sample_of([(on, 10), (off, 20)], CAMERA), 0)
    heading, *rows = text.plain.split("\n")[-3:]
    assert " ".join(heading.split()) == "events of a pixel ON minus OFF of a pixel"
    second = GUTTER + heading[GUTTER:].index("ON")
    for start in (GUTTER, second):
        assert [row[start : start + 6].rstrip() for row in rows] == ["▀", "   ▀"]
    # Of ON minus OFF, the two have different colours.
    at = [text.plain.index(rows[0]) + second, text.plain.rindex(rows[1]) + second + 3]
    first, last = ({str(s.style) for s in text.spans if s.start <= i < s.end} for i in at)
    assert first != last


def test_pixels_of_a_wide_camera_are_added_up_in_squares():
    plain = terminal(sample_of([(3 * 200 + 199, 5)], (1, 4, 200)), 0, 80).plain
    assert "events of 3 x 3 pixels" in plain
    # 72 - 4 columns are too few for 200 pixels: the last of 67 squares, in the second row of squares.
    assert plain.split("\n")[-1].rstrip() == " " * (GUTTER + 66) + "▄"


@SENSORS
@pytest.mark.parametrize("width", [40, 80, 133])
def test_no_line_is_wider_than_asked(sensor, width):
    text = terminal(drawn(500, sensor), 0, width)
    assert max(len(line) for line in text.plain.split("\n")) <= width
    console = Console(width=width, file=io.StringIO(), force_terminal=True)
    assert len(console.render_lines(text)) == text.plain.count("\n") + 1


@SENSORS
def test_a_sample_without_events_is_empty(sensor):
    text = terminal(sample_of([], sensor), 0)
    assert "0 events in 0.0 ms" in text.plain
    assert not any(line.strip() for line in raster(text))


def test_the_title_says_what_is_known():
    events = sample_of([(0, 1500)], classes=("cat", "dog"), name="pets", meta={"speaker": [4]})
    title = terminal(events, 0).plain.split("\n")[0]
    for words in ("pets, sample 0", "class 1 (dog)", "speaker 4", "1 events in 1.5 ms"):
        assert words in title


def test_a_narrow_terminal_and_a_bad_index_are_refused():
    with pytest.raises(ValueError, match="width: expected at least 40 columns, found 39"):
        terminal(drawn(5), 0, 39)
    with pytest.raises(ValueError, match=r"^index: expected"):
        terminal(drawn(5), 1)


# ---- a picture ---------------------------------------------------------------------------------


def n_pixels(path, colour: str) -> int:
    """Pixels of about a colour in a picture."""
    wanted = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return int((np.abs(matplotlib.image.imread(path)[..., :3] - wanted).max(-1) < 0.02).sum())


@pytest.mark.parametrize(("sensor", "colours"), [((48,), [INK]), (CAMERA, [ON, OFF])], ids=str)
def test_a_picture_shows_the_events(tmp_path, sensor, colours):
    path = tmp_path / "sample.png"
    draw(drawn(500, sensor), 0, path)
    assert min(n_pixels(path, colour) for colour in colours) > 5000
    assert [file.name for file in tmp_path.iterdir()] == ["sample.png"]


def test_a_picture_of_no_events_replaces_the_one_before(tmp_path):
    path = tmp_path / "sample.png"
    path.write_text("old")
    draw(sample_of([]), 0, path)
    assert n_pixels(path, INK) < 100


def test_a_picture_under_another_name_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"path: expected a name that ends in \.png"):
        draw(drawn(5), 0, tmp_path / "sample.pdf")


def test_without_matplotlib_the_error_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'sparsespike\[plot\]'"):
        draw(drawn(5), 0, tmp_path / "sample.png")
    assert not list(tmp_path.iterdir())


# ---- statistics --------------------------------------------------------------------------------


def some(n: int = 600) -> EventDataset:
    """Samples of 0 to 6 events, many of them at the same time; unit 9 has none."""
    rng = np.random.default_rng(0)
    length = rng.integers(0, 7, n)
    return EventDataset.from_arrays(
        rng.integers(0, 9, length.sum()),
        rng.integers(0, 12, length.sum()) * 500,
        np.concatenate([[0], np.cumsum(length)]),
        rng.integers(0, 3, n),
        n_units=10,
        n_classes=4,
    )


def test_statistics_are_those_of_plain_loops():
    events = some()
    found = stats.stats(events, steps=5, dt=1e-3)
    bounds = list(zip(events.offset[:-1], events.offset[1:], strict=True))
    n_of = [int(b - a) for a, b in bounds]
    last = [events.time[a:b].max() / 1e6 if b > a else 0.0 for a, b in bounds]
    assert found.n_samples == 600  # more than one pass
    assert found.n_events == (0, np.median(n_of), np.mean(n_of), 6)
    assert found.duration == pytest.approx((0, np.median(last), np.mean(last), 5.5e-3))
    assert found.class_size.smallest == 0
    assert found.class_size.largest == max(np.bincount(events.label))
    assert found.rate == pytest.approx(sum(n_of) / sum(last) / 10)
    assert found.used == 0.9
    assert found.counts == events.count(5, 1e-3)
    assert min(found.counts) > 0
    assert found.late == found.counts.n_late / sum(n_of)
    assert found.merged == found.counts.n_clamped / (sum(n_of) - found.counts.n_late)


def test_the_table_has_the_numbers():
    console = Console(width=80, record=True, file=io.StringIO())
    found = stats.stats(sample_of([(0, 0), (0, 10), (3, 2000), (3, 9000)], name="four"), 5, 1e-3)
    assert found.counts == Counts(4, 2, 1, 1)
    console.print(stats.table(found))
    text = console.export_text()
    for words in ("four", "48, 4.2% of them ever used", "9.0 ms", "9.26 Hz", "5 steps of 1 ms"):
        assert words in text
    assert "1, 33.33% of the events in time" in text
    assert "1, 25.00% of the events" in text


def test_a_dataset_without_events_has_no_rate():
    found = stats.stats(sample_of([]))
    assert (found.rate, found.used, found.merged, found.late) == (0, 0, 0, 0)


def test_statistics_of_no_samples_are_refused():
    with pytest.raises(ValueError, match="dataset: expected samples, found none"):
        stats.stats(some().subset([]))
