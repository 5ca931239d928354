"""Files of cameras: faery's reading of what was encoded here, and its failures as ValueErrors."""

from __future__ import annotations

import importlib.util
import struct

import numpy as np
import pytest

import format_files
from sparsespike.data import EventDataset
from sparsespike.data.formats import camera

faery = pytest.importorskip("faery")
SENSOR = (2, 40, 50)
EVENTS = [(0, 0, 0, 1000), (49, 39, 1, 1000), (7, 3, 1, 1063), (7, 3, 0, 9000), (1, 2, 1, 70_001)]
ENCODERS = {
    "evt2.raw": format_files.evt2,
    "evt3.raw": format_files.evt3,
    "cd.dat": format_files.dat,
    "dvs.es": format_files.es,
}


def file(tmp_path, name, events=EVENTS, size=(50, 40), folder=""):
    (tmp_path / folder).mkdir(exist_ok=True)
    path = tmp_path / folder / name
    if name.endswith("aedat4"):
        packet = np.array([(t, x, y, p) for x, y, p, t in events], faery.EVENTS_DTYPE)
        faery.events_stream_from_array(packet, size).to_file(path)
    else:
        path.write_bytes(ENCODERS[name](events, *size))
    return path


def test_reads_what_was_encoded(tmp_path):
    paths = [file(tmp_path, name) for name in (*ENCODERS, "some.aedat4")]
    assert camera.sensor_of(paths[0]) == SENSOR
    found = camera.read([(path, i) for i, path in enumerate(paths)], SENSOR)
    assert found.label.tolist() == list(range(5))
    for i, path in enumerate(paths):
        part = slice(found.offset[i], found.offset[i + 1])
        expected = [(p * 40 + y) * 50 + x for x, y, p, _ in EVENTS]
        assert found.unit[part].tolist() == expected, path.name
        assert found.time[part].tolist() == [t - 1000 for *_, t in EVENTS], path.name


@pytest.mark.parametrize("origin", ["recording", "first-event"])
@pytest.mark.parametrize("name", [*ENCODERS, "some.aedat4"])
def test_a_cameras_times_count_from_its_first_event_whatever_the_origin(tmp_path, name, origin):
    later = [(x, y, p, t + 5_000) for x, y, p, t in EVENTS[1:]]
    files = [
        (file(tmp_path, name), 1),
        (file(tmp_path, name, [], folder="none"), 0),
        (file(tmp_path, name, later, folder="late"), 0),
    ]
    found = EventDataset.from_camera(files, n_classes=2, sensor=SENSOR, origin=origin)
    assert found.offset.tolist() == [0, 5, 5, 9]
    assert found.label.tolist() == [1, 0, 0]
    assert found.time[:5].tolist() == [t - 1000 for *_, t in EVENTS]
    assert found.time[5:].tolist() == [t - 1000 for *_, t in EVENTS[1:]]
    spikes, _ = found[0]
    assert (spikes.n_spikes, spikes.n_late) == (5, 0)


def test_a_file_without_events_is_silent_and_no_file_gives_no_recording(tmp_path):
    path = file(tmp_path, "evt3.raw", [])
    assert camera.read([(path, 0)], SENSOR).offset.tolist() == [0, 0]
    assert camera.read([], SENSOR).offset.tolist() == [0]


def test_a_header_without_size_takes_the_sensor_that_is_given(tmp_path):
    path = file(tmp_path, "evt2.raw")
    path.write_bytes(path.read_bytes().replace(b"% geometry 50x40\n", b""))
    with pytest.raises(ValueError, match="no size information"):
        camera.sensor_of(path)
    assert len(camera.read([(path, 0)], SENSOR).unit) == 5


def message_of(path, sensor=SENSOR):
    with pytest.raises(ValueError, match=path.name) as caught:
        camera.read([(path, 0)], sensor)
    return str(caught.value)


def test_every_damage_is_named_in_one_start_of_the_decoder_each(tmp_path):
    whole = file(tmp_path, "evt3.raw").read_bytes()
    (cut := tmp_path / "cut.raw").write_bytes(whole[:-1])
    assert "expected words of 2 bytes" in message_of(cut)
    (newer := tmp_path / "newer.raw").write_bytes(whole.replace(b"EVT3", b"EVT2.1"))
    assert "found EVT2.1" in message_of(newer)
    (outside := tmp_path / "outside.raw").write_bytes(whole + struct.pack("<H", 0x2 << 12 | 50))
    assert "x overflow (x=50" in message_of(outside)
    (marked := tmp_path / "marked.raw").write_bytes(whole.replace(b"end\n", b"end\n%%"))
    assert "no byte '%'" in message_of(marked)
    (empty := tmp_path / "empty.es").write_bytes(b"")
    assert "damaged one" in message_of(empty)
    assert "expected the sensor (2, 41, 50)" in message_of(file(tmp_path, "dvs.es"), (2, 41, 50))


def test_a_claimed_size_ends_the_decoder_alone(tmp_path):
    path = file(tmp_path, "some.aedat4")
    raw = bytearray(path.read_bytes())
    raw[14:18] = struct.pack("<I", 2**32 - 1)
    path.write_bytes(raw)
    assert "some.aedat4: expected a file of a camera, found" in message_of(path)


def test_a_panic_of_the_decoder_is_a_value_error(tmp_path):
    path = file(tmp_path, "some.aedat4")
    raw = bytearray(path.read_bytes())
    raw[18:26] = b"\xff" * 8
    path.write_bytes(raw)
    assert "found a damaged one (range start index" in message_of(path)


def test_other_files_and_sensors_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError):
        camera.sensor_of(tmp_path / "none.raw")
    with pytest.raises(
        ValueError, match=r"expected one of \.aedat4, \.raw, \.dat, \.es, found '\.mp4'"
    ):
        camera.sensor_of(tmp_path / "none.mp4")
    with pytest.raises(ValueError, match="sensor: expected"):
        camera.read([], (1, 40, 50))


def test_without_the_extra_what_to_install_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"pip install sparsespike\[camera\]"):
        camera.sensor_of(tmp_path / "some.raw")
