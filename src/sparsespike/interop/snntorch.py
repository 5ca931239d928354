"""snnTorch's neurons and surrogates as ours (Eshraghian et al., Proceedings of the IEEE 111(9), 2023)."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from sparsespike.descriptions import Reset
from sparsespike.interop.cell import Cell
from sparsespike.interop.layers import OneToOne, connection_of, parameter_of
from sparsespike.interop.numbers import number_of
from sparsespike.interop.peer import Peer, Wish
from sparsespike.interop.refused import naming, refused
from sparsespike.interop.surrogates import Theirs
from sparsespike.neurons.cuba import CuBaLIF
from sparsespike.neurons.lif import LIF
from sparsespike.neurons.neuron import Neuron
from sparsespike.neurons.readout import Readout
from sparsespike.neurons.readouts import CuBaReadout
from sparsespike.neurons.surrogates import ATan, FastSigmoid, Sigmoid, Surrogate

SURROGATES: dict[str, Callable[[dict[str, Any]], Surrogate]] = {
    "atan": lambda given: ATan(given["alpha"]),
    "fast_sigmoid": lambda given: FastSigmoid(given["slope"]),
    "sigmoid": lambda given: Sigmoid(given["slope"]),
}
INFINITE: dict[str, Callable[[Tensor], Tensor]] = {
    "straight_through_estimator": torch.ones_like,
    "heaviside": lambda distance: (distance > 0).to(distance.dtype),
}
ODD = {
    "triangular": "its gradient is +1 below the threshold and -1 above",
    "spike_rate_escape": "its gradient is centred one unit above the threshold",
    "SFS": "its gradient is zero inside the band and not outside",
    "SSO": "its gradient is random",
    "LSO": "it does not run there",
}
# What each class gives beside the spikes, in its order.
OUTPUTS = {
    "Leaky": ("spikes", "potential"),
    "RLeaky": ("spikes", "potential"),
    "Lapicque": ("spikes", "potential"),
    "Synaptic": ("spikes", "state", "potential"),
    "RSynaptic": ("spikes", "state", "potential"),
    "Alpha": ("spikes", "state", "state", "potential"),
}
# The reset by the function that a layer was made with, which a reset_mechanism set later does not change.
RESETS = {"_base_sub": "subtract", "_base_zero": "zero", "_base_int": "none"}


class SnnTorch(Peer):
    """snnTorch 1.0: modules that take one step at a time."""

    name = "snnTorch"
    package = "snntorch"

    def outputs(self, module: Any) -> tuple[str, ...] | str:
        """See `Peer.outputs`."""
        known = OUTPUTS.get(type(module).__name__)
        if known is None:
            return "spikes"
        return "spikes" if module.init_hidden and not module.output else known

    def cell(self, module: Any, wish: Wish) -> Cell:
        """See `Peer.cell`."""
        name, kind = wish.name, type(module).__name__
        if kind not in OUTPUTS:
            known = ", ".join(OUTPUTS)
            raise refused(name, module, f"expected one of {known}, or a layer of PyTorch's")
        if module.inhibition:
            raise refused(name, module, "inhibition=True: neurons that compete are none of ours")
        if module.state_quant:
            raise refused(name, module, "state_quant: states of few bits are none of ours")
        number = _Numbers(module, wish)
        reset, delayed = module.reset_mechanism, getattr(module, "reset_delay", True)
        if RESETS.get(getattr(module.state_function, "__name__", "")) != reset:
            raise refused(
                name,
                module,
                f"reset_mechanism={reset!r} was set after it was made, and has no effect",
            )
        if not delayed and kind == "RSynaptic":
            raise refused(name, module, "reset_delay=False raises there, or has no effect")
        if not delayed and reset == "subtract":
            raise refused(
                name,
                module,
                "reset_delay=False: a neuron still above its threshold after the reset is compared with "
                "twice the threshold in the next step; take reset_delay=True, or reset_mechanism='zero'",
            )
        if not delayed and reset != "none" and wish.gives != "spikes":
            raise refused(name, module, "reset_delay=False: its potential is that after the reset")
        graded = number.of("graded_spikes_factor", 1.0)
        if not (isinstance(graded, float) and math.isfinite(graded) and graded > 0):
            raise refused(
                name, module, f"graded_spikes_factor: expected a number > 0, found {graded}"
            )
        recurrent = self._recurrent(module, wish) if kind in ("RLeaky", "RSynaptic") else None
        only_potential = wish.gives == "potential" and reset == "none" and recurrent is None
        with naming(name, module):
            if only_potential:
                return Cell(_readout(module, number), gives="potential")
            neuron = _neuron(module, wish, number, reset, delayed)
        return Cell(neuron, gives=wish.gives, recurrent=recurrent, graded=graded)

    def _recurrent(self, module: Any, wish: Wish) -> nn.Module:
        if not module.all_to_all:
            weight = parameter_of(wish.name, module.recurrent, "V", wish.share)
            if weight is None or weight.dim() > 1:
                expected = "one number, or one for each neuron, (N,)"
                found = None if weight is None else tuple(weight.shape)
                raise refused(wish.name, module, f"V: expected {expected}, found {found}")
            return OneToOne(weight)
        return connection_of(f"{wish.name}.recurrent", module.recurrent, wish.share)


class _Numbers:
    """The numbers of one layer."""

    def __init__(self, module: Any, wish: Wish) -> None:
        self.module, self.wish = module, wish

    def of(self, name: str, usual: Any = None) -> Any:
        """One of its attributes."""
        value = getattr(self.module, name, usual)
        return number_of(self.wish.name, self.module, name, value, self.wish.freeze)

    def leak(self, name: str) -> Any:
        """A decay rate, as its step clamps it."""
        found = self.of(name)
        return (
            torch.as_tensor(found).clamp(0, 1)
            if torch.is_tensor(found)
            else min(max(found, 0.0), 1.0)
        )

    def lapicque(self) -> tuple[float, float]:
        """Leak factor and gain of a step of `Lapicque`, in the arithmetic of its numbers."""
        held = self.module
        if not all(each.numel() == 1 for each in (held.R, held.C, held.time_step)):
            raise refused(
                self.wish.name, held, "R, C, time_step: expected one number for all neurons"
            )
        for name in ("R", "C", "time_step"):
            self.of(name)
        alpha = float(1 - held.time_step / (held.R * held.C))
        gain = float(held.R) * float(1 / (held.R * held.C)) * float(held.time_step)
        if alpha < 0:
            raise refused(self.wish.name, held, f"its leak factor of a step is {alpha:g}, below 0")
        return alpha, gain


def _neuron(module: Any, wish: Wish, number: _Numbers, reset: str, delayed: bool) -> Neuron:
    kind = type(module).__name__
    v_th = number.of("threshold")
    how: Reset = "none"
    if reset == "subtract":
        how = "subtract"
    elif (
        reset == "zero"
    ):  # all of V, but of Leaky, and without delay, that before the leak and the input
        how = "zero" if kind == "Leaky" or not delayed else "clear"
    surrogate = surrogate_of(module, wish.name)
    b_th = wish.band(module, surrogate)
    # Without a reset the value need only be a number below the threshold.
    v_reset = 0.0 if how != "none" else torch.as_tensor(v_th).min().item() - 1.0
    if kind in ("Leaky", "RLeaky", "Lapicque"):
        alpha, gain = number.lapicque() if kind == "Lapicque" else (number.leak("beta"), 1.0)
        return LIF(
            v_th=v_th,
            v_reset=v_reset,
            b_th=b_th,
            surrogate=surrogate,
            reset=how,
            detach_reset=delayed,
            alpha=alpha,
            gain=gain,
            lag=0,
        )
    alpha_syn, alpha_mem, gain, lag = number.leak("alpha"), number.leak("beta"), 1.0, 0
    if kind == "Alpha":
        if reset != "none":
            raise refused(
                wish.name,
                module,
                f"reset_mechanism={reset!r} resets its currents too; only 'none' can be kept",
            )
        if not 0 < alpha_mem < alpha_syn < 1:
            raise refused(wish.name, module, "expected 0 < beta < alpha < 1")
        # The difference of two exponentials, which reaches the threshold one step later.
        rise = math.log(alpha_syn) / (math.log(alpha_mem) - math.log(alpha_syn)) + 1
        gain, lag = rise * (alpha_syn - alpha_mem), 1
    return CuBaLIF(
        v_th=v_th,
        v_reset=v_reset,
        b_th=b_th,
        surrogate=surrogate,
        reset=how,
        detach_reset=delayed,
        alpha_mem=alpha_mem,
        alpha_syn=alpha_syn,
        gain=gain,
        lag=lag,
    )


def _readout(module: Any, number: _Numbers) -> Neuron:
    """Neurons whose spikes nobody reads, and that nothing resets."""
    kind = type(module).__name__
    if kind == "Lapicque":
        alpha, gain = number.lapicque()
        return Readout(alpha=alpha, gain=gain, lag=0)
    if kind == "Leaky":
        return Readout(alpha=number.leak("beta"), gain=1.0, lag=0)
    if kind == "Alpha":
        raise refused(number.wish.name, module, "its potential alone has no form of ours yet")
    return CuBaReadout(
        alpha_mem=number.leak("beta"), alpha_syn=number.leak("alpha"), gain=1.0, lag=0
    )


def surrogate_of(module: Any, name: str) -> Surrogate:
    """The surrogate of a layer: what the function that it holds was made of.

    Raises:
        ValueError: naming the layer, if none of ours has its gradient.
    """
    function = module.spike_grad
    told = getattr(function, "__name__", type(function).__name__)
    if getattr(function, "__module__", "") == "snntorch.surrogate":
        told = function.__qualname__.split(".")[0]  # its function is made inside of another
        if told in SURROGATES:
            with naming(name, module):
                return SURROGATES[told](dict(inspect.getclosurevars(function).nonlocals))
        if told in INFINITE:
            return Theirs(told, INFINITE[told])
        if told in ODD:
            raise refused(name, module, f"spike_grad={told}: {ODD[told]}")
    if getattr(module, "surrogate_disable", False):
        raise refused(name, module, "surrogate_disable=True: nothing goes back through its spikes")
    raise refused(name, module, f"spike_grad={told}: a function that is not known here")
