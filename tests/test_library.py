"""Official data sets by their official files: tiny ones of the same layout, packed and unpacked."""

import dataclasses
import gzip
import hashlib
import shutil
import struct
import tarfile
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor

import h5py
import numpy as np
import pytest

from sparsespike import data
from sparsespike.data import EventDataset, library
from sparsespike.data.catalogue import DVS_GESTURE, NMNIST, SHD, SSC

N_MNIST = {"train": 23, "test": 7}


def nmnist_file(rng) -> tuple[bytes, list[tuple[int, int]]]:
    """A recording as its file has it, and its (unit, time)."""
    n = int(rng.integers(1, 30))
    x, y, p = rng.integers(0, 34, n), rng.integers(0, 34, n), rng.integers(0, 2, n)
    t = np.sort(rng.integers(0, 300_000, n))
    rows = zip(*(a.tolist() for a in (x, y, p, t)), strict=True)
    packed = b"".join(bytes([a, b]) + ((c << 23) | d).to_bytes(3, "big") for a, b, c, d in rows)
    return packed, list(zip(((p * 34 + y) * 34 + x).tolist(), t.tolist(), strict=True))


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder of datasets, and a cache folder elsewhere."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


@pytest.fixture
def nmnist(place, monkeypatch):
    """N-MNIST unpacked into `place`/nmnist; gives the events of each split, in the files' order."""
    entry = library.ENTRIES["nmnist"]
    source = dataclasses.replace(NMNIST, n_samples=N_MNIST)
    monkeypatch.setitem(library.ENTRIES, "nmnist", dataclasses.replace(entry, source=source))
    monkeypatch.setattr("sparsespike.data.nmnist.FILES_PER_PIECE", 5)
    rng, expected = np.random.default_rng(0), {}
    for split, n in N_MNIST.items():
        recordings = []
        for number in range(n):
            folder = place / "nmnist" / split.capitalize() / str(number % 10)
            folder.mkdir(parents=True, exist_ok=True)
            packed, events = nmnist_file(rng)
            (folder / f"{number:05}.bin").write_bytes(packed)
            recordings.append((number % 10, number, events))
        expected[split] = [(label, events) for label, _, events in sorted(recordings)]
    return expected


def samples(dataset: EventDataset) -> list[tuple[int, list[tuple[int, int]]]]:
    pairs = list(zip(dataset.unit.tolist(), dataset.time.tolist(), strict=True))
    bounds = zip(dataset.offset[:-1], dataset.offset[1:], strict=True)
    return [(int(y), pairs[a:b]) for y, (a, b) in zip(dataset.label, bounds, strict=True)]


def zipped(folder, target, prefix="") -> None:
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.rglob("*.bin")):
            archive.write(path, prefix + str(path.relative_to(folder.parent)))


# ---- N-MNIST -----------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["folders", "archives", "one archive"])
@pytest.mark.parametrize("split", ["train", "test"])
def test_nmnist_is_read_from_folders_and_from_archives(place, nmnist, form, split):
    folder, name = place / "nmnist", "nmnist"
    if form == "archives":
        for one in ("Train", "Test"):
            zipped(folder / one, folder / f"{one}.zip")
            shutil.rmtree(folder / one)
    elif form == "one archive":
        name = "nmnist-small"
        zipped(folder, place / "small.zip", "N-MNIST-small/")
        shutil.rmtree(folder)
    found = data.load(name, split, root=place, download=False)
    assert samples(found) == nmnist[split]
    assert (found.about.sensor, found.about.rounding) == ((2, 34, 34), "nearest")
    assert found.about.licence == "CC BY-SA 4.0"
    assert found.path is not None
    assert found.path.parent == place / name
    again = data.load(name, split, root=place, download=False)
    assert again.path == found.path
    found.verify()


def test_a_store_is_found_without_the_files_and_made_anew_of_others(place, nmnist):
    first = data.load("nmnist", "test", root=place)
    folder = place / "nmnist"
    recording = next((folder / "Test").rglob("*.bin"))
    (folder / "Test/9").mkdir()
    shutil.move(recording, folder / "Test/9")
    other = data.load("nmnist", "test", root=place)
    assert other.path != first.path
    assert other.label.tolist() != first.label.tolist()
    shutil.rmtree(folder / "Test")
    assert data.load("nmnist", "test", root=place, download=False).path == other.path


def test_a_folder_that_nobody_may_write_is_left_alone(place, nmnist, tmp_path):
    place.chmod(0o555)
    found = data.load("nmnist", "test", root=place)
    assert found.path is not None
    assert found.path.parent == tmp_path / "cache/sparsespike/nmnist"


def test_missing_and_damaged_recordings_are_refused_by_name(place, nmnist):
    recording = next((place / "nmnist/Test").rglob("*.bin"))
    recording.write_bytes(recording.read_bytes()[:-1])
    with pytest.raises(ValueError, match=rf"{recording.name}: expected 5 bytes an event"):
        data.load("nmnist", "test", root=place)
    recording.unlink()
    with pytest.raises(ValueError, match=r"expected 7 recordings Test/<digit>/.*found 6"):
        data.load("nmnist", "test", root=place)
    (place / "nmnist/Train.zip").write_bytes(b"PK no zip archive")
    shutil.rmtree(place / "nmnist/Train")
    with pytest.raises(ValueError, match=r"Train\.zip: no zip archive, or a damaged one"):
        data.load("nmnist", root=place)


def test_a_conversion_goes_on_where_it_stopped(place, nmnist, monkeypatch):
    read, asked = library.nmnist.nmnist.read, []

    def failing(files, sensor):
        asked.append(len(files))
        if len(asked) > 2:
            raise OSError("disk full")
        return read(files, sensor)

    monkeypatch.setattr("os.cpu_count", lambda: 1)
    monkeypatch.setattr(library.nmnist.nmnist, "read", failing)
    with pytest.raises(OSError, match="disk full"):
        data.load("nmnist", root=place)
    kept = list((place / "nmnist").rglob("*.parts/*"))
    assert len(kept) == 2
    assert not list((place / "nmnist").glob("*.events"))
    monkeypatch.setattr(library.nmnist.nmnist, "read", lambda *a: asked.append(0) or read(*a))
    assert samples(data.load("nmnist", root=place)) == nmnist["train"]
    assert asked.count(0) == 3, "5 pieces of 23 recordings, of which 2 were there"
    assert not list((place / "nmnist").glob("*.parts"))


def test_two_that_want_the_same_store_make_it_once(place, nmnist, monkeypatch):
    write, written = library.nmnist.write, []

    def counting(*given):
        written.append(given)
        time.sleep(0.2)
        write(*given)

    entry = dataclasses.replace(library.ENTRIES["nmnist"], write=counting)
    monkeypatch.setitem(library.ENTRIES, "nmnist", entry)
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda _: data.load("nmnist", root=place), range(4)))
    assert len(written) == 1
    assert all(samples(one) == nmnist["train"] for one in found)
    assert not list((place / "nmnist").glob("*.lock"))


# ---- SHD and SSC -------------------------------------------------------------------------------


def heidelberg(path, n, n_classes, seed=0):
    """Writes a file of SHD's layout; gives its samples and speakers."""
    rng = np.random.default_rng(seed)
    label = rng.integers(0, n_classes, n)
    times = [np.sort(rng.random(int(k)) * 1.2).astype(np.float16) for k in rng.integers(0, 40, n)]
    units = [rng.integers(0, 700, len(t)) for t in times]
    speaker = rng.integers(0, 12, n)
    with h5py.File(path, "w") as file:
        for name, kind, lists in (("times", np.float16, times), ("units", np.uint16, units)):
            made = file.create_dataset(f"spikes/{name}", (n,), h5py.vlen_dtype(kind))
            for i, values in enumerate(lists):
                made[i] = values.astype(kind)
        file["labels"] = label.astype(np.uint16)
        file["extra/speaker"] = speaker.astype(np.uint16)
        file["extra/keys"] = [f"word {i}".encode() for i in range(n_classes)]
    expected = [
        (int(y), [(int(a), round(float(b) * 1e6)) for a, b in zip(u, t, strict=True)])
        for y, u, t in zip(label, units, times, strict=True)
    ]
    return expected, speaker.tolist()


@pytest.mark.parametrize("packed", [".h5", ".h5.gz", ".h5.zip"])
def test_shd_is_read_however_it_is_packed(place, monkeypatch, packed):
    entry = library.ENTRIES["shd"]
    source = dataclasses.replace(SHD, n_samples={"train": 30, "test": 9})
    monkeypatch.setitem(library.ENTRIES, "shd", dataclasses.replace(entry, source=source))
    monkeypatch.setattr("sparsespike.data.heidelberg.RECORDINGS_PER_PIECE", 8)
    plain = place / "shd_train.h5"
    expected, speaker = heidelberg(plain, 30, 20)
    if packed == ".h5.gz":
        (place / "shd_train.h5.gz").write_bytes(gzip.compress(plain.read_bytes()))
    elif packed == ".h5.zip":
        with zipfile.ZipFile(place / "shd_train.h5.zip", "w") as archive:
            archive.write(plain, "shd_train.h5")
    if packed != ".h5":
        plain.unlink()
    found = data.load("shd", root=place)
    assert samples(found) == expected
    assert found.meta["speaker"].tolist() == speaker
    assert (found.n_units, found.n_classes, found.about.classes[10]) == (700, 20, "word 10")
    assert not list(place.rglob("*.part*"))
    assert found.select("speaker", [speaker[0]]).meta["speaker"].tolist() == [
        s for s in speaker if s == speaker[0]
    ]


def test_ssc_has_a_third_split_and_its_words_from_the_file(place, monkeypatch):
    entry = library.ENTRIES["ssc"]
    source = dataclasses.replace(SSC, n_samples={"valid": 6})
    monkeypatch.setitem(library.ENTRIES, "ssc", dataclasses.replace(entry, source=source))
    expected, _ = heidelberg(place / "ssc_valid.h5", 6, 35)
    found = data.load("ssc", "valid", root=place)
    assert samples(found) == expected
    assert found.about.classes == tuple(f"word {i}" for i in range(35))


def test_a_wrong_number_of_recordings_and_a_damaged_archive_are_refused(place):
    heidelberg(place / "shd_test.h5", 5, 20)
    with pytest.raises(ValueError, match=r"shd_test\.h5: expected 2,264 recordings, found 5"):
        data.load("shd", "test", root=place)
    (place / "shd_train.h5.gz").write_bytes(gzip.compress(bytes(1000))[:-12])
    with pytest.raises(ValueError, match=r"shd_train\.h5\.gz: a damaged archive"):
        data.load("shd", root=place)
    (place / "shd_train.h5.gz").write_bytes(gzip.compress(bytes(10**6)))
    with pytest.raises(ValueError, match=r"shd_train\.h5\.gz: expected at most .* found more"):
        data.load("shd", root=place)
    assert not list(place.rglob("*.part"))


# ---- DVS128 Gesture ----------------------------------------------------------------------------


def gesture(folder):
    """Writes an unpacked DVS128 Gesture of one file a split; gives the samples of the first."""
    folder.mkdir()
    events = [(3, 5, 1, 100), (127, 0, 0, 1500), (1, 2, 1, 1999), (9, 9, 0, 2600)]
    body = b"".join(
        struct.pack("<Ii", (x << 17) | (y << 2) | (p << 1) | 1, t) for x, y, p, t in events
    )
    n = len(events)
    packet = struct.pack("<hhiiiiii", 1, 1, 8, 4, 0, n, n, n)
    raw = b"#!AER-DAT3.1\r\n#Format: RAW\r\n#!END-HEADER\r\n" + packet + body
    table = "class,startTime_usec,endTime_usec\n2,1000,2000\n11,2500,3000\n"
    for split, name in (("train", "user01_led"), ("test", "user24_lab")):
        (folder / f"trials_to_{split}.txt").write_text(f"{name}.aedat\n")
        (folder / f"{name}.aedat").write_bytes(raw)
        (folder / f"{name}_labels.csv").write_text(table)

    def unit(x, y, p):
        return (p * 128 + y) * 128 + x

    return [
        (1, [(unit(127, 0, 0), 500), (unit(1, 2, 1), 999)]),
        (10, [(unit(9, 9, 0), 100)]),
    ]


@pytest.mark.parametrize("packed", [False, True], ids=["unpacked", "archive"])
def test_gestures_are_cut_at_the_times_in_their_tables(place, packed):
    expected = gesture(place / "DvsGesture")
    if packed:
        with tarfile.open(place / "DvsGesture.tar.gz", "w:gz") as archive:
            archive.add(place / "DvsGesture", "DvsGesture")
        shutil.rmtree(place / "DvsGesture")
    found = data.load("dvs-gesture", "test", root=place)
    assert samples(found) == expected
    assert found.about.n_dropped == 1, "the event before the first gesture"
    assert found.about.classes == DVS_GESTURE.classes
    assert not list(place.rglob("*.unpacked"))


# ---- your own ----------------------------------------------------------------------------------


def test_a_folder_of_stores_is_a_dataset(place):
    unit = np.array([3, 0])
    mine = EventDataset.from_arrays(unit, unit, [0, 1, 2], [1, 0], n_units=4, n_classes=2)
    mine.save(place / "test.events")
    found = data.load(f"{place}/", "test")
    assert found.path == place / "test.events"
    assert found.unit.tolist() == [3, 0]
    with pytest.raises(FileNotFoundError, match=r"train\.events"):
        data.load(str(place))


# ---- downloads ---------------------------------------------------------------------------------


def test_a_download_is_checked_by_its_md5(place, monkeypatch):
    def fetch(addresses, path, check, max_bytes):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"contents")
        check(path)

    monkeypatch.setattr(library, "fetch", fetch)
    right = hashlib.md5(b"contents", usedforsecurity=False).hexdigest()
    for md5 in (right, "0" * 32):
        file = dataclasses.replace(NMNIST.files[0], md5=md5)
        source = dataclasses.replace(NMNIST, splits={"train": (file,), "test": (file,)})
        entry = dataclasses.replace(library.ENTRIES["nmnist"], source=source)
        monkeypatch.setitem(library.ENTRIES, "nmnist", entry)
        if md5 == right:
            assert data.get("nmnist", root=place) == place / "nmnist"
            shutil.rmtree(place / "nmnist")
        else:
            with pytest.raises(ValueError, match="expected MD5 0000000000000000…, found"):
                data.get("nmnist", root=place)


@pytest.mark.parametrize("name", ["nmnist", "shd", "ssc", "dvs-gesture", "mnist", "fsdd-spikes"])
def test_out_of_reach_names_the_files_and_where_to_put_them(place, monkeypatch, name):
    def unreachable(*_):
        raise OSError("example.org: no answer within 5 seconds")

    monkeypatch.setattr(library, "fetch", unreachable)
    with pytest.raises(FileNotFoundError) as caught:
        data.get(name, root=place)
    said = str(caught.value)
    for file in library.ENTRIES[name].source.files:
        assert file.name in said
    assert str(place / name) in said
    assert "`sparsespike data get --help` has the addresses" in said


def test_every_source_says_what_a_user_must_know():
    for name, entry in library.ENTRIES.items():
        source = entry.source
        assert source.name == name
        assert source.licence
        assert source.citation
        assert len(source.classes) in (0, source.n_classes)
        assert source.homepage.startswith("http")
        for file in source.files:
            assert not file.addresses or file.md5 or file.unpacked_sha256, "checked when it comes"
            assert all(address.startswith("http") for address in file.addresses)
