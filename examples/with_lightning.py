"""A network in a LightningModule: Lightning does the loop, the device, the logs and the checkpoints.

pip install 'sparsespike[examples]'
python examples/with_lightning.py --epochs 3
tensorboard --logdir runs/lightning
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

    def training_step(self, batch: tuple[ss.Spikes, Tensor]) -> Tensor:
        """The loss of a batch."""
        spikes, label = batch
        loss = torch.nn.functional.cross_entropy(self(spikes), label)
        # Lightning cannot count the samples of a batch of spikes: tell it.
        self.log("loss/train", loss, on_epoch=True, on_step=False, batch_size=len(label))
        return loss

    def validation_step(self, batch: tuple[ss.Spikes, Tensor]) -> None:
        """Counts what is right of held-out training samples."""
        self.counted("accuracy/validation", *batch)

    def test_step(self, batch: tuple[ss.Spikes, Tensor]) -> None:
        """Counts what is right of the test samples."""
        self.counted("accuracy/test", *batch)

    def counted(self, name: str, spikes: ss.Spikes, label: Tensor) -> None:
        """Logs the accuracy of a whole epoch."""
        self.accuracy(self(spikes), label)
        self.log(name, self.accuracy, batch_size=len(label))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam."""
        return torch.optim.Adam(self.parameters(), lr=self.hparams["lr"])


def main() -> None:
    """Trains, and tells the accuracy of the best epoch's checkpoint, loaded again."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument(
        "--out", type=Path, default=Path("runs/lightning"), help="for curves and weights"
    )
    given = parser.parse_args()

    lightning.seed_everything(0)
    # A Trainer asks a loader for batches and a length, which an EventLoader has. It shuffles anew every
    # epoch, and makes batches ahead in a thread.
    samples = ss.data.load("fashion-mnist-sample", split="train")
    train, held_out = samples.split(0.1, seed=0)
    train_loader = ss.data.EventLoader(train, batch_size=128, shuffle=True)
    held_out_loader = ss.data.EventLoader(held_out, batch_size=500)
    test = ss.data.load("fashion-mnist-sample", split="test")

    best = ModelCheckpoint(monitor="accuracy/validation", mode="max")
    trainer = lightning.Trainer(
        max_epochs=given.epochs,
        logger=TensorBoardLogger(given.out),
        callbacks=[best],
        log_every_n_steps=10,
    )
    trainer.fit(Classifier(), train_loader, held_out_loader)

    again = Classifier.load_from_checkpoint(best.best_model_path)
    (result,) = trainer.test(again, ss.data.EventLoader(test, batch_size=500), verbose=False)
    print(f"best epoch by validation: test accuracy {result['accuracy/test']:.1%}")


if __name__ == "__main__":
    main()
