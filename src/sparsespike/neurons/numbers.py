"""What a neuron's or surrogate's number may be."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn

from sparsespike.neurons.distributions import Distribution
from sparsespike.spikes import arguments

Number = float | Tensor  # one for all neurons, or (N,): one for each
Given = (
    Number | Distribution
)  # what a constructor takes: also what one for each is to be drawn from

SHORTEST = 1 / 16  # time steps: what a learned time constant that has become shorter counts as


def number(name: str, value: Any) -> float:
    """A number of Python, NumPy or a 0-d tensor, as a float.

    Raises:
        ValueError: if it is none, one per neuron, or meant to be learnt.
    """
    if type(value) is float:
        return value
    if isinstance(value, nn.Parameter) or (isinstance(value, Tensor) and value.requires_grad):
        raise ValueError(f"{name}: expected a constant, found a parameter; it would not be learnt")
    return arguments.number(name, value, "one number for all neurons")


def number_or_each(name: str, value: Any) -> Given:
    """A number as a float; one per neuron as a tensor (N,); a parameter or a distribution as it is.

    Raises:
        ValueError: if it is none of these, or depends on what is learned elsewhere.
    """
    if type(value) is float or isinstance(value, Distribution):
        return value
    if isinstance(value, Tensor):
        if value.requires_grad and not isinstance(value, nn.Parameter):
            raise ValueError(
                f"{name}: expected a constant or an nn.Parameter, found a computed tensor"
            )
        if value.dim() or isinstance(value, nn.Parameter):
            if value.dim() > 1 or not value.is_floating_point():
                found = f"{tuple(value.shape)} of {value.dtype}"
                raise ValueError(f"{name}: expected one number or floats (N,), found {found}")
            return value
    return arguments.number(name, value, "one number for all neurons, or a tensor (N,)")


def limits(name: str, dt: float | None) -> tuple[float, float]:
    """Between which ends a number of this name is drawn: time constants above dt / 16, leaks in (0, 1)."""
    if name.startswith("tau"):
        return (0.0 if dt is None else SHORTEST * dt), math.inf
    return (0.0, 1.0) if name.startswith("alpha") else (-math.inf, math.inf)


def within(value: Number, low: float, high: float = math.inf) -> Number:
    """A number, or where it has left its range while it was learned, the end of the range.

    The gradient goes through as if it had not, so that it can come back.
    """
    if isinstance(value, float | int):
        return value
    return value + (value.detach().clamp(low, high) - value.detach())


def leak(tau_mem: float, dt: float) -> float:
    """alpha = exp(-dt / tau_mem), in [0, 1].

    Raises:
        ValueError: unless both are > 0 and dt is finite.
    """
    if not (math.isfinite(dt) and dt > 0):
        raise ValueError(f"dt: expected a finite time step in seconds > 0, found {dt}")
    if not tau_mem > 0:
        raise ValueError(f"tau_mem: expected a time constant in seconds > 0, found {tau_mem}")
    return math.exp(-dt / tau_mem)


def leak_of(tau: Number, dt: float) -> Number:
    """exp(-dt / tau), of each neuron; a tau that has become shorter than dt / 16 counts as that.

    Raises:
        AttributeError: if the time constants are still to be drawn, so that there is no leak yet.
    """
    if isinstance(tau, Distribution):
        raise AttributeError(f"tau: expected time constants that were drawn, found {tau}")
    if isinstance(tau, float | int):
        return math.exp(-dt / tau)
    kept: Any = within(tau, SHORTEST * dt)
    return (-dt / kept).exp()


def leak_given(neuron: Any, tau_name: str, tau: Any, alpha_name: str, alpha: Any) -> None:
    """Sets one of a neuron's two ways to tell a leak: a time constant, or the factor of one step.

    Raises:
        ValueError: if neither was given, or both.
    """
    if (tau is None) == (alpha is None):
        found = "neither" if tau is None else "both"
        raise ValueError(f"{tau_name}: expected it, or {alpha_name} in its place, found {found}")
    setattr(neuron, *((tau_name, tau) if alpha is None else (alpha_name, alpha)))


def leak_taken(neuron: Any, tau_name: str, alpha_name: str) -> Number:
    """The factor of one step of a leak that was given in one of two ways."""
    if hasattr(neuron, alpha_name):
        return within(getattr(neuron, alpha_name), 0.0, 1.0)
    return leak_of(getattr(neuron, tau_name), number("dt", neuron.dt))


def check_leak(neuron: Any, tau_name: str, alpha_name: str) -> None:
    """Raises a ValueError unless a leak that was given in one of two ways is in its range."""
    if hasattr(neuron, alpha_name):
        check_share(alpha_name, getattr(neuron, alpha_name), "a leak factor")
    elif not hasattr(neuron, "dt"):
        raise ValueError(f"dt: expected a time step beside {tau_name}, found none")
    else:
        check_tau(tau_name, getattr(neuron, tau_name), number("dt", neuron.dt))


def check_each(name: str, value: Number, expected: str, right: Callable[[Any], Any]) -> None:
    """Raises a ValueError unless `right` says of each number that it is; it takes a float, or a tensor."""
    if not isinstance(value, Tensor):
        if not right(value):
            raise ValueError(f"{name}: expected {expected}, found {value}")
        return
    found = value.detach()
    good = right(found)
    if not bool(good.all()):
        wrong = found.reshape(-1)[~good.reshape(-1)][0].item()
        raise ValueError(f"{name}: expected {expected}, found {wrong}")


def check_tau(name: str, value: Number, dt: float) -> None:
    """Raises a ValueError unless time constants and step are > 0; learned ones may have left the range."""
    leak(1.0, dt)
    expected = "a time constant in seconds > 0"
    if isinstance(value, nn.Parameter):
        check_each(name, value, expected, _is_number)
    else:
        check_each(name, value, expected, lambda x: x > 0)


def _is_number(value: Any) -> Any:
    """Whether it is not NaN."""
    return abs(value) >= 0


def check_finite(name: str, value: Number) -> None:
    """Raises a ValueError unless each number is finite."""
    check_each(name, value, "a finite number", lambda x: abs(x) < math.inf)


def check_choice(name: str, found: Any, known: Sequence[str]) -> None:
    """Raises a ValueError unless `found` is one of the words."""
    if found not in known:
        expected = ", ".join(f'"{each}"' for each in known)
        raise ValueError(f"{name}: expected one of {expected}, found {found!r}")


def check_share(name: str, value: Number, what: str) -> None:
    """Raises a ValueError unless each number lies in [0, 1]; learned ones may have left the range."""
    expected = f"{what} in [0, 1]"
    if isinstance(value, nn.Parameter):
        check_each(name, value, expected, _is_number)
    else:
        check_each(name, value, expected, lambda x: (x >= 0) & (x <= 1))


def shown(value: Given) -> str:
    """A number as `print` shows it: of one per neuron their range."""
    if not isinstance(value, Tensor):
        return str(value)
    low, high = (f"{float(end):.4g}" for end in value.detach().reshape(-1).aminmax())
    kind = "learned" if isinstance(value, nn.Parameter) else "given"
    if not value.dim():
        return f"{low} ({kind})"
    return f"{low} to {high} ({kind} for each of {len(value)})"
