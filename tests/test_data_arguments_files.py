"""Paths, files and other people's datasets: what is none of those is refused by name."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import format_files
from sparsespike import data
from sparsespike.data import EventDataset

XYPT = np.dtype([("x", "u2"), ("y", "u2"), ("p", "?"), ("t", "i8")])
EVENTS = np.zeros(3, XYPT)
NO_PATHS = [None, 3, 1.5, True, [], ["a"], ("a", 0), b"a", {}, np.zeros(2), "a\0b"]
SAMPLE = "fashion-mnist-sample"


def mine() -> EventDataset:
    return EventDataset.from_events([EVENTS, EVENTS], [0, 1], sensor=(2, 8, 8), n_classes=2)


# ---- paths -------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", NO_PATHS, ids=repr)
def test_what_is_no_path_is_refused_by_name(path):
    for use in (EventDataset.open, mine().save, lambda p: EventDataset.from_hdf5(p, n_units=5)):
        with pytest.raises(ValueError, match=r"^path: expected a path, found"):
            use(path)
    if path is None:  # the user's cache folder
        return
    for use in (data.listing, lambda p: data.get(SAMPLE, p), lambda p: data.load(SAMPLE, root=p)):
        with pytest.raises(ValueError, match=r"^root: expected a path, found"):
            use(path)


@pytest.mark.parametrize("use", [EventDataset.open, lambda p: EventDataset.from_hdf5(p, n_units=5)])
def test_a_missing_file_a_folder_and_another_format_are_named(tmp_path, use):
    (tmp_path / "some.csv").write_text("time, unit\n0.5, 3\n")
    with pytest.raises(FileNotFoundError, match="none"):
        use(tmp_path / "none")
    for folder in (tmp_path, ""):
        with pytest.raises(IsADirectoryError):
            use(folder)
    with pytest.raises(ValueError, match=r"some\.csv: .*damaged"):
        use(tmp_path / "some.csv")


def test_save_names_the_path_it_cannot_write(tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path, "", ".", "..", "/"):
        with pytest.raises(
            IsADirectoryError, match=r"cannot save .*: expected a file, found a folder"
        ):
            mine().save(path)
    for path in (tmp_path / "none" / "some", tmp_path / "file" / "some", tmp_path / ("x" * 300)):
        with pytest.raises(OSError, match=path.name):
            mine().save(path)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


WRONG_LOAD: dict[str, list[Any]] = {
    "name": [None, 3, ["nmnist"], True, b"a", "a/\0"],
    "split": [None, 3, "tset", ["train"], ""],
    "download": [None, "no", 1, [], np.ones(2)],
}


@pytest.mark.parametrize(
    ("name", "value"), [(n, v) for n, many in WRONG_LOAD.items() for v in many], ids=repr
)
def test_others_of_load_are_refused_by_name(name, value):
    with pytest.raises(ValueError, match=rf"^{name}: expected .*found"):
        data.load(**{"name": SAMPLE, name: value})


def test_load_of_a_folder_names_the_split_and_the_file(tmp_path):
    wrong: Any
    for wrong in (None, 3, ["train"]):
        with pytest.raises(ValueError, match=r"^split: expected text, found"):
            data.load(tmp_path, wrong)
    mine().save(tmp_path / "train.events")
    assert len(data.load(tmp_path)) == 2
    with pytest.raises(FileNotFoundError, match=r"test\.events"):
        data.load(tmp_path, "test")
    with pytest.raises(NotADirectoryError, match=r"train\.events"):
        data.load(tmp_path / "train.events")
    with pytest.raises(FileNotFoundError, match="~nobody-here"):
        data.load("~nobody-here/some")


@pytest.mark.parametrize("name", ["", "mnits", None, 3, ["shd"], {}], ids=repr)
def test_get_knows_its_names(name):
    with pytest.raises(ValueError, match=r"^dataset: expected one of fashion-mnist, .*found"):
        data.get(name)


# ---- files, one a sample -----------------------------------------------------------------------

TABLE = "some.csv"
WRONG_FILES: list[Any] = [
    *(
        None,
        3,
        TABLE,
        Path(TABLE),
        [],
        [TABLE],
        [Path(TABLE)],
        (TABLE, 0),
        {TABLE: 0},
        [None],
        [[]],
    ),
    *([(TABLE,)], [(TABLE, 0, 1)], [(0, TABLE)], [(None, 0)], [(b"a", 0)], [("a\0b", 0)]),
    *([[TABLE, TABLE], [0, 1]], np.zeros((2, 2))),
]
WRONG_LABELS: list[Any] = [-1, 2, "0", 0.0, None, True, [0], 2**70, torch.tensor(0.0)]


@pytest.mark.parametrize("kind", ["from_csv", "from_camera"])
def test_lists_of_files_are_refused_by_name(kind):
    more = {"n_units": 5, "time_unit": "ms"} if kind == "from_csv" else {}
    for files in WRONG_FILES:
        with pytest.raises(ValueError, match=r"^files: expected .*found"):
            getattr(EventDataset, kind)(files, n_classes=2, **more)
    for label in WRONG_LABELS:
        with pytest.raises(ValueError, match=r"^label: expected an integer in \[0, 2\), found"):
            getattr(EventDataset, kind)([(TABLE, label)], n_classes=2, **more)
    for n_classes in (0, -1, 2.0, "2", None, True, [2]):
        with pytest.raises(ValueError, match=r"^n_classes: expected an integer .*found"):
            getattr(EventDataset, kind)([(TABLE, 0)], n_classes=n_classes, **more)


WRONG_SETTINGS: dict[str, list[Any]] = {
    "rounding": ["up", None, 1, ["floor"]],
    "origin": ["start", None, 0, ["recording"]],
    "name": [3, ["a"], True, b"a", Path("a")],
}
WRONG_N_UNITS = [0, -1, 5.0, "5", None, True, [5], (2, 5)]


def refused(make: Any, given: dict[str, Any], wrong: dict[str, list[Any]]) -> None:
    assert len(make(**given)) > 0
    for name, values in wrong.items():
        for value in values:
            with pytest.raises(ValueError, match=rf"^{name}: expected .*found"):
                make(**{**given, name: value})


def test_settings_of_tables_are_refused_by_name(tmp_path):
    (tmp_path / TABLE).write_text("0.5, 3\n")
    given = {"files": [(tmp_path / TABLE, 0)], "n_units": 5, "n_classes": 2, "time_unit": "ms"}
    units = {"n_units": WRONG_N_UNITS, "time_unit": ["ns", None, 1e-3, "S", ["ms"]]}
    refused(EventDataset.from_csv, given, {**WRONG_SETTINGS, **units})


def test_settings_of_hdf5_are_refused_by_name(tmp_path):
    (tmp_path / "some.h5").write_bytes(format_files.hdf5([[0.5], [1.0]], [[1], [2]], [0, 1]))
    given = {"path": tmp_path / "some.h5", "n_units": 5}
    refused(EventDataset.from_hdf5, given, {**WRONG_SETTINGS, "n_units": WRONG_N_UNITS})


@pytest.mark.skipif(importlib.util.find_spec("faery") is None, reason="needs faery")
def test_settings_of_cameras_are_refused_by_name(tmp_path):
    path = tmp_path / "some.raw"
    path.write_bytes(format_files.evt3([(1, 2, 1, 1000)], 50, 40))
    given = {"files": [(path, 0)], "n_classes": 2}
    sensors = [(40, 50), (1, 40, 50), (2000,), 2, "auto", (2, 40.0, 50), [], (2, 70_000, 50)]
    refused(EventDataset.from_camera, given, {**WRONG_SETTINGS, "sensor": sensors})
    with pytest.raises(ValueError, match=r"some\.raw: expected the sensor \(2, 50, 40\), found"):
        EventDataset.from_camera(**given, sensor=(2, 50, 40))
    folder, text = tmp_path / "folder.raw", tmp_path / "text.es"
    folder.mkdir()
    text.write_text("hello")
    for file, kind in ((folder, IsADirectoryError), (text, ValueError), (tmp_path, ValueError)):
        with pytest.raises(kind, match=file.name):
            EventDataset.from_camera([(file, 0)], n_classes=2)


# ---- Tonic -------------------------------------------------------------------------------------


class Samples:
    """A dataset of Tonic's kind."""

    sensor_size: Any = (8, 8, 2)

    def __init__(self, *samples: Any, **more: Any) -> None:
        self.samples = samples
        self.__dict__.update(more)

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Any:
        return self.samples[index]


def test_what_is_no_dataset_of_tonic_is_refused():
    assert len(EventDataset.from_tonic(Samples((EVENTS, 0)))) == 1
    part = torch.utils.data.Subset(Samples((EVENTS, 0)), [0])  # pyright: ignore[reportArgumentType]
    wrong: Any
    for wrong in (None, 3, "x", [], [(EVENTS, 0)], Samples, mine(), mine, part):
        with pytest.raises(ValueError, match=r"^dataset: expected one of Tonic, .*found"):
            EventDataset.from_tonic(wrong)
    for wrong in (None, 8, "882", (8, 8), (8.5, 8, 2), (8, 8, 0), (8, None, 2), ("8", 8, 2)):
        with pytest.raises(ValueError, match=r"^dataset: expected a sensor_size .*found"):
            EventDataset.from_tonic(Samples((EVENTS, 0), sensor_size=wrong))
    refused(
        EventDataset.from_tonic,
        {"dataset": Samples((EVENTS, 0), (EVENTS, 1))},
        {**WRONG_SETTINGS, "n_classes": [0, -1, 2.0, "2", True, [2]], "label": []},
    )


@pytest.mark.parametrize("sample", [EVENTS, 3, None, "ab", (EVENTS,), (EVENTS, 0, 1)], ids=repr)
def test_a_sample_that_is_no_pair_is_refused(sample):
    with pytest.raises(ValueError, match=r"^sample 1: expected \(events, label\), found"):
        EventDataset.from_tonic(Samples((EVENTS, 0), sample))


@pytest.mark.parametrize("label", ["cat", None, -1, 1.0, True, [0], torch.tensor(0.5)], ids=repr)
def test_a_label_that_is_no_integer_is_refused(label):
    with pytest.raises(
        ValueError, match=r"^sample 1: expected a label that is an integer >= 0, found"
    ):
        EventDataset.from_tonic(Samples((EVENTS, 0), (EVENTS, label)))


@pytest.mark.parametrize("classes", [None, 3, "many"], ids=repr)
def test_classes_that_are_no_list_are_not_counted(classes):
    found = EventDataset.from_tonic(Samples((EVENTS, 0), (EVENTS, 1), classes=classes))
    assert found.n_classes == 2


@pytest.mark.parametrize("transform", [3, "x", [], {}, False, data.Shift(1), EVENTS], ids=repr)
def test_what_is_no_transform_of_tonic_is_refused(transform):
    for use in (mine().to_tonic, data.TonicTransform):
        with pytest.raises(ValueError, match=r"^transform: expected one of Tonic, found"):
            use(transform)


def test_positions_of_a_dataset_as_tonics_are_those_of_a_list():
    found = mine().to_tonic()
    assert (len(found[-1][0]), found[-1][1]) == (3, 1)
    assert [label for _, label in (found[i] for i in range(2))] == [0, 1]
    for index in (2, -3):
        with pytest.raises(IndexError, match=f"sample {index} of 2"):
            found[index]
    wrong: Any
    for wrong in ("0", None, 1.0, [0], True, slice(0, 2)):
        with pytest.raises(ValueError, match=r"^index: expected an integer .*found"):
            found[wrong]
