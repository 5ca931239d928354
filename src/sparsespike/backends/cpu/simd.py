"""Vector registers in Numba: blocks of a row that stay in registers from load to store.

Numba's own loops over rows come with checks for overlapping arrays and a scalar tail, which cost more
than the work at a few hundred neurons. Here a block of `BLOCK` bytes is one LLVM vector: a register of
AVX2, half of one of AVX-512, two of NEON. Rows are padded to whole blocks, and are written in whole
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


def aligned(shape: tuple[int, ...], dtype: np.dtype, value: float = 0.0) -> np.ndarray:
    """An array of this value whose blocks cross no cache line: torch aligns its memory, NumPy does not."""
    kind = torch.float32 if dtype == np.float32 else torch.float64
    return torch.full(shape, value, dtype=kind).numpy()


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


@intrinsic
def load(typingctx, array, index):
    """The block that starts at the flat `index` of a C-contiguous array."""
    vector = _vector_of(array)

    def codegen(context, builder, signature, args):
        return builder.load(
            _address(context, builder, signature, args, vector), align=_bytes(vector)
        )

    return vector(array, types.intp), codegen


@intrinsic
def store(typingctx, array, index, block):
    """Writes a block to the flat `index` of a C-contiguous array."""

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
def total(typingctx, block):
    """The sum of a block's entries, as a scalar."""

    def codegen(context, builder, signature, args):
        scalar, vector = args[0].type.element, args[0].type
        kind = ir.FunctionType(scalar, (scalar, vector))
        name = f"llvm.vector.reduce.fadd.v{block.lanes}f{block.dtype.bitwidth}"
        function = cgutils.get_or_insert_function(builder.module, kind, name)
        return builder.call(function, (ir.Constant(scalar, -0.0), args[0]), fastmath=FAST)

    return block.dtype(block), codegen


@intrinsic
def above(typingctx, block, level):
    """Bit k of the result: whether entry k of the block is > level."""

    def codegen(context, builder, signature, args):
        bits = builder.fcmp_ordered(">", args[0], _spread(builder, args[0].type, args[1]))
        return builder.zext(builder.bitcast(bits, ir.IntType(block.lanes)), ir.IntType(64))

    return types.uint64(block, block.dtype), codegen


@intrinsic
def lowest_bit(typingctx, word):
    """Index of the lowest set bit of a 64-bit word that is not zero."""

    def codegen(context, builder, signature, args):
        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 1))

    return types.intp(types.uint64), codegen


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
