"""The walks of a spiking layer back over time (Prop. 1), in the lazy leak of `drive.py`.

Each sum has forms of which `plan.py` takes the cheapest: ∇W by input spikes, at once or grouped, or from a
trace; ε gathered at the active inputs, or spread from the layer's own active entries.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from sparsespike.backends.cpu.drive import SMALLEST_SCALE, fold
from sparsespike.backends.cpu.grouped import ROWS, full, keep
from sparsespike.backends.cpu.simd import add_alone, lanes, load, plus, scaled, store
from sparsespike.backends.cpu.verbs import INLINE, accumulate, bring, collect, cut, gather, inject
from sparsespike.compiling.compiled import compiled

LISTED = 1024  # rows that `spread` takes up at a time


@compiled
def backward(
    connection,
    gradient,
    kept,
    neuron,
    unit,
    offset,
    in_unit,
    in_offset,
    steps,
    first,
    last,
    delta,
    own_unit,
    own_offset,
    active_unit,
    active_offset,
    potential,
    slope,
    coefficient,
    gathered,
    after,
    before,
):
    """Walks samples first:last backwards (eq. 9-12): δ[t] = c[t+1] + α δ[t+1].

    Sums ∇W by spikes unless `trace` does, gathers ε at the active inputs unless `spread` does, and completes
    c. What an argument of None makes superfluous is not compiled.

    Args:
        connection: kernel form of the connection where ε is gathered, else None.
        gradient: form of the connection, added to: ∇W (and ∇bias) of this range; None where it is traced.
        kept: room for rows of δ where ∇W is summed in groups, else None.
        neuron: kernel form of the neuron.
        unit: (n_events,) input units.
        offset: (B*T + 1,) bounds of the rows in `unit`.
        in_unit: (n_active_in,) active input units.
        in_offset: (B*T + 1,) bounds of their rows.
        steps: T.
        first: first sample.
        last: one past the last sample.
        delta: (n,), n_out padded to whole blocks; scratch.
        own_unit: (n_spikes,) the layer's spikes.
        own_offset: (B*T + 1,) bounds of their rows.
        active_unit: (n_active,) the layer's active units.
        active_offset: (B*T + 1,) bounds of their rows.
        potential: (n_active,) V there.
        slope: (n_active,) g there, where the reset is differentiated, else None.
        coefficient: (n_active,) ε g there; completed to c where the reset is differentiated.
        gathered: (n_active_in,), written: ε at the active inputs.
        after: (B, n), the gradient of the state after the last step; (0, n) for none.
        before: (B, n), written: the gradient of the state at the start; (0, n) where nobody asked. With None
            for both, the same holds, and nothing is compiled for them.
    """
    at = Backward(last - 1, steps, neuron.alpha / neuron.alpha, False)
    while at.sample >= first:
        at = _walk_back(
            connection,
            gradient,
            kept,
            neuron,
            unit,
            offset,
            in_unit,
            in_offset,
            steps,
            first,
            delta,
            own_unit,
            own_offset,
            active_unit,
            active_offset,
            potential,
            slope,
            coefficient,
            gathered,
            after,
            before,
            at,
        )
        if kept is not None:
            collect(gradient, kept, unit)


class Backward(NamedTuple):
    """Where a backward walk stands.

    Attributes:
        sample: which sample is next.
        step: which of its steps; T: what comes after the last.
        scale: δ = scale * delta.
        live: whether δ can be other than zero yet.
    """

    sample: int
    step: int
    scale: np.floating
    live: bool


@compiled(borrows=True)
def _walk_back(
    connection,
    gradient,
    kept,
    neuron,
    unit,
    offset,
    in_unit,
    in_offset,
    steps,
    first,
    delta,
    own_unit,
    own_offset,
    active_unit,
    active_offset,
    potential,
    slope,
    coefficient,
    gathered,
    after,
    before,
    at,
):
    """Walks back from `at` past the sample `first`, or to where no more rows can be kept."""
    sample, step, scale, live = at
    one = neuron.alpha / neuron.alpha
    n = delta.shape[0]
    row = sample * steps + step  # of the layer's own entries
    while sample >= first:
        if step == steps:  # a new sample
            if connection is not None:
                for k in range(in_offset[row - steps], in_offset[row]):
                    gathered[k] = 0
            delta[:] = 0
            scale = one
            live = False
            if after is None or len(after) == 0:  # the input of the last step reaches nothing
                row -= 1
                step -= 1
                continue
            for j in range(n):
                delta[j] = after[sample, j]
            live = True
        if step == 0 and (before is None or len(before) == 0):
            sample -= 1
            step = steps
            continue
        if after is None or step < steps:
            start, stop = active_offset[row], active_offset[row + 1]
            live = live or start < stop
            if live:
                if kept is not None and full(kept, offset[row] - offset[row - 1]):
                    break
                inject(
                    neuron, delta, scale, active_unit, start, stop, potential, slope, coefficient
                )
                cut(neuron, delta, own_unit, own_offset, row)
                scale *= neuron.alpha
                if scale < SMALLEST_SCALE:
                    fold(delta, scale)
                    scale = one
                factor = one / scale
                for k in range(start, stop):
                    add_alone(delta, active_unit[k], coefficient[k] * factor)
        if before is not None and step == 0:
            for j in range(n):
                before[sample, j] = delta[j] * scale
            sample -= 1
            step = steps
            continue
        if live:
            start, stop = offset[row - 1], offset[row]
            if kept is not None:
                keep(kept, delta, scale, start, stop)
            elif gradient is not None:
                accumulate(gradient, delta, unit, None, start, stop, scale)
            if connection is not None:
                start, stop = in_offset[row - 1], in_offset[row]
                gather(connection, delta, in_unit, start, stop, scale, gathered)
        row -= 1
        step -= 1
    return Backward(sample, step, scale, live)


@compiled
def trace(
    gradient,
    neuron,
    unit,
    offset,
    steps,
    first,
    last,
    filtered,
    active_unit,
    active_offset,
    coefficient,
):
    """Walks samples first:last forwards (eq. 9-10): ∇W_ij = Σ_t c_j[t] trace_i[t].

    trace_i[t] = α trace_i[t-1] + S_i[t-1], for one step at a time: no trace is kept (`plan.py`).

    Args:
        gradient: form of the transposed connection, added to: ∇W of this range.
        neuron: kernel form of the neuron.
        unit: (n_events,) input units.
        offset: (B*T + 1,) bounds of the rows in `unit`.
        steps: T.
        first: first sample.
        last: one past the last sample.
        filtered: (n,), n_in padded to whole blocks; scratch, holds the trace.
        active_unit: (n_active,) the layer's active units.
        active_offset: (B*T + 1,) bounds of their rows.
        coefficient: (n_active,) c there.
    """
    one = neuron.alpha / neuron.alpha
    for sample in range(first, last):
        filtered[:] = 0
        scale = one
        for row in range(sample * steps + 1, (sample + 1) * steps):
            scale *= neuron.alpha
            if scale < SMALLEST_SCALE:
                fold(filtered, scale)
                scale = one
            for k in range(offset[row - 1], offset[row]):
                add_alone(filtered, unit[k], one / scale)
            start, stop = active_offset[row], active_offset[row + 1]
            accumulate(gradient, filtered, active_unit, coefficient, start, stop, scale)


@compiled
def spread(
    transposed,
    neuron,
    in_unit,
    in_offset,
    steps,
    first,
    last,
    inflow,
    brought,
    bounds,
    listed,
    active_unit,
    active_offset,
    coefficient,
    gathered,
):
    """Walks samples first:last backwards (eq. 12): ε_i[t] = Σ_j W_ij c_j[t+1] + α ε_i[t+1].

    Args:
        transposed: kernel form of the connection back from each unit to its inputs.
        neuron: kernel form of the neuron.
        in_unit: (n_active_in,) active input units.
        in_offset: (B*T + 1,) bounds of their rows.
        steps: T.
        first: first sample.
        last: one past the last sample.
        inflow: (n,), n_in padded to whole blocks; scratch, holds ε.
        brought: (ROWS, n); scratch, Σ_j W_ij c_j of many rows.
        bounds: (2, ROWS); scratch, of the active entries of these rows.
        listed: (LISTED,); scratch, rows where anything happens.
        active_unit: (n_active,) the layer's active units.
        active_offset: (B*T + 1,) bounds of their rows.
        coefficient: (n_active,) c there.
        gathered: (n_active_in,), written: ε at the active inputs.
    """
    one = neuron.alpha / neuron.alpha
    scale = one
    at = last * steps  # the row that the state belongs to
    begin = at  # of the sample that it belongs to
    below = at - 1
    while below >= first * steps:
        n_listed = n_rows = 0
        while below >= first * steps and n_listed < LISTED and n_rows < ROWS:
            start, stop = active_offset[below], active_offset[below + 1]
            if start < stop:
                bounds[0, n_rows], bounds[1, n_rows] = start, stop
                n_rows += 1
            if start < stop or in_offset[below] < in_offset[below + 1]:
                listed[n_listed] = below
                n_listed += 1
            below -= 1
        bring(transposed, brought, active_unit, coefficient, bounds, n_rows)
        n_rows = 0
        for i in range(n_listed):
            row = listed[i]
            if row < begin:
                while row < begin:
                    begin -= steps
                inflow[:] = 0
                scale = one
                at = begin + steps - 1
            while at > row:
                at -= 1
                scale *= neuron.alpha
                if scale < SMALLEST_SCALE:
                    fold(inflow, scale)
                    scale = one
            for k in range(in_offset[row], in_offset[row + 1]):
                gathered[k] = inflow[in_unit[k]] * scale
            if active_offset[row] < active_offset[row + 1]:  # they come in one step later
                add_row(inflow, brought, n_rows, one / (scale * neuron.alpha))
                n_rows += 1


@njit(**INLINE)
def add_row(inflow, brought, row, factor):
    """inflow += factor * brought[row]."""
    n = inflow.shape[0]
    for at in range(0, n, lanes(inflow)):
        block = scaled(load(brought, row * n + at), factor)
        store(inflow, at, plus(load(inflow, at), block))
