"""Layers of several terms: generated, run on a backend, and compared with the dense oracle."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor

import sparsespike as ss
from cases import Case, cases, device_of
from checks import assert_close, assert_same_lists, assert_well_formed
from compare import compare, gradients, readout_of, stored_for


@dataclass(frozen=True)
class Terms:
    """A layer that several connections drive, each with an input of its own.

    Attributes:
        parts: one case per connection: of the same batch, steps, neurons and neuron.
    """

    parts: tuple[Case, ...]

    def layer(self, backend: str, *, readout: bool) -> ss.Layer:
        """The layer, on a backend."""
        connections = [part.layers(backend)[0].connection for part in self.parts]
        neuron = readout_of(self.parts[0]) if readout else self.parts[0].neuron
        return ss.Layer(connections, neuron, backend=backend).to(device_of(backend))

    def run(self, backend: str, *, readout: bool) -> tuple[Any, dict[str, Tensor | None]]:
        """Output and every gradient, under random upstream gradients."""
        layer = self.layer(backend, readout=readout)
        given = [part.spikes() for part in self.parts]
        out = layer(*(stored_for(spikes, backend) for spikes, _ in given)).to("cpu")
        value = out if readout else out.value
        draw = self.parts[0].generator()
        upstream = torch.randn(value.shape, generator=draw, dtype=torch.float64)
        if value.requires_grad:
            (value * upstream.to(value.dtype)).sum().backward()
        found = gradients(layer, None)
        return out, found | {
            f"input {i}": leaf.grad for i, (_, leaf) in enumerate(given) if leaf is not None
        }


def compare_terms(terms: Terms, backend: str, *, readout: bool) -> Counter:
    """The layer on a backend against the oracle; returns what happened."""
    out, found = terms.run(backend, readout=readout)
    expected_out, expected = terms.run("dense", readout=readout)
    if readout:
        assert_close(out.detach(), expected_out.detach(), "potential")
    else:
        assert_well_formed(out)
        assert_same_lists(out, expected_out)
    seen = compare(found, expected)
    if not readout:
        seen.update(spiking=out.n_spikes > 0, in_band=out.n_active > 0)
    return seen


@st.composite
def several(draw: st.DrawFn, *, most: int = 3, dtype: torch.dtype | None = None) -> Terms:
    """Two or more terms on the exact grid; those with a bias come first, so that fewer sorts are compiled."""
    first = draw(cases(exact=True))
    if dtype is not None:
        first = replace(first, dtype=dtype)
    n_term = draw(st.integers(2, most))
    biased = sorted((draw(st.booleans()) for _ in range(n_term)), reverse=True)
    parts = [
        replace(
            first,
            sizes=(draw(st.sampled_from([1, 5, 24, 64, 65])), first.sizes[1]),
            rate=draw(st.sampled_from([0.0, 0.05, 0.3, 1.0])),
            active=draw(st.sampled_from([0.0, 0.2, 1.0])),
            bias=bias,
            seed=first.seed + i,
        )
        for i, bias in enumerate(biased)
    ]
    return Terms(tuple(parts))
