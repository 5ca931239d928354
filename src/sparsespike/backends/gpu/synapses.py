"""The verbs of a connection as the host calls them: what a segment's kernels are launched with.

A connection has three: `scatter` spikes into currents, `accumulate` ∇W from spikes and δ, `gather`
ε at the active inputs from δ. The neuron's side sees currents and δ alone, so connections and
neurons combine freely.
"""

from __future__ import annotations

import torch
import triton
from torch import Tensor

from sparsespike.backends.gpu import linear, plan
from sparsespike.backends.gpu.precision import Products, planes_of
from sparsespike.descriptions import Term
from sparsespike.spikes.words import UNITS, Words, n_blocks

# Programs that share a sum, at least: two for each of 132 processors.
PROGRAMS = 264


class LinearSynapses:
    """A term through `Linear`, for one pass.

    Args:
        term: spikes (B, T, K) as words; weight (N, K), and bias (N,) if any.
        how: how to multiply.
        planes: (planes, K, N) operands that stand for the weights, where the forward pass made them.

    Attributes:
        beside: numbers per sample and step that live beside the currents or δ: none.
    """

    beside = 0

    def __init__(self, term: Term, how: Products, planes: Tensor | None = None) -> None:
        parameter = term.parameter
        self.spikes, self.words, self.how = term.spikes, term.spikes.words, how
        self.batch, self.n_word, self.n_in = self.words.word.shape
        self.weight = parameter[0].detach().t()  # (K, N)
        self.bias = parameter[1].detach().contiguous() if len(parameter) > 1 else None
        self.n_out = self.weight.shape[1]
        self.planes = planes_of(self.weight, how) if planes is None else planes

    def scatter(self, first: int, words: int, current: Tensor) -> None:
        """Writes the currents (B, words * 32, N) of a segment."""
        block_w, block_n = (1, 32) if current.dtype == torch.float64 else (min(4, words), 64)
        block_w = triton.next_power_of_2(block_w)
        grid = self.batch, triton.cdiv(words, block_w), triton.cdiv(self.n_out, block_n)
        linear.currents[grid](
            self.words.word,
            self.planes,
            self.planes if self.bias is None else self.bias,
            current,
            first,
            self.n_word,
            words,
            self.n_in,
            self.n_out,
            HAS_BIAS=self.bias is not None,
            PLANES=self.how.planes,
            PRECISION=self.how.input_precision,
            BLOCK_W=block_w,
            BLOCK_K=32,
            BLOCK_N=block_n,
            num_stages=_stages(current.dtype),
        )

    def gradient(self, n_active: int) -> LinearGradient:
        """What takes up δ, in the faster forms; `n_active` active inputs want their ε."""
        return LinearGradient(self, plan.forms(self.spikes, self.n_out), n_active)


class LinearGradient:
    """The gradients of `Linear` for one backward pass, summed segment after segment.

    Args:
        synapses: the connection.
        form: of ∇W and of ε.
        n_active: active inputs whose ε is wanted, 0 for none.
    """

    def __init__(self, synapses: LinearSynapses, form: plan.Forms, n_active: int) -> None:
        self.synapses, self.form = synapses, form
        weight, n_in, n_out = synapses.weight, synapses.n_in, synapses.n_out
        self.block = 32 if weight.dtype == torch.float64 else 64
        if form.gradient == "dense":
            tiles = triton.cdiv(n_in, self.block) * triton.cdiv(n_out, self.block)
        else:
            tiles = max(1, n_in // 16)  # these programs are small
        n_part = max(1, min(PROGRAMS // tiles, synapses.batch * synapses.n_word))
        self.part = weight.new_empty((n_part, n_in, n_out))
        self.bias = None if synapses.bias is None else torch.zeros_like(synapses.bias)
        self.fresh = True
        self.input = synapses.spikes.value.new_empty(n_active)
        if not n_active:
            return
        if form.input == "dense":
            return
        self.weight = weight.contiguous()
        self.row, self.unit = entries(synapses.words, n_active)

    def add(self, delta: Tensor, first: int, words: int) -> None:
        """Takes up δ (B, words * 32, N) of a segment."""
        self._accumulate(delta, first, words)
        self.fresh = False
        if self.bias is not None:
            self.bias += delta.sum((0, 1), dtype=self.bias.dtype)
        if not len(self.input):
            return
        if self.form.input == "dense":
            self._gather_dense(delta, first, words)
        else:
            self._gather_sparse(delta, first, words)

    def parameters(self) -> list[Tensor]:
        """The gradients, in the shapes of the parameters, contiguous."""
        gradient = self.part.new_empty(self.part.shape[:0:-1])
        torch.sum(self.part, 0, out=gradient.t())
        return [gradient] if self.bias is None else [gradient, self.bias]

    def _accumulate(self, delta: Tensor, first: int, words: int) -> None:
        own, how = self.synapses, self.synapses.how
        n_part = self.part.shape[0]
        where = own.batch, first, own.n_word, words, own.n_in, own.n_out, n_part
        if self.form.gradient == "sparse":
            block = min(256, max(32, triton.next_power_of_2(own.n_out)))
            grid = own.n_in, triton.cdiv(own.n_out, block), n_part
            linear.accumulate_sparse[grid](
                own.words.word, delta, self.part, *where, FRESH=self.fresh, BLOCK_N=block
            )
            return
        grid = triton.cdiv(own.n_in, self.block), triton.cdiv(own.n_out, self.block), n_part
        linear.accumulate_dense[grid](
            own.words.word,
            delta,
            self.part,
            *where,
            FRESH=self.fresh,
            PLANES=how.planes,
            OPERAND=getattr(triton.language, str(how.operand).removeprefix("torch.")),
            EMULATED=how.emulated,
            PRECISION=how.input_precision,
            BLOCK_K=self.block,
            BLOCK_N=self.block,
            num_stages=_stages(self.part.dtype),
            num_warps=8,  # with four, ptxas spills on some targets
        )

    def _gather_dense(self, delta: Tensor, first: int, words: int) -> None:
        own, how = self.synapses, self.synapses.how
        block_w, block_n = (1, 16) if self.part.dtype == torch.float64 else (min(2, words), 32)
        linear.gather_dense[(own.batch, triton.cdiv(words, block_w), n_blocks(own.n_in))](
            delta,
            own.planes,
            own.words.active,
            own.words.start,
            self.input,
            first,
            own.n_word,
            words,
            own.n_in,
            own.n_out,
            PLANES=how.planes,
            EMULATED=how.emulated,
            PRECISION=how.input_precision,
            BLOCK_W=block_w,
            BLOCK_N=block_n,
            UNITS=UNITS,
            num_stages=_stages(self.part.dtype),
        )

    def _gather_sparse(self, delta: Tensor, first: int, words: int) -> None:
        own, n_active = self.synapses, len(self.input)
        block_e = 16
        linear.gather_sparse[(triton.cdiv(n_active, block_e),)](
            delta,
            self.weight,
            self.row,
            self.unit,
            self.input,
            n_active,
            first,
            own.n_word,
            words,
            own.n_out,
            BLOCK_E=block_e,
            BLOCK_N=64,
        )


def entries(words: Words, n_active: int) -> tuple[Tensor, Tensor]:
    """The active inputs, listed: (n_active,) int64 row and int32 unit of each; see `list_entries`."""
    batch, n_word, n_in = words.word.shape
    row = torch.empty(n_active, dtype=torch.int64, device=words.device)
    unit = torch.empty(n_active, dtype=torch.int32, device=words.device)
    linear.list_entries[(batch, n_word, n_blocks(n_in))](
        words.active, words.start, row, unit, n_word, n_in, UNITS=UNITS
    )
    return row, unit


def _stages(dtype: torch.dtype) -> int:
    """Tiles on their way from memory at a time; float64 has no registers for more than one."""
    return 1 if dtype == torch.float64 else 3
