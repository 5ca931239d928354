"""The verbs that the drivers call; Numba resolves them by the type of their first argument.

A connection is three verbs (five where `plan.py` is to have a choice), and so is a neuron. A kind of
connection or neuron gives its kernels in a file of its own (`linear.py`, `lif.py`), each an `overload` for
its NamedTuple; every driver then runs with it, and is compiled and cached on disk per combination. A state
is kept as `scale * state` and `factor` is 1 / scale, the lazy leak (`drive.py`).
"""

from __future__ import annotations

# Every verb is inlined into its driver: a call would pass each array as seven words on the stack, and
# count its references up and down, which takes longer than a verb's work in a quiet step.
INLINE = {"forceinline": True}


def arrive(terms, row):
    """Whether a term has an event in the row (`terms.py`)."""
    raise NotImplementedError


def bring_in(terms, current, row, factor, sites):
    """current += factor * what the terms' events of the row bring; marks what they touch."""
    raise NotImplementedError


def scatter(connection, current, unit, start, stop, factor, sites):
    """current += factor * what the input events unit[start:stop] bring in one step.

    A connection that reaches some neurons alone tells which: it calls `touch` for every site that it adds
    to, before or after (`sites.py`); one that reaches all calls `touch_all`.
    """
    raise NotImplementedError


def bring(connection, currents, unit, coefficient, bounds, n_rows):
    """currents[r] = what the events unit[bounds[0, r]:bounds[1, r]] bring, each times its coefficient.

    Args:
        connection: form of a transposed connection.
        currents: (rows, n).
        unit: (n_events,).
        coefficient: (n_events,).
        bounds: (2, rows).
        n_rows: how many of the rows.
    """
    raise NotImplementedError


def accumulate(connection, vector, unit, coefficient, start, stop, factor):
    """Adds factor * vector to the gradient of what the events unit[start:stop] went through.

    `vector` is δ and the events are input spikes; or, in the gradient of the transposed connection, `vector`
    is the trace of the inputs and the events are active entries, each with its `coefficient`.
    """
    raise NotImplementedError


def collect(gradient, kept, unit):
    """Adds the rows of δ that were kept for events (`grouped.py`) to the gradient, and forgets them."""
    raise NotImplementedError


def gather(connection, delta, unit, start, stop, factor, gathered):
    """gathered[k] = factor * <weights of active input unit[k], delta> for k in start:stop (eq. 12)."""
    raise NotImplementedError


def fire(
    neuron, state, scale, factor, unit, n_spikes, active_unit, potential, value, n_active, sites
):
    """Appends this step's spikes and active entries to the lists (eq. 4, 7), and resets what spiked.

    Looks at all neurons, or at those of the marked sites, and leaves those marked that it finds near.

    Returns:
        The new lengths (n_spikes, n_active), and whether any neuron was in the band or above.
    """
    raise NotImplementedError


def inject(neuron, delta, scale, unit, start, stop, potential, slope, coefficient):
    """Completes c at the active entries start:stop of step t + 1, where the reset is differentiated.

    `coefficient` comes as ε g, and `scale * delta` is δ[t+1].
    """
    raise NotImplementedError


def cut(neuron, delta, unit, offset, row):
    """Ends δ where the layer's own spikes of this row, unit[offset[row]:offset[row + 1]], fixed V."""
    raise NotImplementedError
