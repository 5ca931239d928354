"""Which form of a backward pass costs least; all forms of a sum are equal (`docs/method.md`).

    ∇W_ij  = Σ_{i spikes at t} δ_j[t]     = Σ_{j active at t} c_j[t] trace_i[t]       by spikes, or traced
    ε_i[t] = <W_i, δ[t]>                  = Σ_j W_ij c_j[t+1] + α ε_i[t+1]            gathered, or spread

Traced and spread forms work on the transposed connection, and cost with the active entries of the
layer: a narrow band makes them cheap. They are right where nothing but the leak acts on δ. Spikes that come
many to a step are grouped by input (`grouped.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from torch import Tensor

from sparsespike.backends.cpu.grouped import EVENTS, ROWS
from sparsespike.backends.cpu.lif import ZERO, LIFConstants
from sparsespike.backends.cpu.simd import BLOCK
from sparsespike.compiling.compiled import compiled
from sparsespike.spikes.spikes import Spikes

# Nanoseconds, measured in the walks of 200 and 1000 units; only their ratios matter.
ADD_TO_MEMORY = 1.1  # a block read, added to and written, as ∇W is
ADD_NEAR = 0.6  # a block of a tile of W read and added
DOT_NEAR = 0.6  # a block of a dot product, where W lies within `NEAR`
DOT_FAR = 0.9  # and where it does not
DOT_END = 2.5  # the sum at its end
ADD_KEPT = 0.4  # a block of a row of δ kept, added
KEEP = 0.7  # and copied to where it is kept
SUM_KEPT = 2.5  # a block of a row of ∇W that a group of rows is added to
ENTRY = 3.0  # one number added to δ or a trace, or one event sorted into its group
ROW = 8.0  # a row of events taken up
PASS = 2.0  # a row passed in the walk that spreads ε
READ = 1.5  # a number read there
TILE = 8.0  # a block of weights laid out by tiles
TURN = 5.0  # a block of ∇W turned over, from rows of fan-outs to PyTorch's order

NEAR = 2**20  # bytes that a core's second cache holds

AT_ONCE, GROUPED, TRACED = range(3)


class Forms(NamedTuple):
    """How one backward pass computes its two sums.

    Attributes:
        gradient: ∇W by spikes, AT_ONCE or GROUPED, or TRACED.
        spread: ε of the inputs spread, else gathered.
    """

    gradient: int
    spread: bool


def forms(
    spikes: Spikes,
    fired: Spikes,
    parameter: Sequence[Tensor],
    neuron: LIFConstants,
    need_input: bool,
) -> Forms:
    """The cheapest form of each sum, of those that are right."""
    cost = costs(spikes, fired, parameter, neuron, need_input)
    return min(cost, key=cost.__getitem__)


def costs(
    spikes: Spikes,
    fired: Spikes,
    parameter: Sequence[Tensor],
    neuron: LIFConstants,
    need_input: bool,
) -> dict[Forms, float]:
    """Nanoseconds of the forms that are right."""
    n, n_in = parameter[0].shape
    lanes = BLOCK / parameter[0].element_size()
    blocks_in, blocks = n_in / lanes, n / lanes
    n_spikes, n_active = len(spikes.unit), len(fired.active_unit)
    n_active_in = len(spikes.active_unit) if need_input else 0
    tiling, turning = TILE * blocks_in * n, TURN * blocks_in * n
    plain = neuron.reset != ZERO  # which cuts δ
    alone = len(parameter) == 1  # a bias takes every step's δ

    n_rows, n_active_rows = (
        _rows(offset.numpy().view(np.uint64)) for offset in (spikes.offset, fired.active_offset)
    )
    upkeep = ENTRY * n_active  # of δ
    gradient = {AT_ONCE: turning + upkeep + n_spikes * ADD_TO_MEMORY * blocks + n_rows * ROW}
    if alone:
        n_sums = n_in * max(n_rows / ROWS, n_spikes / EVENTS)
        gradient[GROUPED] = (
            turning
            + upkeep
            + n_spikes * (ADD_KEPT * blocks + ENTRY)
            + n_rows * (KEEP * blocks + ROW)
            + n_sums * SUM_KEPT * blocks
        )
    if alone and plain and not neuron.attached:
        tracing = n_active * ADD_TO_MEMORY * blocks_in + n_active_rows * ROW
        gradient[TRACED] = n_spikes * ENTRY + tracing
    cost = {}
    dot = DOT_NEAR if parameter[0].nbytes < NEAR else DOT_FAR
    for how, nanoseconds in gradient.items():
        gathering = n_active_in * (dot * blocks + DOT_END)
        if how == TRACED and n_active_in:  # δ is walked for ε alone
            gathering += upkeep
        cost[Forms(how, False)] = nanoseconds + gathering
        if plain and need_input:
            spreading = (
                n_active * ADD_NEAR * blocks_in
                + n_active_rows * (ADD_TO_MEMORY * blocks_in + ROW)
                + spikes.shape[0] * spikes.shape[1] * PASS
                + n_active_in * READ
                + tiling
            )
            cost[Forms(how, True)] = nanoseconds + spreading
    return cost


@compiled
def _rows(offset):
    """Rows that are not empty."""
    n = 0
    for row in range(len(offset) - 1):
        n += offset[row] < offset[row + 1]
    return n
