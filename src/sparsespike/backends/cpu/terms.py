"""The terms of a layer as the drivers take them: a tuple, unrolled when a driver is compiled.

Each term has a connection and input events of its own; what they bring adds up in one state.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from numba import types
from numba.extending import overload
from numpy.typing import NDArray

from sparsespike.backends.cpu.verbs import INLINE, arrive, bring_in, scatter


class Inflow(NamedTuple):
    """One term as kernels take it.

    Attributes:
        connection: kernel form of the connection.
        unit: (n_events,) input units.
        offset: (B*T + 1,) bounds of the rows in `unit`.
    """

    connection: Any
    unit: NDArray
    offset: NDArray


@overload(arrive, jit_options=INLINE)
def _arrive(terms, row):
    if not isinstance(terms, types.BaseTuple):
        return None

    def one(terms, row):
        return terms[0].offset[row] < terms[0].offset[row + 1]

    def several(terms, row):
        return arrive(terms[:1], row) or arrive(terms[1:], row)

    return one if len(terms) == 1 else several


@overload(bring_in, jit_options=INLINE)
def _bring_in(terms, current, row, factor, sites):
    if not isinstance(terms, types.BaseTuple):
        return None

    def one(terms, current, row, factor, sites):
        term = terms[0]
        start, stop = term.offset[row], term.offset[row + 1]
        scatter(term.connection, current, term.unit, start, stop, factor, sites)

    def several(terms, current, row, factor, sites):
        bring_in(terms[:1], current, row, factor, sites)
        bring_in(terms[1:], current, row, factor, sites)

    return one if len(terms) == 1 else several
