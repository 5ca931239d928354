"""Train spiking neural networks by computing only what happened.

Sparse Spiking Gradient Descent (Perez-Nieves & Goodman, NeurIPS 2021) for PyTorch: events are lists,
the forward pass is event-driven, gradients go only through neurons within B_th of threshold.
"""

from sparsespike import data, losses
from sparsespike.backends import use_backend
from sparsespike.events import Spikes
from sparsespike.layers.layer import Layer, Network
from sparsespike.layers.linear import Linear
from sparsespike.neurons import LIF, Readout
from sparsespike.surrogates import ATan, Boxcar, FastSigmoid, Gaussian, Sigmoid, Surrogate, Triangle

__version__ = "0.1.0"

__all__ = [
    "LIF",
    "ATan",
    "Boxcar",
    "FastSigmoid",
    "Gaussian",
    "Layer",
    "Linear",
    "Network",
    "Readout",
    "Sigmoid",
    "Spikes",
    "Surrogate",
    "Triangle",
    "data",
    "losses",
    "use_backend",
]
