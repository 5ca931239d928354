"""Matrices turned over: PyTorch keeps a weight by rows of fan-ins, an event reads a fan-out."""

from __future__ import annotations

from sparsespike.compiling.compiled import compiled

ROWS = 8  # of the target written in turn: a row of the source is read from its cache lines once


@compiled
def transpose(source, into):
    """into[i, j] = source[j, i], for all i, j that `into` has and `source` has; the rest of `into` is zero.

    Args:
        source: (n, m), of which the first columns are taken if `into` has fewer rows.
        into: (rows, columns), written.
    """
    n_row, n = into.shape
    n_given = min(n, source.shape[0])
    for first in range(0, n_row, ROWS):
        if first + ROWS <= n_row:
            for j in range(n_given):
                for k in range(ROWS):
                    into[first + k, j] = source[j, first + k]
        else:
            for j in range(n_given):
                for i in range(first, n_row):
                    into[i, j] = source[j, i]
        for i in range(first, min(first + ROWS, n_row)):
            for j in range(n_given, n):
                into[i, j] = 0
