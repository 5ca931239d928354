"""Cells that take times: a layer or a training step, by the benchmarks' own gates and processes."""

from __future__ import annotations

import dataclasses
import io
from dataclasses import dataclass
from typing import Any, ClassVar

from rich.console import Console

from sparsespike.bench import runner
from sparsespike.bench.gate import NothingHappened
from sparsespike.bench.layer import LayerBench
from sparsespike.bench.step import StepBench
from sparsespike.bench.trial import Bench, Method
from sparsespike.reproduce.cell import Cell, Place
from sparsespike.reproduce.trained import Training

CLEAN: tuple[Method, ...] = ("sparsespike", "clean-dense")
EVERY: tuple[Method, ...] = (
    "sparsespike",
    "paper-loop",
    "clean-dense",
    "fused-dense",
    "spikingjelly",
)
START_S = 6.0  # of a method's process


@dataclass(frozen=True)
class TrainedLayer(Cell):
    """Times and memory of the second layer of a trained network, on a batch of its training samples.

    Attributes:
        training: of the network; trained first where it is not.
        batch_size: B.
        b_th: half-width in place of the network's own; 0: its own.
        methods: what is compared.
        repeats: timed turns of each.
    """

    training: Training
    batch_size: int
    b_th: float
    methods: tuple[Method, ...]
    repeats: int
    alone: ClassVar[bool] = True

    @property
    def name(self) -> str:
        """See `Cell`."""
        band = f", b_th {self.b_th:g}" if self.b_th else ""
        methods = f"{len(self.methods)} methods"
        return f"time layer 2, {methods}{band}, B = {self.batch_size}, of: {self.training.name}"

    @property
    def needs(self) -> tuple[Cell, ...]:
        """See `Cell`."""
        return (self.training,)

    @property
    def seconds(self) -> float:
        """See `Cell`."""
        return len(self.methods) * (START_S + self.repeats * 1.5)

    def compute(self, place: Place) -> dict[str, Any]:
        """The case, and a row per method."""
        self.training.compute(place)
        bench = LayerBench(
            trained=self.training.folder(place),
            data=place.data,
            batch_size=self.batch_size,
            b_th=self.b_th or None,
            methods=self.methods,
            repeats=self.repeats,
            device=place.device,
        )
        return measured(bench)


@dataclass(frozen=True)
class SyntheticLayer(Cell):
    """Times and memory of a fully connected layer on synthetic spikes.

    Attributes:
        neurons: N, of the layer and of its input.
        batch_size: B.
        steps: T.
        share: of the input's entries that spike, that are active, and of the layer's that are active.
        methods: what is compared.
        repeats: timed turns of each.
    """

    neurons: int
    batch_size: int
    steps: int
    share: float
    methods: tuple[Method, ...]
    repeats: int
    alone: ClassVar[bool] = True

    @property
    def name(self) -> str:
        """See `Cell`."""
        sizes = f"N = {self.neurons}, B = {self.batch_size}, T = {self.steps}, {self.share:.2%}"
        return f"time a layer, {len(self.methods)} methods, {sizes}"

    @property
    def seconds(self) -> float:
        """See `Cell`."""
        return len(self.methods) * (START_S + self.repeats * 1.0)

    def compute(self, place: Place) -> dict[str, Any]:
        """The case with how many operations its sums take, and a row per method."""
        from sparsespike.reproduce.operations import counted

        bench = LayerBench(
            neurons=self.neurons,
            batch_size=self.batch_size,
            steps=self.steps,
            rate=self.share,
            active=self.share,
            activity=self.share,
            methods=self.methods,
            repeats=self.repeats,
            device=place.device,
        )
        return {**measured(bench), "operations": counted(bench.case())}


@dataclass(frozen=True)
class TrainedStep(Cell):
    """Times and memory of a whole training step of a trained network.

    Attributes:
        training: of the network; trained first where it is not.
        batch_size: B.
        methods: what is compared.
        repeats: timed turns of each.
    """

    training: Training
    batch_size: int
    methods: tuple[Method, ...]
    repeats: int
    alone: ClassVar[bool] = True

    @property
    def name(self) -> str:
        """See `Cell`."""
        return f"time a step, B = {self.batch_size}, of: {self.training.name}"

    @property
    def needs(self) -> tuple[Cell, ...]:
        """See `Cell`."""
        return (self.training,)

    @property
    def seconds(self) -> float:
        """See `Cell`."""
        return len(self.methods) * (START_S + self.repeats * 2.0)

    def compute(self, place: Place) -> dict[str, Any]:
        """The case, and a row per method."""
        self.training.compute(place)
        bench = StepBench(
            trained=self.training.folder(place),
            data=place.data,
            batch_size=self.batch_size,
            methods=self.methods,
            repeats=self.repeats,
            device=place.device,
        )
        return measured(bench)


def measured(bench: Bench) -> dict[str, Any]:
    """Runs a benchmark: its case, and a row per method; neither, but why, where nothing happens in it.

    Raises:
        ValueError: if a method computes something else than the oracle.
    """
    try:
        case, rows = runner.run(bench, Console(file=io.StringIO()))
    except NothingHappened as nothing:  # a band so narrow that no entry is active
        return {"case": {}, "rows": [], "nothing": str(nothing)}
    wrong = [f"{row.method}: {row.reason}" for row in rows if row.status == "wrong"]
    if wrong:
        raise ValueError(f"the gate failed, not timed: {'; '.join(wrong)}")
    return {"case": case, "rows": [dataclasses.asdict(row) for row in rows]}
