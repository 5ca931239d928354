"""Datasets are found in the promised order and hold what they promise, or are refused with what to do."""

import dataclasses
import gzip
from pathlib import Path

import numpy as np
import pytest

from places import Places, idx_archive
from sparsespike import data
from sparsespike.compiling import folder as folders
from sparsespike.data import encoders, library
from sparsespike.data.catalogue import MNIST
from sparsespike.data.library import ENTRIES

PACKAGE = Path("/usr/share/datasets/fashion-mnist")


@pytest.fixture
def places(tmp_path, monkeypatch):
    return Places(tmp_path, monkeypatch)


# ---- names and places --------------------------------------------------------------------------


def test_folders_are_searched_in_order(places):
    asked = {"name": "fashion-mnist", "root": places.root}
    for folder in (
        places.package,
        places.cache / "sparsespike/fashion-mnist",
        places.root,
        places.root / "fashion-mnist",
    ):
        places.put(folder) if not folder.exists() else None
        assert data.get(**asked) == folder
        assert len(data.load(**asked, split="test", download=False)) == 10


def test_a_folder_that_lacks_a_file_is_passed_over(places):
    (places.put(places.root) / "t10k-labels-idx1-ubyte.gz").unlink()
    places.put(places.package)
    assert data.get("fashion-mnist", root=places.root) == places.package


@pytest.mark.parametrize("allowed", [False, True], ids=["download off", "no network"])
def test_out_of_reach_says_what_to_do(places, allowed):
    with pytest.raises(OSError, match="apt-get install dataset-fashion-mnist") as caught:
        data.load("fashion-mnist", root=places.root, download=allowed)
    assert "\n" not in str(caught.value)
    assert f"into {places.root / 'fashion-mnist'}" in str(caught.value)
    assert not places.root.exists()


def test_unknown_names_get_a_suggestion():
    with pytest.raises(ValueError, match="did you mean 'fashion-mnist'"):
        data.load("fashionmnist")
    with pytest.raises(ValueError, match="did you mean 'fashion-mnist-sample'"):
        data.get("fashion-mnist-sampl")
    with pytest.raises(ValueError, match="split: expected one of train, test, found 'tset'"):
        data.load("fashion-mnist-sample", split="tset")


def test_listing_tells_what_is_present(places):
    rows = {row.name: row for row in data.listing(places.root)}
    assert list(rows) == data.available() == list(library.ENTRIES)
    absent = rows["fashion-mnist"]
    assert (absent.licence, absent.folder, absent.n_bytes) == ("MIT", None, 0)
    assert absent.n_samples == {"train": 60_000, "test": 10_000}
    places.put(places.root)
    row = {row.name: row for row in data.listing(str(places.root))}["fashion-mnist"]
    assert row.folder == places.root
    assert row.n_bytes == sum(map(len, places.archives.values()))


@pytest.mark.parametrize("relative", ["", "cache"])
def test_a_relative_cache_folder_is_ignored(monkeypatch, relative):
    monkeypatch.setenv("XDG_CACHE_HOME", relative)
    assert folders.user_cache().is_absolute()
    assert folders.user_cache().name == "sparsespike"


# ---- contents ----------------------------------------------------------------------------------


def test_pixels_become_events(places):
    folder = places.put(places.root)
    train = data.load("fashion-mnist", root=folder)
    raw = gzip.decompress((folder / "train-images-idx3-ubyte.gz").read_bytes())[16:]
    images = np.frombuffer(raw, np.uint8).reshape(20, 784)
    table = encoders.latency_table()
    for i in range(20):
        events = slice(train.offset[i], train.offset[i + 1])
        bright = np.flatnonzero(images[i] > 51)
        np.testing.assert_array_equal(train.unit[events], bright)
        np.testing.assert_array_equal(train.time[events], table[images[i][bright]])
    assert (train.n_units, train.n_classes, train.about.licence) == (784, 10, "MIT")
    assert "1708.07747" in train.about.citation


def test_mnist_is_read_as_fashion_mnist_is(places, monkeypatch):
    source = dataclasses.replace(MNIST, splits=places.splits)
    entry = dataclasses.replace(ENTRIES["mnist"], source=source)
    monkeypatch.setitem(ENTRIES, "mnist", entry)
    folder = places.put(places.root)
    digits, clothes = (data.load(name, root=folder) for name in ("mnist", "fashion-mnist"))
    for name in ("unit", "time", "offset", "label"):
        np.testing.assert_array_equal(getattr(digits, name), getattr(clothes, name))
    assert (digits.name, digits.about.classes[9]) == ("mnist", "nine")


def test_another_datasets_files_are_refused(places):
    folder = places.put(places.root)
    archive, _ = idx_archive(np.zeros((20, 28, 28), np.uint8))
    (folder / "train-images-idx3-ubyte.gz").write_bytes(archive)
    with pytest.raises(
        ValueError, match=r"train-images-idx3-ubyte\.gz: expected contents of SHA-256"
    ):
        data.load("fashion-mnist", root=folder)


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("train-labels-idx1-ubyte.gz", np.zeros(19, np.uint8), "expected 20 labels, found 19"),
        ("train-labels-idx1-ubyte.gz", np.full(20, 10, np.uint8), r"labels in \[0, 10\), found 10"),
        ("train-images-idx3-ubyte.gz", np.zeros((20, 28, 27), np.uint8), "images of 28 x 28"),
    ],
)
def test_files_that_disagree_are_refused(places, monkeypatch, name, array, message):
    sample = dataclasses.replace(
        ENTRIES["fashion-mnist-sample"], folders=(places.put(places.root),)
    )
    monkeypatch.setitem(ENTRIES, "fashion-mnist-sample", sample)
    (places.root / name).write_bytes(idx_archive(array)[0])
    with pytest.raises(ValueError, match=message) as caught:
        data.load("fashion-mnist-sample")
    assert name in str(caught.value)


def test_the_sample_is_stratified_and_comes_with_its_licence():
    for split, n in (("train", 6000), ("test", 1000)):
        sample = data.load("fashion-mnist-sample", split=split, download=False)
        assert len(sample) == n
        assert np.bincount(sample.label).tolist() == [n // 10] * 10
    folder = data.get("fashion-mnist-sample")
    assert "Copyright (c) 2017 Zalando SE" in (folder / "LICENSE").read_text()
    for archive in folder.glob("*.gz"):
        assert archive.read_bytes()[3:8] == bytes(5), "no name and no time in the gzip header"


@pytest.mark.skipif(not PACKAGE.is_dir(), reason="needs Debian's dataset-fashion-mnist")
def test_the_sample_is_part_of_the_whole_split_by_split():
    for split in ("train", "test"):
        whole = data.load("fashion-mnist", split=split, download=False)
        sample = data.load("fashion-mnist-sample", split=split)
        assert len(whole) == {"train": 60_000, "test": 10_000}[split]

        def codes(dataset):
            unit, time, offset = dataset.unit, dataset.time, dataset.offset
            label = dataset.label
            for i in range(len(dataset)):
                events = slice(offset[i], offset[i + 1])
                yield int(label[i]), unit[events].tobytes(), time[events].tobytes()

        assert set(codes(sample)) <= set(codes(whole))
