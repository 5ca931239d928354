"""Networks of ours as SpikingJelly's."""

from __future__ import annotations

import math
from importlib import import_module
from typing import Any

from torch import nn

from sparsespike.interop.back import Part, is_close, no_surrogate, surrogate_with_band, theirs
from sparsespike.interop.layers import Thinned
from sparsespike.interop.surrogates import Pulled
from sparsespike.neurons.cuba import CuBaLIF
from sparsespike.neurons.lif import LIF
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
    Triangle,
)

HOME = "spikingjelly.activation_based"
BATCHED = (
    nn.Conv1d,
    nn.Conv2d,
    nn.BatchNorm1d,
    nn.BatchNorm2d,
    nn.MaxPool2d,
    nn.AvgPool2d,
    nn.Flatten,
)


def network(net: nn.Module, gradients: bool) -> nn.Sequential:
    """See `ss.interop.to_spikingjelly`."""
    functional, layer = (import_module(f"{HOME}.{name}") for name in ("functional", "layer"))

    def held(item: Any) -> nn.Module | None:
        """Dropout that holds its mask over a recording."""
        sample = isinstance(item, Thinned) and item.drop.per == "sample"
        return layer.Dropout(item.drop.p) if sample else None

    found = [
        # Layers that take no time before their dimensions see all steps as one batch.
        layer.SeqToANNContainer(each) if type(each) in BATCHED else each
        for each in theirs(net, neurons, gradients, other=held)
    ]
    made = nn.Sequential(*found)
    functional.set_step_mode(made, "m")
    return made


def neurons(part: Part, gradients: bool) -> nn.Module:
    """One layer of neurons.

    Raises:
        ValueError: naming it, if SpikingJelly has none that does the same.
    """
    nodes = import_module(f"{HOME}.neuron")

    neuron: Any = part.neuron
    if part.recurrent is not None:
        raise part.refused("neurons that are connected to themselves are not taken back")
    if type(neuron) is SumReadout:
        part.needs("gain", 1.0, "as theirs has it")
        return nodes.NonSpikingIFNode(part.decode)
    if type(neuron) is Readout:
        alpha = _one(part, "alpha")
        if hasattr(neuron, "gain") and not is_close(_one(part, "gain"), 1.0 - alpha):
            raise part.refused("gain other than 1 - alpha: NonSpikingLIFNode has none such")
        return nodes.NonSpikingLIFNode(1.0 / (1.0 - alpha), part.decode)
    if type(neuron) not in (LIF, CuBaLIF):
        raise part.refused("SpikingJelly has no neuron that does the same")
    leaks = neuron.matrices()
    alpha = float(leaks.A[0][0])
    v_th, v_reset = _threshold(part), _reset(part, alpha)
    surrogate = _surrogate(part, gradients)
    if type(neuron) is CuBaLIF:
        part.needs("v_rest", 0.0, "as theirs has it")
        part.needs("gain", 1.0, "as theirs has it")
        if neuron.order != "new" or not is_close(getattr(neuron, "v_init", 0.0), v_reset or 0.0):
            raise part.refused("theirs begins at v_reset, and the new current drives V")
        fade = float(leaks.A[1][1])
        made: Any = nodes.CUBALIFNode(fade, alpha, v_th, v_reset, **surrogate)
        made.detach_reset = neuron.detach_reset
        return made
    part.needs("v_rest", v_reset or 0.0, "v_reset, to which theirs leaks")
    part.needs("v_init", v_reset or 0.0, "v_reset, where theirs begins")
    shared = {"v_threshold": v_th, "v_reset": v_reset, "detach_reset": neuron.detach_reset}
    gain = _one(part, "gain")
    if alpha == 1.0 and gain == 1.0:
        return nodes.IFNode(**shared, **surrogate)
    if not (0 < alpha < 1 and (is_close(gain, 1.0) or is_close(gain, 1.0 - alpha))):
        raise part.refused(f"alpha={alpha:g}, gain={gain:g}: LIFNode has a gain of 1 or 1 - alpha")
    decays = not is_close(gain, 1.0)
    return nodes.LIFNode(1.0 / (1.0 - alpha), decays, **shared, **surrogate)


def _one(part: Part, name: str) -> float:
    found = part.number(name)
    if not isinstance(found, float) and found.numel() != 1:
        raise part.refused(f"{name}: theirs has one number for all neurons")
    return float(found)


def _threshold(part: Part) -> float:
    """Theirs is met by V >= v_threshold: one float above ours, which must be passed."""
    v_th = _one(part, "v_th")
    return math.nextafter(v_th, math.inf) if part.inclusive is None else part.inclusive


def _reset(part: Part, alpha: float) -> float | None:
    neuron: Any = part.neuron
    if neuron.reset == "zero":
        return _one(part, "v_reset")
    taken = _one(part, "v_th") - _one(part, "v_reset")
    if neuron.reset == "subtract" and is_close(
        taken, alpha * (part.inclusive or _one(part, "v_th"))
    ):
        return None
    raise part.refused(
        f"reset={neuron.reset!r}: theirs sets V, or takes v_th away before the leak: alpha v_th of ours"
    )


def _surrogate(part: Part, gradients: bool) -> dict[str, Any]:
    sj = import_module(f"{HOME}.surrogate")

    found: Any = surrogate_with_band(part, gradients)
    if found is None:
        return {}
    gradient: Any = getattr(found, "gradient", None)
    if isinstance(gradient, Pulled):
        return {"surrogate_function": gradient.function}
    kind, scale = type(found), getattr(found, "scale", 1.0)
    made: Any = None
    if kind is FastSigmoid:  # a softsign, or a super spike, by their scales
        if is_close(scale, found.beta / 2):
            made = sj.SoftSign(found.beta)
        elif found.beta == 1.0:
            made = sj.SuperSpike(scale)
    elif kind is Triangle and is_close(scale * found.width, 1.0):
        made = sj.PiecewiseQuadratic(1 / found.width)
    elif scale == 1.0:
        makers = {
            ATan: lambda: sj.ATan(found.alpha),
            Sigmoid: lambda: sj.Sigmoid(found.alpha),
            Exponential: lambda: sj.PiecewiseExp(found.alpha),
            Gaussian: lambda: sj.Erf(1 / (found.sigma * math.sqrt(2))),
            Boxcar: lambda: sj.PiecewiseLeakyReLU(found.width, 0.0),
            QPseudoSpike: lambda: sj.QPseudoSpike(found.q),
        }
        made = makers[kind]() if kind in makers else None
    if made is None:
        raise no_surrogate(part, found)
    return {"surrogate_function": made}
