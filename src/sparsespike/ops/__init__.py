"""What autograd sees: one function per fused computation, forward and backward.

`run` is a layer's call, `count` sums spikes over time, `dense_current` is for looking.
"""

from __future__ import annotations

from sparsespike.ops.counts import count
from sparsespike.ops.layers import dense_current, run

__all__ = ["count", "dense_current", "run"]
