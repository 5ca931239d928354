"""PyTorch's own layers, as ours: what all libraries share between their neurons."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from sparsespike import descriptions
from sparsespike.connections.connection import Connection
from sparsespike.connections.conv import Conv1d, Conv2d
from sparsespike.connections.current import Current
from sparsespike.connections.dropout import Dropout, Per
from sparsespike.connections.linear import Linear
from sparsespike.connections.pool import AvgPool2d, MaxPool2d
from sparsespike.connections.relay import Relay
from sparsespike.descriptions import Term
from sparsespike.interop.refused import refused
from sparsespike.ops.module import Module
from sparsespike.ops.uncompiled import uncompiled
from sparsespike.spikes.spikes import Spikes

# What a layer sees of a recording: one step, all steps as one batch, or all of them with time first.
View = Literal["step", "batch", "time"]

CONNECTIONS = (nn.Linear, nn.Conv1d, nn.Conv2d)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
POOLS = (nn.MaxPool2d, nn.AvgPool2d)


def parameter_of(name: str, module: nn.Module, what: str, share: bool) -> nn.Parameter | None:
    """A parameter of a layer, the very same or a copy.

    Raises:
        ValueError: if it is computed from others.
    """
    found = getattr(module, what)
    if found is None:
        return None
    if not isinstance(found, nn.Parameter):
        if not isinstance(found, Tensor) or found.requires_grad or found.grad_fn is not None:
            raise refused(name, module, f"its {what} is computed, and no nn.Parameter of its own")
        return nn.Parameter(found if share else found.clone(), requires_grad=False)
    if share:
        return found
    return nn.Parameter(found.detach().clone(), requires_grad=found.requires_grad)


def connection_of(name: str, module: Any, share: bool) -> Connection:
    """`Linear`, `Conv1d` or `Conv2d` with the parameters of the layer of the same name.

    Args:
        name: of the layer.
        module: `nn.Linear`, `nn.Conv1d`, `nn.Conv2d`, or a class that computes the same.
        share: whether the parameters are the very same.

    Raises:
        ValueError: if it pads with anything but zeros, or its parameters are computed.
    """
    weight, bias = (parameter_of(name, module, what, share) for what in ("weight", "bias"))
    return connection_with(name, module, weight, bias)


def connection_with(
    name: str, module: Any, weight: nn.Parameter | None, bias: nn.Parameter | None
) -> Connection:
    """As `connection_of`, with other parameters."""
    has_bias = bias is not None
    # On "meta" nothing is drawn, and the random numbers that come next stay what they were.
    if isinstance(module, nn.Linear):
        made: Any = Linear(module.in_features, module.out_features, has_bias, device="meta")
    else:
        if module.padding_mode != "zeros":
            raise refused(
                name, module, f"padding_mode is {module.padding_mode!r}, and ours pads with zeros"
            )
        kind = Conv1d if isinstance(module, nn.Conv1d) else Conv2d
        made = kind(
            module.in_channels,
            module.out_channels,
            module.kernel_size,
            module.stride,
            module.padding,
            module.dilation,
            module.groups,
            has_bias,
            device="meta",
        )
    made.weight, made.bias = weight, bias
    return made


def pool_of(name: str, module: Any) -> Relay:
    """`MaxPool2d` or `AvgPool2d` with the same windows.

    Raises:
        ValueError: if indices are wanted.
    """
    if isinstance(module, nn.MaxPool2d):
        if module.return_indices:
            raise refused(name, module, "return_indices=True: no indices are kept")
        return MaxPool2d(
            module.kernel_size, module.stride, module.padding, module.dilation, module.ceil_mode
        )
    return AvgPool2d(
        module.kernel_size,
        module.stride,
        module.padding,
        module.ceil_mode,
        module.count_include_pad,
        module.divisor_override,
    )


class Thinned(Relay):
    """Dropout of spikes as `nn.Dropout` has it: what is kept is worth 1 / (1 - p) in training.

    Which spikes are left out is drawn by `ss.Dropout`, from the same generator in another order.

    Args:
        p: probability of being left out, in [0, 1).
        per: "event": drawn anew in every step; "sample": once for a recording.
    """

    def __init__(self, p: float, per: Per) -> None:
        super().__init__()
        self.drop = Dropout(p, per)

    @uncompiled
    def forward(self, spikes: Spikes) -> Spikes:
        """Spikes -> fewer of them, scaled; in `eval()` the very same."""
        kept = self.drop(spikes)
        if kept is spikes:
            return kept
        return replace(kept, graded=True, scale=kept.scale / (1 - self.drop.p))


class OneToOne(Module):
    """A recurrent connection that takes each neuron to itself alone.

    Args:
        weight: of each neuron, (N,), or one number for all of them, () or (1,).
    """

    _known: tuple[int, torch.device, descriptions.SparseLinear] | None = None

    def __init__(self, weight: nn.Parameter) -> None:
        super().__init__()
        self.weight = weight

    @uncompiled
    def forward(self, spikes: Spikes) -> Current:
        """Spikes (B, T, N) -> Current (B, T, N).

        Raises:
            ValueError: if there are weights of another number of neurons.
        """
        n, weight = spikes.shape[2], self.weight.to(spikes.value.dtype)
        if weight.numel() not in (1, n):
            raise ValueError(
                f"V: expected one number, or {n}, one for each neuron, found {len(weight)}"
            )
        if self._known is None or self._known[:2] != (n, weight.device):
            index = torch.arange(n, device=weight.device).expand(2, n)
            self._known = n, weight.device, descriptions.SparseLinear(n, n, index)
        return Current(
            (Term(spikes, self._known[2], (weight.reshape(-1).expand(n).contiguous(),)),)
        )


class Folded(Module):
    """A connection whose current a batch norm shifts and scales, folded into its weights at evaluation.

    Args:
        name: of the batch norm.
        connection: `Linear` or a convolution.
        norm: `nn.BatchNorm1d` or `nn.BatchNorm2d`.

    Raises:
        ValueError: if the norm has no statistics of its own.
    """

    def __init__(self, name: str, connection: Connection, norm: Any) -> None:
        super().__init__()
        if norm.running_mean is None:
            raise refused(name, norm, "track_running_stats=False: it cannot be folded")
        self.name, self.connection, self.norm = name, connection, norm

    @uncompiled
    def forward(self, spikes: Spikes) -> Current:
        """Spikes -> Current, shifted and scaled.

        Raises:
            ValueError: in training, where statistics are those of the batch.
        """
        norm, own = self.norm, self.connection
        if norm.training:
            raise refused(
                self.name,
                norm,
                "statistics of a batch need dense tensors; in eval() it is folded into the weights, and "
                "dense=True computes it as its library does",
            )
        factor = torch.rsqrt(norm.running_var + norm.eps)
        if norm.weight is not None:
            factor = factor * norm.weight
        shift = -norm.running_mean * factor
        if norm.bias is not None:
            shift = shift + norm.bias
        if own.bias is not None:
            shift = shift + own.bias * factor
        weight = own.weight * factor.reshape(-1, *[1] * (own.weight.dim() - 1))
        folded = copy.copy(own)
        folded._parameters = {}
        folded.__dict__.update(weight=weight, bias=shift)
        return folded(spikes)


class Dense(nn.Module):
    """A layer of PyTorch's, computed on dense tensors as its library does; costs what they cost there.

    A connection that sees the same in every step, as a loop over an image does, is computed once.

    Args:
        module: the layer, the very same.
        view: what it sees: one "step" at a time, all steps as one "batch", or (T, B, ...), "time" first; a
            batch norm's statistics tell one from the other.
    """

    def __init__(self, module: nn.Module, view: View) -> None:
        super().__init__()
        self.module, self.view = module, view

    @uncompiled
    def forward(self, given: Spikes | Current | Tensor) -> Tensor:
        """Spikes, a current or a dense tensor (B, T, ...) -> (B, T, ...)."""
        dense = to_dense(given).transpose(0, 1)
        if dense.stride(0) == 0 and isinstance(self.module, CONNECTIONS):  # every step is the same
            return (
                self.module(dense[0]).unsqueeze(1).expand(-1, len(dense), *[-1] * (dense.dim() - 2))
            )
        if self.view == "step":
            return torch.stack([self.module(step) for step in dense.unbind(0)], 1)
        if self.view == "time":
            return self.module(dense).transpose(0, 1)
        n_step, n_batch = dense.shape[:2]
        return self.module(dense.flatten(0, 1)).unflatten(0, (n_step, n_batch)).transpose(0, 1)


def to_dense(given: Spikes | Current | Tensor) -> Tensor:
    """(B, T, *unit_shape)."""
    if isinstance(given, Tensor):
        return given
    if isinstance(given, Spikes):
        return given.to_dense()
    return given.to_dense().unflatten(2, given.unit_shape)
