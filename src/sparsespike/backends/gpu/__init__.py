"""The GPU backend: forward and sparse backward in Triton, over bits packed along time.

Segment by segment of time, a connection's kernels make currents of spikes (`linear.py`), and a
neuron's kernel walks through them, one thread a unit (`lif.py`, `readout.py`); backwards the same
with δ in place of currents. Nothing of size batch x time x unit outlives a segment. Every sum has a
fixed order: the same bits on every run. The host waits once for the device in a spiking layer's
recorded forward pass, and never in evaluation.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from sparsespike.backends.gpu import count, lif, plan, readout, surrogate
from sparsespike.backends.gpu.launch import on_device
from sparsespike.backends.gpu.listing import Listing
from sparsespike.backends.gpu.precision import products
from sparsespike.backends.gpu.synapses import LinearGradient, LinearSynapses
from sparsespike.backends.kernels import with_kernel
from sparsespike.descriptions import LayerSpec
from sparsespike.neurons.lif import LIF, Readout
from sparsespike.spikes.spikes import Spikes
from sparsespike.spikes.words import STEPS, UNITS, Words, n_blocks

# A neuron's walk through one segment: (first word, words, state (B, N), currents or δ (B, words * 32, N)).
Walk = Callable[[int, int, Tensor, Tensor], None]


def spiking_forward(
    spikes: Spikes, parameter: list[Tensor], spec: LayerSpec, recorded: bool
) -> Spikes:
    """One spiking layer; see `Backend`. Unless `recorded`, `value` and `potential` come empty."""
    neuron, like = with_kernel(spec.neuron, LIF, "gpu"), parameter[0].detach()
    n_batch, n_word, _ = spikes.words.word.shape
    n_out = spec.connection.n_out
    shape = (*spikes.shape[:2], n_out)
    word = spikes.words.word.new_empty((n_batch, n_word, n_out))
    active = torch.empty_like(word)
    with on_device(like):
        constants = lif.constants(neuron, like.dtype, like.device)
        pooled = len(plan.segments(n_batch, n_word, n_out, like.itemsize)) > 1
        listing = Listing(word, active, constants, pooled) if recorded else None

        def fire(first: int, words: int, state: Tensor, current: Tensor) -> None:
            lif.fire[(n_batch, n_blocks(n_out))](
                current,
                state,
                constants,
                word,
                active,
                word if listing is None else listing.count,
                first,
                n_word,
                words,
                spikes.shape[1],
                n_out,
                n_batch * n_word * n_blocks(n_out),
                RESET=lif.RESET[neuron.reset],
                RECORDED=recorded,
                UNITS=UNITS,
                num_warps=UNITS // 32,
                enable_fp_fusion=False,
            )
            if listing is not None:
                listing.take(current, first, words)

        _forward(spikes, parameter, spec, fire)
        if listing is None:
            uncounted = torch.empty(0, dtype=torch.int64)
            storage = Words(word, uncounted, active, word.new_empty(0))
            return Spikes(shape, storage, like.new_empty(0), like.new_empty(0))
        counts = listing.counted(parameter)
        if pooled and counts[1] > listing.capacity:
            listing.capacity = counts[1]
            listing.begin()
            _forward(spikes, parameter, spec, fire)
        return Spikes(shape, *listing.lists(*counts))


def spiking_backward(
    grad_value: Tensor,
    spikes: Spikes,
    parameter: list[Tensor],
    fired: Spikes,
    spec: LayerSpec,
    need_input: bool,
) -> tuple[Tensor, list[Tensor]]:
    """Sparse gradient of one spiking layer; see `Backend`."""
    neuron, potential, own = with_kernel(spec.neuron, LIF, "gpu"), fired.potential, fired.words
    assert potential is not None
    attached = not neuron.detach_reset and neuron.reset != "none"
    n_batch, n_word, n_out = own.word.shape
    with on_device(grad_value):
        constants = lif.constants(neuron, potential.dtype, potential.device)
        slope, coefficient = surrogate.coefficients(neuron, potential, grad_value, attached)

        def send_back(first: int, words: int, state: Tensor, delta: Tensor) -> None:
            lif.send_back[(n_batch, n_blocks(n_out))](
                coefficient,
                slope,
                potential,
                constants,
                own.word,
                own.active,
                own.start,
                state,
                delta,
                first,
                n_word,
                words,
                spikes.shape[1],
                n_out,
                RESET=lif.RESET[neuron.reset],
                ATTACHED=attached,
                UNITS=UNITS,
                num_warps=UNITS // 32,
                enable_fp_fusion=False,
            )

        return _backward(spikes, parameter, spec, need_input, send_back)


def readout_forward(spikes: Spikes, parameter: list[Tensor], spec: LayerSpec) -> Tensor:
    """One readout layer; see `Backend`."""
    neuron, like = with_kernel(spec.neuron, Readout, "gpu"), parameter[0].detach()
    n_batch, n_step, _ = spikes.shape
    n_out = spec.connection.n_out
    potential = like.new_empty((n_batch, n_step, n_out))
    with on_device(like):
        constants = readout.constants(neuron, like.dtype, like.device)

        def integrate(first: int, words: int, state: Tensor, current: Tensor) -> None:
            readout.integrate[(n_batch, n_blocks(n_out))](
                current,
                state,
                constants,
                potential,
                first,
                words,
                n_step,
                n_out,
                UNITS=UNITS,
                num_warps=UNITS // 32,
                enable_fp_fusion=False,
            )

        _forward(spikes, parameter, spec, integrate)
    return potential


def readout_backward(
    grad_potential: Tensor,
    spikes: Spikes,
    parameter: list[Tensor],
    spec: LayerSpec,
    need_input: bool,
) -> tuple[Tensor, list[Tensor]]:
    """Gradient of one readout layer; see `Backend`."""
    neuron = with_kernel(spec.neuron, Readout, "gpu")
    n_batch, n_step, n_out = grad_potential.shape
    with on_device(grad_potential):
        constants = readout.constants(neuron, grad_potential.dtype, grad_potential.device)

        def integrate_back(first: int, words: int, state: Tensor, delta: Tensor) -> None:
            readout.integrate_back[(n_batch, n_blocks(n_out))](
                grad_potential,
                state,
                constants,
                delta,
                first,
                words,
                n_step,
                n_out,
                UNITS=UNITS,
                num_warps=UNITS // 32,
                enable_fp_fusion=False,
            )

        return _backward(spikes, parameter, spec, need_input, integrate_back)


def count_forward(spikes: Spikes) -> Tensor:
    """Spikes of each unit over time; see `Backend`."""
    word = spikes.words.word
    n_batch, n_word, n_unit = word.shape
    total = spikes.value.new_empty((n_batch, n_unit))
    with on_device(total):
        count.count[(n_batch, n_blocks(n_unit))](word, total, n_word, n_unit, UNITS=UNITS)
    return total


def count_backward(grad: Tensor, spikes: Spikes) -> Tensor:
    """Gradient of the counts at the active entries; see `Backend`."""
    words, gathered = spikes.words, torch.empty_like(spikes.value)
    if not len(gathered):
        return gathered
    n_batch, n_word, n_unit = words.word.shape
    with on_device(grad):
        count.count_back[(n_batch, n_word, n_blocks(n_unit))](
            grad.contiguous(), words.active, words.start, gathered, n_word, n_unit, UNITS=UNITS
        )
    return gathered


def _forward(spikes: Spikes, parameter: list[Tensor], spec: LayerSpec, walk: Walk) -> None:
    """Segment after segment: currents, and the neurons' walk through them."""
    synapses = LinearSynapses(spikes, parameter, products(parameter[0].dtype, spec.precision))
    like = parameter[0].detach()
    planes = synapses.planes()
    n_batch, n_word, n_out = synapses.batch, synapses.n_word, synapses.n_out
    state = like.new_zeros((n_batch, n_out))
    for first, words in plan.segments(n_batch, n_word, n_out, like.itemsize):
        current = like.new_empty((n_batch, words * STEPS, n_out))
        synapses.scatter(planes, first, words, current)
        walk(first, words, state, current)


def _backward(
    spikes: Spikes, parameter: list[Tensor], spec: LayerSpec, need_input: bool, walk: Walk
) -> tuple[Tensor, list[Tensor]]:
    """Segment after segment from the last: the neurons' walk gives δ, which the gradients are sums of."""
    how = products(parameter[0].dtype, spec.precision)
    synapses = LinearSynapses(spikes, parameter, how)
    like = parameter[0].detach()
    n_batch, n_word, n_out = synapses.batch, synapses.n_word, synapses.n_out
    n_active = len(spikes.value) if need_input else 0
    gradient = LinearGradient(synapses, plan.forms(spikes, n_out), n_active)
    state = like.new_zeros((n_batch, n_out))
    for first, words in reversed(plan.segments(n_batch, n_word, n_out, like.itemsize)):
        delta = like.new_empty((n_batch, words * STEPS, n_out), dtype=how.delta)
        walk(first, words, state, delta)
        gradient.add(delta, first, words)
    return gradient.input, gradient.parameters(parameter)
