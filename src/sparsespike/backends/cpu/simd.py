"""Vector registers in Numba: blocks of a row that stay in registers from load to store.

Numba's own loops over rows come with checks for overlapping arrays and a scalar tail, which cost more
than the work at a few hundred neurons. Here a block of `BLOCK` bytes is one LLVM vector: a register of
AVX-512, two of AVX2, four of NEON. Rows are padded to whole blocks, and are written in whole
blocks only: a wide load waits for a narrow store to the same place, for longer than a step's work takes.
"""

from __future__ import annotations

import numpy as np
import torch
from llvmlite import ir
from numba import njit
from numba.core import cgutils, types
from numba.extending import intrinsic, models, register_model

BLOCK = 64  # bytes
FAST = ("contract", "reassoc", "nsz")  # sums in any order; NaN and infinity stay what they are


def lanes_of(dtype: np.dtype) -> int:
    """Entries of a block."""
    return BLOCK // dtype.itemsize


def padded(n: int, dtype: np.dtype) -> int:
    """The smallest number of entries >= n that fills whole blocks."""
    return -(-n // lanes_of(dtype)) * lanes_of(dtype)


def aligned(shape: tuple[int, ...], dtype: np.dtype, value: float | None = 0.0) -> np.ndarray:
    """An array of this value (None: of any) whose blocks cross no cache line, as torch aligns its memory."""
    whole = torch.empty(shape, dtype=torch.float32 if dtype == np.float32 else torch.float64)
    return whole.numpy() if value is None else whole.fill_(value).numpy()


class Vector(types.Type):
    """Numba's type of a block.

    Args:
        dtype: float32 or float64.
        lanes: entries.
    """

    def __init__(self, dtype: types.Float, lanes: int) -> None:
        self.dtype, self.lanes = dtype, lanes
        super().__init__(name=f"Vector({dtype}, {lanes})")


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, dmm, fe_type: Vector) -> None:
        scalar = ir.FloatType() if fe_type.dtype.bitwidth == 32 else ir.DoubleType()
        super().__init__(dmm, fe_type, ir.VectorType(scalar, fe_type.lanes))


@intrinsic
def lanes(typingctx, array):
    """Entries of `array` in a block, a constant."""
    count = _vector_of(array).lanes

    def codegen(context, builder, signature, args):
        return context.get_constant(types.intp, count)

    return types.intp(array), codegen


def _loader(blocks: int):
    @intrinsic
    def loader(typingctx, array, index):
        block = _vector_of(array)
        vector = Vector(block.dtype, blocks * block.lanes)

        def codegen(context, builder, signature, args):
            address = _address(context, builder, signature, args, vector)
            return builder.load(address, align=_bytes(vector))

        return vector(array, types.intp), codegen

    return loader


FOUR = 4
ONE, TWO, THREE = np.uint64(1), np.uint64(2), np.uint64(3)  # to count with: indices come unsigned
load = _loader(1)  # (array, index): the block that starts at the flat index of a C-contiguous array
load_two = _loader(2)  # the same for two blocks, in two registers
load_four = _loader(FOUR)  # and for four


def _zeros(blocks: int):
    @intrinsic
    def zeros(typingctx, array):
        block = _vector_of(array)
        vector = Vector(block.dtype, blocks * block.lanes)

        def codegen(context, builder, signature, args):
            return ir.Constant(context.get_data_type(vector), [0.0] * vector.lanes)

        return vector(array), codegen

    return zeros


nothing = _zeros(1)  # (array): a block of zeros, of its dtype
nothing_two = _zeros(2)
nothing_four = _zeros(FOUR)


@intrinsic
def store(typingctx, array, index, block):
    """Writes one block, two or four, to the flat `index` of a C-contiguous array."""

    def codegen(context, builder, signature, args):
        address = _address(context, builder, signature, args, block)
        builder.store(args[2], address, align=_bytes(block))
        return context.get_dummy_value()

    return types.void(array, types.intp, block), codegen


@intrinsic
def plus(typingctx, a, b):
    """a + b."""

    def codegen(context, builder, signature, args):
        return builder.fadd(*args, flags=FAST)

    return a(a, b), codegen


@intrinsic
def minus(typingctx, a, b):
    """a - b."""

    def codegen(context, builder, signature, args):
        return builder.fsub(*args, flags=FAST)

    return a(a, b), codegen


@intrinsic
def times(typingctx, a, b):
    """a * b."""

    def codegen(context, builder, signature, args):
        return builder.fmul(*args, flags=FAST)

    return a(a, b), codegen


@intrinsic
def scaled(typingctx, block, factor):
    """factor * block, the factor a scalar."""

    def codegen(context, builder, signature, args):
        return builder.fmul(args[0], _spread(builder, args[0].type, args[1]), flags=FAST)

    return block(block, block.dtype), codegen


@intrinsic
def alone(typingctx, value, index, array):
    """The block of `array` that holds entry `index`, all zero but for `value` at that entry's place."""
    vector = _vector_of(array)

    def codegen(context, builder, signature, args):
        kind = context.get_data_type(vector)
        places = ir.VectorType(ir.IntType(32), vector.lanes)
        place = builder.and_(
            builder.trunc(args[1], places.element), ir.Constant(places.element, vector.lanes - 1)
        )
        here = builder.icmp_unsigned(
            "==", ir.Constant(places, list(range(vector.lanes))), _spread(builder, places, place)
        )
        nothing = ir.Constant(kind, [0.0] * vector.lanes)
        return builder.select(here, _spread(builder, kind, args[0]), nothing)

    return vector(vector.dtype, types.intp, array), codegen


@intrinsic
def folded(typingctx, four):
    """The sum of four blocks, as one block."""
    vector = Vector(four.dtype, four.lanes // FOUR)

    def codegen(context, builder, signature, args):
        return _folded(builder, args[0])

    return vector(four), codegen


@intrinsic
def total(typingctx, block):
    """The sum of the entries of one block, or of four, as a scalar."""

    def codegen(context, builder, signature, args):
        whole = args[0].type.count * _bytes(block) == BLOCK
        vector = args[0] if whole else _folded(builder, args[0])
        scalar = vector.type.element
        kind = ir.FunctionType(scalar, (scalar, vector.type))
        name = f"llvm.vector.reduce.fadd.v{vector.type.count}f{block.dtype.bitwidth}"
        function = cgutils.get_or_insert_function(builder.module, kind, name)
        return builder.call(function, (ir.Constant(scalar, -0.0), vector), fastmath=FAST)

    return block.dtype(block), codegen


@intrinsic
def totals(typingctx, a, b, c, d):
    """The sums of the entries of each of four blocks, as a vector of four."""
    vector = Vector(a.dtype, FOUR)

    def codegen(context, builder, signature, args):
        while args[0].type.count > FOUR:
            n = args[0].type.count // 2
            args = [_sum_of(builder, x, x, range(n), range(n, 2 * n)) for x in args]
        ab, cd = (_sum_of(builder, *args[k : k + 2], (0, 4, 2, 6), (1, 5, 3, 7)) for k in (0, 2))
        return _sum_of(builder, ab, cd, (0, 1, 4, 5), (2, 3, 6, 7))

    return vector(a, b, c, d), codegen


@intrinsic
def above(typingctx, block, level):
    """Bit k of the result: whether entry k of the block is > level."""

    def codegen(context, builder, signature, args):
        bits = builder.fcmp_ordered(">", args[0], _spread(builder, args[0].type, args[1]))
        return builder.zext(builder.bitcast(bits, ir.IntType(block.lanes)), ir.IntType(64))

    return types.uint64(block, block.dtype), codegen


@intrinsic
def lowered(typingctx, block, scale, level, amount):
    """The block less `amount` in the entries where scale * entry > level."""

    def codegen(context, builder, signature, args):
        scale, level, amount = (_spread(builder, args[0].type, value) for value in args[1:])
        over = builder.fcmp_ordered(">", builder.fmul(args[0], scale), level)
        return builder.select(over, builder.fsub(args[0], amount), args[0])

    return block(block, block.dtype, block.dtype, block.dtype), codegen


@njit(forceinline=True)
def add_alone(row, index, value):
    """row[index] += value, written as a whole block (see above)."""
    at = index & ~(lanes(row) - 1)
    store(row, at, plus(load(row, at), alone(value, index, row)))


def _vector_of(array: types.Array) -> Vector:
    return Vector(array.dtype, BLOCK * 8 // array.dtype.bitwidth)


def _address(context, builder, signature, args, block):
    data = context.make_array(signature.args[0])(context, builder, args[0]).data
    vector = context.get_data_type(block)
    return builder.bitcast(builder.gep(data, [args[1]]), vector.as_pointer())


def _bytes(block: Vector) -> int:
    return block.dtype.bitwidth // 8


def _spread(builder, vector, value):
    """The vector whose entries are all `value`."""
    undefined = ir.Constant(vector, ir.Undefined)
    first = builder.insert_element(undefined, value, ir.Constant(ir.IntType(32), 0))
    zeros = ir.Constant(ir.VectorType(ir.IntType(32), vector.count), [0] * vector.count)
    return builder.shuffle_vector(first, undefined, zeros)


def _folded(builder, four):
    """The sum of the quarters of a vector."""
    n = four.type.count // 2
    half = _sum_of(builder, four, four, range(n), range(n, 2 * n))
    return _sum_of(builder, half, half, range(n // 2), range(n // 2, n))


def _sum_of(builder, a, b, left, right):
    """Entries `left` plus entries `right` of the vectors a and b, counted through."""
    picked = [
        builder.shuffle_vector(
            a, b, ir.Constant(ir.VectorType(ir.IntType(32), len(places)), list(places))
        )
        for places in (left, right)
    ]
    return builder.fadd(*picked, flags=FAST)
