"""`MaxPool2d`: a unit spikes where any unit of its window does, at every step by itself."""

from __future__ import annotations

from typing import Any

from sparsespike import ops
from sparsespike.connections.connection import check_spikes
from sparsespike.connections.relay import Relay
from sparsespike.ops.uncompiled import uncompiled
from sparsespike.spikes.arguments import Sizes, flag, sizes
from sparsespike.spikes.spikes import Spikes
from sparsespike.spikes.windows import WindowAxis, Windows


class MaxPool2d(Relay):
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
        self.kernel_size: Any = kernel_size
        self.stride: Any = kernel_size if stride is None else stride
        self.padding: Any = padding
        self.dilation: Any = dilation
        self.ceil_mode = ceil_mode
        self._settle()

    @uncompiled
    def forward(self, spikes: Spikes) -> Spikes:
        """Spikes of unit shape (C, H, W) -> Spikes of unit shape (C, H', W').

        Raises:
            ValueError: if `spikes` are none or laid out otherwise, or a window has no place in them.
        """
        check_spikes(spikes)
        self._settle()
        if len(spikes.unit_shape) != 3:
            raise ValueError(
                f"spikes: expected unit_shape (C, H, W), found {spikes.unit_shape}; "
                "spikes.with_unit_shape lays units out anew"
            )
        return ops.max_pool(spikes, self._windows(spikes.unit_shape))

    def extra_repr(self) -> str:
        """Sizes, as shown by `print`."""
        said = f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"
        return f"{said}, dilation={self.dilation}, ceil_mode={self.ceil_mode}"

    def _settle(self) -> None:
        """Makes tuples of the numbers, which may be set anew at any time; or a ValueError that names one."""
        self.kernel_size = sizes("kernel_size", self.kernel_size, 2, 1)
        self.stride = sizes("stride", self.stride, 2, 1)
        self.padding = sizes("padding", self.padding, 2, 0)
        self.dilation = sizes("dilation", self.dilation, 2, 1)
        self.ceil_mode = flag("ceil_mode", self.ceil_mode)
        if any(2 * pad > size for pad, size in zip(self.padding, self.kernel_size, strict=True)):
            raise ValueError(
                f"padding: expected at most half of kernel_size {self.kernel_size}, "
                f"found {self.padding}"
            )

    def _windows(self, unit_shape: tuple[int, ...]) -> Windows:
        """The windows over units of this shape, or a ValueError."""
        windows = Windows(
            unit_shape[0],
            *(
                WindowAxis(*numbers, self.ceil_mode)
                for numbers in zip(
                    unit_shape[1:],
                    self.kernel_size,
                    self.stride,
                    self.padding,
                    self.dilation,
                    strict=True,
                )
            ),
        )
        for axis in (windows.rows, windows.columns):
            # A dilated window can reach over the whole image, from padding to padding.
            if axis.n_out < 1 or not axis.every_window_meets_the_image():
                raise ValueError(
                    f"spikes: expected positions in every window of {self}, found unit_shape "
                    f"{unit_shape}"
                )
        return windows
