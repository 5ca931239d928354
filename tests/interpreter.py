"""Makes Triton's interpreter faster, three times or so; what is computed stays the same.

Nearly all its time goes into Python around the arrays: it patches its language anew at every call of a device
function, computes every sum of integers again in 64 bits for an overflow check that it then leaves out, and
builds the same descriptions of types and shapes over and over.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any


def speed_up() -> None:
    """Changes the interpreter of this process; does nothing a second time."""
    from triton.runtime import interpreter

    if getattr(interpreter, "is_sped_up", False):
        return
    _patch_once_per_launch(interpreter)
    _leave_out_overflow(interpreter)
    _keep_types(interpreter)
    _keep_shapes(interpreter)
    interpreter.is_sped_up = True  # pyright: ignore[reportAttributeAccessIssue]


def _patch_once_per_launch(interpreter: Any) -> None:
    """Once per launch and module is enough; a helper's call costs a tenth then."""
    patch, launch = interpreter._patch_lang, interpreter.GridExecutor.__call__
    patched: set[int] = set()

    class Nothing:
        def restore(self) -> None:
            pass

    def patch_new(fn: Any) -> Any:
        if id(fn.__globals__) in patched:
            return Nothing()
        patched.add(id(fn.__globals__))
        return patch(fn)

    def launch_afresh(self: Any, *args: Any, **options: Any) -> Any:
        patched.clear()
        try:
            return launch(self, *args, **options)
        finally:
            patched.clear()

    interpreter._patch_lang = patch_new
    interpreter.GridExecutor.__call__ = launch_afresh


def _leave_out_overflow(interpreter: Any) -> None:
    """The check's outcome is looked at in debug mode alone, which is off."""
    builder = interpreter.interpreter_builder
    assert not builder.options.debug
    builder.options = replace(builder.options, sanitize_overflow=False)


def _keep_types(interpreter: Any) -> None:
    """NumPy's type of a Triton type, from a table made once."""
    of_type = interpreter._get_np_dtype
    found: dict[str, Any] = {}

    def kept(dtype: Any) -> Any:
        if dtype.name not in found:
            found[dtype.name] = of_type(dtype)
        return found[dtype.name]

    interpreter._get_np_dtype = kept


def _keep_shapes(interpreter: Any) -> None:
    """The descriptions that a block's type and a tensor hold of their shape, made once per shape."""
    core = interpreter.tl.core
    describe_type, describe = core.block_type.__init__, core.tensor.__init__
    types: dict[Any, dict[str, Any]] = {}
    shapes: dict[Any, tuple[Any, Any]] = {}

    def block_type(self: Any, element_ty: Any, shape: Any) -> None:
        sizes = tuple(size.value if isinstance(size, core.constexpr) else size for size in shape)
        key = element_ty.name, sizes
        if key not in types:
            describe_type(self, element_ty, shape)
            types[key] = dict(vars(self))
        vars(self).update(types[key], element_ty=element_ty)

    def tensor(self: Any, handle: Any, type: Any) -> None:
        key = tuple(type.shape.values) if type.is_block() else ()
        if key not in shapes:
            describe(self, handle, type)
            shapes[key] = self.shape, self.numel
        self.shape, self.numel = shapes[key]
        self.handle, self.type, self.dtype = handle, type, type.scalar

    core.block_type.__init__ = block_type
    core.tensor.__init__ = tensor

    semantic = type(interpreter.interpreter_semantic)
    to_one_shape = semantic.broadcast_impl_value

    def broadcast(self: Any, lhs: Any, rhs: Any) -> tuple[Any, Any]:
        if getattr(lhs.type, "shape", None) is getattr(rhs.type, "shape", None):
            return lhs, rhs
        return to_one_shape(self, lhs, rhs)

    semantic.broadcast_impl_value = broadcast
