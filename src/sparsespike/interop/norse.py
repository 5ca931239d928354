"""Norse's neurons and surrogates as ours (Pehle & Pedersen, 2021, doi:10.5281/zenodo.4422025)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from sparsespike.interop.cell import Cell
from sparsespike.interop.layers import View, connection_with, parameter_of
from sparsespike.interop.numbers import number_of
from sparsespike.interop.peer import Peer, Wish
from sparsespike.interop.refused import naming, refused
from sparsespike.neurons.cuba import CuBaLIF
from sparsespike.neurons.lif import LIF
from sparsespike.neurons.neuron import Neuron
from sparsespike.neurons.readout import Readout
from sparsespike.neurons.readouts import CuBaReadout
from sparsespike.neurons.surrogates import (
    Circle,
    FastSigmoid,
    Gaussian,
    Sigmoid,
    Surrogate,
    Triangle,
)

SURROGATES: dict[str, Callable[[Any], Surrogate]] = {
    "super": lambda _: FastSigmoid(1.0),  # alpha has no effect there
    "triangle": lambda a: Triangle(1.0, scale=float(a)),
    "tanh": lambda k: Sigmoid(2 * float(k), scale=2 / float(k)),
    # The square of alpha is rounded as alpha is there: to float32, if it is a tensor of that.
    "circ": lambda a: Circle(float(a**2) ** 0.5, scale=float(a) / float(a**2) ** 0.5),
    # The root of pi is in the default dtype there.
    "heavi_erfc": lambda k: Gaussian(
        1 / (float(k) * math.sqrt(2)),
        scale=2 / float(k) * math.sqrt(math.pi) / float(torch.as_tensor(math.pi).sqrt()),
    ),
}
SPIKING = ("LIFBoxCell", "LIFCell", "LIF", "LIFRecurrentCell", "LIFRecurrent", "IAFCell", "IAF")
READOUTS = ("LIBoxCell", "LICell", "LI", "LILinearCell")
WHOLE = ("LIF", "LIFRecurrent", "IAF", "LI", "Lift")  # of all steps at once


class Norse(Peer):
    """Norse 1.1: cells that take one step, and layers that take all of them."""

    name = "Norse"
    package = "norse"

    def owns(self, module: nn.Module) -> bool:
        """See `Peer.owns`."""
        return super().owns(module) and type(module).__name__ != "SequentialState"

    def parts(self, module: nn.Module) -> tuple[Sequence[nn.Module], View] | None:
        """See `Peer.parts`."""
        if self.owns(module) and type(module).__name__ == "Lift":
            return list(module.children()), "step"
        return None

    def sequential(self, root: nn.Module) -> bool:
        """See `Peer.sequential`."""
        return any(self.owns(each) and type(each).__name__ in WHOLE for each in root.modules())

    def outputs(self, module: Any) -> tuple[str, ...] | str:
        """See `Peer.outputs`."""
        return ("potential" if type(module).__name__ in READOUTS else "spikes", "state")

    def cell(self, module: Any, wish: Wish) -> Cell:
        """See `Peer.cell`."""
        name, kind = wish.name, type(module).__name__
        if kind not in (*SPIKING, *READOUTS):
            known = ", ".join((*SPIKING, *READOUTS))
            raise refused(name, module, f"expected one of {known}, or a layer of PyTorch's")
        number = _Numbers(module, wish)
        with naming(name, module):
            neuron = _readout(module, number) if kind in READOUTS else _neuron(module, wish, number)
        gives = "spikes" if neuron.spiking else "potential"
        if kind == "LILinearCell" or "Recurrent" in kind:
            into = _linear(wish, module, "input_weights")
            again = _linear(wish, module, "recurrent_weights") if "Recurrent" in kind else None
            return Cell(neuron, gives=gives, connection=into, recurrent=again)
        return Cell(neuron, gives=gives)


class _Numbers:
    """The numbers of one layer, p."""

    def __init__(self, module: Any, wish: Wish) -> None:
        self.module, self.wish = module, wish

    def of(self, name: str) -> Any:
        """One of its numbers."""
        value = getattr(self.module.p, name)
        return number_of(self.wish.name, self.module, name, value, self.wish.freeze)

    def share(self, name: str) -> Any:
        """dt / tau, in the arithmetic of its numbers."""
        self.of(name)
        value = torch.as_tensor(getattr(self.module.p, name)).detach()
        return number_of(self.wish.name, self.module, name, self.module.dt * value, True)

    def at_zero(self, name: str) -> None:
        """Refuses a number other than zero."""
        if torch.as_tensor(self.of(name)).any():
            raise refused(self.wish.name, self.module, f"{name}: expected 0, found {self.of(name)}")


def _neuron(module: Any, wish: Wish, number: _Numbers) -> Neuron:
    kind, held = type(module).__name__, module.p
    surrogate = surrogate_of(module, wish)
    b_th = wish.band(module, surrogate)
    v_th, v_reset = number.of("v_th"), number.of("v_reset")
    if kind in ("IAFCell", "IAF"):
        return LIF(
            v_th=v_th,
            v_reset=v_reset,
            v_rest=v_reset,
            b_th=b_th,
            surrogate=surrogate,
            reset="zero",
            detach_reset=False,
            alpha=1.0,
            lag=0,
        )
    share, v_leak = number.share("tau_mem_inv"), number.of("v_leak")
    alpha = 1.0 - share
    if kind == "LIFBoxCell":
        how = held.reset_method.__name__
        if how not in ("reset_value", "reset_subtract"):
            raise refused(
                wish.name, module, f"reset_method={how}: a function that is not known here"
            )
        reset = "zero"
        if how == "reset_subtract":  # before the leak, which leaves a share of it
            taken = alpha * v_th
            reset = "subtract" if torch.as_tensor(taken).any() else "none"
            v_reset = v_th - (taken if reset == "subtract" else 1.0)
        return LIF(
            v_th=v_th,
            v_reset=v_reset,
            v_rest=v_leak,
            b_th=b_th,
            surrogate=surrogate,
            reset=reset,
            detach_reset=False,
            alpha=alpha,
            gain=share,
            lag=0,
        )
    rounded = torch.as_tensor(held.v_leak).float().double()
    if kind != "LIFCell" and not torch.equal(rounded, torch.as_tensor(held.v_leak).double()):
        raise refused(wish.name, module, "v_leak: its start is rounded to float32 there")
    return CuBaLIF(
        v_th=v_th,
        v_reset=v_reset,
        v_rest=v_leak,
        b_th=b_th,
        surrogate=surrogate,
        reset="zero",
        detach_reset="Recurrent" in kind,
        alpha_mem=alpha,
        alpha_syn=1.0 - number.share("tau_syn_inv"),
        gain=share,
        lag=0,
    )


def _readout(module: Any, number: _Numbers) -> Neuron:
    number.at_zero("v_leak")
    share = number.share("tau_mem_inv")
    if type(module).__name__ == "LIBoxCell":
        return Readout(alpha=1.0 - share, gain=share, lag=0)
    fade = 1.0 - number.share("tau_syn_inv")
    return CuBaReadout(alpha_mem=1.0 - share, alpha_syn=fade, gain=share, lag=0)


def _linear(wish: Wish, module: Any, what: str) -> nn.Module:
    """A connection with one of the layer's own matrices."""
    weight = parameter_of(wish.name, module, what, wish.share)
    if weight is None:
        raise refused(wish.name, module, f"{what}: expected a matrix, found None")
    if what == "recurrent_weights" and not module.autapses and not wish.share:
        weight.register_hook(_without_diagonal)
    n_out, n_in = weight.shape
    with torch.device("meta"):
        like = nn.Linear(n_in, n_out, bias=False)
    return connection_with(wish.name, like, weight, None)


def _without_diagonal(grad: Tensor) -> Tensor:
    return grad.clone().fill_diagonal_(0.0)


def surrogate_of(module: Any, wish: Wish) -> Surrogate:
    """The surrogate of a layer.

    Raises:
        ValueError: naming the layer, if none of ours has its gradient.
    """
    method, alpha = module.p.method, module.p.alpha
    if method in SURROGATES:
        return SURROGATES[method](alpha)
    if method == "heaviside":
        raise refused(wish.name, module, "method='heaviside': nothing goes back through its spikes")
    raise refused(wish.name, module, f"method={method!r}: a gradient that is not known here")
