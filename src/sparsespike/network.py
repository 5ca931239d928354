"""`Layer` (connections + a neuron) and `Network` (layers in a row), as modules."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import lru_cache
from typing import Any, Literal, overload

import torch
from torch import Tensor, nn

from sparsespike import ops
from sparsespike.backends import check_name, use_backend
from sparsespike.connections.connection import Connection
from sparsespike.connections.current import Current
from sparsespike.connections.looped import looped
from sparsespike.connections.relay import Relay
from sparsespike.neurons.neuron import Neuron
from sparsespike.neurons.silence import warn_of_few_steps
from sparsespike.neurons.state import State, States
from sparsespike.ops.module import Module
from sparsespike.ops.uncompiled import uncompiled
from sparsespike.spikes.spikes import Spikes


class Layer(Module):
    """Connections and the neurons they drive: `neuron(connection(spikes))`, and no more.

    Input and output are `Spikes` of T steps; a spike at step t reaches the neurons at step t + 1. With
    a `Readout` neuron the output is a dense potential (B, T, N_out) instead. Both modules are called, so
    hooks on them run, and either may be replaced at any time.

    Args:
        connection: `Linear`, or any module that gives a `Current`; or several, whose currents add up, each
            with an input of its own.
        neuron: `LIF`, `Readout` or another `Neuron`. Layers may share one.
        recurrent: a connection from the layer's spikes back to its neurons, `Linear(n, n)`, `Conv2d` of as
            many channels or `SparseLinear`: a spike of step t acts on the potential of step t + 1. Only with
            neurons that spike.
        backend: "dense" (the oracle), "cpu", "gpu", "auto" (`use_backend` says what each is), or None for
            the one of `use_backend`, else by device.

    Raises:
        ValueError: if `backend` is unknown, or a part is no such module.
    """

    connection: Any  # what nn.Module gives for a submodule has no type of its own
    neuron: Neuron
    recurrent: Any

    def __init__(
        self,
        connection: nn.Module | Sequence[nn.Module],
        neuron: Neuron,
        *,
        recurrent: nn.Module | None = None,
        backend: str | None = None,
    ) -> None:
        super().__init__()
        several = isinstance(connection, list | tuple)
        for part in connection if several else [connection]:
            _check_connection("connection", part)
        if several and not connection:
            raise ValueError("connection: expected at least one, found none")
        if not isinstance(neuron, Neuron):
            raise ValueError(
                f"neuron: expected LIF, Readout or another Neuron, found {_name(neuron)}"
            )
        self.connection = nn.ModuleList(connection) if several else connection
        if recurrent is not None:
            _check_connection("recurrent", recurrent)
            if not neuron.spiking:
                raise ValueError(f"recurrent: expected neurons that spike, found {_name(neuron)}")
        self.neuron = neuron
        self.recurrent = recurrent
        self.backend = backend
        self._backend_context()
        _draw(neuron, self._parts())
        for part, std in self._widths(None):
            part.widen(std)

    @uncompiled
    def forward(
        self, *spikes: Spikes, state: State | None = None, return_state: bool = False
    ) -> Any:
        """Spikes (B, T, N_in) -> Spikes (B, T, N_out), or potential (B, T, N_out) of a `Readout`.

        Args:
            spikes: one for each connection.
            state: where the neurons start: what a call on the steps before returned; None for the start.
            return_state: whether the state after the last step is wanted as well.

        Returns:
            the output, or (output, state).

        Raises:
            ValueError: if a parameter or `spikes` has a shape, dtype or device that does not fit.
        """
        parts = self._parts()
        if len(spikes) != len(parts):
            raise ValueError(
                f"spikes: expected {len(parts)}, one per connection, found {len(spikes)}"
            )
        with self._backend_context():
            currents = [part(given) for part, given in zip(parts, spikes, strict=True)]
            for part, current in zip(parts, currents, strict=True):
                if not isinstance(current, Current):
                    raise ValueError(
                        f"connection: expected a Current of {_name(part)}, "
                        f"found {type(current).__name__}"
                    )
            current: Any = sum(currents[1:], start=currents[0])
            if self.recurrent is None:
                return self.neuron(current, state, return_state)
            return self.neuron(
                current, state, return_state, recurrent=looped(self.recurrent, current)
            )

    @property
    def gives_tensor(self) -> bool:
        """Whether the output is a potential."""
        return not self.neuron.spiking

    def reset_parameters(self, rate: float | None = None) -> None:
        """Draws the connections' weights anew, so wide that the layer is alive (`neurons/initial.py`).

        A new layer whose connections nobody has touched starts so too.

        Args:
            rate: of the input, spikes per unit and step, in (0, 1]; None: 1 %. `spikes.rate()` tells it.
        """
        for part, std in self._widths(rate):
            part.reset_parameters(std)

    def extra_repr(self) -> str:
        """The backend, if it was chosen, as shown by `print`."""
        return "" if self.backend is None else f"backend={self.backend!r}"

    def _parts(self) -> list[nn.Module]:
        return list(self.connection) if self._several() else [self.connection]

    def _widths(self, rate: float | None) -> list[tuple[Connection, float]]:
        """The connections whose width is known, and their width."""
        parts = self._parts()
        # What neurons send to themselves starts at half the width, lest it keeps itself alive.
        own = [] if self.recurrent is None else [(self.recurrent, 1 / 4)]
        stds = [
            (part, self.neuron.weight_std(part.fan_in, rate, share=share))
            for part, share in [*((part, 1 / len(parts)) for part in parts), *own]
            if isinstance(part, Connection)
        ]
        return [(part, std) for part, std in stds if std is not None]

    def _several(self) -> bool:
        return isinstance(self.connection, nn.ModuleList)

    def _backend_context(self) -> Any:
        if self.backend is None:
            return nullcontext()
        check_name(self.backend)
        return use_backend(self.backend)


class Network(nn.Sequential):
    """Layers in a row; the last one is usually a `Readout`.

    Args:
        layers: one or more `Layer`s, pools, `Flatten` and `Dropout` between them, or modules of one's own
            from `Spikes` to `Spikes`.

    Raises:
        ValueError: if there is none, or the sizes of neighbours do not match.
    """

    def __init__(self, *layers: nn.Module) -> None:
        if not layers:
            raise ValueError("layers: expected at least one Layer, found none")
        for i, layer in enumerate(layers):
            if not isinstance(layer, nn.Module):
                raise ValueError(f"layers: expected modules, found {_name(layer)}")
            if i < len(layers) - 1 and isinstance(layer, Layer) and not layer.neuron.spiking:
                raise ValueError(
                    f"layers: expected spikes out of layer {i}, found a {_name(layer.neuron)}"
                )
        given = None  # units out of what is below, where it tells
        for i, layer in enumerate(layers):
            taken = _size(layer, "n_in")
            if given is not None and taken is not None and given != taken:
                raise ValueError(f"layers: expected layer {i} to take {given} units, found {taken}")
            if not (isinstance(layer, Relay) and layer.keeps_units):
                given = _size(layer, "n_out")
        super().__init__(*layers)

    @overload
    def forward(
        self, spikes: Spikes, return_spikes: Literal[False] = False, *, state: States | None = None
    ) -> Tensor: ...
    @overload
    def forward(
        self, spikes: Spikes, return_spikes: Literal[True], *, state: States | None = None
    ) -> tuple[Tensor, list[Spikes]]: ...
    @overload
    def forward(
        self,
        spikes: Spikes,
        return_spikes: bool = False,
        *,
        state: States | None = None,
        return_state: Literal[True],
    ) -> Any: ...
    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        spikes: Spikes,
        return_spikes: bool = False,
        *,
        state: States | None = None,
        return_state: bool = False,
    ) -> Any:
        """Runs all layers.

        Warns (`SilenceWarning`) where the recording has fewer steps than spikes need to come through.

        Args:
            spikes: (B, T, N_in).
            return_spikes: also return the `Spikes` of every spiking layer, and of every module of one's own
                that gives some, in order. What pools, `Flatten` and `Dropout` hand on are the spikes
                of the layer below, and not listed again.
            state: where the neurons start: what a call on the steps before returned; None for the start.
            return_state: also return the state after the last step. Chunks of a recording then give what
                the whole gives, bit for bit; `state.detach()` ends the gradient between them.

        Returns:
            The last layer's output: potential (B, T, C) of a `Readout`, `Spikes` of a `LIF`; with what else
            was asked for a tuple (output, spikes, state).

        Raises:
            ValueError: if a module of one's own has neurons, and its `forward` takes no `state` and
                `return_state` where they are wanted.
        """
        stateful = state is not None or return_state
        n_delay = sum(isinstance(layer, Layer) and layer.neuron.lag > 0 for layer in self)
        if isinstance(spikes, Spikes) and not stateful:
            warn_of_few_steps(spikes.shape[1], n_delay)
        if state is not None and (not isinstance(state, States) or len(state) != len(self)):
            raise ValueError(
                f"state: expected what this network returned, found {type(state).__name__}"
            )
        hidden: list[Spikes] = []
        left: list[Any] = []
        signal: Any = spikes
        for i, layer in enumerate(self):
            after = None
            with ops.layer_of_network(i):
                if stateful and _keeps_state(layer):
                    before = None if state is None else state[i]
                    signal, after = layer(signal, state=before, return_state=True)
                else:
                    signal = layer(signal)
            left.append(after)
            if isinstance(signal, Spikes) and not isinstance(layer, Relay):
                hidden.append(signal)
        if not (return_spikes or return_state):
            return signal
        wanted = [hidden] if return_spikes else []
        return signal, *wanted, *([States(left)] if return_state else [])


def _keeps_state(module: nn.Module) -> bool:
    """Whether a module takes and returns a state.

    Raises:
        ValueError: if it does not, and has neurons, whose state would be lost.
    """
    if _takes_state(getattr(module.forward, "__func__", module.forward)):
        return True
    if any(isinstance(each, Neuron) for each in module.modules()):
        raise ValueError(
            f"state: expected {_name(module)}.forward to take state and return_state, as it has neurons"
        )
    return False


@lru_cache(maxsize=256)
def _takes_state(forward: Callable[..., Any]) -> bool:
    return "return_state" in inspect.signature(forward).parameters


def _check_connection(name: str, part: object) -> None:
    """Raises a ValueError unless this may be a connection."""
    if not isinstance(part, nn.Module) or type(part).__module__.startswith("torch.nn"):
        raise ValueError(
            f"{name}: expected ss.Linear or another module from Spikes to a Current, "
            f"found {_name(part)}"
        )


def _draw(neuron: Neuron, parts: Sequence[nn.Module]) -> None:
    """Draws the neuron's numbers that are to be drawn, for as many neurons as a connection tells.

    Raises:
        ValueError: if none tells.
    """
    for name, each in neuron.undrawn().items():
        known = [part for part in parts if isinstance(getattr(part, "n_out", None), int)]
        if not known:
            raise ValueError(
                f"{name}: expected numbers that were drawn, as {_name(parts[0])} does not tell how many "
                f"neurons there are, found {each}; neuron.draw(n) draws them"
            )
        weight = getattr(known[0], "weight", None)
        like = weight if isinstance(weight, Tensor) else torch.empty(0)
        neuron.draw(known[0].n_out, dtype=like.dtype, device=like.device)  # pyright: ignore
        return


def _size(layer: nn.Module, name: str) -> int | None:
    """`n_in` or `n_out` of a layer with one connection that has it."""
    return getattr(layer.connection, name, None) if isinstance(layer, Layer) else None


def _name(part: object) -> str:
    kind = type(part)
    home = "torch.nn." if kind.__module__.startswith("torch.nn") else ""
    return home + kind.__name__ if isinstance(part, nn.Module) else repr(part)
