"""Fashion-MNIST: 28 x 28 grey images of ten kinds of clothing, as one spike per bright pixel.

H. Xiao, K. Rasul, R. Vollgraf, Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine
Learning Algorithms, arXiv:1708.07747, 2017. Encoded by `encoders.latency_events`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sparsespike.data import encoders, idx
from sparsespike.data.dataset import EventDataset
from sparsespike.data.download import data_folder, fetch

NAME, SAMPLE = "fashion-mnist", "fashion-mnist-sample"
LICENCE = "MIT"
CITATION = (
    "H. Xiao, K. Rasul, R. Vollgraf: Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine "
    "Learning Algorithms. arXiv:1708.07747, 2017."
)
N_UNITS, N_CLASSES = 784, 10

ADDRESSES = (
    "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
)
PACKAGE = "dataset-fashion-mnist"  # Debian's and Ubuntu's, and where it puts the files
PACKAGE_FOLDER = Path("/usr/share/datasets/fashion-mnist")
SAMPLE_FOLDER = Path(__file__).parent / "sample"


@dataclass(frozen=True)
class File:
    """One file, told apart by its contents: archives of the same bytes differ between packers.

    Attributes:
        name: of the gzip archive.
        ndim: dimensions, 3 of images or 1 of labels.
        n_bytes: uncompressed.
        sha256: of the uncompressed bytes.
    """

    name: str
    ndim: int
    n_bytes: int
    sha256: str


# (images, labels) of each split. Taken from Debian's package; with the name and time that
# upstream's archives have in their gzip header, its bytes give the MD5 that upstream publishes.
FILES = {
    "train": (
        File(
            "train-images-idx3-ubyte.gz",
            3,
            47_040_016,
            "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        ),
        File(
            "train-labels-idx1-ubyte.gz",
            1,
            60_008,
            "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        ),
    ),
    "test": (
        File(
            "t10k-images-idx3-ubyte.gz",
            3,
            7_840_016,
            "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        ),
        File(
            "t10k-labels-idx1-ubyte.gz",
            1,
            10_008,
            "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
        ),
    ),
}


def load(name: str, split: str, root: Path | None, download: bool) -> EventDataset:
    """One split, encoded: 60,000 or 10,000 samples of the whole, 6,000 or 1,000 of the sample.

    Args:
        name: `NAME` or `SAMPLE`.
        split: "train" or "test".
        root: as in `find`.
        download: whether to fetch files that are not found.

    Raises:
        ValueError: if a file is damaged or another dataset's, naming it.
        OSError: if the files are not in reach, saying what to do.
    """
    folder = get(name, root, download)
    images_file, labels_file = FILES[split]
    # The sample comes with the package, so only the whole is checked against published contents.
    whole = name == NAME
    images_path, labels_path = folder / images_file.name, folder / labels_file.name
    images = idx.read_images(images_path, images_file.sha256 if whole else None)
    labels = idx.read_labels(labels_path, N_CLASSES, labels_file.sha256 if whole else None)
    if images.shape[1:] != (28, 28):
        raise ValueError(f"{images_path}: expected images of 28 x 28, found {images.shape[1:]}")
    if len(images) != len(labels):
        raise ValueError(f"{labels_path}: expected {len(images)} labels, found {len(labels)}")
    unit, time, offset = encoders.latency_events(images)
    return EventDataset.from_arrays(
        unit,
        time,
        offset,
        labels,
        n_units=N_UNITS,
        n_classes=N_CLASSES,
        name=name,
        licence=LICENCE,
        citation=CITATION,
    )


def get(name: str, root: Path | None, download: bool) -> Path:
    """The folder that holds the files, after fetching them if they are nowhere.

    Raises:
        OSError: if they are not in reach, saying what to do.
    """
    folder = find(name, root)
    if folder is not None:
        return folder
    target = _folders(root)[0]
    why = "download is off"
    if download:
        try:
            for file in (file for pair in FILES.values() for file in pair):
                _fetch(file, target)
            return target
        except OSError as error:
            why = str(error)
    wanted = ", ".join(file.name for pair in FILES.values() for file in pair)
    raise FileNotFoundError(
        f"{name} is not in {', '.join(map(str, _folders(root)))}, nor to be had ({why}): "
        f"apt-get install {PACKAGE}, or put {wanted} into {target}"
    )


def find(name: str, root: Path | None) -> Path | None:
    """The first folder that holds all files: of `root`, the user's, the package's; else None.

    Args:
        name: `NAME`, or `SAMPLE`, which is part of this package.
        root: a folder of datasets, holding `fashion-mnist/`, or that folder itself.
    """
    names = [file.name for pair in FILES.values() for file in pair]
    folders = [SAMPLE_FOLDER] if name == SAMPLE else _folders(root)
    return next((f for f in folders if all((f / n).is_file() for n in names)), None)


def _folders(root: Path | None) -> list[Path]:
    """Where to look, in order; downloads go into the first."""
    given = [] if root is None else [root / NAME, root]
    return [*given, data_folder() / NAME, PACKAGE_FOLDER]


def _fetch(file: File, folder: Path) -> None:
    def check(path: Path) -> None:
        idx.read(path, file.ndim, file.sha256)

    target = folder / file.name
    if not target.is_file():
        # gzip adds a few bytes to what it cannot make smaller.
        fetch([base + file.name for base in ADDRESSES], target, check, file.n_bytes + 2**16)
