"""Appends finished training runs to the recorded results, one line each.

python tools/record_run.py --commit COMMIT runs/a runs/b >> results/train.jsonl
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from sparsespike.bench.report import environment


def main() -> None:
    """Prints one JSON line per run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--commit", required=True, help="that the runs were made with")
    parser.add_argument("run", type=Path, nargs="+", help="folder of a run")
    given = parser.parse_args()
    machine = {name: environment()[name] for name in ("time", "machine", "cpu", "cores")}
    for folder in given.run:
        run = json.loads((folder / "run.json").read_text())
        lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        result = folder / "result.json"
        found = json.loads(result.read_text()) if result.exists() else {"epochs": len(lines)}
        curve = [
            {
                name: line[name]
                for name in ("loss", "train_accuracy", "validation_accuracy", "seconds")
            }
            for line in lines
        ]
        about = {"bench": "train", "commit": given.commit, **machine, **run}
        print(json.dumps({**about, "result": found, "epochs": curve}))


if __name__ == "__main__":
    main()
