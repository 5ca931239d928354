"""What autograd sees: one function per fused computation, forward and backward.

`run` is a layer's call, `count` sums spikes over time, `max_pool` and `sum_pool` pool them, `dense_current`
is for looking, `unit_shape_of` for how its neurons are laid out. `widened` is what autocast does at the
door of a layer, `layer_of_network` what a profiler shows it by.
"""

from __future__ import annotations

from sparsespike.ops.autocast import widened
from sparsespike.ops.checks import unit_shape_of
from sparsespike.ops.counts import count
from sparsespike.ops.layers import dense_current, run
from sparsespike.ops.pools import max_pool, sum_pool
from sparsespike.ops.ranges import layer_of_network

__all__ = [
    "count",
    "dense_current",
    "layer_of_network",
    "max_pool",
    "run",
    "sum_pool",
    "unit_shape_of",
    "widened",
]
