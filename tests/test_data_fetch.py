"""Datasets are found in the promised order, or downloaded whole, or refused with what to do."""

import dataclasses
import gzip
import hashlib
import http.server
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from sparsespike import data
from sparsespike.compiling import folder as folders
from sparsespike.data import download, encoders, library
from sparsespike.data.catalogue import FASHION_MNIST, MNIST
from sparsespike.data.library import ENTRIES
from sparsespike.data.source import File

PACKAGE = Path("/usr/share/datasets/fashion-mnist")


def idx_archive(array: np.ndarray) -> tuple[bytes, str]:
    raw = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes() + array.tobytes()
    return gzip.compress(raw, mtime=0), hashlib.sha256(raw).hexdigest()


class Places:
    """A tiny Fashion-MNIST, and folders of its own for everything."""

    def __init__(self, base: Path, monkeypatch: pytest.MonkeyPatch):
        self.root, self.cache, self.package = base / "root", base / "cache", base / "package"
        rng = np.random.default_rng(0)
        self.archives, self.splits = {}, {}
        for split, prefix, n in (("train", "train", 20), ("test", "t10k", 10)):
            images = rng.integers(0, 256, (n, 28, 28), np.uint8)
            labels = (np.arange(n) % 10).astype(np.uint8)
            pair = []
            for kind, array in (
                (f"{prefix}-images-idx3", images),
                (f"{prefix}-labels-idx1", labels),
            ):
                name = f"{kind}-ubyte.gz"
                self.archives[name], sha256 = idx_archive(array)
                size = len(self.archives[name])
                pair.append(File(name, (), size, unpacked_sha256=sha256))
            self.splits[split] = tuple(pair)
        self.monkeypatch = monkeypatch
        self.come_from("http://127.0.0.1:9/")
        monkeypatch.setenv("XDG_CACHE_HOME", str(self.cache))
        monkeypatch.setenv("no_proxy", "*")

    def come_from(self, *bases: str) -> None:
        """Gives the files these addresses."""
        splits = {
            split: tuple(
                dataclasses.replace(file, addresses=tuple(base + file.name for base in bases))
                for file in files
            )
            for split, files in self.splits.items()
        }
        source = dataclasses.replace(FASHION_MNIST, splits=splits)
        entry = dataclasses.replace(
            ENTRIES["fashion-mnist"], source=source, folders=(self.package,)
        )
        self.monkeypatch.setitem(ENTRIES, "fashion-mnist", entry)

    def put(self, folder: Path) -> Path:
        folder.mkdir(parents=True)
        for name, archive in self.archives.items():
            (folder / name).write_bytes(archive)
        return folder


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


# ---- downloads ---------------------------------------------------------------------------------


class Server(http.server.ThreadingHTTPServer):
    """Serves `files`; `mode` says how it misbehaves; `asked` keeps (path, Range)."""

    daemon_threads = True

    def __init__(self, files: dict[str, bytes]):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.mode, self.asked = files, "", []
        self.address = f"http://127.0.0.1:{self.server_address[1]}/"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        server, found = self.server, self.headers.get("Range")
        assert isinstance(server, Server)
        mode = server.mode
        server.asked.append((self.path[1:], found))
        body = server.files.get(self.path[1:])
        if body is None:
            self.send_error(404)
            return
        if mode == "silent":
            time.sleep(0.6)
            return
        start = int(found.removeprefix("bytes=").rstrip("-")) if found else 0
        if mode == "no ranges":
            start = 0
        if start >= len(body):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        if mode != "no length":
            self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        self.wfile.write(body[start : len(body) // 2] if mode == "breaks" else body[start:])

    def log_message(self, format, *args):
        pass


@pytest.fixture
def server(places):
    with Server(places.archives) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        places.come_from(running.address)
        yield running
        running.shutdown()
        thread.join()


IMAGES = "train-images-idx3-ubyte.gz"


def target_of(places) -> Path:
    return places.root / "fashion-mnist"


def assert_complete(places):
    names = {path.name: path.read_bytes() for path in target_of(places).iterdir()}
    assert names == places.archives  # nothing half done left beside


@pytest.mark.parametrize("mode", ["", "no ranges", "no length"])
def test_download_fetches_every_file_once(places, server, mode):
    server.mode = mode
    assert len(data.load("fashion-mnist", root=places.root)) == 20
    assert_complete(places)
    assert [name for name, _ in server.asked] == list(places.archives)
    data.load("fashion-mnist", "test", root=places.root)
    assert len(server.asked) == 4


def test_download_goes_to_the_users_cache_folder_without_root(places, server):
    assert data.get("fashion-mnist") == places.cache / "sparsespike/fashion-mnist"


@pytest.mark.parametrize("mode", ["", "no ranges"])
def test_download_resumes_where_it_stopped(places, server, mode):
    server.mode = "breaks"
    with pytest.raises(OSError, match="the connection broke after"):
        data.get("fashion-mnist", root=places.root)
    part = target_of(places) / f"{IMAGES}.part"
    assert part.stat().st_size == len(places.archives[IMAGES]) // 2
    assert not (target_of(places) / IMAGES).exists()
    server.mode = mode
    server.asked.clear()
    data.get("fashion-mnist", root=places.root)
    assert server.asked[0] == (IMAGES, f"bytes={len(places.archives[IMAGES]) // 2}-")
    assert [name for name, _ in server.asked] == list(places.archives), "nothing came twice"
    assert_complete(places)


@pytest.mark.parametrize("length", ["short", "whole", "long"])
def test_a_stale_part_is_replaced(places, server, length):
    target_of(places).mkdir(parents=True)
    size = len(places.archives[IMAGES])
    stale = b"x" * {"short": 10, "whole": size, "long": size + 5}[length]
    (target_of(places) / f"{IMAGES}.part").write_bytes(stale)
    data.get("fashion-mnist", root=places.root)
    assert_complete(places)
    assert server.asked[:2] == [(IMAGES, f"bytes={len(stale)}-"), (IMAGES, None)]


def test_a_complete_part_is_taken(places, server):
    target_of(places).mkdir(parents=True)
    (target_of(places) / f"{IMAGES}.part").write_bytes(places.archives[IMAGES])
    data.get("fashion-mnist", root=places.root)
    assert_complete(places)


def test_wrong_contents_are_never_kept(places, server):
    server.files = {**places.archives, IMAGES: idx_archive(np.zeros((2, 28, 28), np.uint8))[0]}
    with pytest.raises(OSError, match="expected contents of SHA-256"):
        data.get("fashion-mnist", root=places.root)
    assert list(target_of(places).iterdir()) == []


def test_a_page_instead_of_the_file_is_never_kept(places, server):
    server.files = {IMAGES: b"<html>please log in</html>"}
    with pytest.raises(OSError, match="expected contents of SHA-256"):
        data.get("fashion-mnist", root=places.root)
    assert list(target_of(places).iterdir()) == []


@pytest.mark.parametrize("mode", ["", "no length"])
def test_more_than_expected_is_refused(places, server, mode):
    server.files, server.mode = {IMAGES: b"\0" * 10**6}, mode
    with pytest.raises(OSError, match="expected at most"):
        data.get("fashion-mnist", root=places.root)
    assert not list(places.root.rglob("*.part"))


def test_the_next_address_is_tried(places, server):
    places.come_from("http://127.0.0.1:9/", server.address + "moved/", server.address)
    data.get("fashion-mnist", root=places.root)
    assert_complete(places)


def test_an_answer_of_not_found_is_told(places, server):
    server.files = {}
    with pytest.raises(OSError, match="HTTP 404"):
        data.get("fashion-mnist", root=places.root)


def test_a_silent_address_is_given_up(places, server, monkeypatch):
    monkeypatch.setattr(download, "SECONDS_OF_SILENCE", 0.2)
    server.mode = "silent"
    start = time.monotonic()
    with pytest.raises(OSError, match=r"(?i)timed out|no answer"):
        data.get("fashion-mnist", root=places.root)
    assert time.monotonic() - start < 5
    time.sleep(0.7)  # for the server's own thread
