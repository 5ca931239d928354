"""Times whole training steps of 784-N-N-10, for comparing two versions of the source side by side.

    python tools/time_step.py --against SRC [--neurons 200] [--threads 1] [--turns 60]

Prints one JSON line: medians in milliseconds of this source and of that in the folder SRC (a checkout's
`src`), their ratio turn by turn, and where it was measured. Both run in processes of their own, by turns.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

from sparsespike.bench.report import environment

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

def step():
    out, hidden = net(spikes, return_spikes=True)
    loss = ss.losses.cross_entropy(out, label)
    for signal in hidden:
        loss = loss + ss.losses.activity(signal)
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
    return loss.item(), [h.activity() for h in hidden]

for _ in range(10):
    end = step()
print("ready", flush=True)
for _ in sys.stdin:
    taken = []
    for _ in range(n_step):
        start = time.perf_counter()
        end = step()
        taken.append(time.perf_counter() - start)
    print(sorted(taken)[n_step // 2] * 1e3, min(taken) * 1e3, *end, flush=True)
"""


class Worker:
    """A process that takes steps when it is told to.

    Args:
        source: the folder to import from.
        neurons: of both hidden layers.
        threads: of torch and the kernels.
        n_step: steps of a turn.
    """

    def __init__(self, source: Path, neurons: int, threads: int, n_step: int) -> None:
        environment = os.environ | {"PYTHONPATH": str(source), "OMP_NUM_THREADS": str(threads)}
        command = [sys.executable, "-W", "ignore", "-c", STEP, str(neurons), str(n_step)]
        self.process = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.source, self.medians, self.least, self.end = source, [], [], ""
        self._line()

    def turn(self) -> None:
        """Takes one turn's steps."""
        assert self.process.stdin is not None
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        median, least, self.end = self._line().split(" ", 2)
        self.medians.append(float(median))
        self.least.append(float(least))

    def _line(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline().strip()
        if not line:
            raise RuntimeError(f"{self.source}: the process ended; its message is above")
        return line

    def commit(self) -> str:
        """Of the source, as far as git knows."""
        command = ["git", "-C", str(self.source), "rev-parse", "--short", "HEAD"]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def main() -> None:
    """Runs both by turns, and prints the line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument(
        "--against", type=Path, required=True, metavar="SRC", help="another source folder"
    )
    parser.add_argument("--neurons", type=int, default=200, metavar="N", help="of hidden layers")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="of torch and kernels")
    parser.add_argument("--turns", type=int, default=60, metavar="N", help="of each (default: 60)")
    chosen = parser.parse_args()
    n_step = 10 if chosen.neurons < 500 else 4
    sources = Path(__file__).resolve().parents[1] / "src", chosen.against
    workers = [Worker(source, chosen.neurons, chosen.threads, n_step) for source in sources]
    for turn in range(chosen.turns):
        for worker in workers[:: 1 if turn % 2 else -1]:
            worker.turn()
    mine, other = workers
    ratio = sorted(a / b for a, b in zip(mine.medians, other.medians, strict=True))
    line = {
        "against": other.commit(),
        "neurons": chosen.neurons,
        "threads": chosen.threads,
        "ms": round(statistics.median(mine.medians), 3),
        "against_ms": round(statistics.median(other.medians), 3),
        "least_ms": round(min(mine.least), 3),
        "against_least_ms": round(min(other.least), 3),
        "ratio": round(statistics.median(ratio), 3),
        "ratio_p20_p80": [round(ratio[len(ratio) * k // 10], 3) for k in (2, 8)],
        "end": mine.end,
        "against_end": other.end,
    }
    print(json.dumps(environment() | line))


if __name__ == "__main__":
    main()
