"""`SparseLinear` on the GPU: currents by neuron, ∇W and ε by input, over the synapses that there are.

A word holds 32 steps of an input, so a synapse is read once for all of them. Numbers are added in
the parameters' dtype, float32 or float64, one after the other in a fixed order: the same bits on
every run, and nothing that TF32 or autocast would change.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from sparsespike.backends.gpu.bits import any_left, lowest
from sparsespike.backends.gpu.precision import products
from sparsespike.backends.gpu.sparse_order import order_of
from sparsespike.backends.gpu.synapses import PROGRAMS, entries
from sparsespike.descriptions import SparseLinear, Term

NEURONS = 32  # of a program of `synapse_currents`
SYNAPSES = 64  # of a program of `accumulate_synapses`


class SparseSynapses:
    """A term through `SparseLinear`, for one pass.

    Args:
        term: spikes (B, T, K) as words; weight (n_synapses,), and bias (N,) if any.
        planes: (n_synapses,) the weights by neuron, where the forward pass made them.

    Attributes:
        how: products in full: there are none but with 0 and 1, and with δ at active inputs.
        beside: numbers per sample and step that live beside the currents or δ: none.
    """

    beside = 0

    def __init__(self, term: Term, planes: Tensor | None = None) -> None:
        parameter, connection = term.parameter, term.connection
        assert isinstance(connection, SparseLinear)
        self.spikes, self.words = term.spikes, term.spikes.words
        self.batch, self.n_word, self.n_in = self.words.word.shape
        self.n_out = connection.n_out
        self.weight = parameter[0].detach()
        self.bias = parameter[1].detach().contiguous() if len(parameter) > 1 else None
        self.how = products(self.weight.dtype, "full")
        self.order = order_of(connection)
        self.planes = self.weight.index_select(0, self.order.given) if planes is None else planes

    def scatter(self, first: int, words: int, current: Tensor) -> None:
        """Writes the currents (B, words * 32, N) of a segment."""
        synapse_currents[(self.batch * words * triton.cdiv(self.n_out, NEURONS),)](
            self.words.word,
            self.planes,
            self.order.neuron_bound,
            self.order.unit,
            self.planes if self.bias is None else self.bias,
            current,
            first,
            self.n_word,
            words,
            self.n_in,
            self.n_out,
            HAS_BIAS=self.bias is not None,
            BLOCK_N=NEURONS,
            num_warps=1,  # whether a bit is set is then asked of no other warp
        )

    def gradient(self, n_active: int) -> SparseGradient:
        """What takes up δ; `n_active` active inputs want their ε."""
        return SparseGradient(self, n_active)


class SparseGradient:
    """The gradients of `SparseLinear` for one backward pass, summed segment after segment.

    Args:
        synapses: the connection.
        n_active: active inputs whose ε is wanted, 0 for none.
    """

    def __init__(self, synapses: SparseSynapses, n_active: int) -> None:
        self.synapses = synapses
        weight = synapses.weight
        tiles = max(1, len(weight) // (16 * SYNAPSES))  # these programs are small
        n_part = max(1, min(PROGRAMS // tiles, synapses.batch * synapses.n_word))
        self.part = weight.new_empty((n_part, len(weight)))
        self.bias = None if synapses.bias is None else torch.zeros_like(synapses.bias)
        self.fresh = True
        self.input = synapses.spikes.value.new_empty(n_active)
        if n_active:
            self.by_input = synapses.planes.index_select(0, synapses.order.across)
            self.row, self.unit = entries(synapses.words, n_active)

    def add(self, delta: Tensor, first: int, words: int) -> None:
        """Takes up δ (B, words * 32, N) of a segment."""
        own, order = self.synapses, self.synapses.order
        n_part, n_synapses = self.part.shape
        accumulate_synapses[(triton.cdiv(n_synapses, SYNAPSES), n_part)](
            own.words.word,
            delta,
            self.part,
            order.from_unit,
            order.neuron,
            order.from_given,
            own.batch,
            first,
            own.n_word,
            words,
            own.n_in,
            own.n_out,
            n_synapses,
            n_part,
            FRESH=self.fresh,
            BLOCK_S=SYNAPSES,
            num_warps=1,  # as above
        )
        self.fresh = False
        if self.bias is not None:
            self.bias += delta.sum((0, 1), dtype=self.bias.dtype)
        n_active, block_e = len(self.input), 32
        if not n_active:
            return
        gather_synapses[(triton.cdiv(n_active, block_e),)](
            delta,
            self.by_input,
            order.unit_bound,
            order.neuron,
            self.row,
            self.unit,
            self.input,
            n_active,
            first,
            own.n_word,
            words,
            own.n_out,
            BLOCK_E=block_e,
            BLOCK_S=16,
        )

    def parameters(self) -> list[Tensor]:
        """The gradients, in the shapes of the parameters, contiguous."""
        weight = self.part.sum(0)
        return [weight] if self.bias is None else [weight, self.bias]


@triton.jit(do_not_specialize=["first", "n_word", "words"])
def synapse_currents(
    word_p,
    weight_p,
    bound_p,
    unit_p,
    bias_p,
    current_p,
    first,
    n_word,
    words,
    K,
    N,
    HAS_BIAS: tl.constexpr,
    BLOCK_N: tl.constexpr,
):
    """current[b, t, n] = Σ over the synapses of n of S[b, t, k] w (+ bias[n]), the sum in eq. 2.

    A program goes through the synapses of its neurons, one of each at a time, for as long as any has
    one left; 32 steps at once. Where none of these inputs spikes in the word, nothing is added.

    Args:
        word_p: (B, n_word, K) input spikes.
        weight_p: (n_synapses,) weights by neuron.
        bound_p: (N + 1,) bounds of each neuron's synapses.
        unit_p: (n_synapses,) the input of each.
        bias_p: (N,), read if HAS_BIAS.
        current_p: (B, words * 32, N), written.
        first, n_word, words: first word of the segment, words of the recording, words of the segment.
    """
    blocks = tl.cdiv(N, BLOCK_N)
    u = (tl.program_id(0) // blocks).to(tl.int64)
    n = tl.program_id(0) % blocks * BLOCK_N + tl.arange(0, BLOCK_N)
    step = tl.arange(0, 32)
    inside = n < N
    begin = tl.load(bound_p + n, mask=inside, other=0)
    end = tl.load(bound_p + n + 1, mask=inside, other=0)
    word_p += (u // words * n_word + first + u % words) * K
    total = tl.zeros((32, BLOCK_N), current_p.dtype.element_ty)
    for r in range(0, tl.max(end - begin, 0)):
        s = begin + r
        known = s < end
        unit = tl.load(unit_p + s, mask=known, other=0)
        weight = tl.load(weight_p + s, mask=known, other=0.0)
        word = tl.load(word_p + unit, mask=known, other=0)
        if any_left(word):
            spike = (word[None, :] >> step[:, None]) & 1
            total += tl.where(spike != 0, weight[None, :], 0.0)
    if HAS_BIAS:
        total += tl.load(bias_p + n, mask=inside, other=0.0)[None, :]
    to_p = current_p + (u * 32 + step[:, None]) * N + n[None, :]
    tl.store(to_p, total, mask=inside[None, :])


@triton.jit(do_not_specialize=["B", "first", "n_word", "words", "parts"])
def accumulate_synapses(
    word_p,
    delta_p,
    part_p,
    unit_p,
    neuron_p,
    given_p,
    B,
    first,
    n_word,
    words,
    K,
    N,
    n_synapses,
    parts,
    FRESH: tl.constexpr,
    BLOCK_S: tl.constexpr,
):
    """part[z] (+)= Σ_{b, t in part z} S[b, t, k] δ[b, t, n] of each synapse: ∇W by input events.

    Synapses are in order of their inputs: neighbours read the same word, and one row of δ per spike.

    Args:
        word_p: (B, n_word, K) input spikes.
        delta_p: (B, words * 32, N).
        part_p: (parts, n_synapses), in the order of the index; written if FRESH, else added to.
        unit_p, neuron_p: (n_synapses,) what each synapse connects, by input.
        given_p: (n_synapses,) which it was in the index.
        first, n_word, words: see `synapse_currents`.
        parts: so many programs share the rows (sample, word).
    """
    s = tl.program_id(0).to(tl.int64) * BLOCK_S + tl.arange(0, BLOCK_S)
    z = tl.program_id(1)
    state: tl.constexpr = part_p.dtype.element_ty
    known = s < n_synapses
    unit = tl.load(unit_p + s, mask=known, other=0)
    neuron = tl.load(neuron_p + s, mask=known, other=0)
    to_p = part_p + z.to(tl.int64) * n_synapses + tl.load(given_p + s, mask=known, other=0)
    if FRESH:
        total = tl.zeros((BLOCK_S,), state)
    else:
        total = tl.load(to_p, mask=known, other=0.0)
    share = tl.cdiv(B * words, parts)
    for u in range(z * share, tl.minimum((z + 1) * share, B * words)):
        row = tl.cast(u // words, tl.int64) * n_word + first + u % words
        word = tl.load(word_p + row * K + unit, mask=known, other=0)
        from_p = delta_p + tl.cast(u, tl.int64) * 32 * N + neuron
        while any_left(word):
            at = lowest(word).to(tl.int64) * N
            total += tl.load(from_p + at, mask=word != 0, other=0.0).to(state)
            word = word & (word - 1)
    tl.store(to_p, total, mask=known)


@triton.jit(do_not_specialize=["n_active", "first", "n_word", "words"])
def gather_synapses(
    delta_p,
    weight_p,
    bound_p,
    neuron_p,
    row_p,
    unit_p,
    grad_p,
    n_active,
    first,
    n_word,
    words,
    N,
    BLOCK_E: tl.constexpr,
    BLOCK_S: tl.constexpr,
):
    """ε[b, t, k] = Σ over the synapses of k of w δ[b, t, n] at the active inputs of the segment (eq. 12).

    Args:
        delta_p: (B, words * 32, N).
        weight_p: (n_synapses,) weights by input.
        bound_p: (K + 1,) bounds of each input's synapses.
        neuron_p: (n_synapses,) where each leads.
        row_p, unit_p: (n_active,) see `list_entries`.
        grad_p: (n_active,), written.
        first, n_word, words: see `synapse_currents`.
    """
    entry = tl.program_id(0).to(tl.int64) * BLOCK_E + tl.arange(0, BLOCK_E)
    known = entry < n_active
    row = tl.load(row_p + entry, mask=known, other=0)
    b, step = row // (n_word * 32), row % (n_word * 32) - first * 32
    known = known & (step >= 0) & (step < words * 32)
    unit = tl.load(unit_p + entry, mask=known, other=0)
    begin = tl.load(bound_p + unit, mask=known, other=0)
    end = tl.load(bound_p + unit + 1, mask=known, other=0)
    from_p = delta_p + (b * words * 32 + step) * N
    total = tl.zeros((BLOCK_E, BLOCK_S), grad_p.dtype.element_ty)
    for r in range(0, tl.max(end - begin, 0), BLOCK_S):
        s = begin[:, None] + r + tl.arange(0, BLOCK_S)[None, :]
        inside = s < end[:, None]
        neuron = tl.load(neuron_p + s, mask=inside, other=0)
        weight = tl.load(weight_p + s, mask=inside, other=0.0)
        delta = tl.load(from_p[:, None] + neuron, mask=inside, other=0.0)
        total += delta.to(total.dtype) * weight
    tl.store(grad_p + entry, tl.sum(total, 1), mask=known)
