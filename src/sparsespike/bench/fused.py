"""The fastest dense layer that we know how to write: all steps' currents at once, backward by hand.

    forward     one matrix product or one oneDNN convolution, then one pass for the neuron: V and S
    backward    one pass for delta (Prop. 1, eq. 8), then the product's or convolution's own backward

On a CPU the passes are Numba loops over tiles of neurons whose state stays in the first cache while time goes
by; every tensor is read once and written once. On a GPU they are PyTorch's operators, step by step. The
process that times it keeps its heap (`measure.keep_heap`), so that memory is not asked of the system anew.
"""

from __future__ import annotations

from typing import Any

import torch
from numba import njit
from torch import Tensor

from sparsespike.backends.cpu.surrogate import coefficients
from sparsespike.backends.cpu.threads import ranges, run_all
from sparsespike.bench.dense import Synapses, channels_last, current, flattened, pads, rows
from sparsespike.descriptions import Conv, Linear, Shape
from sparsespike.neurons.lif import LIF
from sparsespike.neurons.surrogates import shape_of

# Neurons of a tile: some rows of V, S, delta and the gradient lie in the first cache.
TILE = 1024
# Elements that the backward pass on a GPU handles at once: few and long launches that stay in its L2.
CHUNK = 2**22


def fused_dense(spikes: Tensor, weight: Tensor, neuron: LIF, synapses: Synapses) -> Tensor:
    """One spiking layer with a backward by hand; arguments and result as in `baselines.paper_loop`.

    Raises:
        ValueError: if `neuron` is another one, or its surrogate one's own.
    """
    check_neuron(neuron)
    _shape(neuron)
    given = spikes.transpose(0, 1)
    if isinstance(synapses, Linear):
        given, weight = flattened(given, weight)
    fired: Any = _FusedLayer.apply(given, weight, neuron, synapses)
    return fired.transpose(0, 1)


def check_neuron(neuron: LIF) -> None:
    """Raises a ValueError unless the dense layers compute this neuron."""
    if neuron.reset != "subtract" or not neuron.detach_reset or neuron.v_rest != 0:
        raise ValueError(
            f'neuron: expected reset="subtract", detach_reset=True, v_rest=0, found {neuron}'
        )


def scan(spikes: Tensor, weight: Tensor, neuron: LIF, synapses: Synapses) -> tuple[Tensor, Tensor]:
    """Spikes (T, B, *in_shape) -> V one step later, and S, each (T, B, *unit_shape); no gradient.

    V overwrites the currents: at t it is V[t + 1], which the current of t reaches. The last is no V yet.
    """
    with torch.no_grad():
        potential = current(spikes, weight, synapses)
    fired = torch.empty_like(potential)
    fired[0] = 0
    drop = neuron.v_th - neuron.v_reset
    if potential.is_cuda:
        for t in range(len(potential) - 1):
            if t:
                potential[t].add_(potential[t - 1], alpha=neuron.alpha)
                potential[t].sub_(fired[t], alpha=drop)
            torch.gt(potential[t], neuron.v_th, out=fired[t + 1])
        return potential, fired
    v, s = rows(potential).numpy(), rows(fired).numpy()
    alpha, drop, v_th = (v.dtype.type(number) for number in (neuron.alpha, drop, neuron.v_th))

    def run(first: int, last: int) -> None:
        _walk(v, s, alpha, drop, v_th, TILE, first, last)

    run_all(run, ranges(v.shape[1]))
    return potential, fired


def leak_back(coefficient: Tensor, alpha: float) -> None:
    """Makes delta of c (T, ...) in place: delta[t] = c[t] + alpha delta[t + 1]."""
    for t in range(len(coefficient) - 2, -1, -1):
        coefficient[t].add_(coefficient[t + 1], alpha=alpha)


def cut_slope(potential: Tensor, neuron: LIF) -> Tensor:
    """g(V) where |V - v_th| < b_th, else 0 (eq. 7-8); a new tensor."""
    distance = potential - neuron.v_th
    slope = neuron.surrogate.slope(distance)
    return slope.mul_(distance.abs_() < neuron.b_th)


def pull_back(
    ctx: Any, spikes: Tensor, weight: Tensor, delta: Tensor, synapses: Synapses
) -> tuple[Tensor | None, Tensor | None]:
    """Gradients of spikes (T, B, *in_shape) and weight, if `ctx` wants them; delta is (T, B, *unit_shape)."""
    need_spikes, need_weight = ctx.needs_input_grad[:2]
    if isinstance(synapses, Conv):
        grad_spikes, grad_weight, _ = torch.ops.aten.convolution_backward(
            delta.flatten(0, 1),
            spikes.flatten(0, 1),
            channels_last(weight),
            None,
            synapses.stride,
            pads(synapses),
            synapses.dilation,
            False,
            (0, 0),
            synapses.groups,
            (need_spikes, need_weight, False),
        )
        return grad_spikes.unflatten(0, spikes.shape[:2]) if need_spikes else None, grad_weight
    return (
        delta @ weight if need_spikes else None,
        delta.flatten(0, 1).t() @ spikes.flatten(0, 1) if need_weight else None,
    )


class _FusedLayer(torch.autograd.Function):
    """Currents and scan forward; backward the scan of delta, then the currents' own (eq. 9, 12)."""

    @staticmethod
    def forward(
        ctx: Any, spikes: Tensor, weight: Tensor, neuron: LIF, synapses: Synapses
    ) -> Tensor:
        potential, fired = scan(spikes, weight, neuron, synapses)
        ctx.save_for_backward(spikes, weight, potential)
        ctx.neuron, ctx.synapses = neuron, synapses
        return fired

    @staticmethod
    def backward(ctx: Any, *grad: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        spikes, weight, potential = ctx.saved_tensors
        delta = _delta(potential, grad[0], ctx.neuron)
        return *pull_back(ctx, spikes, weight, delta, ctx.synapses), None, None


def _delta(potential: Tensor, grad: Tensor, neuron: LIF) -> Tensor:
    """delta[t], what reaches the currents of step t; zero at the last."""
    delta = torch.empty_like(potential)
    delta[-1] = 0
    if potential.is_cuda:
        n_step = max(1, CHUNK // max(1, potential[0].numel()))
        chunks = (x.split(n_step) for x in (potential[:-1], grad[1:], delta[:-1]))
        for potential_now, grad_now, coefficient in zip(*chunks, strict=True):
            torch.mul(cut_slope(potential_now, neuron), grad_now, out=coefficient)
        leak_back(delta, neuron.alpha)
        return delta
    shape = _shape(neuron)
    v, upstream, out = (rows(x).numpy() for x in (potential, grad, delta))
    numbers = (shape.scale, shape.peak, neuron.v_th, neuron.b_th, neuron.alpha)
    scale, peak, v_th, b_th, alpha = (v.dtype.type(number) for number in numbers)

    def run(first: int, last: int) -> None:
        _walk_back(v, upstream, out, shape.kind, scale, peak, v_th, b_th, alpha, TILE, first, last)

    run_all(run, ranges(v.shape[1]))
    return delta


def _shape(neuron: LIF) -> Shape:
    shape = shape_of(neuron.surrogate)
    if shape is None:
        raise ValueError(f"surrogate: expected one of sparsespike's, found {neuron.surrogate!r}")
    return shape


@njit(nogil=True)
def _walk(potential, fired, alpha, drop, v_th, tile, first, last):
    """V[t + 1] in place of the current of step t, and S, of the neurons first:last.

    Args:
        potential: (T, n) currents, overwritten.
        fired: (T, n), written but for the first step, which is zero.
        alpha: leak; this and the next two in the dtype of V.
        drop: what a spike takes away.
        v_th: threshold.
        tile: neurons at once.
        first: neuron.
        last: one past the last neuron.
    """
    for start in range(first, last, tile):
        stop = min(start + tile, last)
        for t in range(len(potential) - 1):
            now, above = potential[t, start:stop], fired[t + 1, start:stop]
            if t:
                before, spike = potential[t - 1, start:stop], fired[t, start:stop]
                for i in range(stop - start):
                    now[i] = now[i] + alpha * before[i] - drop * spike[i]
            for i in range(stop - start):
                above[i] = now[i] > v_th


@njit(nogil=True)
def _walk_back(potential, grad, delta, kind, scale, peak, v_th, b_th, alpha, tile, first, last):
    """delta of the neurons first:last, but for the last step, which is zero.

    Args:
        potential: (T, n), V one step later.
        grad: (T, n) of the spikes.
        delta: (T, n), written.
        kind: of the surrogate, see `Shape`.
        scale: see `Shape`; this and the next four in the dtype of V.
        peak: see `Shape`.
        v_th: threshold.
        b_th: half-width of the band.
        alpha: leak.
        tile: neurons at once.
        first: neuron.
        last: one past the last neuron.
    """
    zero = alpha - alpha
    for start in range(first, last, tile):
        stop = min(start + tile, last)
        for t in range(len(potential) - 2, -1, -1):
            v, now = potential[t, start:stop], delta[t, start:stop]
            later, upstream = delta[t + 1, start:stop], grad[t + 1, start:stop]
            coefficients(kind, scale, peak, v_th, v, upstream, None, now, 0, stop - start)
            for i in range(stop - start):
                inside = now[i] if abs(v[i] - v_th) < b_th else zero
                now[i] = inside + alpha * later[i]
