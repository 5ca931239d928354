"""Convolutions: I = conv(S[t], W) (+ bias), of every step by itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from sparsespike import descriptions
from sparsespike.connections.connection import Connection, check_spikes, terms_of
from sparsespike.connections.current import Current
from sparsespike.ops.uncompiled import uncompiled
from sparsespike.spikes.arguments import Sizes, integer, sizes
from sparsespike.spikes.spikes import Spikes


class _Conv(Connection):
    """What `Conv1d` and `Conv2d` share; see there."""

    n_dim: int
    stride: Any
    dilation: Any
    padding: Any

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Sizes,
        stride: Sizes = 1,
        padding: Sizes | str = 0,
        dilation: Sizes = 1,
        groups: int = 1,
        bias: bool = False,
        *,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__()
        n_in, n_out = (
            integer("in_channels", in_channels, 1),
            integer("out_channels", out_channels, 1),
        )
        kernel = sizes("kernel_size", kernel_size, self.n_dim, 1)
        self.stride, self.dilation, self.padding, self.groups = stride, dilation, padding, groups
        self._settle()
        for name, n_channel in (("in_channels", n_in), ("out_channels", n_out)):
            if n_channel % self.groups:
                raise ValueError(
                    f"{name}: expected a multiple of groups = {self.groups}, found {n_channel}"
                )
        self._make((n_out, n_in // self.groups, *kernel), bias, dtype, device)

    @property
    def in_channels(self) -> int:
        """C_in."""
        return self.weight.shape[1] * self.groups

    @property
    def out_channels(self) -> int:
        """C_out."""
        return self.weight.shape[0]

    @property
    def kernel_size(self) -> tuple[int, ...]:
        """Taps along each axis."""
        return tuple(self.weight.shape[2:])

    @uncompiled
    def forward(self, spikes: Spikes) -> Current:
        """Spikes of unit shape (C_in, ...) -> Current of unit shape (C_out, ...), not computed yet.

        Raises:
            ValueError: if `spikes` are none or laid out otherwise, or the kernel is larger than they are.
                What else kernels read is checked when a neuron takes the current.
        """
        check_spikes(spikes)
        self._settle()
        names = ("(C_out, C_in / groups, k)", "(C_out, C_in / groups, kH, kW)")
        weight, *bias = self._parameters_now(2 + self.n_dim, names[self.n_dim - 1])
        n_out, per_group, *kernel = weight.shape
        n_in = per_group * self.groups
        if n_out % self.groups:
            raise ValueError(
                f"weight: expected a multiple of groups = {self.groups} of channels, found {n_out}"
            )
        shape = spikes.unit_shape
        if n_in == 1 and len(shape) == self.n_dim:
            shape = 1, *shape
        if len(shape) != 1 + self.n_dim or shape[0] != n_in:
            layout = "(C, L)" if self.n_dim == 1 else "(C, H, W)"
            raise ValueError(
                f"spikes: expected unit_shape {layout} of {n_in} channels, found {spikes.unit_shape}; "
                "spikes.with_unit_shape lays units out anew"
            )
        connection = descriptions.Conv(
            (n_in, *_two(shape[1:], 1)),
            n_out,
            _two(kernel, 1),
            _two(self.stride, 1),
            _two(self._pads(kernel), (0, 0)),
            _two(self.dilation, 1),
            self.groups,
            self.n_dim,
        )
        if min(connection.out_shape) < 1:
            raise ValueError(
                f"spikes: expected at least the kernel's {tuple(kernel)} positions with dilation "
                f"{self.dilation} and padding {self.padding}, found {shape[1:]}"
            )
        if self.n_dim == 1:
            weight = weight.unsqueeze(2)
        return Current(terms_of(spikes, connection, (weight, *bias)))

    def extra_repr(self) -> str:
        """Sizes, as shown by `print`."""
        said = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}"
        for name, usual in (("stride", 1), ("padding", 0), ("dilation", 1)):
            value = getattr(self, name)
            if value != (usual,) * self.n_dim:
                said += f", {name}={value!r}"
        groups = f", groups={self.groups}" if self.groups > 1 else ""
        return f"{said}{groups}, bias={self.bias is not None}"

    def _settle(self) -> None:
        """Makes tuples of the numbers, which may be set anew at any time; or a ValueError that names one."""
        self.stride = sizes("stride", self.stride, self.n_dim, 1)
        self.dilation = sizes("dilation", self.dilation, self.n_dim, 1)
        self.groups = integer("groups", self.groups, 1)
        if not isinstance(self.padding, str):
            self.padding = sizes("padding", self.padding, self.n_dim, 0)
        elif self.padding not in ("same", "valid"):
            raise ValueError(
                f"padding: expected numbers, 'same' or 'valid', found {self.padding!r}"
            )
        elif self.padding == "same" and any(step != 1 for step in self.stride):
            raise ValueError(f"padding: 'same' needs a stride of 1, found stride {self.stride}")

    def _pads(self, kernel: Sequence[int]) -> list[tuple[int, int]]:
        """Zeros before and after, along each axis; of "same", the odd one after."""
        if self.padding == "valid":
            return [(0, 0)] * self.n_dim
        if self.padding == "same":
            every = [d * (k - 1) for d, k in zip(self.dilation, kernel, strict=True)]
            return [(pad // 2, pad - pad // 2) for pad in every]
        return [(int(pad), int(pad)) for pad in self.padding]


class Conv2d(_Conv):
    """Two-dimensional convolution, of the spikes of every step by itself.

    Arguments and `weight`, (C_out, C_in / groups, kH, kW), are those of `nn.Conv2d`; state dicts load both
    ways. It takes spikes of unit shape (C_in, H, W), and gives neurons of unit shape (C_out, H', W') with
    H' = (H + 2 padding - dilation (kH - 1) - 1) // stride + 1. A unit shape (H, W) counts as one channel.

    Args:
        in_channels: C_in, >= 1.
        out_channels: C_out, >= 1.
        kernel_size: of both axes, or (kH, kW).
        stride: the same, >= 1.
        padding: zeros on every side, >= 0, or "same" (the size stays; stride 1 alone) or "valid" (none).
        dilation: steps between taps, >= 1.
        groups: into which both kinds of channels are divided; C_in of them make it depthwise.
        bias: whether each channel has a constant current. It drives every neuron at every step.
        dtype: of the parameters, float32 or float64.
        device: of the parameters.

    Raises:
        ValueError: naming the argument that breaks one of these rules.
    """

    n_dim = 2


class Conv1d(_Conv):
    """One-dimensional convolution along the units (not along time), of the spikes of every step by itself.

    As `Conv2d`, with `nn.Conv1d`'s arguments and weight (C_out, C_in / groups, k), for spikes of unit shape
    (C_in, L). A unit shape (L,) counts as one channel.
    """

    n_dim = 1


def _two(given: Sequence[Any], usual: Any) -> tuple[Any, Any]:
    """Of one axis, two: the rows come first."""
    first, second = (usual, *given) if len(given) == 1 else given
    return first, second
