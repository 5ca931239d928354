"""`Relay`: base of the modules between layers, from `Spikes` to `Spikes` without neurons of their own."""

from __future__ import annotations

from sparsespike.ops.module import Module
from sparsespike.spikes.spikes import Spikes


class Relay(Module):
    """A module that hands on the spikes of the layer below, fewer of them or laid out anew.

    It takes no step of time, and `Network` does not list its output among the hidden spikes: they are
    the layer's below, which are listed already.

    Attributes:
        keeps_units: whether as many units come out as went in.
    """

    keeps_units = True

    def forward(self, spikes: Spikes) -> Spikes:
        """Spikes (B, T, N) -> Spikes (B, T, N')."""
        raise NotImplementedError
