"""Functions that a network's `forward` calls, as the layers that do the same."""

from __future__ import annotations

from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional as F

WINDOW = ("kernel_size", "stride", "padding")
# Functions by the layer of the same name, and the order of their arguments.
POOLED = {
    F.max_pool2d: (nn.MaxPool2d, (*WINDOW, "dilation", "ceil_mode", "return_indices")),
    F.avg_pool2d: (nn.AvgPool2d, (*WINDOW, "ceil_mode", "count_include_pad", "divisor_override")),
}


def pool_called(node: fx.Node) -> nn.Module | None:
    """The pool that a function of `torch.nn.functional` computes; None for another function."""
    for function, (kind, order) in POOLED.items():
        if node.target in (function, getattr(torch, function.__name__, None)):
            given: Any = dict(zip(order, node.args[1:], strict=False)) | dict(node.kwargs)
            return kind(**{name: value for name, value in given.items() if value is not None})
    return None


def flattened(node: fx.Node) -> tuple[int, int]:
    """(start_dim, end_dim) of a call of `flatten`."""
    given: Any = (*node.args[1:],)
    start = given[0] if given else node.kwargs.get("start_dim", 0)
    end = given[1] if len(given) > 1 else node.kwargs.get("end_dim", -1)
    return start, end  # pyright: ignore[reportReturnType]
