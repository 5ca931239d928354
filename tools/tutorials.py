"""One tutorial of each library that `ss.interop` reads: its network and settings as published.

Only the data are others, Fashion-MNIST for MNIST. What is computed is theirs, the words are ours.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

import sparsespike as ss
from sparsespike.data import idx

FOLDER = Path("/usr/share/datasets/fashion-mnist")  # of Debian's dataset-fashion-mnist
FILES = {"train": "train", "test": "t10k"}


@dataclass(frozen=True)
class Tutorial:
    """What a tutorial has its readers write.

    Attributes:
        package: the library, by its name for pip.
        source: where it is published, with the settings that are taken from it.
        build: the network.
        encode: images (B, 1, 28, 28) of [0, 1] -> the input (B, ...) or (T, B, ...).
        run: (network, input) -> its output, in the loop of the tutorial.
        convert: (network, mass) -> ours, which takes the same input and gives the same output.
        loss: (output, label) -> a scalar.
        logit: output -> (B, 10), the largest of which is the answer.
        batch_size: samples of a step.
        lr: of Adam.
    """

    package: str
    source: str
    build: Callable[[], nn.Module]
    encode: Callable[[Tensor], Tensor]
    run: Callable[[nn.Module, Tensor], Any]
    convert: Callable[[nn.Module, float | None], nn.Module]
    loss: Callable[[Any, Tensor], Tensor]
    logit: Callable[[Any], Tensor]
    batch_size: int
    lr: float


def images(split: str, folder: Path = FOLDER) -> tuple[Tensor, Tensor]:
    """(n, 1, 28, 28) bytes, (n,) labels."""
    name = FILES[split]
    pixels = idx.read_images(folder / f"{name}-images-idx3-ubyte.gz")
    labels = idx.read_labels(folder / f"{name}-labels-idx1-ubyte.gz", 10)
    return torch.from_numpy(pixels)[:, None], torch.from_numpy(labels.astype(np.int64))


def _quiet(name: str) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return import_module(name)


# ---- snnTorch ------------------------------------------------------------------------------------


def snntorch() -> Tutorial:
    """784-1000-10 of Leaky, 25 steps of the same image; cross entropy of every step's potential."""
    snn = _quiet("snntorch")
    steps, beta = 25, 0.95

    class Net(nn.Module):
        """Its forward is the loop over time."""

        def __init__(self) -> None:
            super().__init__()
            self.fc1, self.lif1 = nn.Linear(784, 1000), snn.Leaky(beta=beta)
            self.fc2, self.lif2 = nn.Linear(1000, 10), snn.Leaky(beta=beta)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            """(B, 784) -> spikes and potentials (T, B, 10)."""
            mem1, mem2 = self.lif1.init_leaky(), self.lif2.init_leaky()
            spikes, potentials = [], []
            for _ in range(steps):
                spike, mem1 = self.lif1(self.fc1(x), mem1)
                spike, mem2 = self.lif2(self.fc2(spike), mem2)
                spikes.append(spike)
                potentials.append(mem2)
            return torch.stack(spikes), torch.stack(potentials)

    def loss(out: Any, label: Tensor) -> Tensor:
        return sum((functional.cross_entropy(each, label) for each in out[1]), torch.zeros(()))

    return Tutorial(
        "snntorch",
        "tutorial 5, https://github.com/jeshraghian/snntorch/blob/master/docs/tutorials/tutorial_5.rst: "
        "beta 0.95, 25 steps, the default ATan(2) and subtraction, batches of 128, Adam of 5e-4, 1 epoch",
        Net,
        lambda pixels: pixels.flatten(1),
        lambda net, x: net(x),
        lambda net, mass: ss.interop.from_snntorch(net, mass=mass, input="values"),
        loss,
        lambda out: out[0].sum(0),
        128,
        5e-4,
    )


# ---- SpikingJelly --------------------------------------------------------------------------------


def spikingjelly() -> Tutorial:
    """784-10 of LIF, 100 steps of Poisson spikes; squared error of the rates."""
    neuron, layer, surrogate, whole = (
        _quiet(f"spikingjelly.activation_based.{name}")
        for name in ("neuron", "layer", "surrogate", "functional")
    )
    steps = 100

    def build() -> nn.Module:
        return nn.Sequential(
            layer.Flatten(),
            layer.Linear(784, 10, bias=False),
            neuron.LIFNode(tau=2.0, surrogate_function=surrogate.ATan()),
        )

    def run(net: nn.Module, x: Tensor) -> Tensor:
        whole.reset_net(net)
        rate = net(x[0])
        for step in x[1:]:
            rate = rate + net(step)
        return rate / steps

    def convert(net: nn.Module, mass: float | None) -> nn.Module:
        return Mean(ss.interop.from_spikingjelly(net, mass=mass))

    return Tutorial(
        "spikingjelly",
        "examples/lif_fc_mnist.py of spikingjelly.activation_based, https://github.com/fangwei123456/"
        "spikingjelly/blob/master/docs/source/activation_based/3_fc_mnist.rst: tau 2, 100 steps, Poisson "
        "encoder, ATan(2), reset to 0, batches of 64, Adam of 1e-3, 100 epochs",
        build,
        lambda pixels: (torch.rand(steps, *pixels.shape) <= pixels).float(),
        run,
        convert,
        lambda out, label: functional.mse_loss(out, functional.one_hot(label, 10).float()),
        lambda out: out,
        64,
        1e-3,
    )


class Mean(nn.Module):
    """The rate of each neuron of a converted network."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        """(T, B, ...) -> (B, N)."""
        return self.net(x).mean(0)


# ---- Norse ---------------------------------------------------------------------------------------


def norse() -> Tutorial:
    """784-100 recurrent LIF, a leaky integrator of 10, 32 steps of spikes that a constant current makes."""
    torch_of = _quiet("norse.torch")
    steps = 32
    encoder = torch_of.ConstantCurrentLIFEncoder(steps)

    def build() -> nn.Module:
        p = torch_of.LIFParameters(alpha=torch.as_tensor(100.0), v_th=torch.tensor(0.5))
        return torch_of.SequentialState(
            torch_of.LIFRecurrentCell(784, 100, p=p, dt=0.001),
            nn.Linear(100, 10, bias=False),
            torch_of.LICell(dt=0.001),
        )

    def run(net: nn.Module, x: Tensor) -> Tensor:
        state, potentials = None, []
        for step in x:
            potential, state = net(step, state)
            potentials.append(potential)
        return torch.stack(potentials)

    def convert(net: nn.Module, mass: float | None) -> nn.Module:
        return First(ss.interop.from_norse(net, mass=mass))

    return Tutorial(
        "norse",
        "Training an MNIST classifier, https://norse.github.io/notebooks/mnist_classifiers.html: threshold "
        "0.5, 32 steps of 1 ms, constant current encoder of (x - 0.1307) / 0.3081, "
        'surrogate "super", batches of 256, Adam of 2e-3, 5 epochs',
        build,
        lambda pixels: encoder((pixels.flatten(1) - 0.1307) / 0.3081),
        run,
        convert,
        lambda out, label: functional.nll_loss(out.max(0).values.log_softmax(1), label),
        lambda out: out.max(0).values,
        256,
        2e-3,
    )


class First(nn.Module):
    """A converted network without the states that it gives as None."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        """The potential."""
        return self.net(x)[0]


TUTORIALS = {"snntorch": snntorch, "spikingjelly": spikingjelly, "norse": norse}
