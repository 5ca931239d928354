"""A training loop of one's own on several processes: each computes its share of every batch.

pip install 'sparsespike[examples]'
torchrun --nproc-per-node 2 examples/ddp_loop.py --epochs 3
tensorboard --logdir runs/ddp-loop

As many samples, steps and learning rate as one process has, and the same weights but for rounding.
"""

from __future__ import annotations

import argparse
import os
from contextlib import nullcontext
from pathlib import Path

import torch
from torch import distributed
from torch.nn.parallel import DistributedDataParallel
from torch.utils.tensorboard import SummaryWriter

import sparsespike as ss


def network() -> ss.Network:
    """784-200-10: a hidden layer of spiking neurons, a readout of membranes that do not spike."""
    lif = ss.LIF(tau_mem=10e-3, dt=1e-3, surrogate=ss.FastSigmoid(20))
    readout = ss.Readout(tau_mem=10e-3, dt=1e-3)
    return ss.Network(ss.Layer(ss.Linear(784, 200), lif), ss.Layer(ss.Linear(200, 10), readout))


def summed(*counts: float) -> list[float]:
    """The sums over all processes."""
    total = torch.tensor(counts, dtype=torch.float64)
    distributed.all_reduce(total)
    return total.tolist()


@torch.no_grad()
def accuracy_on(net: ss.Network, loader: ss.data.EventLoader, device: torch.device) -> float:
    """Share of the samples of all processes that the network tells right."""
    n_right = n_samples = 0
    net.eval()
    for spikes, label in loader:
        guess = ss.losses.logits(net(spikes.to(device))).argmax(1).cpu()
        n_right, n_samples = n_right + int((guess == label).sum()), n_samples + len(label)
    net.train()
    right, samples = summed(n_right, n_samples)
    return right / samples


def main() -> None:
    """Trains on all processes; the first tells, draws and keeps the weights."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument(
        "--out", type=Path, default=Path("runs/ddp-loop"), help="for curves and weights"
    )
    given = parser.parse_args()

    # torchrun has numbered the processes. Plain numbers are summed by gloo, gradients on GPUs by NCCL.
    gpu = torch.cuda.is_available()
    device = torch.device(f"cuda:{os.environ['LOCAL_RANK']}" if gpu else "cpu")
    distributed.init_process_group("cpu:gloo,cuda:nccl" if gpu else "gloo")
    rank, size = distributed.get_rank(), distributed.get_world_size()
    first = rank == 0

    def loader(split: str, batch_size: int, shuffle: bool) -> ss.data.EventLoader:
        samples = ss.data.load("fashion-mnist-sample", split=split)
        return ss.data.EventLoader(samples, batch_size, shuffle, rank=rank, world_size=size)

    train_loader, test_loader = loader("train", 128, True), loader("test", 500, False)
    torch.manual_seed(0)
    net = network().to(device)
    model = DistributedDataParallel(net, gradient_as_bucket_view=True)
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, given.epochs)

    with SummaryWriter(given.out) if first else nullcontext() as board:
        for epoch in range(1, given.epochs + 1):
            epoch_loss = 0.0
            for number, (spikes, label) in enumerate(train_loader):
                logit = ss.losses.logits(model(spikes.to(device)))
                # A sum, as a share may have fewer samples than others, or none. The model takes the mean
                # over processes of gradients that are to be added: hence `size`.
                total = torch.nn.functional.cross_entropy(logit, label.to(device), reduction="sum")
                optimiser.zero_grad()
                (total * size / train_loader.n_samples(number)).backward()
                optimiser.step()
                epoch_loss += total.item()
            schedule.step()

            loss = summed(epoch_loss)[0] / len(train_loader.dataset)
            on_test = accuracy_on(net, test_loader, device)
            if board is not None:
                board.add_scalar("loss/train", loss, epoch)
                board.add_scalar("accuracy/test", on_test, epoch)
                print(f"epoch {epoch}: loss {loss:.3f}, test accuracy {on_test:.1%}")
    if first:
        torch.save(net.state_dict(), given.out / "weights.pt")
    distributed.destroy_process_group()


if __name__ == "__main__":
    main()
