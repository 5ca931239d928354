"""The gate: before a method is timed, its spikes and gradients are compared with the oracle's."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from sparsespike.bench.baselines import membrane
from sparsespike.bench.dense import AnySynapses, dense, filled, in_shape
from sparsespike.neurons.lif import LIF
from sparsespike.spikes.spikes import Spikes

# The part of a case that is compared: enough for every code path, little for the slowest method. The oracle
# keeps some ten tensors of float64 per entry.
HEAD_SAMPLES = 8
HEAD_STEPS = 100
HEAD_ENTRIES = 2**23
# Relative error (L2) that rounding explains, with room: 3e-14 and 2e-5 were seen. Peers keep their
# constants in float32 whatever they are given.
EXACT, ROUNDED = 1e-10, 1e-4
# A neuron of a sample counts if no potential of it is nearer than this to where a spike or the band flips.
MARGIN = {torch.float64: 1e-6, torch.float32: 1e-5}
# Two planes of bfloat16, the GPU backend's float32, round a weight to 2^-17: there the margin is wider.
PLANES_ROOM = 3.0

Outcome = tuple[Tensor, Tensor, Tensor]


class NothingHappened(ValueError):
    """In the part of a case that is compared: no spike, or no gradient other than zero."""


def head_samples(n_batch: int, n_step: int, n_unit: int) -> int:
    """How many samples are compared.

    Args:
        n_batch: B.
        n_step: T.
        n_unit: of input and layers together.
    """
    fitting = HEAD_ENTRIES // (min(n_step, HEAD_STEPS) * n_unit)
    return min(n_batch, HEAD_SAMPLES, max(1, fitting))


def decided(
    spikes: Spikes,
    weight: Tensor,
    neuron: LIF,
    synapses: AnySynapses,
    dtype: torch.dtype,
    room: float = 1.0,
) -> Tensor:
    """(B, N_out) 1 where rounding decides no spike and no active entry of the neuron, else 0.

    Neurons of a layer do not reach each other, so each counts for itself.

    Args:
        spikes: (B, T, N_in).
        weight: of the connection, float64.
        neuron: of the layer.
        synapses: what the weight means.
        dtype: in which a method computes.
        room: how many times wider than usual the margin is.

    Raises:
        ValueError: if there is no such neuron.
    """
    given = dense(spikes, in_shape(synapses), weight.dtype)
    matrix, known = filled(weight, synapses)
    potential, _ = membrane(given, matrix, neuron, known)
    distance = (potential.flatten(2) - neuron.v_th).abs()
    nearest = distance.amin(1)
    if math.isfinite(neuron.b_th):
        nearest = torch.minimum(nearest, (distance - neuron.b_th).abs().amin(1))
    sure = (nearest > MARGIN[dtype] * room).to(weight.dtype)
    if not sure.any():
        raise ValueError(
            "gate: expected a neuron without a potential at the threshold, "
            f"found 0 of {sure.numel()}"
        )
    return sure


def compare(
    found: Outcome, expected: Outcome, sure: Tensor, scale: float, *, exact: bool
) -> str | None:
    """What differs, in one line; None if nothing does.

    Args:
        found: spikes (B, T, N_out), gradient at the active inputs, empty where none is wanted, gradient of
            the weights.
        expected: the oracle's, float64.
        sure: (B, N_out) 1 for the neurons that count; the others have no upstream gradient.
        scale: the gradients found are meant to be so many times the expected ones.
        exact: whether float64 in means float64 throughout.

    Raises:
        NothingHappened: in the case, so that there is nothing to compare.
    """
    names = ("spikes", "gradient of the input", "gradient of the weights")
    counted = sure.bool()[:, None]
    for name, tensor in zip(names, (expected[0] * counted, *expected[1:]), strict=True):
        if tensor.numel() and not tensor.count_nonzero():
            raise NothingHappened(
                f"gate: expected something to compare, found no {name} other than zero"
            )
    flips = int(((found[0] != expected[0]) & counted).sum())
    if flips:
        return f"{flips} of {int((expected[0] * counted).sum())} spikes differ"
    tolerance = EXACT if exact and found[2].dtype == torch.float64 else ROUNDED
    for name, left, right in zip(names[1:], found[1:], expected[1:], strict=True):
        error = relative_error(left.double(), right * scale) if right.numel() else 0.0
        if not error <= tolerance:  # NaN is an error as well
            return f"{name}: relative error {error:.2g} > {tolerance:g}"
    return None


def relative_error(found: Tensor, expected: Tensor) -> float:
    """L2 norm of the difference, as a share of the expected one's."""
    return float((found - expected).norm() / expected.norm())
