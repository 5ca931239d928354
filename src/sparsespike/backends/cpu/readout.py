"""The walks of a readout layer over time; its output is dense, so every step costs all its units."""

from __future__ import annotations

from sparsespike.backends.cpu.sites import place_of
from sparsespike.backends.cpu.verbs import accumulate, bring_in, gather
from sparsespike.compiling.compiled import compiled


@compiled
def forward(terms, alpha, gain, first, last, state, sites, potential):
    """Runs samples first:last of a readout: y[t+1] = alpha y[t] + gain I[t].

    Args:
        terms: kernel forms of the connections and their input events (`terms.py`).
        alpha: leak factor of one step.
        gain: 1 - alpha.
        first: first sample.
        last: one past the last sample.
        state: (n,), the neurons at their places, padded to whole blocks; scratch.
        sites: where the neurons lie (`sites.py`), or None: side by side.
        potential: (B, T, n_out), written.
    """
    _, steps, n_out = potential.shape
    for sample in range(first, last):
        row = sample * steps
        state[:] = 0
        for step in range(steps):
            for j in range(n_out):
                potential[sample, step, j] = state[place_of(sites, j)]
            for j in range(state.shape[0]):
                state[j] *= alpha
            bring_in(terms, state, row + step, gain, sites)


@compiled
def backward(
    connection,
    gradient,
    alpha,
    gain,
    unit,
    offset,
    in_unit,
    in_offset,
    first,
    last,
    delta,
    sites,
    grad,
    gathered,
):
    """Walks samples first:last backwards: δ[t] = gain ∂L/∂y[t+1] + alpha δ[t+1].

    Args:
        connection: kernel form of the connection.
        gradient: the same form, added to: ∇W (and ∇bias) of this range.
        alpha: leak factor of one step.
        gain: 1 - alpha.
        unit: (n_events,) input units.
        offset: (B*T + 1,) bounds of the rows in `unit`.
        in_unit: (n_active_in,) active input units.
        in_offset: (B*T + 1,) bounds of their rows; (0,) where ε at the inputs is not wanted.
        first: first sample.
        last: one past the last sample.
        delta: (n,) zeros, as the forward walk's state; scratch.
        sites: where the neurons lie, or None: side by side.
        grad: (B, T, n_out), ∂L/∂y.
        gathered: (n_active_in,), written: ε at the active inputs.
    """
    _, steps, n_out = grad.shape
    one = alpha / alpha
    for sample in range(first, last):
        row = sample * steps
        if len(in_offset):
            for k in range(in_offset[row], in_offset[row + steps]):
                gathered[k] = 0
        delta[:] = 0
        for step in range(steps - 2, -1, -1):
            for j in range(n_out):
                place = place_of(sites, j)
                delta[place] = alpha * delta[place] + gain * grad[sample, step + 1, j]
            here = row + step
            accumulate(gradient, delta, unit, None, offset[here], offset[here + 1], one)
            if len(in_offset):
                start, stop = in_offset[here], in_offset[here + 1]
                gather(connection, delta, in_unit, start, stop, one, gathered)
