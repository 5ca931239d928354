"""The dense form of a layer on the CPU: spikes unpacked to 0 and 1, GEMM or convolution, then the same walks.

Gives what the event-driven form (`__init__.py`) gives: the same lists, ε at the active inputs, gradients, but
for rounding. Costs the same however much happens. It works on some samples at a time, whose unpacked
spikes, currents and δ are the only tensors of (sample, step, unit) there are, of `ROOM` bytes at most. One
buffer serves all of them: memory that the system has just given costs more than what is done with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from sparsespike.backends import Fired, Gradient, Gradients, Upstream
from sparsespike.backends.cpu import adjoint, drive, form, surrogate, unpacked_walk
from sparsespike.backends.cpu.simd import aligned, padded
from sparsespike.backends.cpu.terms import Inflow
from sparsespike.backends.cpu.threads import ranges, run_all
from sparsespike.backends.cpu.unpacked_walk import Rows
from sparsespike.backends.kernels import plain_neuron
from sparsespike.descriptions import LIF, Cell, Conv, Linear, Precision, Term
from sparsespike.spikes.spikes import Spikes

CHUNK = (
    8 * 2**20
)  # bytes of (sample, step, unit) tensors at a time, where more than one sample fits
ROOM = 32 * 2**20  # and of one sample at most

FULL = ("none", "ieee")  # what torch calls products in full


def refusal(terms: Sequence[Term]) -> str:
    """Why this layer has no dense form here, "" if it has one."""
    for term in terms:
        if not isinstance(term.connection, Linear | Conv):
            return f"{type(term.connection).__name__} has none"
    size = _row_bytes(terms) * terms[0].spikes.shape[1]
    if size > ROOM:
        return f"a sample takes {size / 2**20:.0f} MiB, more than {ROOM / 2**20:.0f}"
    if terms[0].parameter[0].dtype == torch.float32 and not _multiplies_in_full():
        return "torch is set to round products"
    return ""


def spiking_forward(
    terms: Sequence[Term], cell: Cell, precision: Precision, recorded: bool
) -> Fired:
    """One spiking layer; see `Backend`. Nothing is kept: a tensor of no entries for each term.

    Raises:
        ValueError: if the layer has no dense form.
    """
    _check(terms)
    dtype, n_out = form.numpy_dtype(terms[0].parameter[0]), terms[0].connection.n_out
    constants = form.lif(plain_neuron(cell, LIF, "cpu"), dtype)
    n_batch, steps, _ = terms[0].spikes.shape
    n_row = n_batch * steps
    out_offset, active_offset = np.empty(n_row + 1, np.int64), np.empty(n_row + 1, np.int64)
    out_offset[0] = active_offset[0] = 0
    found, parts = [], []
    with torch.autocast("cpu", enabled=False):
        for chunk in _Chunk.all(terms):
            current = chunk.rows(chunk.currents())
            inflow = (Inflow(current, *_events(n_row)),)

            def run(first: int, last: int, inflow: Any = inflow) -> tuple[NDArray, ...]:
                state = aligned((padded(n_out, dtype),), dtype, -np.inf)
                return drive.forward(
                    inflow,
                    constants,
                    steps,
                    first,
                    last,
                    n_out,
                    True,
                    state,
                    None,
                    None,
                    None,
                    out_offset,
                    active_offset,
                )

            found += run_all(run, chunk.parts())
            parts += chunk.parts()
    lists, potential, value = form.joined(found, parts, steps, out_offset, active_offset)
    kept = [term.parameter[0].new_empty(0) for term in terms]
    return Fired(Spikes((n_batch, steps, n_out), lists, value, potential), kept)


def spiking_backward(
    grad: Upstream,
    terms: Sequence[Term],
    kept: list[Tensor],
    fired: Spikes,
    cell: Cell,
    precision: Precision,
    needed: Sequence[bool],
) -> Gradients:
    """Sparse gradient of one spiking layer; see `Backend`. What a forward pass kept is not needed.

    Raises:
        ValueError: if the layer has no dense form.
    """
    _check(terms)
    lif, dtype = plain_neuron(cell, LIF, "cpu"), form.numpy_dtype(terms[0].parameter[0])
    n_batch, steps, n_out = fired.shape
    assert fired.potential is not None
    constants, potential = form.lif(lif, dtype), fired.potential.numpy()
    slope_of = surrogate.kernel(lif, lif.v_th, fired.potential, grad.output, constants.attached)
    own = form.rows(fired.unit, fired.offset)
    active = form.rows(fired.active_unit, fired.active_offset)
    events = _events(n_batch * steps)
    nothing = np.empty(0, np.uint32), np.empty(0, np.uint64)
    gathered = [
        term.spikes.value.new_empty(len(term.spikes.active_unit) if wanted else 0)
        for term, wanted in zip(terms, needed, strict=True)
    ]
    total = [[p.new_zeros(p.shape) for p in _detached(term.parameter)] for term in terms]
    with torch.autocast("cpu", enabled=False):
        for chunk in _Chunk.all(terms):
            delta = (
                chunk.out.zero_()
            )  # what lies behind a sample's last active entry is not written
            rows = chunk.rows(delta)

            def run(first: int, last: int, rows: Rows = rows) -> None:
                slope, coefficient = slope_of(
                    int(active[1][first * steps]), int(active[1][last * steps])
                )
                adjoint.backward(
                    None,
                    rows,
                    None,
                    constants,
                    *events,
                    *nothing,
                    steps,
                    first,
                    last,
                    aligned((padded(n_out, dtype),), dtype),
                    *own,
                    *active,
                    potential,
                    slope,
                    coefficient,
                    nothing[0],
                    None,
                    None,
                )

            run_all(run, chunk.parts())
            for term, epsilon, sums in zip(terms, gathered, total, strict=True):
                chunk.add_gradients(term, delta, epsilon, sums)
    return Gradients([Gradient(*both) for both in zip(gathered, total, strict=True)])


@dataclass(frozen=True)
class _Chunk:
    """Some samples, and the buffers that every chunk uses.

    Attributes:
        terms: of the layer.
        first: the first sample.
        last: one past the last.
        out: (rows, n_out), currents or δ.
        dense: (rows * the largest n_in,), unpacked spikes.
    """

    terms: Sequence[Term]
    first: int
    last: int
    out: Tensor
    dense: Tensor

    @staticmethod
    def all(terms: Sequence[Term]) -> Iterator[_Chunk]:
        """All samples, in order."""
        n_batch, steps, _ = terms[0].spikes.shape
        most = max(1, min(n_batch, CHUNK // (_row_bytes(terms) * steps)))
        like, n_out = terms[0].parameter[0].detach(), terms[0].connection.n_out
        out = like.new_empty(most * steps, n_out)
        dense = like.new_empty(most * steps * max(term.connection.n_in for term in terms))
        for first in range(0, max(1, n_batch), most):  # one chunk of a batch of none
            last = min(n_batch, first + most)
            yield _Chunk(terms, first, last, out[: (last - first) * steps], dense)

    @property
    def steps(self) -> int:
        """T."""
        return self.terms[0].spikes.shape[1]

    def parts(self) -> list[tuple[int, int]]:
        """Ranges of its samples, one per thread."""
        return [(self.first + a, self.first + b) for a, b in ranges(self.last - self.first)]

    def rows(self, row: Tensor) -> Rows:
        """The chunk's rows of n_out numbers, as a connection."""
        return Rows(row.numpy(), np.uint64(self.first * self.steps))

    def unpacked(self, term: Term) -> Tensor:
        """(rows, n_in): the term's spikes as 0 and 1; until the next."""
        n_row, n_in = len(self.out), term.connection.n_in
        dense = self.dense[: n_row * n_in].view(n_row, n_in)
        lists = form.rows(term.spikes.unit, term.spikes.offset)
        self._walk(lambda *rows: unpacked_walk.unpack(*lists, *rows, dense.numpy()))
        return dense

    def currents(self) -> Tensor:
        """(rows, n_out): what all terms bring."""
        total = None
        for term in self.terms:
            dense, (weight, *bias) = self.unpacked(term), _detached(term.parameter)
            if isinstance(term.connection, Conv):
                brought = _convolved(term.connection, dense, weight, bias)
                total = brought if total is None else total.add_(brought)
                continue
            if total is None:
                total = torch.mm(dense, weight.t(), out=self.out)
            else:
                total.addmm_(dense, weight.t())
            if bias:
                total += bias[0]
        assert total is not None
        return total

    def add_gradients(
        self, term: Term, delta: Tensor, gathered: Tensor, total: Sequence[Tensor]
    ) -> None:
        """Adds ∇ of the parameters to `total`, and writes ε at the chunk's active inputs if wanted."""
        dense, weight = self.unpacked(term), term.parameter[0].detach()
        wanted = len(gathered) > 0
        if isinstance(term.connection, Conv):
            grad, *parts = _convolved_back(term.connection, delta, dense, weight, wanted)
            for whole, part in zip(total, parts, strict=False):
                whole.add_(part)
        else:
            total[0].addmm_(delta.t(), dense)
            grad = torch.mm(delta, weight, out=dense) if wanted else None
            if len(total) > 1:
                total[1].add_(delta.sum(0))
        if grad is not None:
            lists, found = (
                form.rows(term.spikes.active_unit, term.spikes.active_offset),
                grad.numpy(),
            )
            self._walk(lambda *rows: unpacked_walk.pick(found, *lists, *rows, gathered.numpy()))

    def _walk(self, kernel: Callable[[int, int, int], None]) -> None:
        """kernel(begin, end, first) in ranges of the chunk's rows."""
        begin = self.first * self.steps
        run_all(lambda a, b: kernel(begin + a, begin + b, begin), ranges(len(self.out)))


def _convolved(conv: Conv, dense: Tensor, weight: Tensor, bias: list[Tensor]) -> Tensor:
    """(rows, n_in) -> (rows, n_out)."""
    image, padding = _image(conv, dense)
    out = functional.conv2d(
        image,
        weight,
        *bias,
        stride=conv.stride,
        padding=padding,
        dilation=conv.dilation,
        groups=conv.groups,
    )
    return out.reshape(len(dense), conv.n_out)


def _convolved_back(
    conv: Conv, delta: Tensor, dense: Tensor, weight: Tensor, wanted: bool
) -> tuple[Tensor | None, Tensor, Tensor]:
    """ε (rows, n_in), None where it is not wanted, ∇ of the weight, and of a bias."""
    image, padding = _image(conv, dense)
    delta = delta.view(len(delta), *conv.out_shape)
    grad, grad_weight, grad_bias = torch.ops.aten.convolution_backward(
        delta,
        image,
        weight,
        [conv.n_channel],
        conv.stride,
        padding,
        conv.dilation,
        False,
        (0, 0),
        conv.groups,
        (wanted, True, True),
    )
    if not wanted:
        return None, grad_weight, grad_bias
    (above, _), (left, _) = conv.padding
    if padding == (0, 0):
        _, height, width = conv.in_shape
        grad = grad[..., above : above + height, left : left + width]
    return grad.reshape(dense.shape), grad_weight, grad_bias


def _image(conv: Conv, dense: Tensor) -> tuple[Tensor, tuple[int, int]]:
    """(rows, C, H, W), and the padding that is left to do: an uneven one is done here."""
    image = dense.view(len(dense), *conv.in_shape)
    (above, below), (left, right) = conv.padding
    if above == below and left == right:
        return image, (above, left)
    return functional.pad(image, (left, right, above, below)), (0, 0)


def _check(terms: Sequence[Term]) -> None:
    reason = refusal(terms)
    if reason:
        raise ValueError(
            f"current: expected a layer with a dense form, found one without: {reason}"
        )


def _detached(parameter: Sequence[Tensor]) -> list[Tensor]:
    return [tensor.detach() for tensor in parameter]


def _events(n_row: int) -> tuple[NDArray, NDArray]:
    """Units and bounds of one event per row, the row itself."""
    return np.empty(0, np.uint32), np.arange(n_row + 1, dtype=np.uint64)


def _row_bytes(terms: Sequence[Term]) -> int:
    """Of one row of the tensors that live at a time."""
    size = terms[0].parameter[0].element_size()
    return size * (terms[0].connection.n_out + max(term.connection.n_in for term in terms))


def _multiplies_in_full() -> bool:
    """Whether torch's own switches leave float32 products on the CPU as they are."""
    if torch.get_float32_matmul_precision() != "highest":
        return False
    general = getattr(
        torch.backends, "fp32_precision", "none"
    )  # older versions have no such switch
    for kind in ("matmul", "conv"):
        switch = getattr(torch.backends.mkldnn, kind, None)
        own = getattr(switch, "fp32_precision", "none")
        if (general if own == "none" else own) not in FULL:
            return False
    return True
