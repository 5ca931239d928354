"""Times whole training steps of 784-N-N-10, for comparing two versions of the source side by side.

    python tools/time_step.py --against SRC [--neurons 200] [--threads 1] [--turns 7]

Prints one JSON line: medians in milliseconds of this source and of that in the folder SRC (a checkout's
`src`), their ratio turn by turn, and where it was measured. Both run in processes of their own, by turns.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
from pathlib import Path

STEP = """
import sys, time, torch, sparsespike as ss
neurons, n_step = int(sys.argv[1]), int(sys.argv[2])
torch.manual_seed(0)
lif = ss.LIF(tau_mem=10e-3, dt=1e-3)
net = ss.Network(
    ss.Layer(ss.Linear(784, neurons), lif),
    ss.Layer(ss.Linear(neurons, neurons), lif),
    ss.Layer(ss.Linear(neurons, 10), ss.Readout(tau_mem=10e-3, dt=1e-3)),
)
draw = torch.Generator().manual_seed(0)
for layer in net:
    weight = layer.connection.weight
    n_out, n_in = weight.shape
    with torch.no_grad():  # the paper's rule
        weight.copy_(torch.randn(n_out, n_in, generator=draw) * 20 * (1 - lif.alpha) / n_in**0.5)
train = ss.data.load("fashion-mnist-sample", split="train")
spikes, label = train.batch(list(range(256)), 100)
optimiser = torch.optim.Adam(net.parameters(), lr=2e-4, fused=True)
taken = []
for i in range(n_step + 10):
    start = time.perf_counter()
    out, hidden = net(spikes, return_spikes=True)
    loss = ss.losses.cross_entropy(out, label)
    for signal in hidden:
        loss = loss + ss.losses.activity(signal)
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
    taken.append(time.perf_counter() - start)
print(sorted(taken[10:])[n_step // 2] * 1e3, loss.item(), [h.activity() for h in hidden])
"""


def timed(source: Path, neurons: int, threads: int, n_step: int) -> tuple[float, str]:
    """Median of a step in milliseconds, and the loss and activities that it ended with."""
    environment = os.environ | {"PYTHONPATH": str(source), "OMP_NUM_THREADS": str(threads)}
    command = [sys.executable, "-W", "ignore", "-c", STEP, str(neurons), str(n_step)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    median, _, rest = done.stdout.partition(" ")
    return float(median), rest.strip()


def main() -> None:
    """Runs both by turns, and prints the line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument(
        "--against", type=Path, required=True, metavar="SRC", help="another source folder"
    )
    parser.add_argument(
        "--neurons", type=int, default=200, metavar="N", help="of both hidden layers"
    )
    parser.add_argument(
        "--threads", type=int, default=1, metavar="N", help="of torch and the kernels"
    )
    parser.add_argument("--turns", type=int, default=7, metavar="N", help="of each (default: 7)")
    chosen = parser.parse_args()
    mine = Path(__file__).resolve().parents[1] / "src"
    n_step = 100 if chosen.neurons < 500 else 30
    times: dict[Path, list[float]] = {mine: [], chosen.against: []}
    ends = {}
    for source in times:
        timed(source, chosen.neurons, chosen.threads, 2)  # compiles
    for turn in range(chosen.turns):
        for source in list(times)[:: 1 if turn % 2 else -1]:
            median, ends[source] = timed(source, chosen.neurons, chosen.threads, n_step)
            times[source].append(median)
    ratio = [a / b for a, b in zip(times[mine], times[chosen.against], strict=True)]
    commits = [
        subprocess.run(
            ["git", "-C", source, "rev-parse", "--short", "HEAD"],
            capture_output=True,
            text=True,
            check=False,
        ).stdout.strip()
        for source in times
    ]
    print(
        json.dumps(
            {
                "commit": commits[0],
                "against": commits[1],
                "neurons": chosen.neurons,
                "threads": chosen.threads,
                "ms": round(statistics.median(times[mine]), 3),
                "against_ms": round(statistics.median(times[chosen.against]), 3),
                "ratio": round(statistics.median(ratio), 3),
                "ratios": [round(r, 3) for r in sorted(ratio)],
                "end": ends[mine],
                "against_end": ends[chosen.against],
                "machine": platform.processor() or platform.machine(),
            }
        )
    )


if __name__ == "__main__":
    main()
