"""From a network of ours to another library's: what all libraries share."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import fx, nn

from sparsespike.connections.connection import Connection
from sparsespike.connections.conv import Conv1d, Conv2d
from sparsespike.connections.dropout import Dropout
from sparsespike.connections.flatten import Flatten
from sparsespike.connections.linear import Linear
from sparsespike.connections.pool import AvgPool2d, MaxPool2d
from sparsespike.interop.cell import Cell
from sparsespike.interop.layers import NORMS, Folded, Thinned
from sparsespike.interop.network import Converted
from sparsespike.interop.refused import refused
from sparsespike.network import Layer, Network
from sparsespike.neurons.neuron import Neuron
from sparsespike.neurons.surrogates import Surrogate


class Part(NamedTuple):
    """One layer of neurons.

    Attributes:
        name: where it is in the network.
        neuron: the neurons.
        recurrent: their connection to themselves, or None.
        inclusive: the threshold that V need only reach, or None where it must be passed.
        decode: how its potential is read over time, see `Cell`.
        last: whether nothing follows.
    """

    name: str
    neuron: Neuron
    recurrent: Any
    inclusive: float | None = None
    decode: str | None = None
    last: bool = False

    def refused(self, why: str) -> ValueError:
        """The error that names this layer."""
        return refused(self.name, self.neuron, why)

    def number(self, name: str) -> Any:
        """One of the neuron's numbers, as a constant: a float, or (N,)."""
        value = getattr(self.neuron, name)
        return value.detach() if isinstance(value, torch.Tensor) else float(value)

    def needs(self, name: str, wanted: float, why: str) -> None:
        """Refuses a number other than the one that theirs has."""
        found = torch.as_tensor(self.number(name), dtype=torch.float64)
        if not torch.allclose(found, torch.full_like(found, wanted), rtol=1e-12, atol=1e-15):
            raise self.refused(f"{name}: expected {wanted:g}, {why}, found {found.tolist()}")


def theirs(
    net: nn.Module,
    neuron: Callable[[Part, bool], nn.Module | None],
    gradients: bool,
    whole: Callable[[Any, Part, bool], nn.Module] | None = None,
    other: Callable[[Any], nn.Module | None] | None = None,
) -> list[nn.Module]:
    """The layers of a network of ours in another library, sharing its weights.

    Args:
        net: `Network`, `Layer`, or a converted network of layers in a row.
        neuron: makes neurons of that library, or gives None where `whole` does it; True if their gradient
            must be ours too.
        gradients: whether it must.
        whole: makes a layer together with the connection before it.
        other: makes what is between layers there, or gives None for a layer of PyTorch's.

    Raises:
        ValueError: naming the layer that theirs cannot be.
    """
    items = in_a_row(net)
    found: list[nn.Module] = []
    pending: Any = None
    for i, (name, item) in enumerate(items):
        if isinstance(item, Connection):
            pending = item
            found.append(torch_layer(name, item))
        elif isinstance(item, Part):
            part = item._replace(last=i == len(items) - 1)
            check_lag(part)
            made = neuron(part, gradients)
            if made is None and whole is not None:
                found[-1] = whole(pending, part, gradients)
            elif made is not None:
                found.append(made)
        else:
            own = None if other is None else other(item)
            found.append(torch_layer(name, item) if own is None else own)
    return found


def in_a_row(net: nn.Module) -> list[tuple[str, Any]]:
    """Connections, `Part`s and modules between layers, by name, in their order.

    Raises:
        ValueError: if they are not in a row.
    """
    if isinstance(net, Layer):
        return _of_layer("", net)
    if isinstance(net, Network):
        rows = [
            _of_layer(name, each) if isinstance(each, Layer) else [(name, each)]
            for name, each in net.named_children()
        ]
        return [item for row in rows for item in row]
    if isinstance(net, Converted):
        return _of_converted(net)
    found = type(net).__name__
    raise ValueError(f"net: expected an ss.Network, a Layer or a converted network, found {found}")


def _of_layer(name: str, layer: Layer) -> list[tuple[str, Any]]:
    if isinstance(layer.connection, nn.ModuleList):
        raise refused(name, layer, "several connections into one layer are not in a row")
    part = Part(name, layer.neuron, layer.recurrent)
    return [(name, layer.connection), (name, part)]


def _of_converted(net: Converted) -> list[tuple[str, Any]]:
    items: list[tuple[str, Any]] = []
    before: Any = None
    for node in net.body.graph.nodes:
        if node.op == "placeholder":
            before = node
        elif node.op == "call_module":
            if node.args != (before,) or len(before.users) != 1:
                raise refused(
                    str(node.target), "a converted network", "its layers are not in a row"
                )
            module = net.body.get_submodule(str(node.target))
            items += _of_module(str(node.target), module)
            before = node
        elif node.op != "output" and not _taken_apart(node, before):
            raise refused(str(node.name), "a converted network", "its layers are not in a row")
        elif node.op == "call_function":
            before = node if node.args[1] == 0 else before
    return items


def _taken_apart(node: fx.Node, before: Any) -> bool:
    """Whether a node takes spikes or potential of the layer before."""
    return (node.op == "call_function" and node.args[0] is before) or node.args[:1] == before.args[
        :1
    ]


def _of_module(name: str, module: nn.Module) -> list[tuple[str, Any]]:
    if isinstance(module, Folded):
        return [(name, module.connection), (name, module.norm)]
    if not isinstance(module, Cell):
        return [(name, module)]
    if module.graded != 1.0 or module.decode is not None:
        raise refused(
            name, module.neuron, "graded spikes and decoded potentials are not taken back"
        )
    level = None if module.inclusive is None else module.inclusive.v_th
    part = Part(name, module.neuron, module.recurrent, level, module.decode)
    return [*([] if module.connection is None else [(name, module.connection)]), (name, part)]


def torch_layer(name: str, item: Any) -> nn.Module:
    """The layer of PyTorch's that a module of ours is, with the same parameters.

    Raises:
        ValueError: if there is none.
    """
    made: Any = None
    with torch.device("meta"):
        if type(item) is Linear and item.delay is None:
            made = nn.Linear(item.n_in, item.n_out, item.bias is not None)
        elif type(item) in (Conv1d, Conv2d):
            conv: Any = item  # whose numbers nn.Module gives without a type
            kind: Any = nn.Conv1d if type(item) is Conv1d else nn.Conv2d
            made = kind(
                conv.in_channels,
                conv.out_channels,
                conv.kernel_size,
                conv.stride,
                conv.padding,
                conv.dilation,
                conv.groups,
                conv.bias is not None,
            )
    if made is not None:
        made.weight, made.bias = item.weight, item.bias
        return made
    if type(item) is MaxPool2d:
        windows = item.kernel_size, item.stride, item.padding, item.dilation
        return nn.MaxPool2d(*windows, ceil_mode=item.ceil_mode)
    if type(item) is AvgPool2d:
        return nn.AvgPool2d(
            item.kernel_size,
            item.stride,
            item.padding,
            item.ceil_mode,
            item.count_include_pad,
            item.divisor_override,
        )
    if type(item) is Flatten:
        return nn.Flatten()
    if isinstance(item, NORMS):
        return copy.copy(item)  # of the same parameters and statistics
    if isinstance(item, Thinned) and item.drop.per == "event":
        return nn.Dropout(item.drop.p)
    if isinstance(item, Dropout):
        if item.training and item.p:
            raise refused(
                name,
                item,
                "nn.Dropout scales what it keeps, and ours does not; in eval() it is left out",
            )
        return nn.Identity()
    raise refused(name, item, "no layer of PyTorch's does the same")


def check_every_step(part: Part) -> None:
    """Refuses a potential that is read over time: theirs is given at every step."""
    if part.decode is not None:
        raise part.refused(
            f"its potential is read over time, {part.decode!r}, and theirs at every step"
        )


def check_lag(part: Part) -> None:
    """Refuses neurons that see their input a step later."""
    if part.neuron.lag != 0:
        raise part.refused("lag=1: theirs see the input of a step in that step; ours do with lag=0")


def surrogate_with_band(part: Part, gradients: bool) -> Surrogate | None:
    """The surrogate that theirs must have; None where only spikes must be equal.

    Raises:
        ValueError: if a band is cut off it.
    """
    if not gradients:
        return None
    surrogate: Any = part.neuron.surrogate
    if part.neuron.b_th != math.inf and surrogate.cut(part.neuron.b_th) > 0:
        raise part.refused(
            f"b_th={part.neuron.b_th:g} cuts its surrogate, and theirs has no band; gradients=False asks for "
            "the same spikes alone"
        )
    return surrogate


def no_surrogate(part: Part, surrogate: Any) -> ValueError:
    """The error for a surrogate that theirs lacks."""
    return part.refused(
        f"{surrogate} has no twin there; gradients=False asks for the same spikes alone"
    )


def is_close(a: Any, b: Any) -> bool:
    """Whether numbers are equal but for rounding."""
    one, other = (torch.as_tensor(each, dtype=torch.float64) for each in (a, b))
    return torch.allclose(one, other, rtol=1e-12, atol=1e-15)
