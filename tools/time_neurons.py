"""Times layers of each neuron, with recurrence and delays, against dense autograd loops of the same.

python tools/time_neurons.py --commit COMMIT >> results/neurons.jsonl

Learned delays per synapse are timed against DCLS where it is installed (PyPI: dcls 0.1.1; --no-deps will do).
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

import sparsespike as ss
from sparsespike.bench.report import environment

N, STEPS, BATCH, SHARE, DT = 256, 500, 32, 0.01, 1e-3


class _Spike(torch.autograd.Function):
    """S, with the fast sigmoid cut at the band for its derivative: what a careful user of PyTorch writes."""

    @staticmethod
    def forward(ctx: Any, distance: Tensor, b_th: float) -> Tensor:
        ctx.save_for_backward(distance)
        ctx.b_th = b_th
        return (distance > 0).to(distance.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:  # pyright: ignore
        (distance,) = ctx.saved_tensors
        size = distance.abs()
        slope = (100.0 * size + 1.0).square().reciprocal()
        return torch.where(size < ctx.b_th, slope, 0.0) * grad, None


def spiked(distance: Tensor, b_th: float) -> Tensor:
    """The spike of a potential so far above its threshold."""
    out: Any = _Spike.apply(distance, b_th)
    return out


def dense_lif(layer: ss.Layer, dense: Tensor, currents: Sequence[Tensor] | None = None) -> Tensor:
    """A layer of `LIF`, recurrent or not, time step by time step; `currents`: other than the connection's."""
    lif: Any = layer.neuron
    alpha = torch.exp(-lif.dt / torch.as_tensor(lif.tau_mem))
    if currents is None:
        currents = functional.linear(dense, layer.connection.weight).unbind(1)
    v = torch.zeros_like(currents[0])
    spikes = [torch.zeros_like(v)]
    for now in currents[:-1]:
        own = 0.0
        if layer.recurrent is not None:
            own = functional.linear(spikes[-1], layer.recurrent.weight)
        v = alpha * v + now + own - lif.v_th * spikes[-1].detach()
        spikes.append(spiked(v - lif.v_th, lif.b_th))
    return torch.stack(spikes, 1)


def dense_adlif(layer: ss.Layer, dense: Tensor) -> Tensor:
    """A layer of `AdLIF`, scheme "euler"."""
    neuron: Any = layer.neuron
    alpha, beta = (
        torch.exp(-neuron.dt / torch.as_tensor(tau)) for tau in (neuron.tau_mem, neuron.tau_adapt)
    )
    currents = functional.linear(dense, layer.connection.weight).unbind(1)
    u = torch.zeros_like(currents[0])
    w, spikes = torch.zeros_like(u), [torch.zeros_like(u)]
    for now in currents[:-1]:
        w = beta * w + neuron.a * u + neuron.b * spikes[-1]
        u = alpha * (u - neuron.v_th * spikes[-1].detach()) + (1 - alpha) * (now - w)
        spikes.append(spiked(u - neuron.v_th, neuron.b_th))
    return torch.stack(spikes, 1)


def dcls_loop(layer: ss.Layer) -> Callable[[ss.Layer, Tensor], Tensor] | None:
    """The same layer by DCLS, a convolution over time whose kernel is built from positions; None without it.

    I. Hammouamri, I. Khalfaoui-Hassani, T. Masquelier, Learning delays in spiking neural networks using
    dilated convolutions with learnable spacings, ICLR 2024. Its version "v1" interpolates linearly, as
    `ss.Delay` of spread 1 does: the network is the same, but for weights that are divided by 1 + 1e-7.
    """
    try:
        from DCLS.construct.modules import Dcls1d  # pyright: ignore[reportMissingImports]
    except ImportError:
        print("DCLS is not installed: delays are timed without it", file=sys.stderr)
        return None
    connection: Any = layer.connection
    taps = connection.delay.max_steps + 1
    conv: Any = Dcls1d(N, N, kernel_count=1, dilated_kernel_size=taps, bias=False, version="v1")
    with torch.no_grad():
        conv.weight.copy_(connection.weight[..., None])
        # Position p of the kernel is the delay taps - 1 - p, and positions count from the middle.
        conv.P.copy_((taps - 1 - connection.delay.steps - taps // 2)[None, ..., None])

    def loop(layer: ss.Layer, dense: Tensor) -> Tensor:
        currents = conv(functional.pad(dense.transpose(1, 2), (taps - 1, 0))).permute(2, 0, 1)
        return dense_lif(layer, dense, currents.unbind(0))

    return loop


def cases() -> dict[str, tuple[ss.Layer, Callable[[ss.Layer, Tensor], Tensor] | None]]:
    """Layers by name, and the dense loop of each."""
    torch.manual_seed(0)
    tau = torch.empty(N).uniform_(8e-3, 12e-3)
    adapt: Any = {"tau_adapt": 60e-3, "a": 0.01, "b": 0.1}

    def layer(neuron: ss.Neuron, **settings: Any) -> ss.Layer:
        delay = settings.pop("delay", None)
        return ss.Layer(ss.Linear(N, N, delay=delay), neuron, **settings)

    late = layer(ss.LIF(10e-3, DT), delay=ss.Delay(64, learn=True))
    return {
        "LIF": (layer(ss.LIF(10e-3, DT)), dense_lif),
        "LIF, tau_mem learned": (layer(ss.LIF(tau, DT, learn=("tau_mem",))), dense_lif),
        "AdLIF": (layer(ss.AdLIF(10e-3, dt=DT, **adapt)), dense_adlif),
        "AdLIF, 4 learned": (
            layer(ss.AdLIF(tau, dt=DT, **adapt, learn=("tau_mem", "tau_adapt", "a", "b"))),
            dense_adlif,
        ),
        "LIF, recurrent": (layer(ss.LIF(10e-3, DT), recurrent=ss.Linear(N, N)), dense_lif),
        "LIF, delays of 64 steps learned": (late, dcls_loop(late)),
        "LIF, delays of 64 steps per input": (
            layer(ss.LIF(10e-3, DT), delay=ss.Delay(64, "input")),
            None,
        ),
        "LIF, delays of 64 steps per input learned": (
            layer(ss.LIF(10e-3, DT), delay=ss.Delay(64, "input", learn=True)),
            None,
        ),
        "LIF, delays of 64 steps per output learned": (
            layer(ss.LIF(10e-3, DT), delay=ss.Delay(64, "output", learn=True)),
            None,
        ),
    }


def narrowed(layer: ss.Layer, spikes: ss.Spikes) -> None:
    """Sets the band so that the wanted share of all entries is active."""
    layer.neuron.b_th = 10.0
    with torch.no_grad():
        out = layer(spikes)
    level = layer.neuron.v_th
    distance = (out.potential - torch.as_tensor(level).reshape(-1)[:1]).abs()
    k = int(SHARE * BATCH * STEPS * N)
    layer.neuron.b_th = float(distance.kthvalue(min(k, len(distance))).values)


def timed(run: Callable[[], Tensor], repeats: int) -> dict[str, float]:
    """Median milliseconds of the passes."""
    forward, backward = [], []
    for _ in range(repeats + 1):
        begin = time.perf_counter()
        total = run()
        middle = time.perf_counter()
        total.backward()
        forward.append(middle - begin)
        backward.append(time.perf_counter() - middle)
    return {
        "forward": 1e3 * statistics.median(forward[1:]),
        "backward": 1e3 * statistics.median(backward[1:]),
    }


def main() -> None:
    """Times all cases, on one thread."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--commit", required=True, help="that is timed")
    parser.add_argument("--case", default="", help="a part of the names of those to time")
    parser.add_argument("--repeats", type=int, default=9, help="of each pass; the median counts")
    given = parser.parse_args()
    torch.set_num_threads(1)
    draw = torch.Generator().manual_seed(0)
    shape = BATCH, STEPS, N
    dense = (torch.rand(shape, generator=draw) < SHARE).float()
    active = torch.rand(shape, generator=draw) < SHARE
    spikes = ss.Spikes.from_dense(dense, active=active)
    spikes.value.requires_grad_()
    about = {name: environment()[name] for name in ("time", "cpu", "cores")}
    for name, (layer, loop) in cases().items():
        if given.case not in name:
            continue
        narrowed(layer, spikes)
        with torch.no_grad():
            out = layer(spikes)
        row: dict[str, Any] = {
            "bench": "neurons", "commit": given.commit, **about, "case": name, "neurons": N,
            "steps": STEPS, "batch_size": BATCH, "rate": out.n_spikes / (BATCH * STEPS * N),
            "active": out.n_active / (BATCH * STEPS * N),
            "ms": timed(lambda layer=layer: layer(spikes).value.sum(), given.repeats),
        }  # fmt: skip
        if loop is not None:
            given_dense = dense.clone().requires_grad_()
            with (
                torch.no_grad()
            ):  # float32 may round a potential at the threshold to the other side
                differ = loop(layer, dense) != out.to_dense()
            other = int(differ[:, :100].sum())
            if other > 1e-3 * out.n_spikes:
                raise SystemExit(
                    f"{name}: {other} of {out.n_spikes} spikes differ from the dense loop's"
                )
            row["dense_ms"] = timed(
                lambda loop=loop, layer=layer, x=given_dense: loop(layer, x).sum(), 3
            )
            row["ratio"] = {
                key: row["dense_ms"][key] / row["ms"][key] for key in ("forward", "backward")
            }
        print(json.dumps(row), flush=True)
        told = {key: round(value, 2) for key, value in row["ms"].items()}
        print(name, told, row.get("ratio", ""), f"{row['rate']:.2%}", file=sys.stderr)


if __name__ == "__main__":
    main()
