"""Makes a folder of stores for each speaker, train.events without and test.events with that one alone.

python tools/leave_speakers_out.py fsdd-spikes --data ROOT speakers
sparsespike train fsdd-spikes --dataset speakers/0/ --out runs/without-0
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from sparsespike import data


def main() -> None:
    """Writes the folders."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset", help="one whose recordings have speakers")
    parser.add_argument("folder", type=Path, help="takes a folder for each speaker")
    parser.add_argument("--data", type=Path, help="folder of the datasets")
    given = parser.parse_args()
    whole = data.load(given.dataset, root=given.data)
    speakers = np.unique(whole.meta["speaker"]).tolist()
    for speaker in speakers:
        folder = given.folder / str(speaker)
        folder.mkdir(parents=True, exist_ok=True)
        others = [other for other in speakers if other != speaker]
        whole.select("speaker", others).save(folder / "train.events")
        whole.select("speaker", [speaker]).save(folder / "test.events")
        print(folder)


if __name__ == "__main__":
    main()
