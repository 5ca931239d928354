"""What autograd sees: one torch custom op per fused computation, with fakes and gradients.

`spiking` and `readout` are the calls of a layer, `count` sums spikes over time. Each op takes and gives
plain tensors, never `Spikes` or Python lists: a list among its arguments would double the time of a call.
"""

from __future__ import annotations

from sparsespike.ops.counts import count
from sparsespike.ops.layers import readout, spiking

__all__ = ["count", "readout", "spiking"]
