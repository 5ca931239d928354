"""Where `torch.compile` stops: what makes lists of events is called between graphs, as it is."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any, TypeVar

import torch

Function = TypeVar("Function", bound=Callable[..., Any])


def uncompiled(function: Function) -> Function:
    """The function, left out of graphs; each call of it is one graph break.

    `torch.compiler.disable` alone would do it, and import the compiler, which takes seconds, for everyone.
    """
    disabled: list[Callable[..., Any]] = []

    @functools.wraps(function)
    def call(*args: Any, **settings: Any) -> Any:
        if "torch._dynamo" not in sys.modules:  # nothing was ever compiled
            return function(*args, **settings)
        if not disabled:
            disabled.append(torch.compiler.disable(function))
        return disabled[0](*args, **settings)

    return call  # pyright: ignore[reportReturnType]
