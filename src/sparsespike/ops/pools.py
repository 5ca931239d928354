"""Pooling of spikes: by the kernels of the CPU and the GPU backend, else in plain PyTorch on entries."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from sparsespike import backends
from sparsespike.ops.ranges import pool_name, ranged
from sparsespike.spikes.lists import Lists
from sparsespike.spikes.spikes import Spikes
from sparsespike.spikes.windows import Windows
from sparsespike.spikes.words import Words


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
    with ranged(lambda: pool_name("MaxPool2d", spikes.unit_shape, windows.unit_shape), "forward"):
        return _max_pool(spikes, windows)


def _max_pool(spikes: Spikes, windows: Windows) -> Spikes:
    backend = backends.backend_for(spikes)
    if backend in ("cpu", "auto"):
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
    return _pooled(spikes, windows, storage, source)


def sum_pool(spikes: Spikes, windows: Windows, scale: float) -> Spikes:
    """The spikes of each window, listed side by side: graded ones, whose sum times `scale` is the output.

    A spike in several windows is listed in each; active entries likewise, with the value of their source.
    Words are pooled in plain PyTorch, on a GPU too.

    Args:
        spikes: (B, T, N), of the windows' channels, height and width.
        windows: over each image.
        scale: > 0.

    Returns:
        Graded spikes of the windows' unit shape, stored as `spikes`.
    """
    spikes.check()
    kind = "SumPool2d" if scale == 1.0 else "AvgPool2d"
    with ranged(lambda: pool_name(kind, spikes.unit_shape, windows.unit_shape), "forward"):
        return _sum_pool(spikes, windows, scale)


def _sum_pool(spikes: Spikes, windows: Windows, scale: float) -> Spikes:
    backend = backends.backend_for(spikes)
    if backend in ("cpu", "auto"):
        from sparsespike.backends import cpu

        pooled = _pooled(spikes, windows, *cpu.sum_pool(spikes.lists, spikes.shape, windows))
    else:
        words = spikes.words if backend == "gpu" else spikes.storage
        if isinstance(words, Words) and words.has_active and not len(words.start):
            # Made without gradient. Once they are summed, bits no longer tell the value of each source.
            spikes = spikes.to_lists().to_words()
        _, window, _ = windows.holding(spikes.storage.entry(spikes.shape))
        source, active, _ = windows.holding(spikes.storage.active_entry(spikes.shape))
        known = active if spikes.storage.has_active else None
        pooled = spikes.at_entries(window, known, source, windows.unit_shape, graded=True)
    return replace(pooled, graded=True, scale=scale * spikes.scale)


def _pooled(spikes: Spikes, windows: Windows, storage: Lists | Words, source: Tensor) -> Spikes:
    """What was pooled, as spikes whose active entries have the values and potentials of `source`."""
    potential = None if spikes.potential is None else spikes.potential[source]
    return replace(
        spikes,
        shape=(*spikes.shape[:2], windows.n_out),
        storage=storage,
        value=spikes.value.index_select(0, source),
        potential=potential,
        unit_shape=windows.unit_shape,
    )
