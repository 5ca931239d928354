"""The same spiking layer in other libraries, as close to eq. 1-4 as each of them gets.

Products and convolutions are PyTorch's, as theirs are; the neurons are theirs.

Every one is fed its currents by `unbind`, time first; slicing `current[t]` under autograd would
measure the O(T^2) trap of `baselines.paper_loop` instead of the library. Every one puts a spike
into the step of the input that caused it, one step earlier than we do: compare `peer[:, :-1]` with
ours `[:, 1:]`. None of them cuts its surrogate at a band. What else differs stands in each `note`;
`twin` says it as one of our neurons, so that what a peer computes is checked before it is timed.

They are optional: `make peers` installs them, they are imported on use.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from sparsespike.bench.baselines import DENSE_LAYERS
from sparsespike.bench.dense import Synapses, current
from sparsespike.bench.trial import Refusal
from sparsespike.neurons.lif import LIF
from sparsespike.neurons.surrogates import FastSigmoid

DenseLayer = Callable[[Tensor, Tensor, LIF, Synapses], Tensor]


@dataclass(frozen=True)
class Peer:
    """A layer of another library.

    Attributes:
        package: name to install and to ask the version of.
        note: what it computes differently.
        build: neuron, device -> a layer; its arguments and result are those of `baselines.paper_loop`.
        twin: neuron -> the neuron of ours whose spikes and gradients the library computes for it.
        slope: its gradients are so many times its twin's.
    """

    package: str
    note: str
    build: Callable[[LIF, str], DenseLayer]
    twin: Callable[[LIF], LIF]
    slope: float = 1.0

    def load(self, neuron: LIF, device: str = "cpu") -> DenseLayer:
        """The layer on a device, importing the library.

        Raises:
            ImportError: if the library, or one that it imports, is not installed.
            ValueError: if it cannot compute `neuron`, or not with its own kernels on a GPU.
        """
        _check(neuron)
        return self.build(neuron, device)

    def version(self) -> str | None:
        """The installed version, None if there is none."""
        try:
            return importlib.metadata.version(self.package)
        except importlib.metadata.PackageNotFoundError:
            return None


def layer_of(method: str, neuron: LIF, device: str = "cpu") -> DenseLayer:
    """The dense layer of a method, of `baselines` or of a library, on a device.

    Raises:
        Refusal: if the library is not installed or cannot compute `neuron`.
    """
    if method in DENSE_LAYERS:
        return DENSE_LAYERS[method]
    try:
        return PEERS[method].load(neuron, device)
    except ImportError as error:
        raise Refusal(f"not installed, see `make peers` ({error})") from None
    except ValueError as error:
        raise Refusal(str(error)) from None


def _snntorch(neuron: LIF, device: str) -> DenseLayer:
    library, surrogate = _import("snntorch"), _import("snntorch.surrogate")
    cell = library.Leaky(
        beta=neuron.alpha,
        threshold=neuron.v_th,
        spike_grad=surrogate.fast_sigmoid(slope=_beta(neuron)),
        reset_mechanism="subtract",
    ).to(device)

    def layer(spikes: Tensor, weight: Tensor, neuron: LIF, synapses: Synapses) -> Tensor:
        given = _current(spikes, weight, synapses)
        potential, fired = torch.zeros_like(given[0]), []
        for current_now in given:
            spike, potential = cell(current_now, potential)
            fired.append(spike)
        return torch.stack(fired).transpose(0, 1)

    return layer


def _spikingjelly(neuron: LIF, device: str) -> DenseLayer:
    node = _spikingjelly_node(neuron, "m")
    if device == "cuda":
        _need_kernels("LIFNode")

    def layer(spikes: Tensor, weight: Tensor, neuron: LIF, synapses: Synapses) -> Tensor:
        node.reset()
        return node(current(spikes.transpose(0, 1), weight, synapses)).transpose(0, 1)

    return layer


def _spikingjelly_loop(neuron: LIF, device: str) -> DenseLayer:
    node = _spikingjelly_node(neuron, "s")

    def layer(spikes: Tensor, weight: Tensor, neuron: LIF, synapses: Synapses) -> Tensor:
        node.reset()
        fired = [node(current_now) for current_now in _current(spikes, weight, synapses)]
        return torch.stack(fired).transpose(0, 1)

    return layer


def _spikingjelly_node(neuron: LIF, step_mode: str) -> Any:
    return _import("spikingjelly.activation_based.neuron").LIFNode(
        tau=1.0 / (1.0 - neuron.alpha),
        decay_input=False,
        v_threshold=neuron.v_th,
        v_reset=None,
        surrogate_function=_import("spikingjelly.activation_based.surrogate").SoftSign(
            alpha=_beta(neuron)
        ),
        detach_reset=True,
        step_mode=step_mode,
    )


def _need_kernels(node: str) -> None:
    """Refuses SpikingJelly's reference in PyTorch on a GPU, which it falls back to where Triton is missing.

    Its version 2 has no argument for that; its kernels are in Triton unless it was built with others.
    """
    functions = _import("spikingjelly.activation_based.functional.neuron")
    found = functions.neuron_implementation("lif", torch.device("cuda"))
    if found["implementation"] not in ("triton", "cuda"):
        raise ValueError(
            f"{node}: expected its fused operator, found {found['implementation']}: {found['unavailable']}"
        )


def _norse(neuron: LIF, device: str) -> DenseLayer:
    library, box = _import("norse.torch"), _import("norse.torch.functional.lif_box")

    def reset(spike: Tensor, potential: Tensor, v_reset: Tensor, v_th: Tensor) -> Tensor:
        # Norse resets before the leak: dividing by alpha makes it the reset of eq. 2.
        return potential - spike.detach() * (v_th / neuron.alpha)

    parameters = box.LIFBoxParameters(
        tau_mem_inv=torch.tensor((1.0 - neuron.alpha) / neuron.dt, device=device),
        v_th=torch.tensor(neuron.v_th, device=device),
        alpha=torch.tensor(_beta(neuron), device=device),
        reset_method=reset,
    )
    cell = library.LIFBoxCell(parameters, dt=neuron.dt)

    def layer(spikes: Tensor, weight: Tensor, neuron: LIF, synapses: Synapses) -> Tensor:
        # Its Euler step multiplies the input by dt / tau, here 1 - alpha.
        given = _current(spikes, weight / (1.0 - neuron.alpha), synapses)
        state, fired = box.LIFBoxFeedForwardState(v=torch.zeros_like(given[0])), []
        for current_now in given:
            spike, state = cell(current_now, state)
            fired.append(spike)
        return torch.stack(fired).transpose(0, 1)

    return layer


def _without_band(neuron: LIF) -> LIF:
    return neuron.changed(b_th=math.inf)


def _with_leaking_reset(neuron: LIF) -> LIF:
    # alpha (V - v_th S) takes only alpha v_th away at the next step.
    return neuron.changed(b_th=math.inf, v_reset=(1.0 - neuron.alpha) * neuron.v_th)


def _with_flat_slope(neuron: LIF) -> LIF:
    return neuron.changed(b_th=math.inf, surrogate=FastSigmoid(1.0))


SPIKINGJELLY_NOTE = (
    "V = alpha (V - v_th S) + I: the reset leaks too; spikes at V >= v_th; slope 50 times ours"
)
PEERS = {
    "snntorch": Peer(
        "snntorch",
        "Leaky, fast_sigmoid; computes every spike twice, for the reset",
        _snntorch,
        twin=_without_band,
    ),
    "spikingjelly": Peer(
        "spikingjelly",
        f"LIFNode, multi-step operator (fused on a GPU), SoftSign; {SPIKINGJELLY_NOTE}",
        _spikingjelly,
        twin=_with_leaking_reset,
        slope=50.0,
    ),
    "spikingjelly-loop": Peer(
        "spikingjelly",
        f"LIFNode, step by step, SoftSign; {SPIKINGJELLY_NOTE}",
        _spikingjelly_loop,
        twin=_with_leaking_reset,
        slope=50.0,
    ),
    "norse": Peer(
        "norse",
        "LIFBoxCell with input / (1 - alpha) and our reset; its SuperSpike takes slope 1 for any",
        _norse,
        twin=_with_flat_slope,
    ),
}


def _import(module: str) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # theirs: torch.jit is deprecated
        return importlib.import_module(module)


def _current(spikes: Tensor, weight: Tensor, synapses: Synapses) -> tuple[Tensor, ...]:
    return current(spikes.transpose(0, 1), weight, synapses).unbind(0)


def _beta(neuron: LIF) -> float:
    assert isinstance(neuron.surrogate, FastSigmoid)  # checked in `load`
    return neuron.surrogate.beta


def _check(neuron: LIF) -> None:
    same = neuron.reset == "subtract" and neuron.detach_reset
    if not same or neuron.v_rest or neuron.v_reset or not isinstance(neuron.surrogate, FastSigmoid):
        raise ValueError(
            'neuron: expected reset="subtract", detach_reset=True, v_rest = v_reset = 0 and a '
            f"FastSigmoid, found {neuron}"
        )
