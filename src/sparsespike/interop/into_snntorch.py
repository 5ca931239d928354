"""Networks of ours as snnTorch's."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import torch
from torch import nn

from sparsespike.interop.back import (
    Part,
    check_every_step,
    is_close,
    no_surrogate,
    surrogate_with_band,
    theirs,
    torch_layer,
)
from sparsespike.interop.layers import OneToOne
from sparsespike.interop.surrogates import Theirs
from sparsespike.neurons.cuba import CuBaLIF
from sparsespike.neurons.lif import LIF
from sparsespike.neurons.readout import Readout
from sparsespike.neurons.surrogates import ATan, FastSigmoid, Sigmoid


def network(net: nn.Module, gradients: bool) -> nn.Sequential:
    """See `ss.interop.to_snntorch`."""
    return nn.Sequential(*theirs(net, neurons, gradients))


def neurons(part: Part, gradients: bool) -> nn.Module:
    """One layer of neurons.

    Raises:
        ValueError: naming it, if snnTorch has none that does the same.
    """
    snn = import_module("snntorch")

    check_every_step(part)
    neuron: Any = part.neuron
    if type(neuron) is Readout and part.recurrent is None:
        return _lapicque(part, {"reset_mechanism": "none", "init_hidden": True, "output": True})
    if type(neuron) not in (LIF, CuBaLIF):
        raise part.refused("snnTorch has no neuron that does the same")
    for name in ("v_rest", "v_init") if hasattr(neuron, "v_init") else ("v_rest",):
        part.needs(name, 0.0, "as theirs has it")
    if neuron.reset != "none":
        part.needs("v_reset", 0.0, "as theirs has it")
    if part.inclusive is not None:
        raise part.refused("it spikes at V >= v_th, and theirs at V > threshold")
    shared: dict[str, Any] = {
        "threshold": _tensor(part.number("v_th")),
        "init_hidden": True,
        "output": part.last,
        **_surrogate(part, gradients),
    }
    plain = type(neuron) is LIF and part.recurrent is None
    own = _own(part)
    if plain and not is_close(part.number("gain"), 1.0):
        how = {"subtract": "subtract", "clear": "zero", "none": "none"}.get(neuron.reset)
        if how is None or not (neuron.detach_reset or how == "none"):
            raise part.refused(
                f"gain other than 1 and reset={neuron.reset!r}: Lapicque has none such"
            )
        return _lapicque(part, shared | {"reset_mechanism": how})
    part.needs("gain", 1.0, "as theirs has it")
    shared |= _reset(part, plain)
    if type(neuron) is LIF:
        beta = _tensor(part.number("alpha"))
        if plain:
            return snn.Leaky(beta, **shared)
        return _with(snn.RLeaky(beta, **own, **shared), part)
    if neuron.order != "new":
        raise part.refused("order='old': the new current drives V there")
    leaks = neuron.matrices()
    alpha, beta = _tensor(leaks.A[1][1]), _tensor(leaks.A[0][0])
    if part.recurrent is None:
        return snn.Synaptic(alpha, beta, **shared)
    if not shared.pop("reset_delay"):
        raise part.refused("detach_reset=False has no effect on RSynaptic")
    return _with(snn.RSynaptic(alpha, beta, **own, **shared), part)


def _reset(part: Part, plain: bool) -> dict[str, Any]:
    """Their words for a reset."""
    neuron: Any = part.neuron
    if neuron.reset == "none":
        return {"reset_mechanism": "none", "reset_delay": True}
    if neuron.reset == "subtract" and neuron.detach_reset:
        return {"reset_mechanism": "subtract", "reset_delay": True}
    if neuron.reset == "zero" and not neuron.detach_reset:
        return {"reset_mechanism": "zero", "reset_delay": False}
    if neuron.reset == ("zero" if plain else "clear") and neuron.detach_reset:
        return {"reset_mechanism": "zero", "reset_delay": True}
    raise part.refused(
        f"reset={neuron.reset!r}, detach_reset={neuron.detach_reset}: theirs has no such reset"
    )


def _lapicque(part: Part, shared: dict[str, Any]) -> nn.Module:
    snn = import_module("snntorch")

    alpha = part.number("alpha")
    gain = part.number("gain") if hasattr(part.neuron, "gain") else 1.0 - alpha
    if not isinstance(alpha, float) or not isinstance(gain, float):
        raise part.refused("Lapicque has one number for all neurons")
    if not (alpha < 1 and gain > 0):
        raise part.refused(f"alpha={alpha:g}, gain={gain:g}: expected alpha < 1 and gain > 0")
    capacity = _tensor(1.0 / gain)
    return snn.Lapicque(R=_tensor(gain / (1.0 - alpha)), C=capacity, time_step=1.0, **shared)


def _surrogate(part: Part, gradients: bool) -> dict[str, Any]:
    surrogate = import_module("snntorch.surrogate")

    found: Any = surrogate_with_band(part, gradients)
    if found is None:
        return {}
    makers = {
        FastSigmoid: lambda: surrogate.fast_sigmoid(found.beta),
        ATan: lambda: surrogate.atan(found.alpha),
        Sigmoid: lambda: surrogate.sigmoid(found.alpha),
    }
    if isinstance(found, Theirs) and hasattr(surrogate, found.name):
        return {"spike_grad": getattr(surrogate, found.name)()}
    if type(found) not in makers or getattr(found, "scale", 1.0) != 1.0:
        raise no_surrogate(part, found)
    return {"spike_grad": makers[type(found)]()}


def _own(part: Part) -> dict[str, Any]:
    """What their recurrent layers are told of the connection to themselves."""
    if not isinstance(part.recurrent, OneToOne):
        return {"linear_features": getattr(part.recurrent, "n_in", 0)}
    weight = part.recurrent.weight
    return {"all_to_all": False, "V": weight, "learn_recurrent": weight.requires_grad}


def _with(made: Any, part: Part) -> nn.Module:
    """A recurrent layer with our weights."""
    if isinstance(part.recurrent, OneToOne):
        made.V = made.recurrent.V = part.recurrent.weight
        return made
    layer = torch_layer(part.name, part.recurrent)
    if not isinstance(layer, nn.Linear):
        raise part.refused("only a Linear from the neurons to themselves is taken back")
    made.recurrent = layer
    return made


def _tensor(value: Any) -> torch.Tensor:
    """In float64, so that nothing is rounded; `.float()` of the network makes it float32."""
    return torch.as_tensor(value, dtype=torch.float64)
