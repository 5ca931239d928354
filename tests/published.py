"""Neurons as they were published, as literal loops: what the forms of `Matrices` are compared with.

Each is the update of one step, from the state and the input current to (state, distance to threshold, S).
`cut` says which S enter a reset or an adaptation as constants, as `detach_reset` does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

import sparsespike as ss

BAND = 0.3
SURROGATE = ss.FastSigmoid(5.0)


def spiked(distance: Tensor) -> Tensor:
    """S, with the surrogate's slope inside the band."""
    x = distance.detach()
    slope = torch.where(x.abs() < BAND, SURROGATE.slope(x), 0.0)
    return (x > 0).to(x.dtype) + slope * (distance - x)


@dataclass(frozen=True)
class Published:
    """A neuron and its literal update.

    Attributes:
        name: shown as the test's id.
        neuron: of this library, all its numbers learned, one for each neuron.
        gain: of random weights, so that there are spikes.
        start: states before the first input, how many and of what.
        step: (numbers, state, input, cut) -> (state, distance, S).
    """

    name: str
    neuron: Callable[[bool], ss.Neuron]
    gain: float
    start: int
    step: Callable[..., Any]

    def __str__(self) -> str:
        return self.name


def run(
    published: Published,
    number: dict[str, Tensor],
    current: Tensor,
    detach: bool,
    recurrent: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """(B, T, N) currents -> distances and spikes, each (B, T, N), by the published loop; S[:, 0] = 0."""
    zero = torch.zeros_like(current[:, 0])
    state: Any = (zero,) * published.start
    distance, spikes = [zero - 1], [zero]
    for now in current.unbind(1)[:-1]:
        if recurrent is not None:
            now = now + spikes[-1] @ recurrent.T
        cut = (lambda s: s.detach()) if detach else (lambda s: s)
        state, d, s = published.step(number, state, now, cut)
        distance.append(d)
        spikes.append(s)
    return torch.stack(distance, 1), torch.stack(spikes, 1)


N = 16


def each(low: float, high: float) -> Tensor:
    """One number for each neuron, in an order of its own."""
    draw = torch.Generator().manual_seed(round(1000 * (low + 7 * high)))
    return low + (high - low) * torch.rand(N, generator=draw, dtype=torch.float64)


def leaks(number: dict[str, Tensor], *names: str) -> list[Tensor]:
    """exp(-1 / tau), dt being 1."""
    return [torch.exp(-1.0 / number[name]) for name in names]


SPIKING: dict[str, Any] = {"b_th": BAND, "surrogate": SURROGATE}
TAU_MEM, TAU_FAST, TAU_SLOW = each(5, 30), each(1.5, 6), each(10, 60)


def lif(reset: Any) -> Published:
    def neuron(detach: bool) -> ss.Neuron:
        return ss.LIF(
            TAU_MEM, 1.0, each(0.8, 1.2), each(-0.3, 0.3), each(-0.2, 0.2), reset=reset, gain=each(0.8, 1.2),
            detach_reset=detach, learn=("tau_mem", "v_th", "v_reset", "v_rest", "gain"), **SPIKING,
        )  # fmt: skip

    def step(p, state, now, cut):
        v, s = state  # v is relative to rest, so that it starts at zero
        (alpha,) = leaks(p, "tau_mem")
        low = p["v_reset"] - p["v_rest"]
        before = v + cut(s) * (low - v) if reset == "zero" else v
        v = alpha * before + p["gain"] * now
        if reset == "subtract":
            v = v - (p["v_th"] - p["v_reset"]) * cut(s)
        if reset == "clear":
            v = v + cut(s) * (low - v)
        d = v + p["v_rest"] - p["v_th"]
        s = spiked(d)
        return (v, s), d, s

    return Published(f"LIF {reset}", neuron, 0.3, 2, step)


def cuba(order: Any, reset: Any) -> Published:
    def neuron(detach: bool) -> ss.Neuron:
        return ss.CuBaLIF(
            TAU_MEM, TAU_FAST, 1.0, each(0.8, 1.2), each(-0.3, 0.3), each(-0.2, 0.2),
            order=order, reset=reset, gain=each(0.8, 1.2), detach_reset=detach,
            learn=("tau_mem", "tau_syn", "v_th", "v_reset", "v_rest", "gain"), **SPIKING,
        )  # fmt: skip

    def step(p, state, now, cut):
        v, j, s = state
        alpha, fade = leaks(p, "tau_mem", "tau_syn")
        after = fade * j + now
        low = p["v_reset"] - p["v_rest"]
        before = v + cut(s) * (low - v) if reset == "zero" else v
        v = alpha * before + p["gain"] * (after if order == "new" else j)
        if reset == "subtract":
            v = v - (p["v_th"] - p["v_reset"]) * cut(s)
        if reset == "clear":
            v = v + cut(s) * (low - v)
        d = v + p["v_rest"] - p["v_th"]
        s = spiked(d)
        return (v, after, s), d, s

    return Published(f"CuBaLIF {order} {reset}", neuron, 0.08, 3, step)


def alif(scheme: Any) -> Published:
    beta = each(0.1, 0.4) if scheme == "2020" else each(0.5, 1.5)

    def neuron(detach: bool) -> ss.Neuron:
        return ss.ALIF(
            TAU_MEM, TAU_SLOW, beta, 1.0, each(0.6, 1.0), scheme=scheme, detach_reset=detach,
            learn=("tau_mem", "tau_adapt", "beta", "v_th"), **SPIKING,
        )  # fmt: skip

    def step(p, state, now, cut):
        v, a, s = state
        alpha, rho = leaks(p, "tau_mem", "tau_adapt")
        if scheme == "2020":
            a = rho * a + s
            v = alpha * v + now - cut(s) * p["v_th"]
            d = v - (p["v_th"] + p["beta"] * a)
        else:
            a = rho * a + (1 - rho) * s
            threshold = p["v_th"] + p["beta"] * a
            v = alpha * v + (1 - alpha) * now - cut(s) * threshold
            d = v - threshold
        s = spiked(d)
        return (v, a, s), d, s

    return Published(f"ALIF {scheme}", neuron, 0.4 if scheme == "2020" else 4.0, 3, step)


def adlif(scheme: Any) -> Published:
    a, b = (each(-0.02, 0.05), each(0.0, 0.5)) if scheme == "euler" else (each(0, 1), each(0, 2))

    def neuron(detach: bool) -> ss.Neuron:
        return ss.AdLIF(
            TAU_MEM, TAU_SLOW, a, b, 1.0, each(0.9, 1.1), scheme=scheme, q=20.0, detach_reset=detach,
            learn=("tau_mem", "tau_adapt", "a", "b", "v_th"), **SPIKING,
        )  # fmt: skip

    def euler(p, state, now, cut):
        u, w, s = state
        alpha, beta = leaks(p, "tau_mem", "tau_adapt")
        w = beta * w + p["a"] * u + p["b"] * s
        u = alpha * (u - p["v_th"] * cut(s)) + (1 - alpha) * (now - w)
        d = u - p["v_th"]
        s = spiked(d)
        return (u, w, s), d, s

    def symplectic(p, state, now, cut):
        u, w, _ = state
        alpha, beta = leaks(p, "tau_mem", "tau_adapt")
        u = alpha * u + (1 - alpha) * (now - w)
        d = u - p["v_th"]
        s = spiked(d)
        u = u * (1 - cut(s))
        w = beta * w + (1 - beta) * (p["a"] * u + p["b"] * s) * 20.0
        return (u, w, s), d, s

    return Published(f"AdLIF {scheme}", neuron, 3.0, 3, euler if scheme == "euler" else symplectic)


def resonate(reset: Any) -> Published:
    dt = 0.01

    def neuron(detach: bool) -> ss.Neuron:
        return ss.ResonateFire(
            each(5, 10), each(1, 3), dt, each(1.0, 1.2), reset=reset, detach_reset=detach,
            learn=("omega", "damping", "v_th"), **SPIKING,
        )  # fmt: skip

    def step(p, state, now, cut):
        u, v = state
        b = -p["damping"]
        after = u + b * u * dt - p["omega"] * v * dt + now * dt
        v = v + p["omega"] * u * dt + b * v * dt
        d = (after if reset == "none" else v) - p["v_th"]
        s = spiked(d)
        if reset == "to_i":
            after, v = after - after * cut(s), v - v * cut(s) + cut(s)
        return (after, v), d, s

    return Published(f"ResonateFire {reset}", neuron, 20.0 if reset == "none" else 45.0, 2, step)


def alpha(reset: Any) -> Published:
    def neuron(detach: bool) -> ss.Neuron:
        return ss.Alpha(
            TAU_SLOW, TAU_FAST, 1.0, each(0.3, 0.6), reset=reset, detach_reset=detach,
            learn=("tau_slow", "tau_fast", "v_th"), **SPIKING,
        )  # fmt: skip

    def step(p, state, now, cut):
        e0, h0, _, s = state
        slow, fast = leaks(p, "tau_slow", "tau_fast")
        c = slow.log() / (fast.log() - slow.log()) + 1
        e, h = slow * e0 + now, fast * h0 - now
        m = c * (e + h)
        if reset == "zero":
            e, h, m = (x - x * cut(s) for x in (e, h, m))
        if reset == "subtract":
            e, h, m = e - p["v_th"] * cut(s), h - (fast * h0 - now) * cut(s), m + h0 * cut(s)
        d = m - p["v_th"]
        s = spiked(d)
        return (e, h, m, s), d, s

    return Published(f"Alpha {reset}", neuron, 0.25, 4, step)


SPIKING_NEURONS = (
    *(lif(reset) for reset in ("subtract", "zero", "clear", "none")),
    *(cuba("new", reset) for reset in ("subtract", "zero", "clear", "none")),
    cuba("old", "subtract"),
    cuba("old", "zero"),
    alif("2020"),
    alif("2018"),
    adlif("euler"),
    adlif("symplectic"),
    resonate("none"),
    resonate("to_i"),
    *(alpha(reset) for reset in ("zero", "subtract", "none")),
)


def leaky() -> Published:
    def step(p, state, now, cut):
        (alpha,) = leaks(p, "tau_mem")
        y = alpha * state[0] + (1 - alpha) * now
        return (y,), y, y

    return Published(
        "Readout", lambda _: ss.Readout(TAU_MEM, 1.0, learn=("tau_mem",)), 1.0, 1, step
    )


def summed() -> Published:
    def step(p, state, now, cut):
        y = state[0] + p["gain"] * now
        return (y,), y, y

    return Published(
        "SumReadout", lambda _: ss.SumReadout(each(0.5, 1.5), learn=("gain",)), 1.0, 1, step
    )


def cascade() -> Published:
    def step(p, state, now, cut):
        leak, fade = leaks(p, "tau_mem", "tau_syn")
        y, j = state
        j = fade * j + (1 - fade) * now
        y = leak * y + (1 - leak) * j
        return (y, j), y, y

    def neuron(_: bool) -> ss.Neuron:
        return ss.CuBaReadout(TAU_MEM, TAU_FAST, 1.0, learn=("tau_mem", "tau_syn"))

    return Published("CuBaReadout", neuron, 1.0, 2, step)


def difference() -> Published:
    def step(p, state, now, cut):
        slow, fast = leaks(p, "tau_slow", "tau_fast")
        x, z = slow * state[0] + now, fast * state[1] + now
        return (x, z), x - z, x - z

    def neuron(_: bool) -> ss.Neuron:
        return ss.DoubleExponential(TAU_SLOW, TAU_FAST, 1.0, learn=("tau_slow", "tau_fast"))

    return Published("DoubleExponential", neuron, 1.0, 2, step)


READOUTS = (leaky(), summed(), cascade(), difference())
