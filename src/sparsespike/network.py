"""`Layer` (connection + neuron) and `Network` (layers in a row), as modules."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, Literal, get_args, overload

import torch
from torch import Tensor, nn

from sparsespike import ops
from sparsespike.backends import BACKENDS, backend_for, precision_for
from sparsespike.connections.linear import Linear
from sparsespike.descriptions import LayerSpec, Precision, encode
from sparsespike.neurons.lif import LIF, Readout
from sparsespike.spikes.spikes import Spikes


class Layer(nn.Module):
    """A connection and the neurons it drives.

    Input and output are `Spikes` of T steps; a spike at step t reaches the neurons at step t + 1. With
    a `Readout` neuron the output is a dense potential (B, T, N_out) instead.

    Args:
        connection: `Linear`.
        neuron: `LIF` or `Readout`.
        backend: "dense" (the oracle), "cpu", "gpu", or None for the one of `use_backend`, else by device.

    Raises:
        ValueError: if `backend` is unknown.
    """

    def __init__(
        self, connection: Linear, neuron: LIF | Readout, *, backend: str | None = None
    ) -> None:
        super().__init__()
        if backend is not None and backend not in BACKENDS:
            raise ValueError(f"backend: expected one of {', '.join(BACKENDS)}, found {backend!r}")
        if not isinstance(neuron, LIF | Readout):
            raise ValueError(f"neuron: expected LIF or Readout, found {neuron!r}")
        self.connection = connection
        self.backend = backend
        self._neuron = neuron
        # As text once, not per call: `torch.compile` cannot trace the encoding.
        names = BACKENDS if backend is None else (backend,)
        self._spec = {
            (name, precision): encode(LayerSpec(name, connection.spec(), neuron, precision))
            for name in names
            for precision in get_args(Precision)
        }

    @property
    def neuron(self) -> LIF | Readout:
        """What the units do; fixed, a layer with another neuron is another layer."""
        return self._neuron

    def forward(self, spikes: Spikes) -> Spikes | Tensor:
        """Spikes (B, T, N_in) -> Spikes (B, T, N_out), or potential (B, T, N_out) of a `Readout`.

        Raises:
            ValueError: if `spikes` has another number of units, dtype or device than the weights.
        """
        parameter = self.connection.tensors()
        self._check(spikes, parameter[0])
        backend = backend_for(spikes) if self.backend is None else self.backend
        spec = self._spec[backend, precision_for(backend, spikes.device)]
        if isinstance(self.neuron, Readout):
            return ops.readout(spikes, parameter, spec)
        return ops.spiking(spikes, parameter, self.connection.n_out, spec)

    def extra_repr(self) -> str:
        """Neuron and, if it was chosen, backend, as shown by `print`."""
        chosen = "" if self.backend is None else f", backend={self.backend!r}"
        return f"neuron={self.neuron}{chosen}"

    def _check(self, spikes: Spikes, weight: Tensor) -> None:
        n_in, n_out = self.connection.n_in, self.connection.n_out
        if not isinstance(spikes, Spikes):
            raise ValueError(f"spikes: expected Spikes, found {type(spikes).__name__}")
        if spikes.shape[2] != n_in:
            raise ValueError(f"spikes: expected {n_in} units, found {spikes.shape[2]}")
        if weight.shape != (n_out, n_in):
            raise ValueError(f"weight: expected ({n_out}, {n_in}), found {tuple(weight.shape)}")
        if weight.dtype not in (torch.float32, torch.float64):
            raise ValueError(f"weight: expected float32 or float64, found {weight.dtype}")
        if len(spikes.value) and spikes.value.dtype != weight.dtype:
            raise ValueError(
                f"spikes: expected values in the weights' {weight.dtype}, found {spikes.value.dtype}"
            )
        if spikes.device != weight.device:
            raise ValueError(f"spikes: expected them on {weight.device}, found {spikes.device}")


class Network(nn.Sequential):
    """Layers in a row; the last one is usually a `Readout`.

    Args:
        layers: one or more `Layer`s, the units of each matching the next.

    Raises:
        ValueError: if there is none, or sizes do not match.
    """

    def __init__(self, *layers: Layer) -> None:
        if not layers:
            raise ValueError("layers: expected at least one Layer, found none")
        for i, (below, above) in enumerate(pairwise(layers)):
            if below.connection.n_out != above.connection.n_in:
                raise ValueError(
                    f"layers: expected layer {i + 1} to take {below.connection.n_out} units, "
                    f"found {above.connection.n_in}"
                )
            if isinstance(below.neuron, Readout):
                raise ValueError(f"layers: expected spikes out of layer {i}, found a Readout")
        super().__init__(*layers)

    @overload
    def forward(self, spikes: Spikes, return_spikes: Literal[False] = False) -> Tensor: ...
    @overload
    def forward(
        self, spikes: Spikes, return_spikes: Literal[True]
    ) -> tuple[Tensor, list[Spikes]]: ...
    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, spikes: Spikes, return_spikes: bool = False
    ) -> Tensor | tuple[Tensor, list[Spikes]]:
        """Runs all layers.

        Args:
            spikes: (B, T, N_in).
            return_spikes: also return the `Spikes` of every spiking layer, in order.

        Returns:
            The last layer's output: potential (B, T, C) of a `Readout`, `Spikes` of a `LIF`.
        """
        hidden: list[Spikes] = []
        signal: Any = spikes
        for layer in self:
            signal = layer(signal)
            if isinstance(signal, Spikes):
                hidden.append(signal)
        return (signal, hidden) if return_spikes else signal  # pyright: ignore[reportReturnType]
