"""Pooling of spikes: by the kernels of the CPU and the GPU backend, else in plain PyTorch on entries."""

from __future__ import annotations

from dataclasses import replace

from sparsespike import backends
from sparsespike.spikes.spikes import Spikes
from sparsespike.spikes.windows import Windows


def max_pool(spikes: Spikes, windows: Windows) -> Spikes:
    """A spike where any unit of the window spikes; values and gradients are those of the peaks.

    Words on a CPU are pooled in plain PyTorch: the GPU's kernels take them only where `use_backend`
    names it.

    Args:
        spikes: (B, T, N), of the windows' channels, height and width.
        windows: over each image.

    Returns:
        Spikes of the windows' unit shape, stored as `spikes`.
    """
    spikes.check()
    backend = backends.backend_for(spikes)
    if backend == "cpu":
        from sparsespike.backends import cpu

        storage, source = cpu.max_pool(spikes.lists, spikes.shape, windows)
    elif backend == "gpu" and (spikes.device.type != "cpu" or backends.named() == "gpu"):
        backends.load("gpu")  # or says what is missing
        from sparsespike.backends import gpu

        storage, source = gpu.max_pool(spikes.words, windows)
    else:
        window, peak = windows.peaks(spikes.storage.entry(spikes.shape))
        active, source = windows.active(spikes.storage.active_entry(spikes.shape), window, peak)
        known = active if spikes.storage.has_active else None
        return spikes.at_entries(window, known, source, windows.unit_shape)
    potential = None if spikes.potential is None else spikes.potential[source]
    return replace(
        spikes,
        shape=(*spikes.shape[:2], windows.n_out),
        storage=storage,
        value=spikes.value.index_select(0, source),
        potential=potential,
        unit_shape=windows.unit_shape,
    )
