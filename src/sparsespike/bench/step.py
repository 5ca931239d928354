"""`sparsespike bench step`: a whole training step of a recipe's network, fully connected or convolutional.

Forward with the loss and its regularisers, backward, Adam: as `sparsespike train` does them. All
methods start from the same weights on the same batch, and the learning rate is zero, so that every
repeat of every method sees the same spikes. The dense methods are handed their input dense, time
first and channels last in memory: making it so is not counted against them.
"""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, get_args

import torch
from torch import Tensor
from torch.nn import functional

from sparsespike import losses
from sparsespike.backends import use_backend
from sparsespike.bench import inputs
from sparsespike.bench.dense import dense
from sparsespike.bench.dense_net import (
    Stage,
    dense_forward,
    dense_shape,
    layers,
    penalty_weights,
    stages,
)
from sparsespike.bench.gate import EXACT, HEAD_STEPS, head_samples, relative_error
from sparsespike.bench.layer_case import LayerCase
from sparsespike.bench.peers import PEERS, DenseLayer, layer_of
from sparsespike.bench.trial import OURS, Device, Method, OnCpu, Trial, backend_on, chosen
from sparsespike.network import Layer, Network
from sparsespike.neurons.lif import LIF
from sparsespike.spikes.spikes import Spikes
from sparsespike.training import recipe as recipes
from sparsespike.training.evaluate import load_run
from sparsespike.training.recipe import Recipe


@dataclass(frozen=True)
class StepBench:
    """Options of `sparsespike bench step`.

    Attributes:
        recipe: gives dataset, network, loss and batch size; where the dataset is not on this
            machine, the embedded sample of it is taken.
        trained: instead of the recipe's initial network, the trained one in this folder of a run.
        data: folder of the datasets.
        neurons: units of each hidden layer, fully connected, >= 1; None for the recipe's.
        batch_size: samples, >= 1; None for the recipe's.
        b_th: half-width of the active band, > 0; None for the recipe's.
        device: where the methods compute.
        backend: of sparsespike on the CPU: its event-driven kernels, or auto, which may choose dense ones.
        methods: what to run.
        repeats: timed runs of each method, >= 1.
        limit: seconds after which a method is given up or not repeated further, > 0.
        seed: of weights and batch, >= 0.
        out: folder whose bench-step.jsonl takes one more line per method.
    """

    recipe: str = "fashion-mnist"
    trained: Path | None = None
    data: Path | None = None
    neurons: int | None = None
    batch_size: int | None = None
    b_th: float | None = None
    device: Device = "cpu"
    backend: OnCpu = "cpu"
    methods: tuple[Method, ...] = get_args(Method)
    repeats: int = 20
    limit: float = 20.0
    seed: int = 0
    out: Path = Path("results")

    def __post_init__(self) -> None:
        backend_on(self.device, self.backend)
        for name, holds in (("repeats", self.repeats >= 1), ("limit", self.limit > 0)):
            if not holds:
                raise ValueError(f"{name}: expected a number > 0, found {getattr(self, name)}")

    def case(self) -> StepCase:
        """Batch and network that the options describe; the same at every call.

        Raises:
            ValueError, OSError: if recipe or data cannot be had.
        """
        net, source = None, "initial network"
        if self.trained is None:
            recipe = recipes.load(self.recipe)
        else:
            for name in ("neurons", "b_th"):
                if getattr(self, name) is not None:
                    raise ValueError(
                        f"{name}: expected none with a trained network, which has its own"
                    )
            net, recipe, about = load_run(self.trained)
            source = f"trained {about['epoch']} epochs"
        changed: dict[str, Any] = {"seed": self.seed}
        if self.neurons is not None:
            if recipe.layers:
                raise ValueError(
                    f"neurons: expected none with a recipe of layers, found {self.neurons}"
                )
            changed["hidden"] = (self.neurons,) * len(recipe.hidden)
        if self.batch_size is not None:
            changed["batch_size"] = self.batch_size
        if self.b_th is not None:
            changed["b_th"] = self.b_th
        recipe = dataclasses.replace(recipe, **changed)
        if recipe.reset != "subtract":
            raise ValueError(f'reset: expected "subtract", found {recipe.reset!r}')
        dataset = inputs.load_or_sample(recipe, self.data)
        spikes, label = inputs.batch(dataset, recipe, recipe.batch_size, self.seed)
        net = recipe.network(dataset.about.sensor, dataset.n_classes) if net is None else net
        layers(net)  # refuses what the dense methods do not know
        where = self.device, backend_on(self.device, self.backend)
        named = f"{dataset.name}, {source}"
        return StepCase(named, len(dataset), recipe, net, spikes, label, *where)


@dataclass(frozen=True, eq=False)
class StepCase:
    """One batch and one network, on the CPU; a trial moves what it needs.

    Attributes:
        source: where batch and network come from.
        n_train: samples of an epoch.
        recipe: of network and loss.
        net: the network with the weights all methods start from.
        spikes: (B, T, N_in).
        label: (B,).
        device: where the methods compute.
        backend: of sparsespike.
    """

    source: str
    n_train: int
    recipe: Recipe
    net: Network
    spikes: Spikes
    label: Tensor
    device: str = "cpu"
    backend: str = "cpu"

    def about(self) -> dict[str, Any]:
        """See `Case`."""
        with torch.no_grad(), use_backend("cpu"):
            _, hidden = self.net(self.spikes, return_spikes=True)
        n_batch, n_step, n_in = self.spikes.shape
        facts = {
            "source": self.source,
            "batch_size": n_batch,
            "steps": n_step,
            "sizes": [n_in, *self._sizes],
            "steps_per_epoch": math.ceil(self.n_train / n_batch),
            "recipe": self.recipe.to_dict(),
            "input_rate": self.spikes.rate(),
            "rate": [layer.rate() for layer in hidden],
            "activity": [layer.activity() for layer in hidden],
        }
        return facts | {"chosen": chosen(self)} if self.backend == "auto" else facts

    def head(self) -> StepCase:
        """See `Case`: the first samples and steps."""
        n_batch, n_step, n_in = self.spikes.shape
        n_sample = head_samples(n_batch, n_step, n_in + sum(self._sizes))
        spikes = inputs.head(self.spikes, n_sample, HEAD_STEPS)
        return dataclasses.replace(self, spikes=spikes, label=self.label[:n_sample])

    def n_entries(self) -> int:
        """See `Case`."""
        n_batch, n_step, n_in = self.spikes.shape
        return n_batch * n_step * (n_in + sum(self._sizes))

    def trial(self, method: str) -> Trial:
        """See `Case`: phases "forward", which gives the loss, "backward" and "update"."""
        if method == OURS:
            return self._event_trial(self.backend)
        return self._dense_trial(layer_of(method, self._lif, self.device))

    def check(self, method: str) -> str | None:
        """See `Case`: loss and the gradient of every weight of the head, in float64.

        A library's spikes come a step early in every layer, so that its loss is another one: its layer is
        checked, on the input of the first. So is ours on a GPU, whose kernels for float32 are others.
        """
        head = self.head()
        if method in PEERS or (method == OURS and self.backend == "gpu"):
            problem = head._first_layer().check(method)
            if problem or method in PEERS:
                return problem
        head = dataclasses.replace(
            head, net=copy.deepcopy(head.net).double(), spikes=head.spikes.to(torch.float64)
        )
        oracle = dataclasses.replace(head, device="cpu", backend="dense")
        expected, found = _outcome(oracle.trial(OURS)), _outcome(head.trial(method))
        for i, (left, right) in enumerate(zip(found, expected, strict=True)):
            name = f"gradient of layer {i}" if i else "loss"
            if not right.count_nonzero():
                raise ValueError(f"gate: expected something to compare, found a {name} of zero")
            error = relative_error(left, right)
            if not error <= EXACT:  # NaN is an error as well
                return f"{name}: relative error {error:.2g} > {EXACT:g}"
        return None

    def _event_trial(self, backend: str) -> Trial:
        net = copy.deepcopy(self.net).to(self.device)
        weights = list(net.parameters())
        spikes = inputs.stored(self.spikes, backend, self.device)
        label = self.label.to(self.device)

        def forward(_: None) -> Tensor:
            with use_backend(backend):
                potential, hidden = net(spikes, return_spikes=True)
                loss = losses.cross_entropy(potential, label, self.recipe.reduce)
                for layer in hidden:
                    loss = loss + losses.activity(layer, **penalty_weights(self.recipe))
            return loss

        return Trial(_phases(forward, weights), [*weights, label, *spikes.storage])

    def _first_layer(self) -> LayerCase:
        """The first layer, with every entry of its input active."""
        draw = torch.Generator().manual_seed(self.recipe.seed + 1)
        below, first = self.spikes, layers(self.net)[0]
        for module in self.net:
            if module is first:
                break
            below = module(below)
        synapses = first.connection(below).terms[0].connection
        n_batch, n_step, _ = below.shape
        return LayerCase(
            self.source,
            Spikes.from_dense(below.to_dense().detach().requires_grad_()),
            synapses,
            first.connection.weight.detach(),
            self._lif,
            torch.randn(n_batch, n_step, generator=draw),
            torch.randn(n_batch, synapses.n_out, generator=draw),
            self.device,
            self.backend,
        )

    def _dense_trial(self, layer: DenseLayer) -> Trial:
        weights = [
            weight.detach()
            .to(self.device, copy=True, memory_format=torch.contiguous_format)
            .requires_grad_()
            for weight in self.net.parameters()
        ]
        label = self.label.to(self.device)

        def forward(_: None) -> Tensor:
            logit, penalty = dense_forward(
                layer, self._dense_spikes, self._stages, weights, self.recipe
            )
            return functional.cross_entropy(logit, label) + penalty

        return Trial(_phases(forward, weights), [*weights, label, self._dense_spikes])

    @cached_property
    def _stages(self) -> list[Stage]:
        # Of a copy in float32: what is read off are sizes.
        return stages(copy.deepcopy(self.net).float(), self.spikes.unit_shape)

    @property
    def _sizes(self) -> list[int]:
        """Neurons of every layer."""
        return [stage.synapses.n_out for stage in self._stages if stage.synapses is not None]

    @property
    def _lif(self) -> LIF:
        """Of the hidden layers, which are all the same."""
        neuron = next(module for module in self.net if isinstance(module, Layer)).neuron
        assert isinstance(neuron, LIF)
        return neuron

    @cached_property
    def _dense_spikes(self) -> Tensor:
        shape = dense_shape(self._stages, self.spikes.unit_shape)
        return dense(self.spikes, shape, next(self.net.parameters()).dtype, self.device)


def _phases(
    forward: Callable[[None], Tensor], weights: Sequence[Tensor]
) -> dict[str, Callable[[Any], Any]]:
    optimiser = torch.optim.Adam(weights, lr=0.0, betas=(0.9, 0.999), fused=True)

    def backward(loss: Tensor) -> Sequence[Tensor]:
        optimiser.zero_grad()
        loss.backward()
        return weights

    def update(_: Sequence[Tensor]) -> None:
        optimiser.step()

    return {"forward": forward, "backward": backward, "update": update}


def _outcome(trial: Trial) -> list[Tensor]:
    """The loss, then the gradient of every weight, on the CPU."""
    loss = trial.phases["forward"](None)
    weights = trial.phases["backward"](loss)
    return [loss.detach().cpu(), *(weight.grad.cpu() for weight in weights)]
