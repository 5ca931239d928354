"""A training loop of one's own: torchmetrics counts, TensorBoard draws.

pip install 'sparsespike[examples]'
python examples/plain_loop.py --epochs 3
tensorboard --logdir runs/plain-loop
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import torch
from torch.utils.tensorboard import SummaryWriter
from torchmetrics import MeanMetric
from torchmetrics.classification import MulticlassAccuracy

import sparsespike as ss


def network() -> ss.Network:
    """784-200-10: a hidden layer of spiking neurons, a readout of membranes that do not spike."""
    lif = ss.LIF(tau_mem=10e-3, dt=1e-3, surrogate=ss.FastSigmoid(20))
    readout = ss.Readout(tau_mem=10e-3, dt=1e-3)
    return ss.Network(ss.Layer(ss.Linear(784, 200), lif), ss.Layer(ss.Linear(200, 10), readout))


@torch.no_grad()
def accuracy_on(net: ss.Network, loader: ss.data.EventLoader, device: torch.device) -> float:
    """Share of the samples that the network tells right."""
    found = MulticlassAccuracy(10, average="micro").to(device)
    net.eval()
    for spikes, label in loader:
        found.update(ss.losses.logits(net(spikes.to(device))), label.to(device))
    net.train()
    return float(found.compute())


def main() -> None:
    """Trains, tells and draws every epoch, and keeps the weights."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument(
        "--out", type=Path, default=Path("runs/plain-loop"), help="for curves and weights"
    )
    given = parser.parse_args()

    torch.manual_seed(0)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    # Events, not frames: the loader bins each sample's spikes into 100 steps of 1 ms.
    train = ss.data.load("fashion-mnist-sample", split="train")
    test = ss.data.load("fashion-mnist-sample", split="test")
    train_loader = ss.data.EventLoader(train, batch_size=128, shuffle=True)
    test_loader = ss.data.EventLoader(test, batch_size=500)

    net = network().to(device)
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, given.epochs)
    accuracy = MulticlassAccuracy(10, average="micro").to(device)
    mean_loss, active = MeanMetric().to(device), MeanMetric()

    with SummaryWriter(given.out) as board:
        for epoch in range(1, given.epochs + 1):
            for spikes, label in train_loader:
                spikes, label = spikes.to(device), label.to(device)
                potential, (hidden,) = net(spikes, return_spikes=True)  # (B, T, 10), Spikes
                logit = ss.losses.logits(potential)  # (B, 10): each class's largest potential
                loss = torch.nn.functional.cross_entropy(logit, label)
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                accuracy.update(logit, label)
                mean_loss.update(loss.detach())
                active.update(hidden.n_active / math.prod(hidden.shape))
            schedule.step()

            board.add_scalar("loss/train", mean_loss.compute(), epoch)
            board.add_scalar("accuracy/train", accuracy.compute(), epoch)
            # The share of entries that gradients go through: what a step costs.
            board.add_scalar("active/hidden", active.compute(), epoch)
            on_test = accuracy_on(net, test_loader, device)
            board.add_scalar("accuracy/test", on_test, epoch)
            print(f"epoch {epoch}: loss {mean_loss.compute():.3f}, test accuracy {on_test:.1%}")
            for metric in (accuracy, mean_loss, active):
                metric.reset()
    torch.save(net.state_dict(), given.out / "weights.pt")


if __name__ == "__main__":
    main()
