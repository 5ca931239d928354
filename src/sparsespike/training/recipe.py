"""Recipes: all numbers of one training run, as a frozen dataclass and as a TOML file.

A recipe file is flat: one `key = value` per field of `Recipe`, keys left out keep their default. This
module imports nothing heavy, so that the command line can show a recipe without loading torch.
"""

from __future__ import annotations

import dataclasses
import math
import tomllib
import typing
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from sparsespike.spikes.arguments import nearest
from sparsespike.training.values import DISTRIBUTIONS, LAYERS, NEURONS, call, called, checked

if TYPE_CHECKING:
    from sparsespike.data.dataset import EventDataset
    from sparsespike.data.transform import Transform
    from sparsespike.network import Network
    from sparsespike.neurons.surrogates import Surrogate

SURROGATES = (
    "FastSigmoid",
    "Triangle",
    "Boxcar",
    "ATan",
    "Sigmoid",
    "Gaussian",
    "Exponential",
    "Circle",
    "QPseudoSpike",
)
SELECTIONS = ("FoldPolarity", "OnePolarity", "Pool", "CropTime", "Thermometer")
AUGMENTATIONS = (
    "EventDrop",
    "UnitDrop",
    "TimeJitter",
    "TimeShift",
    "TimeStretch",
    "UnitJitter",
    "Shift",
    "FlipLR",
)


@dataclass(frozen=True)
class Recipe:
    """All numbers of one training run; the defaults are the paper's on Fashion-MNIST.

    Attributes:
        dataset: name of the dataset, one of `sparsespike data list`, or a folder with a / in its path that
            holds train.events and test.events.
        transforms: selections of `sparsespike.data` that every sample goes through, in order, with their
            numbers in parentheses: FoldPolarity, OnePolarity(1), Pool(2), CropTime(0, 0.3),
            Thermometer(5, 1e-3, 7e-3, 0.1).
        augment: what happens to the training samples, drawn anew at every step, in order: EventDrop(0.2),
            UnitDrop(0.1), TimeJitter(1e-3), TimeShift(5e-3), TimeStretch(0.1), UnitJitter(1), Shift(2),
            FlipLR(0.5).
        hidden: neurons of each hidden layer, from the input up; all are fully connected.
        layers: hidden layers of other kinds, from the input up, in place of hidden = []: Conv2d(1, 32, 5),
            Conv1d, Linear(1568, 200), SparseLinear.random(784, 1000, fan_in=50), each with neurons;
            MaxPool2d(2), AvgPool2d(2), SumPool2d(2), Flatten(), Dropout(0.2).
        steps: time steps T of a sample, >= 2.
        chunk: steps that are computed at a time, >= 0; gradients end between chunks, and memory does not grow
            with T (`training.loss`). 0: the whole sample.
        dt: time step, seconds, > 0.
        tau_mem: membrane time constant of the hidden layers, seconds, > 0.
        tau_readout: time constant of the readout, seconds, > 0.
        v_th: threshold, > 0, in the unit of the membrane potential.
        b_th: half-width of the active band |V - v_th| < b_th, > 0; inf gives ordinary surrogate
            gradients. The authors' code stores v_th - b_th: their 0.8 is 0.2 here.
        surrogate: derivative of the spike inside the band, by name, with its steepness or width in
            parentheses: FastSigmoid(100), Triangle(1), Boxcar(0.5), ATan(2), Sigmoid(4), Gaussian(0.5),
            Exponential(1), Circle(1), QPseudoSpike(1.5), whose number is > 1.
        reset: what a spike does to the potential: takes v_th away, sets it to zero, or nothing.
        neuron: of the hidden layers: LIF, CuBaLIF(tau_syn=5e-3), ALIF(tau_adapt=0.1, beta=0.2),
            AdLIF(tau_adapt=0.1, a=0.02, b=0.1). What this recipe has a field for is filled in. A number may
            be drawn for each neuron: LIF(tau_mem=Gamma(10e-3, 3)), Normal(mean, std), Uniform(low, high).
        learn: numbers of these neurons that are learned, each neuron's own: tau_mem, v_th, tau_adapt, a, b.
        recurrent: whether each fully connected hidden layer is connected to itself.
        delay: longest delay in steps, learned for each synapse into a fully connected hidden layer; 0 for
            none.
        reduce: how the readout's potential over time becomes one logit per class.
        init: initial weights: normal, N(0, (init_gain (1 - alpha) / sqrt(n_in))^2) with alpha the leak
            of one step, uniform, within 1 / sqrt(n_in) of 0, or neuron, as wide as suits the neuron.
        init_gain: width of the normal initial weights, > 0.
        batch_size: samples per step, >= 1, of all processes together.
        accumulate: parts that a step's samples are computed in, one after the other, in less memory, 1 to
            batch_size; the gradients add up to the same.
        epochs: passes over the training samples, >= 1.
        lr: learning rate of Adam, > 0.
        lr_numbers: learning rate of the neurons' numbers and of delays, as a share of their size at the
            start, or of the longest delay, > 0.
        schedule: learning rate over the run: constant, or cosine, falling from lr to 0.
        weight_decay: share of a weight that a step takes away, per unit of lr (AdamW), >= 0; not in the
            paper.
        clip_norm: largest norm of all gradients of a step together, beyond which they are scaled down to it,
            >= 0; 0: as they are. Not in the paper.
        ema: decay of an exponential moving average of the weights, in [0, 1), which is then what is
            validated, tested and kept as the best; 0: none. Not in the paper.
        label_smoothing: share of the target that goes to all classes alike, in [0, 1); not in the paper.
        activity_upper: mean spikes per neuron and sample above which a hidden layer is penalised, >= 0.
        activity_upper_weight: weight of that penalty, >= 0.
        activity_lower_weight: weight of the penalty on silent hidden neurons, >= 0.
        validation: share of the training samples held out to choose the best epoch, in [0, 1); 0 trains
            on all of them and keeps the last epoch.
        seed: of the initial weights, the order of the samples and the held-out share, >= 0.
        backend: where layers are computed: cpu, gpu, dense, the slow reference, or auto, on the CPU
            event-driven or dense kernels, whichever are estimated to be faster.

    Raises:
        ValueError: naming the field, what was expected and what was found.
    """

    dataset: str = "fashion-mnist"
    transforms: tuple[str, ...] = ()
    augment: tuple[str, ...] = ()
    hidden: tuple[int, ...] = (200, 200)
    layers: tuple[str, ...] = ()
    steps: int = 100
    chunk: int = 0
    dt: float = 1e-3
    tau_mem: float = 10e-3
    tau_readout: float = 10e-3
    v_th: float = 1.0
    b_th: float = 0.2
    surrogate: str = "FastSigmoid(100)"
    reset: Literal["subtract", "zero", "none"] = "subtract"
    neuron: str = "LIF"
    learn: tuple[str, ...] = ()
    recurrent: bool = False
    delay: int = 0
    reduce: Literal["max", "sum", "mean", "last"] = "max"
    init: Literal["normal", "uniform", "neuron"] = "normal"
    init_gain: float = 20.0
    batch_size: int = 256
    accumulate: int = 1
    epochs: int = 100
    lr: float = 2e-4
    lr_numbers: float = 1e-2
    schedule: Literal["constant", "cosine"] = "constant"
    weight_decay: float = 0.0
    clip_norm: float = 0.0
    ema: float = 0.0
    label_smoothing: float = 0.0
    activity_upper: float = 1.0
    activity_upper_weight: float = 0.06
    activity_lower_weight: float = 100.0
    validation: float = 0.0
    seed: int = 0
    backend: Literal["cpu", "gpu", "dense", "auto"] = "cpu"

    def __post_init__(self) -> None:
        for name, kind in typing.get_type_hints(Recipe).items():
            object.__setattr__(self, name, checked(name, getattr(self, name), kind))
        if not self.hidden and not self.layers:
            raise ValueError(
                "hidden: expected one or more integers >= 1, found (); or texts in layers"
            )
        if self.hidden and self.layers:
            raise ValueError(
                f"layers: expected none beside hidden = {list(self.hidden)}, found {list(self.layers)}; "
                "hidden = [] gives way to them"
            )
        if self.accumulate > self.batch_size:
            raise ValueError(
                f"accumulate: expected at most batch_size = {self.batch_size} parts, found {self.accumulate}"
            )
        for text in self.layers:
            found = call("layers", text, LAYERS)
            each = "event" in (*found.values, *found.named.values())
            if found.name == "Dropout" and self.chunk and not each:
                raise ValueError(
                    f"chunk: expected 0 with {text}, whose masks are held over a whole sample, found "
                    f'{self.chunk}; per="event" draws anew at every step'
                )
        call("neuron", self.neuron, NEURONS, DISTRIBUTIONS)
        linear = not self.layers or any(text.startswith("Linear(") for text in self.layers)
        if not linear and (self.recurrent or self.delay):
            name = "recurrent" if self.recurrent else "delay"
            raise ValueError(
                f"{name}: expected a fully connected layer, hidden = [...] or Linear, found none"
            )
        if self.init == "normal" and math.isinf(self.tau_mem):
            raise ValueError(
                "init: expected 'uniform' without leak (tau_mem = inf), found 'normal'"
            )
        name, numbers = called("surrogate", self.surrogate, SURROGATES)
        least = 1 if name == "QPseudoSpike" else 0
        if len(numbers) > 1 or not all(number > least for number in numbers):
            raise ValueError(
                f"surrogate: expected a finite number > {least} in (...), found {self.surrogate!r}"
            )
        for name, known in (("transforms", SELECTIONS), ("augment", AUGMENTATIONS)):
            for text in getattr(self, name):
                called(name, text, known)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, which `from_dict` takes back; JSON has no infinity, so it is a text."""
        values = dataclasses.asdict(self)
        values = {k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}
        return {name: "inf" if value == math.inf else value for name, value in values.items()}

    def network(self, units: int | Sequence[int], n_class: int) -> Network:
        """The network this recipe describes, with the initial weights of its seed.

        Args:
            units: of the input: how many, or their shape, (C, H, W), which `layers` may ask for.
            n_class: readout units.

        Returns:
            hidden layers of its neurons, then a `Readout`, float32.

        Raises:
            ValueError: if a layer does not take what the one below gives.
        """
        # Imported here: building a network needs torch, reading a recipe does not.
        from sparsespike.training import architecture

        shape = (units,) if isinstance(units, int) else tuple(units)
        return architecture.network(self, shape, n_class)

    def seen(self, dataset: EventDataset) -> EventDataset:
        """A dataset through this recipe's `transforms`.

        Raises:
            ValueError: if they cannot be applied to its sensor.
        """
        return dataset.transformed(*self._built("transforms", SELECTIONS))

    def augmentations(self) -> list[Transform]:
        """What `augment` names, for `EventLoader`."""
        return self._built("augment", AUGMENTATIONS)

    def _built(self, field: str, known: tuple[str, ...]) -> list[Transform]:
        from sparsespike import data

        calls = [called(field, text, known) for text in getattr(self, field)]
        try:
            return [getattr(data, name)(*numbers) for name, numbers in calls]
        except (TypeError, ValueError) as error:
            raise ValueError(f"{field}: {error}") from None

    def built_surrogate(self) -> Surrogate:
        """What `surrogate` names."""
        from sparsespike.neurons import surrogates

        name, numbers = called("surrogate", self.surrogate, SURROGATES)
        return getattr(surrogates, name)(*numbers)


def names() -> list[str]:
    """Names of the shipped recipes, sorted."""
    return sorted(file.name[:-5] for file in _shipped().iterdir() if file.name.endswith(".toml"))


def summary(name: str) -> str:
    """What a shipped recipe is for: the first line of its file."""
    return (_shipped() / f"{name}.toml").read_text("utf-8").partition("\n")[0].lstrip("# ")


def load(recipe: str) -> Recipe:
    """Reads a recipe.

    Args:
        recipe: a shipped name (see `names`), or the path of a file that ends in .toml.

    Raises:
        ValueError: if the name is unknown, the file is no TOML, or a key or value is wrong.
        OSError: if the file cannot be read.
    """
    if recipe.endswith(".toml"):
        text = Path(recipe).read_text("utf-8")
    elif recipe in names():
        text = (_shipped() / f"{recipe}.toml").read_text("utf-8")
    else:
        known = ", ".join(names())
        raise ValueError(
            f"recipe: expected {known} or a path ending in .toml, found {recipe!r}"
            f"{nearest(recipe, names())}"
        )
    try:
        return from_dict(tomllib.loads(text))
    except ValueError as error:  # tomllib's own error is one as well
        raise ValueError(f"recipe {recipe}: {error}") from None


def from_dict(values: dict[str, Any]) -> Recipe:
    """A recipe from plain values, as TOML and JSON give them.

    Raises:
        ValueError: if a key is unknown, naming the nearest known one, or a value is wrong.
    """
    known = [field.name for field in dataclasses.fields(Recipe)]
    for key in values:
        if key not in known:
            hint = nearest(key, known) or f"; the keys are {', '.join(known)}"
            raise ValueError(f"unknown key {key!r}{hint}")
    return Recipe(**values)


def _shipped():
    return resources.files("sparsespike") / "recipes"
