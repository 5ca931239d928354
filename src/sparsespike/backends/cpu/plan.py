"""Which form of a backward pass has fewer terms; both forms of each sum are equal (`docs/method.md`).

    ∇W_ij  = Σ_{i spikes at t} δ_j[t]     = Σ_{j active at t} c_j[t] trace_i[t]       by spikes, or traced
    ε_i[t] = <W_i, δ[t]>                  = Σ_j W_ij c_j[t+1] + α ε_i[t+1]            gathered, or scattered

Traced and scattered forms work on the transposed connection, and cost with the active entries of the
layer: a narrow band makes them cheap. They are right where nothing but the leak acts on δ.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from sparsespike.backends import Fired, Lists
from sparsespike.backends.cpu.lif import ZERO, LIFConstants
from sparsespike.backends.cpu.simd import BLOCK

# Nanoseconds, measured in the walks of 200 and 1000 units; only their ratios matter.
ADD_TO_MEMORY = 0.85  # a block read, added to and written, as ∇W is
ADD_TO_REGISTER = 0.45  # a block read and added
DOT = 0.6, 4.0  # a block of a dot product, and the sum at its end
ENTRY = 2.0  # one number added to a trace
TRANSPOSE = 14.0  # a block of weights


class Forms(NamedTuple):
    """How one backward pass computes its two sums.

    Attributes:
        traced: ∇W from traces, else by input spikes.
        scattered: ε of the inputs scattered, else gathered.
    """

    traced: bool
    scattered: bool


def forms(
    events: Lists, fired: Fired, parameter: list[Tensor], neuron: LIFConstants, need_input: bool
) -> Forms:
    """The cheaper form of each sum, where there is a choice."""
    if neuron.reset == ZERO:  # cuts δ
        return Forms(False, False)
    n, n_in = parameter[0].shape
    lanes = BLOCK / parameter[0].element_size()
    blocks_in, blocks = n_in / lanes, n / lanes
    n_spikes, n_active = len(events.unit), len(fired.active_unit)
    n_active_in = len(events.active_unit) if need_input else 0
    transposing = TRANSPOSE * blocks_in * n
    by_spikes = ADD_TO_MEMORY * blocks * n_spikes
    tracing = ADD_TO_MEMORY * blocks_in * n_active + ENTRY * n_spikes + transposing
    gathering = (DOT[0] * blocks + DOT[1]) * n_active_in
    n_row = min(events.batch * events.steps, n_active)
    per_entry = ADD_TO_REGISTER * n_active + ADD_TO_MEMORY * n_row
    scattering = blocks_in * per_entry + transposing
    simple = not neuron.attached and len(parameter) == 1
    return Forms(simple and tracing < by_spikes, scattering < gathering)
