"""`Conv` on the GPU: bits of some samples are unpacked, and PyTorch's own convolution does the rest.

ε is computed of every input of these samples and picked at the active entries. So memory follows events, but
for what is unpacked at a time, and time is that of a dense convolution.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.nn import functional

from sparsespike.backends.gpu import plan
from sparsespike.backends.gpu.bits import any_left, lowest, places, spread
from sparsespike.backends.gpu.precision import Products
from sparsespike.descriptions import Conv, Term
from sparsespike.spikes.words import STEPS, UNITS, n_blocks

_switches = threading.Lock()  # backward passes of several GPUs run in threads


class ConvSynapses:
    """A term through `Conv`, for one pass.

    Args:
        term: spikes (B, T, K) as words; weight (C_out, C_in / groups, kH, kW), and bias (C_out,) if any.
        how: how to multiply.
        planes: the weights as they are multiplied, where the forward pass made them.

    Attributes:
        beside: numbers per sample and step that live beside the currents or δ: an image, and its ε.
    """

    def __init__(self, term: Term, how: Products, planes: Tensor | None = None) -> None:
        parameter, connection = term.parameter, term.connection
        assert isinstance(connection, Conv)
        self.spikes, self.words, self.how = term.spikes, term.spikes.words, how
        self.connection = connection
        self.batch, self.n_word, self.n_in = self.words.word.shape
        self.weight = parameter[0].detach()
        self.bias = parameter[1].detach() if len(parameter) > 1 else None
        self.n_out = connection.n_out
        if planes is None:
            planes = how.rounded(self.weight).clone(memory_format=torch.contiguous_format)
        self.planes = planes
        # PyTorch pads both sides alike. What one side has more of is part of the image.
        self.padding = tuple(min(sides) for sides in connection.padding)
        (above, below), (left, right) = connection.padding
        channels, height, width = connection.in_shape
        self.image = channels, height + abs(above - below), width + abs(left - right)
        self.layout = (
            self.n_in,
            channels * self.image[1] * self.image[2],
            *connection.in_shape[1:],
            *self.image[1:],
            max(0, above - below),
            max(0, left - right),
        )
        self.beside = 2 * self.layout[1]

    def scatter(self, first: int, words: int, current: Tensor) -> None:
        """Writes the currents (B, words * 32, N) of a segment."""
        connection = self.connection
        with multiplying(self.how, current.device):
            for sample, samples in self.samples(words):
                brought = functional.conv2d(
                    self.unpacked(sample, samples, first, words),
                    self.planes,
                    self.bias,
                    connection.stride,
                    self.padding,
                    connection.dilation,
                    connection.groups,
                )
                part = current[sample : sample + samples]
                part.copy_(brought.reshape(part.shape))

    def gradient(self, n_active: int) -> ConvGradient:
        """What takes up δ; `n_active` active inputs want their ε."""
        return ConvGradient(self, n_active)

    def samples(self, words: int) -> list[tuple[int, int]]:
        """(first sample, samples) of each part of a segment, such that its images are small enough."""
        units = self.n_out + self.beside
        return plan.pieces(self.batch, words * STEPS * units * self.weight.itemsize)

    def unpacked(self, sample: int, samples: int, first: int, words: int) -> Tensor:
        """Images (samples * words * 32, C_in, H, W) of 0 and 1."""
        image = self.planes.new_empty((samples * words * STEPS, *self.image))
        unpack[(samples, words, n_blocks(self.layout[1]))](
            self.words.word, image, sample, first, self.n_word, words, *self.layout, UNITS=UNITS
        )
        return image


class ConvGradient:
    """The gradients of `Conv` for one backward pass, summed segment after segment.

    Args:
        synapses: the connection.
        n_active: active inputs whose ε is wanted, 0 for none.
    """

    def __init__(self, synapses: ConvSynapses, n_active: int) -> None:
        self.synapses = synapses
        self.weight = torch.zeros_like(synapses.planes)
        self.bias = None if synapses.bias is None else torch.zeros_like(synapses.bias)
        self.input = synapses.spikes.value.new_empty(n_active)

    def add(self, delta: Tensor, first: int, words: int) -> None:
        """Takes up δ (B, words * 32, N) of a segment."""
        own, connection = self.synapses, self.synapses.connection
        if self.bias is not None:
            by_unit = delta.sum((0, 1), dtype=self.bias.dtype)
            self.bias += by_unit.view(connection.n_channel, -1).sum(1)
        with multiplying(own.how, delta.device):
            for sample, samples in own.samples(words):
                part = delta[sample : sample + samples].to(self.weight.dtype)
                below, weight, _ = torch.ops.aten.convolution_backward(
                    part.view(-1, *connection.out_shape),
                    own.unpacked(sample, samples, first, words),
                    own.planes,
                    None,
                    connection.stride,
                    own.padding,
                    connection.dilation,
                    False,
                    (0, 0),
                    connection.groups,
                    (bool(len(self.input)), True, False),
                )
                self.weight += weight
                if len(self.input):
                    pick[(samples, words, n_blocks(own.n_in))](
                        below.contiguous(),
                        own.words.active,
                        own.words.start,
                        self.input,
                        sample,
                        first,
                        own.n_word,
                        words,
                        *own.layout,
                        UNITS=UNITS,
                    )

    def parameters(self) -> list[Tensor]:
        """The gradients, in the shapes of the parameters, contiguous."""
        return [self.weight] if self.bias is None else [self.weight, self.bias]


@contextmanager
def multiplying(how: Products, device: torch.device) -> Iterator[None]:
    """PyTorch's convolutions multiply as `how` says inside the `with`, and sum in a fixed order.

    Autocast is off: it would round the sums as well. The switches are the process's own, so one thread at
    a time has them; it holds them for as long as launches take.
    """
    cudnn: Any = torch.backends.cudnn
    wanted = "tf32" if how.tf32 else "ieee"
    with _switches, torch.autocast(device.type, enabled=False):
        before = cudnn.conv.fp32_precision, cudnn.deterministic
        cudnn.conv.fp32_precision, cudnn.deterministic = wanted, True
        try:
            yield
        finally:
            cudnn.conv.fp32_precision, cudnn.deterministic = before


@triton.jit(do_not_specialize=["sample", "first", "n_word", "words"])
def unpack(
    word_p,
    image_p,
    sample,
    first,
    n_word,
    words,
    K,
    SIZE,
    H,
    W,
    HEIGHT,
    WIDTH,
    above,
    left,
    UNITS: tl.constexpr,
):
    """image[b, t, c, y, x] = S[sample + b, t, (c, y - above, x - left)], 0 outside.

    Args:
        word_p: (B, n_word, K) input spikes, K = C * H * W.
        image_p: (samples, words * 32, SIZE) written, SIZE = C * HEIGHT * WIDTH.
        sample: first sample.
        first, n_word, words: first word of the segment, words of the recording, words of the segment.
        above, left: zeros before rows and columns.
    """
    b = tl.program_id(0).to(tl.int64)
    w = tl.program_id(1)
    at = tl.program_id(2) * UNITS + tl.arange(0, UNITS)
    y, x = at // WIDTH % HEIGHT - above, at % WIDTH - left
    there = (at < SIZE) & (y >= 0) & (y < H) & (x >= 0) & (x < W)
    k = (at // (HEIGHT * WIDTH) * H + y) * W + x
    word = tl.load(word_p + ((b + sample) * n_word + first + w) * K + k, mask=there, other=0)
    bit = spread(word[None, :], 32).to(image_p.dtype.element_ty)
    to_p = image_p + (b * words + w) * 32 * SIZE
    tl.store(to_p + tl.arange(0, 32)[:, None] * SIZE + at[None, :], bit, mask=at[None, :] < SIZE)


@triton.jit(do_not_specialize=["sample", "first", "n_word", "words"])
def pick(
    image_p,
    active_p,
    start_p,
    grad_p,
    sample,
    first,
    n_word,
    words,
    K,
    SIZE,
    H,
    W,
    HEIGHT,
    WIDTH,
    above,
    left,
    UNITS: tl.constexpr,
):
    """ε at the active entries of one block and word, from that of every input. See `unpack`.

    Args:
        image_p: (samples, words * 32, SIZE) ε.
        active_p: (B, n_word, K) active inputs.
        start_p: (B, n_word, blocks) where each block begins in `grad_p`.
        grad_p: (n_active_in,), written.
    """
    b = tl.program_id(0).to(tl.int64)
    w = tl.program_id(1)
    block = tl.program_id(2)
    k = block * UNITS + tl.arange(0, UNITS)
    word_at = (b + sample) * n_word + first + w
    remaining = tl.load(active_p + word_at * K + k, mask=k < K, other=0)
    to = places(remaining, tl.load(start_p + word_at * tl.num_programs(2) + block))
    y, x = k // W % H + above, k % W + left
    at = (b * words + w) * 32 * SIZE + (k // (H * W) * HEIGHT + y) * WIDTH + x
    while any_left(remaining):
        from_p = image_p + at + lowest(remaining).to(tl.int64) * SIZE
        grad = tl.load(from_p, mask=remaining != 0, other=0.0)
        tl.store(grad_p + to, grad, mask=remaining != 0)
        to += 1
        remaining = remaining & (remaining - 1)
