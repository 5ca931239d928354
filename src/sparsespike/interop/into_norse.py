"""Networks of ours as Norse's."""

from __future__ import annotations

import math
from importlib import import_module
from typing import Any

import torch
from torch import nn

from sparsespike.connections.linear import Linear
from sparsespike.interop.back import (
    Part,
    check_every_step,
    is_close,
    no_surrogate,
    surrogate_with_band,
    theirs,
)
from sparsespike.neurons.cuba import CuBaLIF
from sparsespike.neurons.lif import LIF
from sparsespike.neurons.readout import Readout
from sparsespike.neurons.readouts import CuBaReadout
from sparsespike.neurons.surrogates import Circle, FastSigmoid, Gaussian, Sigmoid, Triangle

DT = 1e-3


def network(net: nn.Module, gradients: bool) -> nn.Module:
    """See `ss.interop.to_norse`."""
    norse = import_module("norse.torch")

    return norse.SequentialState(*theirs(net, neurons, gradients, recurrent))


def neurons(part: Part, gradients: bool) -> nn.Module | None:
    """One layer of neurons; None for one that is made with its connection.

    Raises:
        ValueError: naming it, if Norse has none that does the same.
    """
    norse, resets = (import_module(f"norse.torch{name}") for name in ("", ".functional.reset"))

    check_every_step(part)
    neuron: Any = part.neuron
    if type(neuron) not in (LIF, CuBaLIF, Readout, CuBaReadout):
        raise part.refused("Norse has no neuron that does the same")
    leaks = neuron.matrices()
    share = 1.0 - _tensor(leaks.A[0][0])
    if not neuron.spiking:
        gain = _tensor(leaks.b[0])
        if not is_close(gain, share if type(neuron) is Readout else share * _tensor(leaks.b[1])):
            raise part.refused("gain other than 1 - alpha: theirs has none such")
        if type(neuron) is Readout:
            return norse.LIBoxCell(norse.LIBoxParameters(share / DT), dt=DT)
        if not is_close(leaks.b[1], 1.0):
            raise part.refused("gain: expected that of theirs, 1 - alpha_mem")
        fade = 1.0 - _tensor(leaks.A[1][1])
        return norse.LICell(norse.LIParameters(fade / DT, share / DT), dt=DT)
    if part.inclusive is not None:
        raise part.refused("it spikes at V >= v_th, and theirs at V > v_th")
    v_th, v_reset, v_rest = (_tensor(part.number(name)) for name in ("v_th", "v_reset", "v_rest"))
    told = _surrogate(part, gradients)
    if type(neuron) is LIF and is_close(share, 0.0):
        _check(part, "zero", False)
        part.needs("gain", 1.0, "as theirs has it")
        part.needs("v_init", float(v_reset), "v_reset, where theirs begins")
        return norse.IAFCell(norse.IAFParameters(v_th, v_reset, **told), dt=DT)
    if not is_close(part.number("gain"), share):
        raise part.refused("gain other than 1 - alpha: theirs has none such")
    if type(neuron) is LIF:
        if part.recurrent is not None:
            raise part.refused("Norse has no recurrent LIFBoxCell")
        how = resets.reset_value
        if neuron.reset == "subtract" and is_close(v_th - v_reset, (1.0 - share) * v_th):
            how = resets.reset_subtract
            _check(part, "subtract", False)
        else:
            _check(part, "zero", False)
        p = norse.LIFBoxParameters(share / DT, v_rest, v_th, v_reset, reset_method=how, **told)
        return norse.LIFBoxCell(p, dt=DT)
    if neuron.order != "new":
        raise part.refused("order='old': the new current drives V there")
    if part.recurrent is not None:
        return None
    _check(part, "zero", False)
    return norse.LIFCell(_parameters(leaks, v_rest, v_th, v_reset, told), dt=DT)


def recurrent(connection: Any, part: Part, gradients: bool) -> nn.Module:
    """Neurons with the connection into them and the one to themselves."""
    norse = import_module("norse.torch")

    _check(part, "zero", True)
    for each in (connection, part.recurrent):
        if type(each) is not Linear or each.bias is not None or each.delay is not None:
            raise part.refused("LIFRecurrentCell has Linear connections without bias and delays")
    v_rest, v_th, v_reset = (_tensor(part.number(name)) for name in ("v_rest", "v_th", "v_reset"))
    told = _surrogate(part, gradients)
    neuron: Any = part.neuron
    made = norse.LIFRecurrentCell(
        connection.n_in,
        connection.n_out,
        _parameters(neuron.matrices(), v_rest, v_th, v_reset, told),
        input_weights=connection.weight,
        recurrent_weights=part.recurrent.weight,
        autapses=True,
        dt=DT,
    )
    return made


def _parameters(leaks: Any, v_rest: Any, v_th: Any, v_reset: Any, told: dict[str, Any]) -> Any:
    norse = import_module("norse.torch")

    rates = (1.0 - _tensor(leaks.A[1][1])) / DT, (1.0 - _tensor(leaks.A[0][0])) / DT
    return norse.LIFParameters(*rates, v_rest, v_th, v_reset, **told)


def _check(part: Part, reset: str, detached: bool) -> None:
    neuron: Any = part.neuron
    if neuron.reset != reset or neuron.detach_reset != detached:
        raise part.refused(
            f"reset={neuron.reset!r}, detach_reset={neuron.detach_reset}: theirs has {reset!r}, {detached}"
        )


def _surrogate(part: Part, gradients: bool) -> dict[str, Any]:
    found: Any = surrogate_with_band(part, gradients)
    if found is None:
        return {}
    kind, scale, method, alpha = type(found), getattr(found, "scale", 1.0), None, 1.0
    if kind is FastSigmoid and found.beta == 1.0 and scale == 1.0:
        method = "super"
    elif kind is Triangle and found.width == 1.0:
        method, alpha = "triangle", scale
    elif kind is Sigmoid and is_close(scale, 4 / found.alpha):
        method, alpha = "tanh", found.alpha / 2
    elif kind is Circle and scale == 1.0:
        method, alpha = "circ", found.alpha
    elif kind is Gaussian:
        k = 1 / (found.sigma * math.sqrt(2))
        root = float(torch.as_tensor(math.pi).sqrt())  # of the default dtype there
        if is_close(scale, 2 / k * math.sqrt(math.pi) / root):
            method, alpha = "heavi_erfc", k
    if method is None:
        raise no_surrogate(part, found)
    return {"method": method, "alpha": _tensor(alpha)}


def _tensor(value: Any) -> torch.Tensor:
    """In float64, so that nothing is rounded."""
    return torch.as_tensor(value, dtype=torch.float64)
