"""What a backend is told of a layer: plain descriptions, never modules.

Connections and neurons describe themselves anew at every call, so that a layer is what its modules are
now. A description is frozen: the backward pass works from what the forward pass was told.
"""

from __future__ import annotations

from sparsespike.descriptions.connections import (
    Connection,
    Conv,
    DelayedLinear,
    Linear,
    Precision,
    SparseLinear,
    Term,
    check_index,
)
from sparsespike.descriptions.matrices import Form, Matrices
from sparsespike.descriptions.neurons import (
    ATAN,
    BOXCAR,
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

__all__ = [
    "ATAN",
    "BOXCAR",
    "FAST_SIGMOID",
    "GAUSSIAN",
    "LIF",
    "SIGMOID",
    "TRIANGLE",
    "Cell",
    "Connection",
    "Conv",
    "DelayedLinear",
    "Dynamics",
    "Equations",
    "Form",
    "Linear",
    "Matrices",
    "Neuron",
    "Own",
    "Precision",
    "Readout",
    "Reset",
    "Shape",
    "SparseLinear",
    "Term",
    "check_index",
]
