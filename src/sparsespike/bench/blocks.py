"""How many 64-byte blocks of weights the events of a layer reach: what events alone cannot do without.

A spike adds the weights of its synapses to the state on the way forward, and delta to those of ∇W on the way
back; an active input takes a dot product of its weights and delta (`docs/method.md`). Time over this count is
the time of a block, which the machine's caches bound from below.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from sparsespike.bench.dense import AnySynapses, pads
from sparsespike.descriptions import Conv, SparseLinear
from sparsespike.spikes.spikes import Spikes

BLOCK = 64  # bytes
WORD = 4  # of a float32


def reached(spikes: Spikes, synapses: AnySynapses) -> dict[str, int]:
    """Blocks of float32 weights that the input's events reach, {"forward": n, "backward": n}.

    Args:
        spikes: (B, T, N_in).
        synapses: of the layer.
    """
    per_unit = _per_unit(synapses)
    by_spikes = int(per_unit[spikes.unit.long()].sum())
    return {
        "forward": by_spikes,
        "backward": by_spikes + int(per_unit[spikes.active_unit.long()].sum()),
    }


def _per_unit(synapses: AnySynapses) -> Tensor:
    """(N_in,) int64: blocks of each input unit's weights."""
    if isinstance(synapses, SparseLinear):
        n = torch.bincount(synapses.index[1], minlength=synapses.n_in)
        return torch.div(n * WORD + BLOCK - 1, BLOCK, rounding_mode="floor")
    if not isinstance(synapses, Conv):
        return torch.full((synapses.n_in,), _blocks(synapses.n_out))
    # How many taps lead from a position into the output: the gradient of the sum of a convolution of ones.
    channels, height, width = synapses.in_shape
    image = torch.zeros(1, 1, height, width, requires_grad=True)
    made = functional.conv2d(
        image,
        torch.ones(1, 1, *synapses.kernel),
        stride=synapses.stride,
        padding=pads(synapses),
        dilation=synapses.dilation,
    )
    (taps,) = torch.autograd.grad(made.sum(), image)
    per_tap = _blocks(synapses.n_channel // synapses.groups)
    return taps.round().long().flatten().repeat(channels) * per_tap


def _blocks(n: int) -> int:
    return -(-n * WORD // BLOCK)
