"""Losses: on classes, spike times, spike trains and potentials, and the paper's activity regulariser."""

from sparsespike.losses.classes import Reduce, cross_entropy, logits
from sparsespike.losses.distances import van_rossum
from sparsespike.losses.regulariser import activity
from sparsespike.losses.times import first_spike, time_to_first_spike
from sparsespike.losses.traces import target_trace

__all__ = [
    "Reduce",
    "activity",
    "cross_entropy",
    "first_spike",
    "logits",
    "target_trace",
    "time_to_first_spike",
    "van_rossum",
]
