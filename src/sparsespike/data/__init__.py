"""Data: events from files to batches."""

from __future__ import annotations

from sparsespike.data.augment import (
    EventDrop,
    FlipLR,
    Shift,
    TimeJitter,
    TimeShift,
    TimeStretch,
    UnitDrop,
    UnitJitter,
)
from sparsespike.data.binning import Counts
from sparsespike.data.collate import collate, joined
from sparsespike.data.dataset import EventDataset
from sparsespike.data.late import LateEventsWarning
from sparsespike.data.library import Listing, available, get, listing, load
from sparsespike.data.loader import EventLoader
from sparsespike.data.recordings import Recordings
from sparsespike.data.store import About
from sparsespike.data.tonic import TonicTransform
from sparsespike.data.transform import (
    CropTime,
    FoldPolarity,
    OnePolarity,
    Pool,
    Thermometer,
    Transform,
)

__all__ = [
    "About",
    "Counts",
    "CropTime",
    "EventDataset",
    "EventDrop",
    "EventLoader",
    "FlipLR",
    "FoldPolarity",
    "LateEventsWarning",
    "Listing",
    "OnePolarity",
    "Pool",
    "Recordings",
    "Shift",
    "Thermometer",
    "TimeJitter",
    "TimeShift",
    "TimeStretch",
    "TonicTransform",
    "Transform",
    "UnitDrop",
    "UnitJitter",
    "available",
    "collate",
    "get",
    "joined",
    "listing",
    "load",
]
