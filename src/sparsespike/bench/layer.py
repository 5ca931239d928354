"""`sparsespike bench layer`: forward and backward of a network's second hidden layer.

The second layer, because it is the first that needs both gradients: of its weights and of its input
(section 3.3 of the paper). The upstream gradient is a random number per (sample, step) times one
per (sample, unit), so that it exists at the active entries without ever being a tensor (B, T, N).
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, get_args

import torch
from torch import Tensor

from sparsespike.bench import inputs
from sparsespike.bench.gate import HEAD_SAMPLES, HEAD_STEPS, PLANES_ROOM, compare, decided
from sparsespike.bench.peers import PEERS, DenseLayer, layer_of
from sparsespike.bench.trial import OURS, Device, Method, OnCpu, Trial, backend_on, chosen
from sparsespike.connections.linear import Linear
from sparsespike.network import Layer
from sparsespike.neurons.lif import LIF
from sparsespike.spikes.spikes import Spikes


@dataclass(frozen=True)
class LayerBench:
    """Options of `sparsespike bench layer`.

    Attributes:
        recipe: take real input: the dataset of this recipe through the first layer of its initial
            network, and time the second; without it, and without --trained, the input is synthetic.
        trained: the same with the trained network in this folder of a run.
        data: folder of the datasets.
        neurons: units of the layer and of its synthetic input, >= 1; None for 200.
        steps: time steps T of the synthetic input, >= 2; None for 100.
        rate: share of the synthetic input's entries that hold a spike, in (0, 1).
        activity: share of the layer's entries within 0.2 of the threshold that the synthetic weights
            are scaled to, in (0, 1); trained second layers have 0.8 to 1.1 % (section 3.2).
        batch_size: samples B, >= 1.
        b_th: half-width of the active band, > 0; None for 0.2, or the network's own.
        device: where the methods compute.
        backend: of sparsespike on the CPU: its event-driven kernels, or auto, which may choose dense ones.
        methods: what to run.
        repeats: timed runs of each method, >= 1.
        limit: seconds after which a method is given up or not repeated further, > 0.
        seed: of input, weights and upstream gradient, >= 0.
        out: folder whose bench-layer.jsonl takes one more line per method.
    """

    recipe: str | None = None
    trained: Path | None = None
    data: Path | None = None
    neurons: int | None = None
    steps: int | None = None
    rate: float = 0.008
    activity: float = 0.009
    batch_size: int = 256
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
        rules: dict[str, tuple[str, bool]] = {
            "neurons": ("an integer >= 1", self.neurons is None or self.neurons >= 1),
            "steps": ("an integer >= 2", self.steps is None or self.steps >= 2),
            "rate": ("a share in (0, 1)", 0 < self.rate < 1),
            "activity": ("a share in (0, 1)", 0 < self.activity < 1),
            "batch_size": ("an integer >= 1", self.batch_size >= 1),
            "b_th": ("a half-width > 0", self.b_th is None or self.b_th > 0),
            "repeats": ("an integer >= 1", self.repeats >= 1),
            "limit": ("seconds > 0", self.limit > 0),
            "seed": ("an integer >= 0", self.seed >= 0),
        }
        if self.recipe is not None or self.trained is not None:
            rules["trained"] = ("none beside --recipe", None in (self.recipe, self.trained))
            rules["neurons"] = (
                "none with real input, the network has its own",
                self.neurons is None,
            )
            rules["steps"] = ("none with real input, the recipe has its own", self.steps is None)
        for name, (expected, holds) in rules.items():
            if not holds:
                raise ValueError(f"{name}: expected {expected}, found {getattr(self, name)}")

    def case(self) -> LayerCase:
        """Input, weights and neuron that the options describe; the same at every call.

        Raises:
            ValueError, OSError: if recipe, run or data cannot be had, or no gain gives the
                activity.
        """
        if self.recipe is None and self.trained is None:
            made = inputs.synthetic(
                self.batch_size,
                self.steps or 100,
                self.neurons or 200,
                self.rate,
                self.activity,
                self.seed,
            )
        else:
            made = inputs.real(self.recipe, self.trained, self.data, self.batch_size, self.seed)
        neuron = made.neuron
        if self.b_th is not None:
            neuron = dataclasses.replace(neuron, b_th=self.b_th)
        draw = torch.Generator().manual_seed(self.seed + 1)
        n_batch, n_step, _ = made.spikes.shape
        return LayerCase(
            made.source,
            made.spikes,
            made.weight,
            neuron,
            torch.randn(n_batch, n_step, generator=draw),
            torch.randn(n_batch, len(made.weight), generator=draw),
            self.device,
            backend_on(self.device, self.backend),
        )


@dataclass(frozen=True, eq=False)
class LayerCase:
    """One spiking layer, its input and its upstream gradient, on the CPU; a trial moves what it needs.

    Attributes:
        source: where input and weights come from.
        spikes: (B, T, N_in), with the active set of the layer below.
        weight: (N_out, N_in).
        neuron: of the layer.
        per_step: (B, T), and
        per_unit: (B, N_out): the upstream gradient is their product.
        device: where the methods compute.
        backend: of sparsespike.
    """

    source: str
    spikes: Spikes
    weight: Tensor
    neuron: LIF
    per_step: Tensor
    per_unit: Tensor
    device: str = "cpu"
    backend: str = "cpu"

    def about(self) -> dict[str, Any]:
        """See `Case`."""
        with torch.no_grad():
            fired = self._layer("cpu", self.neuron)(self.spikes)
        assert isinstance(fired, Spikes)
        n_batch, n_step, n_in = self.spikes.shape
        facts = {
            "source": self.source,
            "batch_size": n_batch,
            "steps": n_step,
            "n_in": n_in,
            "neurons": len(self.weight),
            "neuron": repr(self.neuron),
            "b_th": self.neuron.b_th if self.neuron.b_th < float("inf") else "inf",
            "input_rate": self.spikes.rate(),
            "input_activity": self.spikes.activity(),
            "rate": fired.rate(),
            "activity": fired.activity(),
        }
        return facts | {"chosen": chosen(self)} if self.backend == "auto" else facts

    def head(self) -> LayerCase:
        """See `Case`: the first samples and steps."""
        n_sample = min(HEAD_SAMPLES, self.spikes.shape[0])
        return dataclasses.replace(
            self,
            spikes=inputs.head(self.spikes, n_sample, HEAD_STEPS),
            per_step=self.per_step[:n_sample, :HEAD_STEPS],
            per_unit=self.per_unit[:n_sample],
        )

    def n_entries(self) -> int:
        """See `Case`."""
        n_batch, n_step, n_in = self.spikes.shape
        return n_batch * n_step * (n_in + len(self.weight))

    def trial(self, method: str) -> Trial:
        """See `Case`: phases "forward", which gives the spikes, and "backward"."""
        if method == OURS:
            return self._event_trial(self.backend, self.neuron)
        layer = layer_of(method, self.neuron, self.device)
        return self._dense_trial(layer, int(method in PEERS))

    def check(self, method: str) -> str | None:
        """See `Case`: spikes and both gradients of the head, in float64 and float32.

        The oracle computes in float64 on the CPU.
        """
        peer = PEERS.get(method)
        twin = self.neuron if peer is None else peer.twin(self.neuron)
        room = PLANES_ROOM if method == OURS and self.backend == "gpu" else 1.0
        for dtype in (torch.float64, torch.float32):
            mine = self.head()._to(torch.float64)
            oracle = dataclasses.replace(mine, neuron=twin, device="cpu", backend="dense")
            sure = decided(oracle.spikes, oracle.weight, twin, dtype, room)
            oracle = dataclasses.replace(oracle, per_step=oracle.per_step * sure[:, None])
            expected = oracle._outcome(oracle._event_trial("dense", twin), 0)
            mine = dataclasses.replace(mine, per_step=oracle.per_step)._to(dtype)
            found = mine._outcome(mine.trial(method), 0 if peer is None else 1)
            scale = 1.0 if peer is None else peer.slope
            problem = compare(found, expected, sure, scale, exact=peer is None)
            if problem:
                return f"{problem} ({dtype})"
        return None

    def _to(self, dtype: torch.dtype) -> LayerCase:
        return dataclasses.replace(
            self,
            spikes=self.spikes.to(dtype),
            weight=self.weight.to(dtype),
            per_step=self.per_step.to(dtype),
            per_unit=self.per_unit.to(dtype),
        )

    def _layer(self, backend: str, neuron: LIF) -> Layer:
        n_out, n_in = self.weight.shape
        connection = Linear(n_in, n_out, dtype=self.weight.dtype)
        with torch.no_grad():
            connection.weight.copy_(self.weight)
        return Layer(connection, neuron, backend=backend)

    def _event_trial(self, backend: str, neuron: LIF) -> Trial:
        layer = self._layer(backend, neuron).to(self.device)
        spikes = inputs.stored(self.spikes, backend, self.device)
        value = spikes.value.detach().requires_grad_()
        spikes = dataclasses.replace(spikes, value=value)
        grad = self._grad_at_active(layer(spikes))

        def forward(_: None) -> Spikes:
            return layer(spikes)

        def backward(fired: Spikes) -> tuple[Tensor, ...]:
            return torch.autograd.grad(fired.value, (value, layer.connection.weight), grad)

        given = [value, layer.connection.weight, *spikes.storage]
        return Trial({"forward": forward, "backward": backward}, given)

    def _dense_trial(self, layer: DenseLayer, early: int) -> Trial:
        """A dense method; `early` by so many steps comes the gradient, as its spikes do."""
        spikes, weight = self._dense_spikes, self.weight.detach().to(self.device).requires_grad_()
        grad = self._dense_grad[early:][: spikes.shape[1]].transpose(0, 1)

        def forward(_: None) -> Tensor:
            return layer(spikes, weight, self.neuron)

        def backward(fired: Tensor) -> tuple[Tensor, ...]:
            return torch.autograd.grad(fired, (spikes, weight), grad.to(fired.dtype))

        return Trial({"forward": forward, "backward": backward}, [spikes, weight, grad])

    def _outcome(self, trial: Trial, early: int) -> tuple[Tensor, Tensor, Tensor]:
        """Spikes (B, T, N_out), gradient at the active inputs in lists' order, gradient of the weights."""
        fired = trial.phases["forward"](None)
        grad_input, grad_weight = trial.phases["backward"](fired)
        if isinstance(fired, Spikes):
            given = inputs.stored(self.spikes, self.backend, self.device)
            grad = dataclasses.replace(given, value=grad_input).to("cpu").to_lists().value
            return fired.to_dense().flatten(2).detach().cpu(), grad, grad_weight.cpu()
        fired, grad_input, grad_weight = fired.cpu(), grad_input.cpu(), grad_weight.cpu()
        if early:
            fired = torch.cat((torch.zeros_like(fired[:, :1]), fired[:, :-1]), 1)
        at_active = grad_input.reshape(-1, grad_input.shape[2])[
            self.spikes.active_row(), self.spikes.active_unit
        ]
        return fired.detach(), at_active, grad_weight

    def _grad_at_active(self, fired: Any) -> Tensor:
        n_step, n_unit = fired.shape[1:]
        entry = fired.storage.active_entry(fired.shape)
        row = torch.div(entry, n_unit, rounding_mode="floor")
        sample = torch.div(row, n_step, rounding_mode="floor")
        per_step, per_unit = self.per_step.to(entry.device), self.per_unit.to(entry.device)
        return per_step.flatten()[row] * per_unit[sample, entry % n_unit]

    # Shared by the dense methods, so that one process need not hold a copy for each.
    @cached_property
    def _dense_spikes(self) -> Tensor:
        """(B, T, N_in), time first in memory."""
        n_batch, n_step, n_in = self.spikes.shape
        dense = torch.zeros(n_step, n_batch, n_in, dtype=self.weight.dtype, device=self.device)
        row, unit = self.spikes.row().to(self.device), self.spikes.unit.to(self.device)
        dense[row % n_step, torch.div(row, n_step, rounding_mode="floor"), unit] = 1
        return dense.transpose(0, 1).requires_grad_()

    @cached_property
    def _dense_grad(self) -> Tensor:
        """(T + 1, B, N_out), the last step zero."""
        per_step = torch.cat((self.per_step, torch.zeros_like(self.per_step[:, :1])), 1)
        return per_step.to(self.device).t()[:, :, None] * self.per_unit.to(self.device)[None]
