"""`Peer`: what the conversion of a network asks of the library that it comes from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from torch import nn

from sparsespike.interop.cell import Cell, Gives
from sparsespike.interop.layers import View
from sparsespike.interop.refused import naming
from sparsespike.neurons.surrogates import Surrogate


class Wish(NamedTuple):
    """How one layer of neurons is to be converted.

    Attributes:
        name: where it is in its network.
        gives: what of its outputs is used.
        share: whether its weights are the very same.
        freeze: whether numbers that are learned are taken as they are now.
        mass: share of its surrogate's mass that the band keeps; None for all, without a band.
    """

    name: str
    gives: Gives
    share: bool
    freeze: bool
    mass: float | None

    def band(self, module: nn.Module, surrogate: Surrogate) -> float:
        """b_th of this layer.

        Raises:
            ValueError: if no band keeps that share.
        """
        if self.mass is None:
            return math.inf
        with naming(self.name, module):
            return surrogate.half_width(self.mass)


class Peer:
    """One library: which modules are its neurons, and what they compute."""

    name: str
    package: str

    def owns(self, module: nn.Module) -> bool:
        """Whether the module's class is of this library."""
        return type(module).__module__.split(".")[0] == self.package

    def kind_of(self, module: nn.Module) -> type[nn.Module] | None:
        """The layer of PyTorch that the module computes; None for one that is none of PyTorch's."""
        kind = type(module)
        return kind if kind.__module__.startswith("torch.nn.modules.") else None

    def parts(self, module: nn.Module) -> tuple[Sequence[nn.Module], View] | None:
        """The modules that a container of the library runs in a row, and what they see; None for another."""
        return None

    def sequential(self, root: nn.Module) -> bool:
        """Whether the network's modules see all steps at once, time first; else one step at a time."""
        return False

    def view(self, module: nn.Module, sequential: bool) -> View:
        """What a layer of PyTorch's sees."""
        return "time" if sequential else "step"

    def held(self, module: nn.Module) -> bool:
        """Whether dropout holds its mask over a recording."""
        return False

    def outputs(self, module: nn.Module) -> tuple[str, ...] | str:
        """What a layer of neurons gives: "spikes", "potential", "state", or a tuple of these."""
        raise NotImplementedError

    def cell(self, module: Any, wish: Wish) -> Cell:
        """The layer, as ours.

        Raises:
            ValueError: naming it, and what cannot be kept.
        """
        raise NotImplementedError
