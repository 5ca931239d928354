"""Neurons of the form of `descriptions/matrices.py`, for the GPU: `docs/method.md` derives what is computed.

`unit.py` turns a form into rows of numbers, `forward.py` and `backward.py` are the kernels, made of what
`step.py` has, `walks.py` launches them segment by segment, `spiking_layer.py` and `readout_layer.py` are what
the backend offers.
"""

from sparsespike.backends.gpu.dynamics.readout_layer import readout_backward, readout_forward
from sparsespike.backends.gpu.dynamics.spiking_layer import spiking_backward, spiking_forward

__all__ = ["readout_backward", "readout_forward", "spiking_backward", "spiking_forward"]
