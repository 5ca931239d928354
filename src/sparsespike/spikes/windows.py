"""The windows of a pooling, what they hold and their peaks in plain PyTorch; a description.

The *peak* of a window is the input entry that its gradient goes to: the first in row-major order that spikes;
where none does, the window's first inside the image.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class WindowAxis:
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

    def extents(self, with_padding: bool) -> Tensor:
        """(n_out,): positions of each window inside the padded image, or the image; for a dilation of 1."""
        first = torch.arange(self.n_out, device="cpu") * self.stride - self.padding
        last = (first + self.kernel).clamp(max=self.size + self.padding)
        return last - first if with_padding else last.clamp(max=self.size) - first.clamp(min=0)

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
class Windows:
    """Windows over images. A window's number is its entry in the output; a tap's, its row-major place.

    Attributes:
        n_channel: images.
        rows: along the first axis.
        columns: along the second.
    """

    n_channel: int
    rows: WindowAxis
    columns: WindowAxis

    @property
    def unit_shape(self) -> tuple[int, int, int]:
        """(C, H', W') of the output."""
        return self.n_channel, self.rows.n_out, self.columns.n_out

    @property
    def n_out(self) -> int:
        """Units of the output."""
        return math.prod(self.unit_shape)

    def peaks(self, entry: Tensor) -> tuple[Tensor, Tensor]:
        """The windows with a spike, ascending, and the first tap in each that spikes."""
        _, window, tap = self.holding(entry)
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
        source, window, tap = self.holding(entry)
        place = torch.searchsorted(fired, window)
        # Beyond the last one: no window.
        fired, peak = (torch.cat([part, part.new_full((1,), -1)]) for part in (fired, peak))
        row = torch.div(window, self.columns.n_out, rounding_mode="floor") % self.rows.n_out
        column = window % self.columns.n_out
        first = self.rows.first_tap(row) * self.columns.kernel + self.columns.first_tap(column)
        found = (tap == torch.where(fired[place] == window, peak[place], first)).nonzero()[:, 0]
        return window[found], source[found]

    def holding(self, entry: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(which, window, tap): all windows that the entries are in, and where in them; by entry."""
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
