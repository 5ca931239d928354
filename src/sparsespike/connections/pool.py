"""`MaxPool2d`: a unit spikes where any unit of its window does, at every step by itself."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from sparsespike.connections.connection import check_spikes
from sparsespike.connections.relay import Relay
from sparsespike.ops.uncompiled import uncompiled
from sparsespike.spikes.arguments import Sizes, flag, sizes
from sparsespike.spikes.spikes import Spikes


class MaxPool2d(Relay):
    """Max pooling of the spikes of every step: 1 where any unit of the window spikes.

    Arguments are those of `nn.MaxPool2d`. It takes spikes of unit shape (C, H, W), and gives (C, H', W') with
    H' = (H + 2 padding - dilation (kH - 1) - 1) // stride + 1, or rounded up with `ceil_mode`.

    Output and gradient equal `F.max_pool2d` of `spikes.to_dense()` and its autograd. The gradient of a
    window goes to one input entry, its *peak*: the first in row-major order that spikes; where none does,
    the window's first inside the image. The output is active where the peak is active, and `value` there is
    the peak's.

    Visits the input's spikes and active entries, each with the windows it is in, and sorts these: O(n log n)
    for n = (n_spikes + n_active) kernel / stride, along both axes. Where windows overlap, gradients of one
    entry add up; on a GPU in any order unless `torch.use_deterministic_algorithms` is on.

    Args:
        kernel_size: of both axes, or (kH, kW), >= 1.
        stride: the same; None: `kernel_size`, so that windows do not overlap.
        padding: positions without units on every side, from 0 to half of `kernel_size`.
        dilation: steps between the positions of a window, >= 1.
        ceil_mode: whether a last window that is not whole counts, if it begins inside the image or the
            padding before it.

    Raises:
        ValueError: naming the argument that breaks one of these rules.
    """

    keeps_units = False

    def __init__(
        self,
        kernel_size: Sizes,
        stride: Sizes | None = None,
        padding: Sizes = 0,
        dilation: Sizes = 1,
        ceil_mode: bool = False,
    ) -> None:
        super().__init__()
        self.kernel_size = sizes("kernel_size", kernel_size, 2, 1)
        self.stride = self.kernel_size if stride is None else sizes("stride", stride, 2, 1)
        self.padding = sizes("padding", padding, 2, 0)
        self.dilation = sizes("dilation", dilation, 2, 1)
        self.ceil_mode = flag("ceil_mode", ceil_mode)
        if any(2 * pad > size for pad, size in zip(self.padding, self.kernel_size, strict=True)):
            raise ValueError(
                f"padding: expected at most half of kernel_size {self.kernel_size}, "
                f"found {self.padding}"
            )

    @uncompiled
    def forward(self, spikes: Spikes) -> Spikes:
        """Spikes of unit shape (C, H, W) -> Spikes of unit shape (C, H', W').

        Raises:
            ValueError: if `spikes` are none or laid out otherwise, or a window has no place in them.
        """
        check_spikes(spikes)
        if len(spikes.unit_shape) != 3:
            raise ValueError(
                f"spikes: expected unit_shape (C, H, W), found {spikes.unit_shape}; "
                "spikes.with_unit_shape lays units out anew"
            )
        grid = self._grid(spikes.unit_shape)
        window, peak = grid.peaks(spikes.storage.entry(spikes.shape))
        active = spikes.storage.active_entry(spikes.shape)
        active, source = grid.active(active, window, peak)
        if not spikes.storage.has_active:
            active = None
        unit_shape = spikes.unit_shape[0], grid.rows.n_out, grid.columns.n_out
        return spikes.at_entries(window, active, source, unit_shape)

    def extra_repr(self) -> str:
        """Sizes, as shown by `print`."""
        said = f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"
        return f"{said}, dilation={self.dilation}, ceil_mode={self.ceil_mode}"

    def _grid(self, unit_shape: tuple[int, ...]) -> _Grid:
        """The windows over units of this shape, or a ValueError."""
        grid = _Grid(
            *(
                _Axis(*numbers, self.ceil_mode)
                for numbers in zip(
                    unit_shape[1:],
                    self.kernel_size,
                    self.stride,
                    self.padding,
                    self.dilation,
                    strict=True,
                )
            )
        )
        for axis in (grid.rows, grid.columns):
            # A dilated window can reach over the whole image, from padding to padding.
            if axis.n_out < 1 or not axis.every_window_meets_the_image():
                raise ValueError(
                    f"spikes: expected positions in every window of {self}, found unit_shape "
                    f"{unit_shape}"
                )
        return grid


@dataclass(frozen=True)
class _Axis:
    """Windows along one axis: tap k of window o lies at o * stride - padding + k * dilation."""

    size: int
    kernel: int
    stride: int
    padding: int
    dilation: int
    ceil_mode: bool

    @property
    def n_out(self) -> int:
        """Number of windows, as PyTorch counts them."""
        last = self.size + 2 * self.padding - self.dilation * (self.kernel - 1) - 1
        if not self.ceil_mode:
            return last // self.stride + 1
        n_out = -(-last // self.stride) + 1
        begins_outside = (n_out - 1) * self.stride >= self.size + self.padding
        return n_out - 1 if begins_outside else n_out

    def every_window_meets_the_image(self) -> bool:
        """Whether each has a tap inside the image."""
        window = torch.arange(self.n_out, device="cpu")
        first = window * self.stride - self.padding + self.first_tap(window) * self.dilation
        return bool((first < self.size).all())

    def first_tap(self, window: Tensor) -> Tensor:
        """The first tap inside the image, of each of these windows."""
        outside = (self.padding - window * self.stride).clamp(min=0)
        return torch.div(outside + self.dilation - 1, self.dilation, rounding_mode="floor")

    def windows(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """(size, n): the windows that each position is in, -1 where they are fewer; and its tap there.

        Tap k of a window lies at position x where k * dilation = x + padding modulo stride. Divided by their
        common factor g, dilation has an inverse: every (stride / g)-th tap solves it, or, where g does not
        divide x + padding, none.
        """
        common = math.gcd(self.stride, self.dilation)
        period = self.stride // common
        padded = torch.arange(self.size, device=device)[:, None] + self.padding
        inverse = pow(self.dilation // common, -1, period)
        first = torch.div(padded, common, rounding_mode="floor") % period * inverse % period
        n = -(-self.kernel // period)
        tap = first + period * torch.arange(n, device=device)
        begin = padded - tap * self.dilation
        window = torch.div(begin, self.stride, rounding_mode="floor")
        inside = (tap < self.kernel) & (window >= 0) & (window < self.n_out)
        inside &= padded % common == 0
        return window.masked_fill(~inside, -1), tap


@dataclass(frozen=True)
class _Grid:
    """Windows over an image. A window's number is its entry in the output; a tap's, its row-major place."""

    rows: _Axis
    columns: _Axis

    def peaks(self, entry: Tensor) -> tuple[Tensor, Tensor]:
        """The windows with a spike, ascending, and the first tap in each that spikes."""
        _, window, tap = self._windows(entry)
        n_tap = self.rows.kernel * self.columns.kernel
        key = torch.sort(window * n_tap + tap).values
        window, tap = torch.div(key, n_tap, rounding_mode="floor"), key % n_tap
        first = torch.ones_like(window, dtype=torch.bool)
        first[1:] = window[1:] != window[:-1]
        return window[first], tap[first]

    def active(self, entry: Tensor, fired: Tensor, peak: Tensor) -> tuple[Tensor, Tensor]:
        """The windows whose peak is among the active entries, and which of these it is.

        Args:
            entry: (n_active,), distinct.
            fired: windows with a spike, ascending.
            peak: the tap of each.
        """
        source, window, tap = self._windows(entry)
        place = torch.searchsorted(fired, window)
        # Beyond the last one: no window.
        fired, peak = (torch.cat([part, part.new_full((1,), -1)]) for part in (fired, peak))
        row = torch.div(window, self.columns.n_out, rounding_mode="floor") % self.rows.n_out
        column = window % self.columns.n_out
        first = self.rows.first_tap(row) * self.columns.kernel + self.columns.first_tap(column)
        found = (tap == torch.where(fired[place] == window, peak[place], first)).nonzero()[:, 0]
        return window[found], source[found]

    def _windows(self, entry: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(which, window, tap): all windows that the entries are in, and where in them."""
        height, width = self.rows.size, self.columns.size
        row = torch.div(entry, width, rounding_mode="floor")
        (window_y, tap_y), (window_x, tap_x) = (
            axis.windows(entry.device) for axis in (self.rows, self.columns)
        )
        y, x = row % height, entry % width
        both = (window_y >= 0)[y][:, :, None] & (window_x >= 0)[x][:, None, :]
        which, i, j = both.nonzero(as_tuple=True)
        y, x = y[which], x[which]
        # Sample, step and channel, flat: no window goes beyond its own.
        plane = torch.div(row[which], height, rounding_mode="floor")
        window = (plane * self.rows.n_out + window_y[y, i]) * self.columns.n_out + window_x[x, j]
        return which, window, tap_y[y, i] * self.columns.kernel + tap_x[x, j]
