"""Recordings of DVS128 Gesture are cut into their trials; nothing is lost uncounted."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from format_files import AEDAT3_HEADER, aedat3_labels, aedat3_packet
from sparsespike.data.formats.aedat3 import read, read_file

X, BIT = st.integers(0, 127), st.integers(0, 1)
EVENTS = st.lists(st.tuples(X, X, BIT, st.integers(0, 1000), BIT), max_size=30)
LABELS = aedat3_labels([(11, 500, 700), (1, 100, 500)])


def damaged(raw: bytes, labels: bytes = LABELS) -> str:
    with pytest.raises(ValueError, match=r"some\.aedat: ") as caught:
        read("some.aedat", raw, labels)
    return str(caught.value)


@given(st.lists(EVENTS, max_size=4), st.sampled_from([0, 1, 2**31 - 1]))
@settings(max_examples=40)
def test_each_trial_has_its_events_in_order(packets, overflow):
    base = overflow << 31
    trials = [(11, base + 500, base + 700), (1, base + 100, base + 500)]
    raw = AEDAT3_HEADER + b"".join(aedat3_packet(events, overflow) for events in packets)
    found = read("some.aedat", raw, aedat3_labels(trials))
    events = [(x, y, p, base + t, valid) for packet in packets for x, y, p, t, valid in packet]
    expected = [
        [((p * 128 + y) * 128 + x, t - a) for x, y, p, t, valid in events if valid and a <= t < b]
        for _, a, b in trials
    ]
    pairs = list(zip(found.unit.tolist(), found.time.tolist(), strict=True))
    assert [pairs[: found.offset[1]], pairs[found.offset[1] :]] == expected
    assert found.label.tolist() == [10, 0]
    assert len(pairs) + found.n_dropped == len(events)


def test_packets_of_other_types_are_passed_over():
    special = aedat3_packet([(127, 0, 0, 200, 1)] * 3, kind=0)
    wide = aedat3_packet([(0, 0, 0, 0, 0)] * 3, kind=2, size=24, capacity=1, number=1)
    raw = AEDAT3_HEADER + special + aedat3_packet([(1, 2, 1, 300, 1)]) + wide
    found = read("some.aedat", raw, LABELS)
    assert (found.unit.tolist(), found.time.tolist()) == ([(128 + 2) * 128 + 1], [200])
    assert found.n_dropped == 0


def test_a_file_is_read_with_the_table_beside_it(tmp_path):
    (tmp_path / "user01_led.aedat").write_bytes(AEDAT3_HEADER + aedat3_packet([(0, 0, 0, 100, 1)]))
    with pytest.raises(FileNotFoundError, match=r"user01_led_labels\.csv"):
        read_file(tmp_path / "user01_led.aedat")
    (tmp_path / "user01_led_labels.csv").write_bytes(LABELS.replace(b"\n", b"\r\n"))
    found = read_file(tmp_path / "user01_led.aedat")
    np.testing.assert_array_equal(found.offset, [0, 0, 1])


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "expected '#!AER-DAT3.1'"),
        (b"#!AER-DAT3.0\r\n" + AEDAT3_HEADER, "expected '#!AER-DAT3.1'.*found b'#!AER-DAT3.0"),
        (AEDAT3_HEADER[:-16], "found b'#Start-Time: 2016"),
        (AEDAT3_HEADER.replace(b"RAW", b"PNG"), "expected #Format: RAW, found b'#Format: PNG'"),
        (AEDAT3_HEADER + bytes(27), "packet of 28 bytes or more.*found 27"),
        (AEDAT3_HEADER + aedat3_packet([(0, 0, 0, 0, 1)])[:-1], "expected 1 events.*cut short"),
        (
            AEDAT3_HEADER + aedat3_packet([], number=2**31 - 1, capacity=2**31 - 1),
            "found 0: the file",
        ),
        (AEDAT3_HEADER + aedat3_packet([], number=-1, capacity=-1), "expected capacity = number"),
        (
            AEDAT3_HEADER + aedat3_packet([(0, 0, 0, 0, 1)], capacity=2),
            "expected capacity = number",
        ),
        (AEDAT3_HEADER + aedat3_packet([(0, 0, 0, 0, 1)], valid=2), "number >= valid"),
        (AEDAT3_HEADER + aedat3_packet([], overflow=-1), "overflow >= 0"),
        (AEDAT3_HEADER + aedat3_packet([], size=0), "events of 8 bytes"),
        (AEDAT3_HEADER + aedat3_packet([], kind=3, size=0), "found .*'size': 0"),
        (AEDAT3_HEADER + aedat3_packet([(128, 0, 0, 0, 1)]), "x < 128.*found x = 128"),
        (AEDAT3_HEADER + aedat3_packet([(0, 200, 0, 0, 1)]), "y < 128.*found x = 0, y = 200"),
        (AEDAT3_HEADER + aedat3_packet([(0, 0, 0, -5, 1)]), "time >= 0.*time -5"),
    ],
)
def test_damage_is_named(raw, message):
    with pytest.raises(ValueError, match=message):
        read("some.aedat", raw, LABELS)
    assert "some.aedat" in damaged(raw)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (b"", "expected 'class,startTime_usec,endTime_usec' first"),
        (LABELS.splitlines()[0], "at least one trial"),
        (b"1,2,3\n", "first, found"),
        (LABELS + b"12,800,900\n", r"line 4: expected a class in \[1, 11\].*'12,800,900'"),
        (LABELS + b"0,800,900\n", "line 4"),
        (LABELS + b"1,900,800\n", "line 4: .*an end not before it"),
        (LABELS + b"1,900\n", "line 4"),
        (LABELS + b"1,x,900\n", "line 4"),
        (LABELS + b"1,-1,900\n", "line 4"),
        (LABELS + b"1,1," + b"9" * 30, "line 4"),
        (LABELS + b"1,699,900\n", "lines 2 and 4: expected trials one after the other"),
        (b"\xff" + LABELS, "table of text"),
    ],
)
def test_a_damaged_table_is_named(labels, message):
    with pytest.raises(ValueError, match=message):
        read("some.aedat", AEDAT3_HEADER, labels)


def test_another_sensor_is_compared_with():
    raw = AEDAT3_HEADER + aedat3_packet([(200, 150, 1, 100, 1)])
    found = read("some.aedat", raw, LABELS, sensor=(2, 180, 240))
    assert found.unit.tolist() == [(180 + 150) * 240 + 200]
    with pytest.raises(ValueError, match="sensor: expected"):
        read("some.aedat", raw, LABELS, sensor=(100,))
