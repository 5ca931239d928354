"""Silence speaks: a category of warnings for networks in which nothing arrives, or nothing learns."""

from __future__ import annotations

import warnings


class SilenceWarning(UserWarning):
    """Nothing arrives in a layer, or nothing in it can learn."""


def warn_of_silence(shape: tuple[int, int, int]) -> None:
    """Warns of a layer (B, T, N) of which no neuron was active."""
    n_batch, n_step, n_unit = shape
    if n_batch and n_step > 1:
        warnings.warn(
            f"none of a layer's {n_unit} neurons came into the active band in a whole batch: neither it nor "
            "what is below it learns. Start with larger weights, as `layer.reset_parameters(spikes.rate())` "
            "draws them for its input, or widen `b_th`",
            SilenceWarning,
            stacklevel=5,
        )


def warn_of_few_steps(n_step: int, n_delay: int) -> None:
    """Warns where a recording has no more steps than there are layers, each of which takes one."""
    if n_step <= n_delay:
        warnings.warn(
            f"nothing of {n_step} steps comes through {n_delay} layers, each of which takes "
            f"a step; give the input at least {n_delay + 1} steps",
            SilenceWarning,
            stacklevel=5,
        )
