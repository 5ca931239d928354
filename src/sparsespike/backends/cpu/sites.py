"""The neurons of a layer by sites, so that a step costs what its events touch and not all neurons.

A site is what events reach together: one position of a convolution, with all its channels. In the state
the channels of a site lie side by side, padded to whole blocks: entry `place[j]` belongs to neuron j. A
connection marks the sites that it adds to (`touch`); the threshold scan visits the marked ones alone, and
leaves those marked that have a neuron in the band or above. No other neuron can get there: it only decays.

A layer that knows no sites, `Linear` alone, has None in their place: every event reaches every neuron.

Where synapses lead anywhere, the neurons lie in a row, neuron j at entry j, and a site is one block of them.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from sparsespike.backends.cpu.simd import lanes_of, padded
from sparsespike.backends.cpu.verbs import INLINE
from sparsespike.compiling.compiled import compiled

GROUP = np.uint64(64)  # sites whose marks are the bits of one word
ZERO, ONE, SIX, LOW = np.uint64(0), np.uint64(1), np.uint64(6), np.uint64(63)
LAST, ALL = np.uint64(1 << 63), np.uint64(2**64 - 1)


class Sites(NamedTuple):
    """Where the neurons lie, and what is marked.

    Attributes:
        n_sites: how many.
        channels: neurons per site.
        size: entries of the state per site.
        place: (n_out or more) of each neuron in the state.
        in_a_row: whether that is the neuron's number.
        per_site, per_channel: neuron j = site * per_site + channel * per_channel.
        mark: (n_groups,) uint64, bit s of word g for site 64 g + s: to visit.
        shift: a neuron's key is (site << shift) + channel.
        found: (n_out + 2,), scratch: keys as a scan finds them.
        due: (n_out,), scratch: the same in the neurons' order.
        count: (size,) zeros between scans.
        whole: whether every site is visited in every step.
    """

    n_sites: np.uint64
    channels: np.uint64
    size: np.uint64
    place: NDArray
    in_a_row: bool
    per_site: np.uint64
    per_channel: np.uint64
    mark: NDArray
    shift: np.uint64
    found: NDArray
    due: NDArray
    count: NDArray
    whole: bool


class Layout(NamedTuple):
    """Neurons by sites: neuron j = channel * n_sites + site, as PyTorch flattens (C, H, W); or in a row.

    Attributes:
        n_sites: sites, positions of the output or blocks of the row.
        channels: neurons per site, of a row the entries of a block; its last block may have fewer.
        in_a_row: whether neuron j = site * channels + channel.
    """

    n_sites: int
    channels: int
    in_a_row: bool = False

    def size(self, dtype: np.dtype) -> int:
        """Entries of the state per site."""
        return padded(self.channels, dtype)

    def n_places(self, dtype: np.dtype) -> int:
        """Entries of the state."""
        return self.n_sites * self.size(dtype)


def row(n_out: int, dtype: np.dtype) -> Layout:
    """Neurons in a row, in sites of one block."""
    return Layout(padded(n_out, dtype) // lanes_of(dtype), lanes_of(dtype), True)


def room(layout: Layout, dtype: np.dtype, whole: bool) -> Sites:
    """Sites with nothing marked, for one thread.

    Raises:
        ValueError: if the layer has too many neurons for keys of 32 bits.
    """
    n_sites, channels, in_a_row = layout
    n_groups, size = -(-n_sites // int(GROUP)), layout.size(dtype)
    shift = (size - 1).bit_length()
    if n_sites << shift >= 2**32:
        found = f"{n_sites} of {channels}"
        raise ValueError(f"current: expected positions times channels below 2^32, found {found}")
    return Sites(
        np.uint64(n_sites),
        np.uint64(channels),
        np.uint64(size),
        places(layout, dtype),
        in_a_row,
        np.uint64(channels if in_a_row else 1),
        np.uint64(1 if in_a_row else n_sites),
        np.zeros(n_groups, np.uint64),
        np.uint64(shift),
        np.empty(n_sites * channels + 2, np.uint32),
        np.empty(n_sites * channels, np.uint32),
        np.zeros(size, np.uint32),
        whole,
    )


@lru_cache(maxsize=64)
def places(layout: Layout, dtype: np.dtype) -> NDArray:
    """(n_out,) uint32: the place of each neuron; of a row that of every entry."""
    if layout.in_a_row:
        return np.arange(layout.n_places(dtype), dtype=np.uint32)
    site = np.arange(layout.n_sites, dtype=np.uint32) * np.uint32(layout.size(dtype))
    return (np.arange(layout.channels, dtype=np.uint32)[:, None] + site).reshape(-1)


@compiled
def at_places(place, unit, start, stop, placed):
    """placed[k] = place[unit[k]] for k in start:stop."""
    for k in range(np.uint64(start), np.uint64(stop)):
        placed[k] = place[unit[k]]


@njit(**INLINE)
def touch(mark, site, length):
    """Marks so many sites, 64 at most, from this one on."""
    bits = ALL >> (GROUP - length)
    first, low = site >> SIX, site & LOW
    mark[first] |= bits << low
    last = (site + length - ONE) >> SIX
    if last > first:
        mark[last] |= bits >> (GROUP - low)


@njit(**INLINE)
def touch_all(sites):
    """Marks every site."""
    if sites is not None:
        for group in range(len(sites.mark)):
            sites.mark[group] = ALL
        sites.mark[len(sites.mark) - 1] = ALL >> ((GROUP - (sites.n_sites & LOW)) & LOW)


@njit(**INLINE)
def rest(state, n_out, sites):
    """Every neuron at rest, nothing marked; what pads the state stays as it is."""
    if sites is None:
        state[:n_out] = 0
    else:
        if sites.in_a_row:
            state[:n_out] = 0
        else:
            for site in range(sites.n_sites):
                for channel in range(sites.channels):
                    state[site * sites.size + channel] = 0
        sites.mark[:] = 0


@njit(**INLINE)
def place_of(sites, unit):
    """Where a neuron lies in the state."""
    return unit if sites is None else np.intp(sites.place[unit])
