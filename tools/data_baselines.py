"""What simple classifiers reach on the two small sets: the bar that a spiking network has to clear.

python tools/data_baselines.py --nmnist ROOT --fsdd ROOT        # appends to results/data-baselines.jsonl

A nearest neighbour on the events of each pixel (nmnist-small), and an RBF-SVM on events binned by 10
channels and 100 ms (fsdd-spikes). Needs scikit-learn, which Tonic brings.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from sparsespike import data
from sparsespike.bench.report import append_lines, environment
from sparsespike.data import EventDataset, Recordings

CHANNELS, BINS, BIN_US = 10, 10, 100_000


def main() -> None:
    """Trains and scores both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nmnist", type=Path, required=True, help="root of nmnist-small")
    parser.add_argument("--fsdd", type=Path, required=True, help="root of fsdd-spikes")
    parser.add_argument("--out", type=Path, default=Path("results/data-baselines.jsonl"))
    given = parser.parse_args()
    cases = (
        ("nmnist-small", given.nmnist, "1-NN on counts", KNeighborsClassifier(1), counts),
        (
            "fsdd-spikes",
            given.fsdd,
            "RBF-SVM, C = 10, on binned counts",
            make_pipeline(StandardScaler(), SVC(C=10)),
            binned,
        ),
    )
    lines = []
    for name, root, method, model, features in cases:
        train, test = (data.load(name, split, root=root) for split in ("train", "test"))
        model.fit(described(train, features), train.label)
        accuracy = float(model.score(described(test, features), test.label))
        case = {"dataset": name, "method": method, "n_test": len(test), "accuracy": accuracy}
        lines.append({**environment(), "bench": "data-baselines", **case})
        print(f"{name}: {method}: {accuracy:.1%} of {len(test)}")
    append_lines(given.out, lines)


def described(
    dataset: EventDataset, features: Callable[[Recordings], NDArray[np.int64]]
) -> NDArray[np.float64]:
    """(n, features) of all samples."""
    return np.array([features(dataset.recordings([i])) for i in range(len(dataset))], np.float64)


def counts(recording: Recordings) -> NDArray[np.int64]:
    """Events of each pixel, both polarities."""
    return np.bincount(recording.unit % 34**2, minlength=34**2)


def binned(recording: Recordings) -> NDArray[np.int64]:
    """Events of each group of channels in each bin of time."""
    step = np.minimum(recording.time // BIN_US, BINS - 1)
    groups = 700 // CHANNELS
    return np.bincount(step * groups + recording.unit // CHANNELS, minlength=BINS * groups)


if __name__ == "__main__":
    main()
