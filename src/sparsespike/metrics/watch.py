"""`Watch`: which spikes met which connections while a network ran, and what its neurons sent."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, Self

from torch import nn

from sparsespike.connections.connection import Connection
from sparsespike.connections.current import Current
from sparsespike.descriptions import Connection as Told
from sparsespike.neurons.neuron import Neuron
from sparsespike.spikes.spikes import Spikes

# Layers of PyTorch's whose operations NeuroBench counts.
DENSE = (nn.Linear, nn.modules.conv._ConvNd, nn.RNNBase, nn.RNNCellBase)


class Call(NamedTuple):
    """Spikes that went through a connection.

    Attributes:
        name: of the connection in its network.
        module: the connection.
        told: its sizes.
        spikes: (B, T, N_in), what it was given.
        later: whether they meet it a step later: what neurons of lag 0 send to themselves.
        resumes: whether the neurons went on from a state.
    """

    name: str
    module: Connection
    told: Told
    spikes: Spikes
    later: bool = False
    resumes: bool = False


class Fired(NamedTuple):
    """What neurons sent: their name in the network, and the spikes."""

    name: str
    spikes: Spikes


class Pass(NamedTuple):
    """One call of the network.

    Attributes:
        calls: of its connections, in their order.
        fired: by its spiking neurons, in their order.
        n_batch: samples.
        resumes: whether the samples are those of the call before, going on.
    """

    calls: list[Call]
    fired: list[Fired]
    n_batch: int
    resumes: bool


def spiking_names(net: nn.Module) -> dict[nn.Module, list[str]]:
    """Neurons that spike, and all their names: layers may share them."""
    names: dict[nn.Module, list[str]] = {}
    for name, module in net.named_modules(remove_duplicate=False):
        if isinstance(module, Neuron) and module.spiking:
            names.setdefault(module, []).append(name)
    return names


class Watch:
    """While it is open, tells of every call of the network, once it has ended.

    Args:
        net: what is watched. Calls of its parts by themselves are not.
        take: is given each call.

    Raises:
        ValueError: if the network has layers of PyTorch's, whose input is no spikes; later, in a call, if
            neurons take a current that no connection made.
    """

    def __init__(self, net: nn.Module, take: Callable[[Pass], None]) -> None:
        if not isinstance(net, nn.Module):
            raise ValueError(f"net: expected a module, found {type(net).__name__}")
        for name, module in net.named_modules():
            if isinstance(module, DENSE):
                raise ValueError(
                    f"net: expected connections of sparsespike, found torch.nn.{type(module).__name__} "
                    f"at {name!r}, whose operations on dense tensors are not counted here"
                )
        self.net, self._take = net, take
        self._handles: list[Any] = []
        self._begin()
        self._inside = False

    def __enter__(self) -> Self:
        keep = self._handles.append
        keep(self.net.register_forward_pre_hook(lambda *_: self._begin()))
        names = spiking_names(self.net)
        for name, module in self.net.named_modules():
            if isinstance(module, Connection):
                hook = partial(self._called, name, module)
                keep(module.register_forward_hook(hook, with_kwargs=True))
            elif isinstance(module, Neuron):
                hook = partial(self._fired_by, names.get(module, [name]))
                keep(module.register_forward_hook(hook, with_kwargs=True))
        keep(self.net.register_forward_hook(lambda *_: self._end()))
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._begin()
        self._inside = False

    def _begin(self) -> None:
        """Forgets what a call that ended in an error has left."""
        self._inside = True
        self._calls: list[tuple[Call, Current]] = []  # the current too, so that no id comes twice
        self._terms: set[int] = set()
        self._fired: list[Fired] = []
        self._resumes: list[bool] = []

    def _end(self) -> None:
        calls, fired, resumes = [call for call, _ in self._calls], self._fired, any(self._resumes)
        self._begin()
        self._inside = False
        if calls:
            self._take(Pass(calls, fired, calls[0].spikes.shape[0], resumes))

    def _called(
        self, name: str, own: Connection, module: Any, args: Any, kwargs: Any, out: Any
    ) -> None:
        if not self._inside or not isinstance(out, Current) or id(out.terms[0]) in self._terms:
            return
        (spikes,) = (*args, *kwargs.values())
        self._calls.append((Call(name, own, out.terms[0].connection, spikes), out))
        self._terms |= {id(term) for term in out.terms}

    def _fired_by(self, names: list[str], module: Neuron, args: Any, kwargs: Any, out: Any) -> None:
        if not self._inside:
            return
        name = self._of_layer(names)
        given = {**dict(zip(("current", "state", "return_state"), args, strict=False)), **kwargs}
        if any(id(term) not in self._terms for term in given["current"].terms):
            raise ValueError(
                f"net: expected currents of connections alone, found neurons, {name!r}, that take a dense "
                "one; what went into it cannot be counted"
            )
        resumes = given.get("state") is not None
        self._resumes.append(resumes)
        spikes = out[0] if isinstance(out, tuple) else out
        if not isinstance(spikes, Spikes):
            return
        self._fired.append(Fired(name, spikes))
        if given.get("recurrent") is not None:
            self._looped(name, given["recurrent"][1], spikes, module.lag == 0, resumes)

    def _of_layer(self, names: list[str]) -> str:
        """Of the names of neurons that layers share, the one in the layer whose connection was called."""
        called = self._calls[-1][0].name if self._calls else ""
        beside = [name for name in names if called.startswith(name.rpartition(".")[0])]
        return max(beside, key=len, default=names[0])

    def _looped(
        self, name: str, parameter: Any, spikes: Spikes, later: bool, resumes: bool
    ) -> None:
        """Puts the neurons' spikes in place of the empty ones by which `looped` asked the connection."""
        for i, (call, current) in reversed(list(enumerate(self._calls))):
            if current.terms[0].parameter is parameter:
                spikes = spikes.with_unit_shape(call.spikes.unit_shape)
                call = call._replace(spikes=spikes, later=later, resumes=resumes)
                self._calls[i] = call, current
                return
        raise ValueError(
            f"net: expected a recurrent connection of sparsespike, found another at {name!r}"
        )
