"""SpikingJelly's neurons and surrogates as ours (Fang et al., Science Advances 9(40), 2023)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from torch import nn

from sparsespike.interop.cell import DECODE, Cell, Inclusive
from sparsespike.interop.layers import View
from sparsespike.interop.numbers import number_of
from sparsespike.interop.peer import Peer, Wish
from sparsespike.interop.refused import naming, refused
from sparsespike.interop.surrogates import Pulled, Theirs
from sparsespike.neurons.cuba import CuBaLIF
from sparsespike.neurons.lif import LIF
from sparsespike.neurons.neuron import Neuron
from sparsespike.neurons.readout import Readout
from sparsespike.neurons.readouts import SumReadout
from sparsespike.neurons.surrogates import (
    ATan,
    Boxcar,
    Exponential,
    FastSigmoid,
    Gaussian,
    QPseudoSpike,
    Sigmoid,
    Surrogate,
    Triangle,
)

SURROGATES: dict[str, Callable[[Any], Surrogate]] = {
    "ATan": lambda g: ATan(g.alpha),
    "Sigmoid": lambda g: Sigmoid(g.alpha),
    "PiecewiseQuadratic": lambda g: Triangle(1 / g.alpha, scale=g.alpha),
    "PiecewiseExp": lambda g: Exponential(g.alpha),
    "SoftSign": lambda g: FastSigmoid(g.alpha, scale=g.alpha / 2),
    "SuperSpike": lambda g: FastSigmoid(1.0, scale=g.alpha),
    "Erf": lambda g: Gaussian(1 / (g.alpha * math.sqrt(2))),
    "Rect": lambda g: Boxcar(0.5 / g.alpha),
    "QPseudoSpike": lambda g: QPseudoSpike(g.alpha),
}
INFINITE = (
    *("DeterministicPass", "NonzeroSignLogAbs", "SquarewaveFourierSeries", "S2NN", "LeakyKReLU"),
    *("FakeNumericalGradient", "LogTailedReLU", "PiecewiseLeakyReLU"),
)
NEURONS = ("IFNode", "LIFNode", "ParametricLIFNode", "CUBALIFNode")
READOUTS = ("NonSpikingIFNode", "NonSpikingLIFNode")
LAYERS = {
    **{kind.__name__: kind for kind in (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Flatten)},
    **{kind.__name__: kind for kind in (nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d)},
    **{kind.__name__: kind for kind in (nn.BatchNorm1d, nn.BatchNorm2d, nn.GroupNorm, nn.Dropout)},
    "VotingLayer": nn.AvgPool1d,
}
CONTAINERS: dict[str, View] = {"MultiStepContainer": "step", "SeqToANNContainer": "batch"}


class SpikingJelly(Peer):
    """SpikingJelly 2.0: modules that take one step (`step_mode="s"`) or all of them ("m")."""

    name = "SpikingJelly"
    package = "spikingjelly"

    def kind_of(self, module: nn.Module) -> type[nn.Module] | None:
        """See `Peer.kind_of`."""
        if self.owns(module) and ".layer." in type(module).__module__:
            return LAYERS.get(type(module).__name__)
        return super().kind_of(module)

    def parts(self, module: nn.Module) -> tuple[Sequence[nn.Module], View] | None:
        """See `Peer.parts`."""
        view = CONTAINERS.get(type(module).__name__) if self.owns(module) else None
        return None if view is None else (list(module.children()), view)

    def sequential(self, root: nn.Module) -> bool:
        """See `Peer.sequential`.

        Raises:
            ValueError: if some of its neurons take one step and others all.
        """
        modes: dict[str, tuple[str, nn.Module]] = {}
        for name, module in root.named_modules():
            if self.owns(module) and type(module).__name__ in (*NEURONS, *READOUTS):
                modes.setdefault(getattr(module, "step_mode", "m"), (name, module))
        if "s" in modes and "m" in modes:
            name, module = modes["s"]
            raise refused(
                name,
                module,
                'step_mode="s" beside neurons of step_mode="m"; functional.set_step_mode(net, ...)',
            )
        return "m" in modes or any(self.parts(module) is not None for module in root.modules())

    def view(self, module: nn.Module, sequential: bool) -> View:
        """See `Peer.view`."""
        if self.owns(module):
            return "step" if getattr(module, "step_mode", "s") == "s" else "batch"
        return super().view(module, sequential)

    def held(self, module: nn.Module) -> bool:
        """See `Peer.held`."""
        return self.owns(module)

    def outputs(self, module: Any) -> tuple[str, ...] | str:
        """See `Peer.outputs`."""
        if type(module).__name__ not in READOUTS:
            return "spikes"
        return "listed" if module.decode not in DECODE else "pooled"

    def cell(self, module: Any, wish: Wish) -> Cell:
        """See `Peer.cell`."""
        name, kind = wish.name, type(module).__name__
        if kind in READOUTS:
            decode = module.decode if module.decode in DECODE else None
            with naming(name, module):
                return Cell(_readout(module), gives="potential", decode=decode)
        if kind not in NEURONS:
            known = ", ".join((*NEURONS, *READOUTS))
            raise refused(name, module, f"expected one of {known}, or a layer of PyTorch's")
        with naming(name, module):
            neuron, inclusive = _neuron(module, wish)
        return Cell(neuron, inclusive=inclusive)


def _neuron(module: Any, wish: Wish) -> tuple[Neuron, Inclusive]:
    kind = type(module).__name__
    surrogate = surrogate_of(module, wish.name)
    alpha, gain = _leak(module, wish)
    v_th, soft = float(module.v_threshold), module.v_reset is None
    v_reset = 0.0 if soft else float(module.v_reset)
    # A soft reset comes before the leak, which then leaves a share of it.
    taken = alpha * v_th if soft else None
    reset = ("subtract" if taken else "none") if soft else "zero"
    if reset == "none":  # the leak leaves nothing
        v_reset, taken = v_th - 1.0, None
    shared: dict[str, Any] = {
        "v_th": v_th,
        "v_reset": v_reset if taken is None else v_th - taken,
        "b_th": wish.band(module, surrogate),
        "surrogate": surrogate,
        "reset": reset,
        "detach_reset": bool(module.detach_reset),
    }
    if kind == "CUBALIFNode":
        start: dict[str, Any] = {} if soft or not v_reset else {"v_init": v_reset}
        neuron: Neuron = CuBaLIF(
            **shared, **start, alpha_mem=alpha, alpha_syn=float(module.c_decay), lag=0
        )
    else:
        rest = 0.0 if soft else v_reset
        neuron = LIF(**shared, v_rest=rest, alpha=alpha, gain=gain, lag=0)
    return neuron, Inclusive(v_th, taken)


def _leak(module: Any, wish: Wish) -> tuple[float, float]:
    """Leak factor and gain of a step."""
    kind = type(module).__name__
    if kind == "IFNode":
        return 1.0, 1.0
    if kind == "CUBALIFNode":
        return float(module.v_decay), 1.0
    if kind == "ParametricLIFNode":
        number_of(wish.name, module, "w", module.w, wish.freeze)
        share = float(module.w.detach().sigmoid())
    else:
        share = 1.0 / float(module.tau)
    return 1.0 - share, share if module.decay_input else 1.0


def _readout(module: Any) -> Neuron:
    if type(module).__name__ == "NonSpikingIFNode":
        return SumReadout(lag=0)
    share = 1.0 / float(module.tau)
    return Readout(alpha=1.0 - share, gain=share, lag=0)


def surrogate_of(module: Any, name: str) -> Surrogate:
    """The surrogate of a layer.

    Raises:
        ValueError: naming the layer, if none of ours has its gradient.
    """
    held = module.surrogate_function
    told = type(held).__name__
    if not getattr(held, "spiking", True):
        raise refused(name, module, f"{told}(spiking=False) gives no spikes")
    known = type(held).__module__ == "spikingjelly.activation_based.surrogate"
    if known and told == "PiecewiseLeakyReLU" and held.c == 0:
        return Boxcar(held.w)
    if known and told in SURROGATES:
        with naming(name, module):
            return SURROGATES[told](held)
    if known and told in INFINITE:
        return Theirs(told, Pulled(held))
    raise refused(name, module, f"surrogate_function={told}: a function that is not known here")
