"""What autograd sees: one function per fused computation, forward and backward.

`run` is a layer's call, `count` sums spikes over time, `dense_current` is for looking,
`unit_shape_of` for how its neurons are laid out.
"""

from __future__ import annotations

from sparsespike.ops.counts import count
from sparsespike.ops.layers import dense_current, run, unit_shape_of

__all__ = ["count", "dense_current", "run", "unit_shape_of"]
