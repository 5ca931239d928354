"""Tables of (time, unit) are read strictly: each line is an event or an error that names it."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparsespike.data.formats import table

REAL = Path(__file__).parents[2] / "shared/data/shd_real/shd_test_1_label11_1ms.csv"
DIGITS = {"s": 6, "ms": 3, "us": 0}


def written(folder: Path, text: str, **how: str) -> Path:
    path = folder / "some.csv"
    path.write_bytes(text.encode(**how))
    return path


def events(path: Path, **how) -> list[tuple[int, int]]:
    found = table.read(path, 700, 3, **{"time_unit": "ms", **how})
    assert found.offset.tolist() == [0, len(found.unit)]
    assert found.label.tolist() == [3]
    return list(zip(found.time.tolist(), found.unit.tolist(), strict=True))


@given(
    expected=st.lists(st.tuples(st.integers(0, 2**40), st.integers(0, 699))),
    between=st.sampled_from([",", ", ", ";", " ; ", "\t", "   "]),
    unit=st.sampled_from(["s", "ms", "us"]),
    end=st.sampled_from(["\n", "\r\n"]),
)
def test_reads_what_was_written(tmp_path_factory, expected, between, unit, end):
    lines = [f"{Decimal(t).scaleb(-DIGITS[unit])}{between}{u}" for t, u in expected]
    path = written(tmp_path_factory.mktemp("table"), end.join(lines))
    assert events(path, time_unit=unit) == expected


def test_a_heading_comments_empty_lines_and_a_mark_are_no_events(tmp_path):
    text = "time (ms), unit\n# cochlea 7\n\n1, 2\n   \n0.0015, 3\n"
    assert events(written(tmp_path, text, encoding="utf-8-sig")) == [(1000, 2), (2, 3)]


def test_what_numpy_writes_is_read(tmp_path):
    np.savetxt(tmp_path / "some.csv", [[0.5, 7], [2.25, 699]], header="time unit")
    assert events(tmp_path / "some.csv") == [(500, 7), (2250, 699)]


@pytest.mark.parametrize("text", ["", "\n", "time,unit\n", "# nothing"])
def test_a_table_without_events_is_a_silent_recording(tmp_path, text):
    assert events(written(tmp_path, text)) == []


def test_whole_microseconds_are_exact(tmp_path):
    assert events(written(tmp_path, f"{2**61 + 1}, 1"), time_unit="us") == [(2**61 + 1, 1)]


def test_pieces_add_up(tmp_path, monkeypatch):
    monkeypatch.setattr(table, "PIECE", 3)
    path = written(tmp_path, "".join(f"{i}, {i}\n" for i in range(10)))
    assert events(path) == [(1000 * i, i) for i in range(10)]
    with pytest.raises(ValueError, match="line 9:"):
        table.read(path, 8, 0, time_unit="ms")


@pytest.mark.parametrize(
    "line",
    [
        *(
            "x",
            "1",
            "1,",
            "1, 2, 3",
            "nan, 3",
            "inf, 3",
            "-1, 3",
            "1, -3",
            "1, 700",
            "1, 2.5",
            "1e999, 1",
        ),
        *(
            "1_0, 3",
            "time, unit",
            "5e18, 1",
            "\0",
            "٣, 3",
            "1" * 2000 + ", 1",
            "#" + " " * 998 + "1, 2",
        ),
    ],
)
def test_a_wrong_line_is_named(tmp_path, line):
    path = written(tmp_path, f"1, 2\n{line}\n3, 4\n")
    with pytest.raises(ValueError, match=r"some\.csv: line 2: expected a time") as caught:
        table.read(path, 700, 0, time_unit="us")
    assert "found" in str(caught.value)


@pytest.mark.parametrize("line", ["1,", "0x1, 209", "time", "O, 5"])
def test_a_damaged_first_line_is_no_heading(tmp_path, line):
    with pytest.raises(ValueError, match="line 1"):
        table.read(written(tmp_path, f"{line}\n3, 4\n"), 700, 0, time_unit="us")


def test_bytes_that_are_no_text_are_named(tmp_path):
    (tmp_path / "some.csv").write_bytes(b"1, 2\n\xff\xfe, 3\n")
    with pytest.raises(ValueError, match="line 2"):
        table.read(tmp_path / "some.csv", 700, 0, time_unit="us")


def test_a_file_without_lines_is_not_read_whole(tmp_path):
    with pytest.raises(ValueError, match="line 1"):
        table.read(written(tmp_path, "1" * 10**6), 700, 0, time_unit="us")


def test_another_unit_of_time_and_a_missing_file_are_named(tmp_path):
    with pytest.raises(FileNotFoundError):
        table.read(tmp_path / "none.csv", 700, 0, time_unit="us")
    with pytest.raises(ValueError, match="time_unit: expected 's', 'ms' or 'us', found 'ns'"):
        table.read(tmp_path / "none.csv", 700, 0, time_unit="ns")  # pyright: ignore[reportArgumentType]


def test_a_real_recording_is_read():
    if not REAL.exists():
        pytest.skip(f"needs {REAL}")
    found = table.read(REAL, 700, 11, time_unit="ms")
    assert len(found.unit) == 9386
    assert (found.time[0], found.unit[0], found.time[-1]) == (0, 209, 784_000)
