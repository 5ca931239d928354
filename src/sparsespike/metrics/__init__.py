"""What a network costs apart from time, as NeuroBench defines it: sparsities, operations, footprint.

    found = ss.metrics.measure(net, spikes)
    found.effective_acs, found.activation_sparsity, found.energy()

Counted from events: a spike meets the weights of its unit that are not zero. No dense tensor is made.
"""

from sparsespike.metrics.counting import Counting, measure
from sparsespike.metrics.found import PJ_PER_AC, PJ_PER_MAC, Activations, Metrics, Synapses

__all__ = [
    "PJ_PER_AC",
    "PJ_PER_MAC",
    "Activations",
    "Counting",
    "Metrics",
    "Synapses",
    "measure",
]
