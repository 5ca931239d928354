"""Networks of ours as plain PyTorch, a step at a time, with layers that NeuroBench's hooks find."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

import sparsespike as ss


class _Neurons(nn.Module):
    """Neurons, a step at a time, by their own equations."""

    def __init__(self, neuron: ss.Neuron, recurrent: Any) -> None:
        super().__init__()
        self.neuron = [neuron]  # no child: it has no parameters here
        self.recurrent = None if recurrent is None else plain(recurrent)
        self.state: Any = None

    def forward(self, current: Tensor) -> Tensor:
        neuron, like = self.neuron[0], current.flatten(1)
        state = neuron.initial(like) if self.state is None else self.state
        fed = like
        if self.recurrent is not None:
            fed = like + self.recurrent(state[1].view_as(current)).flatten(1)
        after = neuron.step(state, fed)
        out = (state if neuron.lag else after)[1 if neuron.spiking else 0]
        self.state = after
        return out.view_as(current)


class Steps(_Neurons):
    """Those that spike."""


class Reading(_Neurons):
    """A readout, whose output is no activation."""


def plain(own: Any) -> Any:
    """PyTorch's layer with the weights of ours."""
    if isinstance(own, ss.Flatten | ss.Dropout):
        return nn.Flatten() if isinstance(own, ss.Flatten) else nn.Identity()
    if isinstance(own, ss.AvgPool2d):
        return nn.AvgPool2d(own.kernel_size, own.stride, own.padding)
    if isinstance(own, ss.SumPool2d):
        return nn.AvgPool2d(own.kernel_size, own.stride, own.padding, divisor_override=1)
    if isinstance(own, ss.MaxPool2d):
        return nn.MaxPool2d(own.kernel_size, own.stride, own.padding)
    bias = own.bias
    if isinstance(own, ss.Linear | ss.SparseLinear):
        made: Any = nn.Linear(own.n_in, own.n_out, bias is not None)
    else:
        kind: Any = nn.Conv1d if isinstance(own, ss.Conv1d) else nn.Conv2d
        sizes = own.kernel_size, own.stride, own.padding, own.dilation, own.groups
        made = kind(own.in_channels, own.out_channels, *sizes, bias is not None)
    weight = own.weight.detach()
    if isinstance(own, ss.SparseLinear):
        weight = weight.new_zeros(own.n_out, own.n_in).index_put(tuple(own.index), weight)
    made.weight = nn.Parameter(weight.clone())
    if bias is not None:
        made.bias = nn.Parameter(bias.clone())
    return made


class Added(nn.Module):
    """Connections into one layer, and its neurons."""

    def __init__(self, layer: ss.Layer) -> None:
        super().__init__()
        parts = (
            layer.connection if isinstance(layer.connection, nn.ModuleList) else [layer.connection]
        )
        self.parts = nn.ModuleList(plain(part) for part in parts)
        kind = Steps if layer.neuron.spiking else Reading
        self.neuron = kind(layer.neuron, layer.recurrent)

    def forward(self, *given: Tensor) -> Tensor:
        total: Any = 0
        for part, each in zip(self.parts, given, strict=True):
            total = total + part(each.flatten(1) if isinstance(part, nn.Linear) else each)
        return self.neuron(total)


class Unfused(nn.Module):
    """A network of layers in a row; a layer of two connections is given the first input as well."""

    def __init__(self, modules: list[Any]) -> None:
        super().__init__()
        self.all = nn.ModuleList(
            Added(each) if isinstance(each, ss.Layer) else plain(each) for each in modules
        )

    def forward(self, x: Tensor) -> Tensor:
        for module in self.modules():
            if isinstance(module, _Neurons):
                module.state = None
        out = []
        for step in x.unbind(1):
            signal = step
            for each in self.all:
                two = isinstance(each, Added) and len(each.parts) == 2
                signal = each(signal, step) if two else each(signal)
            out.append(signal)
        return torch.stack(out, 1)


def lif(**more: Any) -> ss.LIF:
    """Neurons that spike often."""
    return ss.LIF(**{"alpha": 0.8, "v_th": 0.5, "gain": 1.0, **more})


def alive(net: nn.Module) -> nn.Module:
    """In float64; wide weights, of which a third is zero."""
    net.double().eval()
    with torch.no_grad():
        for each in net.parameters():
            each.normal_(0.2, 1.0)
            each[torch.rand_like(each) < 0.3] = 0.0
    return net
