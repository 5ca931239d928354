"""Draws docs/neurons: what each neuron makes of the same input spikes.

python tools/draw_neurons.py
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
from matplotlib.axes import Axes
from torch import Tensor

import sparsespike as ss
from sparsespike.neurons.neuron import equations_of
from sparsespike.pages.figure import COLOURS, INK, Drawing, panels, save, style

DT, STEPS = 1e-3, 200
BAND: dict[str, Any] = {"b_th": 0.2}

# Each with what one input spike is worth, so that all of them fire now and then.
NEURONS: list[tuple[str, ss.Neuron, float]] = [
    ("LIF", ss.LIF(20e-3, DT, **BAND), 0.28),
    ('LIF, reset "zero"', ss.LIF(20e-3, DT, reset="zero", **BAND), 0.28),
    ('CuBaLIF, order "new"', ss.CuBaLIF(20e-3, 5e-3, DT, **BAND), 0.07),
    ('ALIF, scheme "2020"', ss.ALIF(20e-3, 100e-3, 0.3, DT, **BAND), 0.33),
    ('AdLIF, scheme "euler"', ss.AdLIF(15e-3, 60e-3, 0.02, 0.15, DT, **BAND), 4.5),
    ('AdLIF, scheme "symplectic"', ss.AdLIF(15e-3, 120e-3, 0.3, 1.0, DT, scheme="symplectic", **BAND), 5.5),
    ("ResonateFire", ss.ResonateFire(150.0, 20.0, DT, v_th=1.0, **BAND), 210.0),
    ("Alpha", ss.Alpha(20e-3, 5e-3, DT, v_th=0.6, **BAND), 0.32),
    ("DoubleExponential", ss.DoubleExponential(20e-3, 5e-3, DT), 0.4),
]  # fmt: skip


def input_spikes() -> Tensor:
    """(T,) of 0 and 1: single spikes, pairs, a burst."""
    spikes = torch.zeros(STEPS, dtype=torch.float64)
    spikes[[10, 14, 30, 33, 36, 60, 61, 62, 63, 64, 66, 68, 70, 100, 108, 116, 124, 132]] = 1
    spikes[[140, 142, 144, 146, 148, 150, 152, 154]] = 1
    return spikes


def run(neuron: ss.Neuron, current: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """V, the threshold that it is compared with, and S, each (T,)."""
    equations = equations_of(neuron, current[:1])
    form, state = equations.form, equations.initial(current[:1])
    v, level, spikes = [], [], []
    for now in current:
        potential, spike, *states = state
        # The first state that the threshold sees as it is: the rest of w . s moves the threshold.
        first = states[0] * form.w[0] + form.rest if form.w[0] == 1 else potential
        v.append(first)
        level.append(first - (potential - (form.theta + form.rest)))
        spikes.append(spike)
        state = equations.step(state, now[None])
    return torch.cat(v), torch.cat(level), torch.cat(spikes)


def draw(ax: Axes, name: str, neuron: ss.Neuron, weight: float) -> None:
    """One neuron: potential, threshold with its band, spikes in and out."""
    given = input_spikes()
    v, level, spikes = (part.detach().numpy() for part in run(neuron, given * weight))
    time = torch.arange(STEPS).numpy()
    if neuron.spiking:
        band = neuron.b_th
        ax.fill_between(time, level - band, level + band, color=COLOURS["orange"], alpha=0.25, lw=0)
        ax.plot(time, level, color=COLOURS["orange"], lw=1)
        near = abs(v - level) < band
        ax.plot(time[near], v[near], ".", color=COLOURS["vermilion"], ms=3, zorder=3)
    ax.plot(time, v, color=COLOURS["blue"], lw=1.2)
    top, bottom = max(v.max(), level.max() + 0.25), min(v.min(), 0.0)
    height = top - bottom
    fired = time[spikes > 0] if neuron.spiking else time[:0]
    ax.vlines(fired, top + 0.05 * height, top + 0.17 * height, color=INK, lw=1.2)
    arrived = time[given.numpy() > 0]
    ax.vlines(
        arrived, bottom - 0.17 * height, bottom - 0.05 * height, color=COLOURS["grey"], lw=0.8
    )
    ax.set(title=name, ylim=(bottom - 0.2 * height, top + 0.22 * height))


def main() -> None:
    """Draws all of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("docs"), help="folder of the drawing")
    given = parser.parse_args()
    with style():
        figure, axes = panels(3, 3, height=6.6)
        for ax, (name, neuron, weight) in zip(axes, NEURONS, strict=True):
            draw(ax, name, neuron, weight)
        for ax in axes[-3:]:
            ax.set_xlabel("time (ms)")
        for ax in axes[::3]:
            ax.set_ylabel("potential V")
    says = (
        "Blue: V under the same input spikes (grey ticks). Orange: threshold and active band; red: where V "
        "is active, and a gradient goes through. Black ticks: spikes."
    )
    save(Drawing("neurons", figure, says, "Nine neurons under the same input spikes."), given.out)


if __name__ == "__main__":
    main()
