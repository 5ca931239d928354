"""`Dropout`: in training, spikes are left out at random."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from sparsespike.connections.connection import check_spikes
from sparsespike.connections.relay import Relay
from sparsespike.ops.uncompiled import uncompiled
from sparsespike.spikes.arguments import number
from sparsespike.spikes.spikes import Spikes

Per = Literal["sample", "event"]


class Dropout(Relay):
    """Leaves out units, or single events, each with probability `p`, while it is in training mode.

    What is left out has no spike and is not active: no gradient goes through it. In `eval()` all spikes
    pass. **Nothing is rescaled**: `nn.Dropout` multiplies what it keeps by 1 / (1 - p), but a spike is 0
    or 1 and stays so. The layer above is therefore driven by a share 1 - p of the spikes in training, and
    by all of them in evaluation; keep `p` small, or let weights or thresholds make up for it.

    Drawn from torch's generator of the spikes' device, so `torch.manual_seed` repeats it. Visits what is
    listed only: "event" draws one number per entry that spikes or is active, "sample" B x N of them.

    Args:
        p: probability of being left out, in [0, 1).
        per: "sample": one mask per (sample, unit), held over time; or "event": each (sample, step, unit) by
            itself.

    Raises:
        ValueError: naming the argument that breaks one of these rules.
    """

    def __init__(self, p: float = 0.5, per: Per = "sample") -> None:
        super().__init__()
        self.p = number("p", p, "a number in [0, 1)")
        if not 0 <= self.p < 1:
            raise ValueError(f"p: expected a number in [0, 1), found {p!r}")
        if per not in ("sample", "event"):
            raise ValueError(f'per: expected "sample" or "event", found {per!r}')
        self.per = per

    @uncompiled
    def forward(self, spikes: Spikes) -> Spikes:
        """Spikes (B, T, N) -> fewer of them; in `eval()`, or where `p` is 0, the very same object.

        Raises:
            ValueError: if `spikes` are none.
        """
        check_spikes(spikes)
        if not self.training or not self.p:
            return spikes
        entry = spikes.storage.entry(spikes.shape)
        active = spikes.storage.active_entry(spikes.shape)
        keep = self._kept_units if self.per == "sample" else self._kept_events
        keep_entry, keep_active = keep(entry, active, spikes.shape)
        source = keep_active.nonzero()[:, 0]
        kept = active[source] if spikes.storage.has_active else None
        return spikes.at_entries(entry[keep_entry], kept, source)

    def extra_repr(self) -> str:
        """What was given, as shown by `print`."""
        return f"p={self.p:g}, per={self.per!r}"

    def _kept_units(
        self, entry: Tensor, active: Tensor, shape: tuple[int, int, int]
    ) -> tuple[Tensor, Tensor]:
        n_batch, n_step, n_unit = shape
        keep = torch.rand(n_batch, n_unit, device=entry.device) >= self.p
        first, second = (
            keep[torch.div(index, n_step * n_unit, rounding_mode="floor"), index % n_unit]
            for index in (entry, active)
        )
        return first, second

    def _kept_events(
        self, entry: Tensor, active: Tensor, shape: tuple[int, int, int]
    ) -> tuple[Tensor, Tensor]:
        # An entry that spikes and is active is drawn once.
        listed, place = torch.unique(torch.cat([entry, active]), return_inverse=True)
        keep = (torch.rand(len(listed), device=entry.device) >= self.p)[place]
        return keep[: len(entry)], keep[len(entry) :]
