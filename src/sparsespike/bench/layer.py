"""`sparsespike bench layer`: forward and backward of one spiking layer.

Of a network it is the second, because that is the first that needs both gradients: of its weights and of its
input (section 3.3 of the paper). A first layer, whose input is data, is timed where `active` is 0.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import torch

from sparsespike import descriptions
from sparsespike.bench import inputs
from sparsespike.bench.cases import PRESETS, ConvSizes, Preset
from sparsespike.bench.dense import Pool
from sparsespike.bench.inputs import LayerInput
from sparsespike.bench.layer_case import LayerCase
from sparsespike.bench.trial import Device, Method, OnCpu, backend_on
from sparsespike.connections.pool import AvgPool2d, MaxPool2d
from sparsespike.connections.sparse import SparseLinear

# Of synthetic input to a fully connected layer: shares as in trained second layers (section 3.2).
RATE, ACTIVITY = 0.008, 0.009
OF_CONV = ("preset", "shape", "channels", "kernel", "padding", "pool")
FAN_IN = 50  # of a sparse layer


@dataclass(frozen=True)
class LayerBench:
    """Options of `sparsespike bench layer`.

    Attributes:
        recipe: take real input: the dataset of this recipe through the initial network up to its second
            layer, and time that; without it, and without --trained, the layer and its input are synthetic.
        trained: the same with the trained network in this folder of a run.
        data: folder of the datasets.
        connection: of a synthetic layer; None for linear.
        preset: sizes and shares of a convolution, of which the options below replace some; nmnist is the
            first layer on real recordings of nmnist-small. None for 14x14-k3.
        shape: C_in, H and W of a convolution's input.
        channels: C_out of a convolution, >= 1.
        kernel: taps of a convolution along each axis, >= 1.
        padding: zeros around a convolution's input, >= 0.
        pool: what a convolution's synthetic input goes through first, by 2 x 2 units: the input is twice as
            high and wide then, and pooling is timed with the layer. None for none.
        fan_in: synapses of each neuron of a sparse layer, >= 1; None for 50.
        neurons: units of a linear or sparse layer and of its synthetic input, >= 1; None for 200.
        steps: time steps T of the input, >= 2; None for 100, or the recipe's.
        rate: share of the synthetic input's entries that hold a spike, in (0, 1); None for 0.8 %, or the
            preset's.
        active: share of the synthetic input's entries that are active, in [0, 1); 0 for a first layer, whose
            input needs no gradient; None for as many as spike, or the preset's.
        activity: share of the layer's entries within 0.2 of the threshold that the synthetic weights
            are scaled to, in (0, 1); beyond 5 % the band is widened instead. Trained second layers have 0.8
            to 1.1 % (section 3.2). None for 0.9 %, or the preset's.
        curve: time the layer at shares from 0.1 to 30 % of spikes and active entries, instead of at one, and
            tell where the dense methods become faster.
        batch_size: samples B, >= 1; None for 256, or 32 of a convolution.
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
    connection: Literal["linear", "conv2d", "sparse"] | None = None
    preset: Preset | None = None
    shape: tuple[int, ...] = ()
    channels: int | None = None
    kernel: int | None = None
    padding: int | None = None
    pool: Literal["max", "avg"] | None = None
    fan_in: int | None = None
    neurons: int | None = None
    steps: int | None = None
    rate: float | None = None
    active: float | None = None
    activity: float | None = None
    curve: bool = False
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
        rules: dict[str, tuple[str, bool]] = {
            "neurons": ("an integer >= 1", self.neurons is None or self.neurons >= 1),
            "steps": ("an integer >= 2", self.steps is None or self.steps >= 2),
            "rate": ("a share in (0, 1)", self.rate is None or 0 < self.rate < 1),
            "active": ("a share in [0, 1)", self.active is None or 0 <= self.active < 1),
            "activity": ("a share in (0, 1)", self.activity is None or 0 < self.activity < 1),
            "batch_size": ("an integer >= 1", self.batch_size is None or self.batch_size >= 1),
            "b_th": ("a half-width > 0", self.b_th is None or self.b_th > 0),
            "repeats": ("an integer >= 1", self.repeats >= 1),
            "limit": ("seconds > 0", self.limit > 0),
            "seed": ("an integer >= 0", self.seed >= 0),
        }
        if self._real:
            rules["trained"] = ("none beside --recipe", None in (self.recipe, self.trained))
            own = (
                "connection",
                *OF_CONV,
                "fan_in",
                "neurons",
                "steps",
                "rate",
                "active",
                "activity",
            )
            rules |= {
                name: self._left_out(name, "with a network, which has its own") for name in own
            }
            rules["curve"] = ("none with a network, whose spikes are what they are", not self.curve)
        elif self.connection == "conv2d":
            rules["neurons"] = self._left_out("neurons", "with --connection conv2d, see --channels")
        else:
            where = "without --connection conv2d"
            rules |= {name: self._left_out(name, where) for name in OF_CONV}
        if self.connection == "sparse":
            most = self.neurons or 200
            holds = self.fan_in is None or 1 <= self.fan_in <= most
            rules["fan_in"] = (f"an integer in [1, {most}]", holds)
        else:
            rules["fan_in"] = self._left_out("fan_in", "without --connection sparse")
        if self.preset is not None and PRESETS[self.preset].recordings:
            where = "with recordings, whose spikes are what they are"
            rules |= {
                name: self._left_out(name, where) for name in ("shape", "rate", "active", "pool")
            }
            rules["curve"] = (f"none {where}", not self.curve)
        for name, (expected, holds) in rules.items():
            if not holds:
                raise ValueError(f"{name}: expected {expected}, found {getattr(self, name)}")
        if self.connection == "conv2d":
            self.sizes().synapses()

    def case(self) -> LayerCase:
        """Input, weights and neuron that the options describe; the same at every call.

        Raises:
            ValueError, OSError: if recipe, run or data cannot be had, or no gain gives the
                activity.
        """
        made = self._input()
        neuron = made.neuron
        if self.b_th is not None:
            neuron = neuron.changed(b_th=self.b_th)
        draw = torch.Generator().manual_seed(self.seed + 1)
        n_batch, n_step, _ = made.spikes.shape
        return LayerCase(
            made.source,
            made.spikes,
            made.synapses,
            made.weight,
            neuron,
            torch.randn(n_batch, n_step, generator=draw),
            torch.randn(n_batch, made.synapses.n_out, generator=draw),
            self.device,
            backend_on(self.device, self.backend),
            self._pool(),
        )

    def sizes(self) -> ConvSizes:
        """The preset, with the options that replace parts of it."""
        names = ("channels", "kernel", "padding", "rate", "active", "activity")
        given = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        if self.shape:
            given["shape"] = self.shape
        return dataclasses.replace(PRESETS[self.preset or "14x14-k3"], **given)

    @property
    def _real(self) -> bool:
        return self.recipe is not None or self.trained is not None

    def _left_out(self, name: str, where: str) -> tuple[str, bool]:
        return f"none {where}", getattr(self, name) in (None, ())

    def _pool(self) -> Pool | None:
        return None if self.pool is None else (MaxPool2d if self.pool == "max" else AvgPool2d)(2)

    def _input(self) -> LayerInput:
        conv = self.connection == "conv2d"
        n_batch, n_step = self.batch_size or (32 if conv else 256), self.steps or 100
        if self._real:
            return inputs.real(self.recipe, self.trained, self.data, n_batch, self.seed)
        if conv:
            sizes = self.sizes()
            if sizes.recordings:
                return inputs.recordings(sizes, n_step, self.data, n_batch, self.seed)
            shares = sizes.rate, sizes.active, sizes.activity
            synapses = sizes.synapses()
            return inputs.synthetic(n_batch, n_step, synapses, *shares, self.seed, self._pool())
        n, rate = self.neurons or 200, self.rate or RATE
        shares = rate, rate if self.active is None else self.active, self.activity or ACTIVITY
        synapses = descriptions.Linear(n, n)
        if self.connection == "sparse":
            drawn = SparseLinear.random(n, n, fan_in=self.fan_in or min(FAN_IN, n), seed=self.seed)
            synapses = descriptions.SparseLinear(n, n, drawn.index)
        return inputs.synthetic(n_batch, n_step, synapses, *shares, self.seed)
