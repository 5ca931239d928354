"""Train spiking neural networks by computing only what happened.

Sparse Spiking Gradient Descent (Perez-Nieves & Goodman, NeurIPS 2021) for PyTorch: events are lists,
the forward pass is event-driven, gradients go only through neurons within B_th of threshold.

Names are imported when they are first used: torch takes seconds, which `sparsespike --help` need not.
"""

from __future__ import annotations

import importlib
import importlib.util
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sparsespike import data, interop, losses, metrics
    from sparsespike.backends import use_backend
    from sparsespike.connections.conv import Conv1d, Conv2d
    from sparsespike.connections.current import Current
    from sparsespike.connections.delay import Delay
    from sparsespike.connections.dropout import Dropout
    from sparsespike.connections.flatten import Flatten
    from sparsespike.connections.linear import Linear
    from sparsespike.connections.pool import AvgPool2d, MaxPool2d, SumPool2d
    from sparsespike.connections.sparse import SparseLinear
    from sparsespike.descriptions import Matrices
    from sparsespike.network import Layer, Network
    from sparsespike.neurons.adlif import AdLIF
    from sparsespike.neurons.alif import ALIF
    from sparsespike.neurons.alpha import Alpha
    from sparsespike.neurons.cuba import CuBaLIF
    from sparsespike.neurons.distributions import Gamma, Normal, Uniform
    from sparsespike.neurons.lif import LIF
    from sparsespike.neurons.neuron import Neuron
    from sparsespike.neurons.readout import Readout
    from sparsespike.neurons.readouts import CuBaReadout, DoubleExponential, SumReadout
    from sparsespike.neurons.resonate import ResonateFire
    from sparsespike.neurons.silence import SilenceWarning
    from sparsespike.neurons.surrogates import (
        ATan,
        Boxcar,
        Circle,
        Exponential,
        FastSigmoid,
        Gaussian,
        QPseudoSpike,
        Sigmoid,
        Surrogate,
        Triangle,
    )
    from sparsespike.spikes.spikes import Spikes
    from sparsespike.streaming import Stream, stream

__version__ = "0.1.0"

__all__ = [
    "ALIF",
    "LIF",
    "ATan",
    "AdLIF",
    "Alpha",
    "AvgPool2d",
    "Boxcar",
    "Circle",
    "Conv1d",
    "Conv2d",
    "CuBaLIF",
    "CuBaReadout",
    "Current",
    "Delay",
    "DoubleExponential",
    "Dropout",
    "Exponential",
    "FastSigmoid",
    "Flatten",
    "Gamma",
    "Gaussian",
    "Layer",
    "Linear",
    "Matrices",
    "MaxPool2d",
    "Network",
    "Neuron",
    "Normal",
    "QPseudoSpike",
    "Readout",
    "ResonateFire",
    "Sigmoid",
    "SilenceWarning",
    "SparseLinear",
    "Spikes",
    "Stream",
    "SumPool2d",
    "SumReadout",
    "Surrogate",
    "Triangle",
    "Uniform",
    "data",
    "interop",
    "losses",
    "metrics",
    "stream",
    "use_backend",
]

_HOMES = {
    "use_backend": "backends",
    "Spikes": "spikes.spikes",
    "Layer": "network",
    "Network": "network",
    "Conv1d": "connections.conv",
    "Conv2d": "connections.conv",
    "Current": "connections.current",
    "Delay": "connections.delay",
    "Dropout": "connections.dropout",
    "Flatten": "connections.flatten",
    "Linear": "connections.linear",
    **dict.fromkeys(("AvgPool2d", "MaxPool2d", "SumPool2d"), "connections.pool"),
    "SparseLinear": "connections.sparse",
    "SilenceWarning": "neurons.silence",
    "ALIF": "neurons.alif",
    "AdLIF": "neurons.adlif",
    "Alpha": "neurons.alpha",
    "CuBaLIF": "neurons.cuba",
    "LIF": "neurons.lif",
    **dict.fromkeys(("Gamma", "Normal", "Uniform"), "neurons.distributions"),
    "Matrices": "descriptions",
    "ResonateFire": "neurons.resonate",
    **dict.fromkeys(("CuBaReadout", "DoubleExponential", "SumReadout"), "neurons.readouts"),
    "Neuron": "neurons.neuron",
    **dict.fromkeys(("Stream", "stream"), "streaming"),
    "Readout": "neurons.readout",
    **dict.fromkeys(
        (
            *("ATan", "Boxcar", "Circle", "Exponential", "FastSigmoid", "Gaussian", "QPseudoSpike"),
            *("Sigmoid", "Surrogate", "Triangle"),
        ),
        "neurons.surrogates",
    ),
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    elif not name.startswith("_") and importlib.util.find_spec(f"{__name__}.{name}"):
        value = importlib.import_module(f"{__name__}.{name}")
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value  # found at once from now on
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
