"""What a backend is told of a layer: plain descriptions, never modules.

Connections and neurons describe themselves anew at every call, so that a layer is what its modules are
now. A description is frozen: the backward pass works from what the forward pass was told.
"""

from __future__ import annotations

from sparsespike.descriptions.connections import Conv, Linear, SparseLinear, check_index
from sparsespike.descriptions.delays import Delayed, Per
from sparsespike.descriptions.matrices import Entries, Form, Matrices
from sparsespike.descriptions.neurons import (
    ATAN,
    BOXCAR,
    CIRCLE,
    EXPONENTIAL,
    FAST_SIGMOID,
    GAUSSIAN,
    LIF,
    SIGMOID,
    TRIANGLE,
    Cell,
    Dynamics,
    Equations,
    Neuron,
    Own,
    Readout,
    Reset,
    Shape,
)
from sparsespike.descriptions.terms import Connection, Precision, Term, plain_of, rows_waiting

__all__ = [
    "ATAN",
    "BOXCAR",
    "CIRCLE",
    "EXPONENTIAL",
    "FAST_SIGMOID",
    "GAUSSIAN",
    "LIF",
    "SIGMOID",
    "TRIANGLE",
    "Cell",
    "Connection",
    "Conv",
    "Delayed",
    "Dynamics",
    "Entries",
    "Equations",
    "Form",
    "Linear",
    "Matrices",
    "Neuron",
    "Own",
    "Per",
    "Precision",
    "Readout",
    "Reset",
    "Shape",
    "SparseLinear",
    "Term",
    "check_index",
    "plain_of",
    "rows_waiting",
]
