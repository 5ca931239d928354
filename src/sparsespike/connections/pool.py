"""Pooling of the spikes of every step by itself: `MaxPool2d`, and the graded `AvgPool2d` and `SumPool2d`."""

from __future__ import annotations

from typing import Any

from sparsespike import ops
from sparsespike.connections.connection import check_spikes
from sparsespike.connections.relay import Relay
from sparsespike.ops.uncompiled import uncompiled
from sparsespike.spikes.arguments import Sizes, flag, integer, sizes
from sparsespike.spikes.spikes import Spikes
from sparsespike.spikes.windows import WindowAxis, Windows


class _Pool(Relay):
    """Windows over units of shape (C, H, W); what becomes of their spikes is the subclass's."""

    keeps_units = False

    def __init__(
        self, kernel_size: Sizes, stride: Sizes | None, padding: Sizes, ceil_mode: bool
    ) -> None:
        super().__init__()
        self.kernel_size: Any = kernel_size
        self.stride: Any = kernel_size if stride is None else stride
        self.padding: Any = padding
        self.ceil_mode = ceil_mode

    def _settle(self) -> None:
        """Makes tuples of the numbers, which may be set anew at any time; or a ValueError that names one."""
        self.kernel_size = sizes("kernel_size", self.kernel_size, 2, 1)
        self.stride = sizes("stride", self.stride, 2, 1)
        self.padding = sizes("padding", self.padding, 2, 0)
        self.ceil_mode = flag("ceil_mode", self.ceil_mode)
        if any(2 * pad > size for pad, size in zip(self.padding, self.kernel_size, strict=True)):
            raise ValueError(
                f"padding: expected at most half of kernel_size {self.kernel_size}, "
                f"found {self.padding}"
            )

    def _windows(self, spikes: Spikes, dilation: tuple[int, ...] = (1, 1)) -> Windows:
        """The windows over the units of these spikes, or a ValueError."""
        check_spikes(spikes)
        self._settle()
        unit_shape = spikes.unit_shape
        if len(unit_shape) != 3:
            raise ValueError(
                f"spikes: expected unit_shape (C, H, W), found {unit_shape}; "
                "spikes.with_unit_shape lays units out anew"
            )
        axes = zip(
            unit_shape[1:], self.kernel_size, self.stride, self.padding, dilation, strict=True
        )
        rows, columns = (WindowAxis(*numbers, self.ceil_mode) for numbers in axes)
        for axis in (rows, columns):
            # A dilated window can reach over the whole image, from padding to padding.
            if axis.n_out < 1 or not axis.every_window_meets_the_image():
                raise ValueError(
                    f"spikes: expected positions in every window of {self}, found unit_shape "
                    f"{unit_shape}"
                )
        return Windows(unit_shape[0], rows, columns)


class MaxPool2d(_Pool):
    """Max pooling of the spikes of every step: 1 where any unit of the window spikes.

    Arguments are those of `nn.MaxPool2d`. It takes spikes of unit shape (C, H, W), and gives (C, H', W') with
    H' = (H + 2 padding - dilation (kH - 1) - 1) // stride + 1, or rounded up with `ceil_mode`.

    Output and gradient equal `F.max_pool2d` of `spikes.to_dense()` and its autograd. The gradient of a
    window goes to one input entry, its *peak*: the first in row-major order that spikes; where none does,
    the window's first inside the image. The output is active where the peak is active, and `value` there is
    the peak's.

    Visits the input's spikes and active entries, each with the windows it is in; on a GPU every position of
    every window, 32 steps at once. Where windows overlap, gradients of one entry add up; on a GPU in any
    order unless `torch.use_deterministic_algorithms` is on.

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

    def __init__(
        self,
        kernel_size: Sizes,
        stride: Sizes | None = None,
        padding: Sizes = 0,
        dilation: Sizes = 1,
        ceil_mode: bool = False,
    ) -> None:
        super().__init__(kernel_size, stride, padding, ceil_mode)
        self.dilation: Any = dilation
        self._settle()

    @uncompiled
    def forward(self, spikes: Spikes) -> Spikes:
        """Spikes of unit shape (C, H, W) -> Spikes of unit shape (C, H', W').

        Raises:
            ValueError: if `spikes` are none, graded or laid out otherwise, or a window has no place in them.
        """
        windows = self._windows(spikes, sizes("dilation", self.dilation, 2, 1))
        if spikes.graded:
            raise ValueError(
                "spikes: expected 0 or 1 at every unit for MaxPool2d, found the graded spikes of AvgPool2d "
                "or SumPool2d; pool by MaxPool2d before them, or by one of them again"
            )
        return ops.max_pool(spikes, windows)

    def extra_repr(self) -> str:
        """Sizes, as shown by `print`."""
        said = f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"
        return f"{said}, dilation={self.dilation}, ceil_mode={self.ceil_mode}"

    def _settle(self) -> None:
        super()._settle()
        self.dilation = sizes("dilation", self.dilation, 2, 1)


class SumPool2d(_Pool):
    """Sum pooling of the spikes of every step: how many units of the window spike.

    Equals `F.avg_pool2d(..., divisor_override=1)` of `spikes.to_dense()`, with its gradient at the active
    entries. Nothing is added up here: each event becomes one of every window that it is in, and the next
    connection adds what they bring, as it does with all events. The spikes that come out are *graded*: a
    unit's number is how often a row lists it. Connections, `Flatten`, `Dropout`, `Spikes.cat`, losses and
    further sums take them; `MaxPool2d` does not, and says so.

    Visits the input's spikes and active entries, each with the windows it is in; that many come out. On a
    GPU, bits of a unit that comes again lie in further layers, at most as many as a window has positions, and
    the next connection costs as many terms; gradients of an entry in several windows add up in any order
    unless `torch.use_deterministic_algorithms` is on.

    Args:
        kernel_size: of both axes, or (kH, kW), >= 1.
        stride: the same; None: `kernel_size`, so that windows do not overlap.
        padding: positions without units on every side, from 0 to half of `kernel_size`.
        ceil_mode: whether a last window that is not whole counts, if it begins inside the image or the
            padding before it.

    Raises:
        ValueError: naming the argument that breaks one of these rules.
    """

    def __init__(
        self,
        kernel_size: Sizes,
        stride: Sizes | None = None,
        padding: Sizes = 0,
        ceil_mode: bool = False,
    ) -> None:
        super().__init__(kernel_size, stride, padding, ceil_mode)
        self._settle()

    @uncompiled
    def forward(self, spikes: Spikes) -> Spikes:
        """Spikes of unit shape (C, H, W) -> graded Spikes of unit shape (C, H', W').

        Raises:
            ValueError: if `spikes` are none or laid out otherwise, or a window has no place in them.
        """
        windows = self._windows(spikes)
        return ops.sum_pool(spikes, windows, 1.0)

    def extra_repr(self) -> str:
        """Sizes, as shown by `print`."""
        said = f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"
        return f"{said}, ceil_mode={self.ceil_mode}"


class AvgPool2d(_Pool):
    """Average pooling of the spikes of every step: the share of the window's units that spike.

    Arguments are those of `nn.AvgPool2d`, and output and gradient those of `F.avg_pool2d` of
    `spikes.to_dense()`, at the active entries. It is `SumPool2d` with a `scale` of 1 / divisor, by which the
    next connection multiplies its weight, not its bias. All windows share one divisor: where PyTorch would
    divide those at the border by less, for `count_include_pad=False` or `ceil_mode`, it is refused.

    Args:
        kernel_size, stride, padding, ceil_mode: as of `SumPool2d`.
        count_include_pad: whether positions of the padding count in the divisor.
        divisor_override: divisor in place of the window's positions, >= 1.

    Raises:
        ValueError: naming the argument that breaks one of these rules.
    """

    def __init__(
        self,
        kernel_size: Sizes,
        stride: Sizes | None = None,
        padding: Sizes = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> None:
        super().__init__(kernel_size, stride, padding, ceil_mode)
        self.count_include_pad = count_include_pad
        self.divisor_override = divisor_override
        self._settle()

    @uncompiled
    def forward(self, spikes: Spikes) -> Spikes:
        """Spikes of unit shape (C, H, W) -> graded Spikes of unit shape (C, H', W').

        Raises:
            ValueError: if `spikes` are none or laid out otherwise, a window has no place in them, or windows
                have divisors of their own.
        """
        windows = self._windows(spikes)
        return ops.sum_pool(spikes, windows, 1.0 / self._divisor(windows))

    def extra_repr(self) -> str:
        """Sizes, and how sums are divided, as shown by `print`."""
        said = f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"
        said += f", ceil_mode={self.ceil_mode}, count_include_pad={self.count_include_pad}"
        return f"{said}, divisor_override={self.divisor_override}"

    def _settle(self) -> None:
        super()._settle()
        self.count_include_pad = flag("count_include_pad", self.count_include_pad)
        if self.divisor_override is not None:
            self.divisor_override = integer("divisor_override", self.divisor_override, 1)

    def _divisor(self, windows: Windows) -> int:
        """Of all windows, or a ValueError."""
        if self.divisor_override is not None:
            return self.divisor_override
        divisor = 1
        for axis in (windows.rows, windows.columns):
            low, high = (int(end) for end in axis.extents(self.count_include_pad).aminmax())
            if low != high:
                raise ValueError(
                    f"spikes: expected windows of {self} that share one divisor, found {low} to {high} "
                    f"positions along an axis of {axis.size}; divisor_override gives one"
                )
            divisor *= low
        return divisor
