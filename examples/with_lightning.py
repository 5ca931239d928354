"""A network in a LightningModule: Lightning does the loop, the device, the logs and the checkpoints.

pip install 'sparsespike[examples]'
python examples/with_lightning.py --epochs 3 [--processes 2]
tensorboard --logdir runs/lightning

Several processes share each batch. Lightning shares out PyTorch's DataLoader and no other: `Samples` tells an
EventLoader which share is whose.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import lightning
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor
from torchmetrics.classification import MulticlassAccuracy

import sparsespike as ss


class Classifier(lightning.LightningModule):
    """784-200-10. A batch is `Spikes` and labels; Lightning moves both to the device, by their `to`."""

    def __init__(self, n_hidden: int = 200, lr: float = 1e-2) -> None:
        super().__init__()
        self.save_hyperparameters()
        lif = ss.LIF(tau_mem=10e-3, dt=1e-3, surrogate=ss.FastSigmoid(20))
        readout = ss.Readout(tau_mem=10e-3, dt=1e-3)
        self.net = ss.Network(
            ss.Layer(ss.Linear(784, n_hidden), lif), ss.Layer(ss.Linear(n_hidden, 10), readout)
        )
        self.accuracy = MulticlassAccuracy(10, average="micro")

    def forward(self, spikes: ss.Spikes) -> Tensor:
        """(B, T, 784) spikes to (B, 10) logits."""
        return ss.losses.logits(self.net(spikes))

    def training_step(self, batch: tuple[ss.Spikes, Tensor], number: int) -> Tensor:
        """The loss of a batch, or of this process's share of one."""
        spikes, label = batch
        total = torch.nn.functional.cross_entropy(self(spikes), label, reduction="sum")
        # Lightning cannot count the samples of a batch of spikes: tell it. A share may have none.
        mean, n = total.detach() / max(1, len(label)), len(label)
        self.log("loss/train", mean, batch_size=n, sync_dist=True, on_step=False, on_epoch=True)
        loader = self.trainer.train_dataloader
        assert loader is not None
        # Lightning takes the mean over processes of gradients that are to be added: hence their number.
        return total * self.trainer.world_size / loader.n_samples(number)

    def validation_step(self, batch: tuple[ss.Spikes, Tensor]) -> None:
        """Counts what is right of held-out training samples."""
        self.counted("accuracy/validation", *batch)

    def test_step(self, batch: tuple[ss.Spikes, Tensor]) -> None:
        """Counts what is right of the test samples."""
        self.counted("accuracy/test", *batch)

    def counted(self, name: str, spikes: ss.Spikes, label: Tensor) -> None:
        """Logs the accuracy of a whole epoch."""
        if len(label):
            self.accuracy.update(self(spikes), label)
        self.log(name, self.accuracy, batch_size=len(label))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam."""
        return torch.optim.Adam(self.parameters(), lr=self.hparams["lr"])


class Samples(lightning.LightningDataModule):
    """The loaders, made once the processes know each other: each goes through its share of every batch."""

    def __init__(self) -> None:
        super().__init__()
        samples = ss.data.load("fashion-mnist-sample", split="train")
        self.train, self.held_out = samples.split(0.1, seed=0)
        self.test = ss.data.load("fashion-mnist-sample", split="test")

    def train_dataloader(self) -> ss.data.EventLoader:
        """Shuffled anew in every epoch; a thread makes batches ahead."""
        return self.shared(self.train, 128, shuffle=True)

    def val_dataloader(self) -> ss.data.EventLoader:
        """Training samples that are held out."""
        return self.shared(self.held_out, 500)

    def test_dataloader(self) -> ss.data.EventLoader:
        """The test samples."""
        return self.shared(self.test, 500)

    def shared(
        self, samples: ss.data.EventDataset, batch_size: int, shuffle: bool = False
    ) -> ss.data.EventLoader:
        """A loader of this process's share."""
        assert self.trainer is not None
        rank, size = self.trainer.global_rank, self.trainer.world_size
        return ss.data.EventLoader(samples, batch_size, shuffle, rank=rank, world_size=size)


def main() -> None:
    """Trains, and tells the accuracy of the best epoch's checkpoint, loaded again."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument(
        "--out", type=Path, default=Path("runs/lightning"), help="for curves and weights"
    )
    parser.add_argument("--processes", type=int, default=1, help="that share each batch")
    given = parser.parse_args()

    lightning.seed_everything(0)
    best = ModelCheckpoint(monitor="accuracy/validation", mode="max")
    trainer = lightning.Trainer(
        max_epochs=given.epochs,
        devices=given.processes,
        strategy="ddp" if given.processes > 1 else "auto",
        logger=TensorBoardLogger(given.out),
        callbacks=[best],
        log_every_n_steps=10,
    )
    trainer.fit(Classifier(), Samples())

    again = Classifier.load_from_checkpoint(best.best_model_path)
    (result,) = trainer.test(again, Samples(), verbose=False)
    if trainer.is_global_zero:
        print(f"best epoch by validation: test accuracy {result['accuracy/test']:.1%}")


if __name__ == "__main__":
    main()
