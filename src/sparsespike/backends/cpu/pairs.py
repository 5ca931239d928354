"""Two numbers side by side as one: 8 bytes of float32, one load and one store.

Pairs lie one after the other in a flat array; pair k is its entries 2 k and 2 k + 1. A block (`simd.py`) is
half as many pairs as it has lanes.
"""

from __future__ import annotations

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from sparsespike.backends.cpu.simd import Vector, _bytes, _vector_of


@intrinsic
def load_pair(typingctx, array, pair):
    """The pair of this number."""
    vector = Vector(array.dtype, 2)

    def codegen(context, builder, signature, args):
        address = _pair_address(context, builder, signature, args, vector)
        return builder.load(address, align=_bytes(vector))

    return vector(array, types.intp), codegen


@intrinsic
def add_pair(typingctx, array, pair, vector):
    """Adds to the pair of this number; in the order of the calls, bit for bit."""

    def codegen(context, builder, signature, args):
        address = _pair_address(context, builder, signature, args, vector)
        old = builder.load(address, align=_bytes(vector))
        builder.store(builder.fadd(old, args[2]), address, align=_bytes(vector))
        return context.get_dummy_value()

    return types.void(array, types.intp, vector), codegen


@intrinsic
def pair_times(typingctx, array, pair, other, at):
    """Pair `pair` of one array times pair `at` of another: the sum of both products."""
    vector = Vector(array.dtype, 2)

    def codegen(context, builder, signature, args):
        left = _pair_address(context, builder, signature, args, vector)
        right = _pair_address(context, builder, signature, args, vector, 2)
        pair = [builder.load(each, align=_bytes(vector)) for each in (left, right)]
        both = builder.fmul(*pair)
        first, second = (
            builder.extract_element(both, ir.Constant(ir.IntType(32), k)) for k in (0, 1)
        )
        return builder.fadd(first, second)

    return array.dtype(array, types.intp, other, types.intp), codegen


@intrinsic
def spread_pair(typingctx, array, pair, factor):
    """factor times the pair of this number."""
    vector = Vector(array.dtype, 2)

    def codegen(context, builder, signature, args):
        address = _pair_address(context, builder, signature, args, vector)
        pair = builder.load(address, align=_bytes(vector))
        kind = context.get_data_type(vector)
        both = ir.Constant(kind, ir.Undefined)
        for k in (0, 1):
            both = builder.insert_element(both, args[2], ir.Constant(ir.IntType(32), k))
        return builder.fmul(pair, both)

    return vector(array, types.intp, array.dtype), codegen


@intrinsic
def block_of_pairs(typingctx, array, offset, at, base):
    """A block: the pairs base + offset[at], base + offset[at + 1], ... of an array, side by side."""
    block, pair = _vector_of(array), Vector(array.dtype, 2)

    def codegen(context, builder, signature, args):
        place = context.make_array(offset)(context, builder, args[1]).data
        parts = []
        for k in range(block.lanes // 2):
            where = builder.gep(place, [builder.add(args[2], ir.Constant(args[2].type, k))])
            number = builder.add(builder.zext(builder.load(where), args[3].type), args[3])
            address = _pair_address(context, builder, signature, [args[0], number], pair)
            parts.append(builder.load(address, align=_bytes(pair)))
        while len(parts) > 1:
            parts = [_joined(builder, *parts[k : k + 2]) for k in range(0, len(parts), 2)]
        return parts[0]

    return block(array, offset, types.intp, types.intp), codegen


def _picker(places):
    @intrinsic
    def pick(typingctx, a, b):
        def codegen(context, builder, signature, args):
            index = ir.Constant(ir.VectorType(ir.IntType(32), a.lanes), places(a.lanes))
            return builder.shuffle_vector(args[0], args[1], index)

        return a(a, b), codegen

    return pick


# Of two blocks of pairs, one after the other, the first numbers and the second ones; and back.
firsts = _picker(lambda n: list(range(0, 2 * n, 2)))
seconds = _picker(lambda n: list(range(1, 2 * n, 2)))
paired_low = _picker(lambda n: [k // 2 + n * (k % 2) for k in range(n)])
paired_high = _picker(lambda n: [n // 2 + k // 2 + n * (k % 2) for k in range(n)])


def _pair_address(context, builder, signature, args, pair, which=0):
    """The address of pair args[which + 1] of array args[which]."""
    index = builder.shl(args[which + 1], ir.Constant(args[which + 1].type, 1))
    kind = signature.args[which]
    data = context.make_array(kind)(context, builder, args[which]).data
    return builder.bitcast(builder.gep(data, [index]), context.get_data_type(pair).as_pointer())


def _joined(builder, a, b):
    n = a.type.count
    return builder.shuffle_vector(
        a, b, ir.Constant(ir.VectorType(ir.IntType(32), 2 * n), list(range(2 * n)))
    )
