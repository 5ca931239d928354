"""`Flatten`: units of any layout as (N,)."""

from __future__ import annotations

from sparsespike.connections.connection import check_spikes
from sparsespike.connections.relay import Relay
from sparsespike.ops.uncompiled import uncompiled
from sparsespike.spikes.spikes import Spikes


class Flatten(Relay):
    """Lays the units out flat: unit shape (C, H, W) -> (N,), as `x.flatten(2)` of a dense (B, T, C, H, W).

    Units are stored in this order already, so nothing is copied. `Linear` takes units of any layout by
    itself; this is for what reads `unit_shape`, and for `to_dense()`.
    """

    @uncompiled
    def forward(self, spikes: Spikes) -> Spikes:
        """Spikes (B, T, N) of any unit shape -> the same spikes of unit shape (N,).

        Raises:
            ValueError: if `spikes` are none.
        """
        check_spikes(spikes)
        return spikes.with_unit_shape((spikes.shape[2],))
