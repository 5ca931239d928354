"""Neurons of the form of `Matrices` on the CPU: every step updates all neurons.

unit.py        the numbers as kernels take them
advance.py     one step of all neurons: states, eligibilities, distances to the threshold
fire.py        what a step lists
spiking.py     the walk over time, forward
back.py        the walk back
readout.py     both walks of neurons without threshold
delays.py      synapses whose events arrive later, and ring.py, where these wait
placed.py, spiking_layer.py, readout_layer.py      from descriptions to kernels and back
"""
