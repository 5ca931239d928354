"""A fixed set of synapses: I_j[t] = sum of S_i[t] W_ij over the synapses (i, j) that there are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sparsespike import descriptions
from sparsespike.connections.connection import Connection, check_spikes
from sparsespike.connections.current import Current
from sparsespike.connections.delay import Delay
from sparsespike.connections.linear import Linear
from sparsespike.ops.uncompiled import uncompiled
from sparsespike.spikes.arguments import described, integer
from sparsespike.spikes.spikes import Spikes

MOST = 2**31  # units of a layer: lists count them in int32


class SparseLinear(Connection):
    """A fixed set of synapses, of which an event visits its input's own alone.

    Time and memory go with the number of synapses, never with n_in x n_out; on a GPU a synapse's forward
    pass costs the same however few events there are (`docs/gpu.md`). `weight` has one number per
    synapse, in the order of `index`; its gradient is that of these synapses. Which there are is not learned:
    `index` is a buffer, saved with the weights, and another set of as many may be copied into it in place.

    Args:
        n_in: units of the layer below, >= 1.
        n_out: units of this layer, >= 1.
        index: (2, n_synapses) integers: row 0 the output neuron, row 1 the input unit, as
            `torch.sparse_coo_tensor(index, weight, (n_out, n_in))` has it. In any order, none twice.
        bias: whether a constant current is added at every step. It drives every unit at every step, so
            silent steps then cost time too.
        delay: how much later spikes arrive, a `Delay` of this connection's own; None for none.
        dtype: of the parameters, float32 or float64.
        device: of the parameters and the index; None: of the index.

    Raises:
        ValueError: if a size is < 1, or an index is no integer, out of range or there twice.
    """

    index: Tensor
    _known: tuple[Tensor, int, descriptions.SparseLinear] | None = (
        None  # of which index, and version
    )

    def __init__(
        self,
        n_in: int,
        n_out: int,
        index: Any,
        bias: bool = False,
        *,
        delay: Delay | None = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__()
        self.n_in, self.n_out = integer("n_in", n_in, 1, MOST), integer("n_out", n_out, 1, MOST)
        given = _tensor(index)
        descriptions.check_index(given, self.n_in, self.n_out)
        own = given.to(device, torch.int64, copy=True).contiguous()
        self.register_buffer("index", own)
        self._make((own.shape[1],), bias, dtype, own.device, self.n_out)
        self._make_delay(delay, self.n_out, self.n_in)

    @classmethod
    def random(
        cls,
        n_in: int,
        n_out: int,
        *,
        fan_in: int | None = None,
        fan_out: int | None = None,
        seed: int = 0,
        bias: bool = False,
        delay: Delay | None = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> SparseLinear:
        """Synapses drawn at random: as many for every neuron, or as many for every input.

        Args:
            n_in: units of the layer below, >= 1.
            n_out: units of this layer, >= 1.
            fan_in: distinct inputs of each neuron, in [1, n_in].
            fan_out: distinct neurons that each input reaches, in [1, n_out]; one of the two is given.
            seed: of which synapses there are, >= 0; weights are drawn as ever.
            bias, delay, dtype, device: as of the class.

        Raises:
            ValueError: naming the argument that breaks one of these rules.
        """
        n_in, n_out = integer("n_in", n_in, 1, MOST), integer("n_out", n_out, 1, MOST)
        draw = torch.Generator().manual_seed(integer("seed", seed, 0, 2**63))
        if (fan_in is None) == (fan_out is None):
            raise ValueError(
                f"fan_in: expected it or fan_out, one of the two, found {fan_in} and {fan_out}"
            )
        if fan_in is not None:
            per_row = integer("fan_in", fan_in, 1, n_in + 1)
            unit = _distinct(n_out, n_in, per_row, draw)
            neuron = torch.arange(n_out)[:, None].expand_as(unit)
        else:
            per_row = integer("fan_out", fan_out, 1, n_out + 1)
            neuron = _distinct(n_in, n_out, per_row, draw)
            unit = torch.arange(n_in)[:, None].expand_as(neuron)
        index = torch.stack([neuron.reshape(-1), unit.reshape(-1)])
        return cls(n_in, n_out, index, bias, delay=delay, dtype=dtype, device=device)

    @classmethod
    def from_sparse(cls, matrix: Any) -> SparseLinear:
        """The synapses that a sparse matrix (n_out, n_in) stores, zeros among them included; no bias.

        Args:
            matrix: a `torch.sparse` tensor (COO, CSR and the like), or a matrix or array of `scipy.sparse`.
                Entries stored twice are added up. What is not floating comes as torch's default dtype.

        Raises:
            ValueError: if it is something else.
        """
        expected = "matrix: expected a sparse matrix (n_out, n_in) of torch or SciPy"
        if len(getattr(matrix, "shape", ())) != 2:
            raise ValueError(f"{expected}, found {described(matrix)}")
        theirs = getattr(matrix, "tocoo", None)
        if isinstance(matrix, Tensor) and matrix.layout is not torch.strided:
            coo = matrix.detach().to_sparse_coo()
            if coo.sparse_dim() != 2:
                raise ValueError(f"{expected}, found one of {coo.dense_dim()} dense dimensions")
        elif theirs is not None:
            found = theirs()
            index = torch.from_numpy(np.stack([found.row, found.col]).astype(np.int64))
            coo = _coo(index, torch.tensor(found.data), matrix.shape)
        else:
            raise ValueError(f"{expected}, found {described(matrix)}")
        coo = coo.coalesce()
        values = coo.values()
        if not values.is_floating_point():
            values = values.to(torch.get_default_dtype())
        n_out, n_in = coo.shape
        return cls(n_in, n_out, coo.indices(), dtype=values.dtype)._with(values, None)

    @classmethod
    def from_masked(cls, linear: Linear) -> SparseLinear:
        """The synapses of a `Linear` that are not zero, with their weights and delays, and its bias.

        Of one pruned by `torch.nn.utils.prune`, those that its mask keeps.

        Raises:
            ValueError: if `linear` is none.
        """
        if not isinstance(linear, Linear):
            raise ValueError(f"linear: expected an ss.Linear, found {type(linear).__name__}")
        weight, mask = _effective(linear, "weight"), getattr(linear, "weight_mask", None)
        index = (weight if mask is None else mask).nonzero().t()
        bias = None if linear.bias is None else _effective(linear, "bias")
        delay = None if linear.delay is None else linear.delay.of_some(index)
        own = cls(
            linear.n_in, linear.n_out, index, bias is not None, delay=delay, dtype=weight.dtype
        )
        return own._with(weight[index[0], index[1]], bias)

    @property
    def n_synapses(self) -> int:
        """How many there are."""
        return self.index.numel() // 2

    @property
    def fan_in(self) -> float:
        """Inputs of one neuron, in the mean; at least 1."""
        return max(1.0, self.n_synapses / self.n_out)

    @uncompiled
    def forward(self, spikes: Spikes) -> Current:
        """Spikes (B, T, n_in) -> Current (B, T, n_out), not computed yet.

        Raises:
            ValueError: if `spikes` are none or of another number of units, `weight` is no row of numbers, or
                the index no longer is one. What else kernels read is checked when a neuron takes the current.
        """
        check_spikes(spikes)
        parameter = self._parameters_now(1, "(n_synapses,)", self.n_out)
        if spikes.shape[2] != self.n_in:
            raise ValueError(f"spikes: expected {self.n_in} units, found {spikes.shape[2]}")
        return Current(self._terms(spikes, self._described(), parameter))

    def to_sparse(self) -> Tensor:
        """(n_out, n_in) sparse COO tensor, coalesced; differentiable."""
        shape = self.n_out, self.n_in
        return _coo(self.index, self.weight, shape).coalesce()

    def to_scipy(self) -> Any:
        """(n_out, n_in) `scipy.sparse.coo_array`, of the synapses in the order of `index`.

        Raises:
            ValueError: if SciPy is not installed.
        """
        try:
            from scipy.sparse import coo_array  # pyright: ignore[reportMissingImports]
        except ImportError:
            raise ValueError("to_scipy: expected SciPy, found none; pip install scipy") from None
        neuron, unit = self.index.cpu().numpy()
        weight = self.weight.detach().cpu().numpy().copy()
        return coo_array((weight, (neuron.copy(), unit.copy())), shape=(self.n_out, self.n_in))

    def extra_repr(self) -> str:
        """Sizes, as shown by `print`."""
        return f"{self.n_in}, {self.n_out}, n_synapses={self.n_synapses:,}, bias={self.bias is not None}"

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_known"}

    def _described(self) -> descriptions.SparseLinear:
        """The description of the index as it is now: checked, and made anew only where it changed."""
        index = self.index
        # Tensors of the inference mode count no versions.
        version = -1 if index.is_inference() else index._version
        if self._known is not None and version >= 0:
            known, then, description = self._known
            if known is index and then == version:
                return description
        description = descriptions.SparseLinear(self.n_in, self.n_out, index)
        self._known = index, version, description
        return description

    def _with(self, weight: Tensor, bias: Tensor | None) -> SparseLinear:
        """Itself, with these numbers."""
        with torch.no_grad():
            self.weight.copy_(weight)
            if self.bias is not None and bias is not None:
                self.bias.copy_(bias)
        return self


def _tensor(index: Any) -> Tensor:
    """What was given for `index`, as a plain tensor."""
    try:
        found = torch.as_tensor(index)
    except (TypeError, ValueError, RuntimeError):
        found = None
    if found is None or found.layout is not torch.strided:
        raise ValueError(f"index: expected integers (2, n_synapses), found {described(index)}")
    return found


def _coo(index: Tensor, weight: Tensor, shape: Sequence[int]) -> Tensor:
    """A sparse tensor; RuntimeError if the index is out of range."""
    return torch.sparse_coo_tensor(index, weight, tuple(shape), check_invariants=True)


def _effective(linear: Linear, name: str) -> Tensor:
    """A parameter as the next call would read it; a pruned one's attribute is as old as the last call."""
    now, mask = getattr(linear, name), getattr(linear, f"{name}_mask", None)
    if mask is None:
        return now.detach()
    return getattr(linear, f"{name}_orig", now).detach() * mask


def _distinct(n_row: int, n: int, k: int, draw: torch.Generator) -> Tensor:
    """(n_row, k): in every row k distinct numbers below n, ascending, every set of them as likely."""
    if 2 * k > n:  # leaving out the others takes fewer draws
        left_out = _distinct(n_row, n, n - k, draw)
        # The j-th that stays is j + how many left out come before it.
        before = (left_out - torch.arange(n - k)).contiguous()
        rank = torch.arange(k).expand(n_row, k).contiguous()
        return rank + torch.searchsorted(before, rank, right=True)
    drawn = torch.randint(n, (n_row, k), generator=draw).sort(1).values
    rows = torch.arange(n_row)
    while len(rows):
        # A number that is there already is drawn anew, as if nothing had been drawn.
        part = drawn[rows]
        again = part[:, 1:] == part[:, :-1]
        twice = again.any(1)
        rows, part, again = rows[twice], part[twice], again[twice]
        part[:, 1:][again] = torch.randint(n, (int(again.sum()),), generator=draw)
        drawn[rows] = part.sort(1).values
    return drawn
