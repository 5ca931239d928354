"""Continuous time in steps of dt, and back: NIR has time constants, networks have leak factors."""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

Scheme = Literal["euler", "exact"]
Array = NDArray[np.float64]


def check_scheme(scheme: str, dt: Any) -> None:
    """Raises a ValueError unless these are a scheme and a time step."""
    if scheme not in get_args(Scheme):
        raise ValueError(f'scheme: expected "euler" or "exact", found {scheme!r}')
    if not (isinstance(dt, float | int) and np.isfinite(dt) and dt > 0):
        raise ValueError(f"dt: expected a time step in seconds > 0, found {dt!r}")


def leak_of(tau: Any, dt: float, scheme: str) -> Array:
    """Leak factor of one step: 1 - dt / tau ("euler"), or exp(-dt / tau) ("exact").

    Raises:
        ValueError: if Euler's is below 0: dt is longer than tau.
    """
    tau = np.asarray(tau, np.float64)
    if scheme == "exact":
        return np.exp(-dt / tau)
    alpha = 1.0 - dt / tau
    if (alpha < -1e-12).any():
        raise ValueError(
            f"tau: expected at least dt = {dt:g} s for Euler's scheme, found {float(tau.min()):g}"
        )
    return np.maximum(alpha, 0.0)


def tau_of(alpha: Any, dt: float, scheme: str) -> Array:
    """The time constant of a leak factor in [0, 1): of Euler dt / (1 - alpha)."""
    alpha = np.asarray(alpha, np.float64)
    return -dt / np.log(alpha) if scheme == "exact" else dt / (1.0 - alpha)
