"""Kills a rank, or torchrun itself, at random moments, and compares how the run ends with one left alone.

python tools/kill_ranks.py --ranks 30 --torchrun 10 --seed 0        # twenty minutes of two cores
python tools/kill_ranks.py --ranks 1 --torchrun 0 -- nmnist-small --epochs 2

What follows `--` is the command line of `sparsespike train`, without --out and --resume. torchrun starts a
rank again that dies (--max-restarts), and this a torchrun that dies. Prints a JSON line of each kill. The
exit code is 1 if a run ended otherwise than the one left alone, or left a file half written.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from sparsespike.training import checkpoint

FILES = {"last.safetensors", "metrics.jsonl", "result.json", "run.json", "train.lock"}
TIMES = ("seconds", "samples_per_second", "peak_memory_mib")
PATIENCE = 300.0  # seconds in which a run must end


def main() -> int:
    """Kills as often as asked, and tells what came of it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--ranks", type=int, default=30, help="kills of one rank")
    parser.add_argument("--torchrun", type=int, default=10, help="kills of torchrun")
    parser.add_argument("--size", type=int, default=2, help="ranks of a run")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("train", nargs="*", default=None)
    given = parser.parse_args()
    draw = random.Random(given.seed)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        words = given.train or [_recipe(folder), "--epochs", "4", "--save-every", "5"]
        started = time.monotonic()
        process = _start(words, folder / "alone", given.size)
        process.wait(PATIENCE)
        taken = time.monotonic() - started
        expected = _left(folder / "alone")
        bad = 0
        for kind in ["rank"] * given.ranks + ["torchrun"] * given.torchrun:
            at = draw.uniform(0.1, 1.0) * taken
            line = {"kill": kind, "after_s": round(at, 2), "of_s": round(taken, 2)}
            line |= _killed(kind, at, words, folder / "run", given.size, draw)
            line["same"] = _left(folder / "run") == expected
            line["files"] = sorted({x.name for x in (folder / "run").iterdir()} - FILES)
            bad += not line["same"] or bool(line["files"])
            print(json.dumps(line), flush=True)
            shutil.rmtree(folder / "run")
    return int(bad > 0)


def _recipe(folder: Path) -> str:
    """A recipe with all that a state to resume from must hold."""
    path = folder / "kill.toml"
    path.write_text(
        'dataset = "fashion-mnist-sample"\nhidden = []\n'
        'layers = ["Linear(784, 100)", "Dropout(0.1)", "Linear(100, 50)"]\n'
        'augment = ["EventDrop(0.1)"]\nbatch_size = 250\nlr = 5e-3\nema = 0.9\nclip_norm = 1.0\n'
    )
    return str(path)


def _start(words: list[str], folder: Path, size: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--max-restarts", "3"]
    command += ["--nproc-per-node", str(size), "-m", "sparsespike", "train", *words]
    log = folder.with_suffix(".log").open("ab")
    return subprocess.Popen([*command, "--out", str(folder), "--resume"], stdout=log, stderr=log)


def _killed(
    kind: str, at: float, words: list[str], folder: Path, size: int, draw: random.Random
) -> dict[str, Any]:
    """Starts a run, kills what is asked for after `at` seconds, and waits for its end."""
    started = time.monotonic()
    process = _start(words, folder, size)
    time.sleep(at)
    ranks = _children(process.pid)
    victim = process.pid if kind == "torchrun" else draw.choice(ranks) if ranks else None
    if victim is None or process.poll() is not None:
        process.wait(PATIENCE)
        return {"killed": None, "code": process.returncode}
    subprocess.run(["kill", "-9", str(victim)], check=False)
    orphans = 0.0
    if kind == "torchrun":
        process.wait(PATIENCE)
        since = time.monotonic()
        while any(Path(f"/proc/{rank}").exists() for rank in ranks):
            if time.monotonic() - since > PATIENCE:
                raise SystemExit(f"ranks {ranks} go on without torchrun")
            time.sleep(0.1)
        orphans = time.monotonic() - since
        process = _start(words, folder, size)
    process.wait(PATIENCE)
    which = "torchrun" if kind == "torchrun" else ranks.index(victim)
    found = {"killed": which, "code": process.returncode, "orphans_s": round(orphans, 1)}
    return found | {"ended_after_s": round(time.monotonic() - started, 1)}


def _children(parent: int) -> list[int]:
    done = subprocess.run(["pgrep", "-P", str(parent)], capture_output=True, text=True, check=False)
    return [int(word) for word in done.stdout.split()]


def _left(folder: Path) -> Any:
    """What a run ended with, but for its times."""
    tensors, state = checkpoint.load(folder / "last.safetensors")
    bits = {name: (str(tensor.dtype), tensor.tolist()) for name, tensor in tensors.items()}
    lines = checkpoint.read_lines(folder / "metrics.jsonl")
    result = checkpoint.read_json(folder / "result.json")
    return bits, _untimed(state), _untimed(lines), _untimed(result)


def _untimed(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _untimed(item) for key, item in value.items() if key not in TIMES}
    return [_untimed(item) for item in value] if isinstance(value, list) else value


if __name__ == "__main__":
    sys.exit(main())
