"""`LayerSpec`: everything about a layer that is not a tensor, and its form as text.

Custom ops take tensors, numbers and strings; so a layer's description travels as one line of JSON. It
is encoded once per layer and decoded once per process and layer.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import sys
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

from sparsespike.connections.linear import LinearSpec
from sparsespike.neurons.lif import LIF, Readout

Precision = Literal["full", "tf32", "bfloat16", "float16"]


@dataclass(frozen=True)
class LayerSpec:
    """One layer: which backend computes it, how it is connected, what its neurons do.

    Attributes:
        backend: name of the backend.
        connection: how input events become currents.
        neuron: what the currents do.
        precision: of products on a GPU; "full" is that of the weights' dtype.
    """

    backend: str
    connection: LinearSpec
    neuron: LIF | Readout
    precision: Precision = "full"


def encode(spec: LayerSpec) -> str:
    """The description as one line of JSON."""
    return json.dumps(_plain(spec), separators=(",", ":"))


@lru_cache(maxsize=1024)
def decode(text: str) -> LayerSpec:
    """The description that `encode` wrote."""
    return _rebuilt(json.loads(text))


def _plain(value: Any) -> Any:
    if not dataclasses.is_dataclass(value):
        return value
    names = [field.name for field in dataclasses.fields(value)]
    return {"kind": _path(type(value))} | {name: _plain(getattr(value, name)) for name in names}


def _rebuilt(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    fields = {name: _rebuilt(item) for name, item in value.items() if name != "kind"}
    module, _, name = value["kind"].rpartition(".")
    return getattr(importlib.import_module(module), name)(**fields)


def _path(kind: type) -> str:
    """Where a class is found again: one's own surrogate may live in any module."""
    if getattr(sys.modules[kind.__module__], kind.__qualname__, None) is not kind:
        raise ValueError(
            f"{kind.__name__}: expected a class at the top of its module, found {kind.__qualname__}"
        )
    return f"{kind.__module__}.{kind.__qualname__}"
