"""Pooling of spikes: by the CPU backend's kernel, elsewhere in plain PyTorch on entries."""

from __future__ import annotations

from dataclasses import replace

from sparsespike import backends
from sparsespike.spikes.spikes import Spikes
from sparsespike.spikes.windows import Windows


def max_pool(spikes: Spikes, windows: Windows) -> Spikes:
    """A spike where any unit of the window spikes; values and gradients are those of the peaks.

    Args:
        spikes: (B, T, N), of the windows' channels, height and width.
        windows: over each image.

    Returns:
        Spikes of the windows' unit shape, stored as `spikes`.
    """
    spikes.check()
    if backends.backend_for(spikes) not in ("cpu", "auto"):
        window, peak = windows.peaks(spikes.storage.entry(spikes.shape))
        active, source = windows.active(spikes.storage.active_entry(spikes.shape), window, peak)
        known = active if spikes.storage.has_active else None
        return spikes.at_entries(window, known, source, windows.unit_shape)
    from sparsespike.backends import cpu

    lists, source = cpu.max_pool(spikes.lists, spikes.shape, windows)
    potential = None if spikes.potential is None else spikes.potential[source]
    return replace(
        spikes,
        shape=(*spikes.shape[:2], windows.n_out),
        storage=lists,
        value=spikes.value.index_select(0, source),
        potential=potential,
        unit_shape=windows.unit_shape,
    )
