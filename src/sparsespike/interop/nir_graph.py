"""A graph of NIR made plain: neurons, layers between them, and one source for every connection."""

from __future__ import annotations

import copy
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from sparsespike.descriptions import Per
from sparsespike.interop.refused import Refused, refused

MATRICES = ("Affine", "Linear")
CURRENTS = (*MATRICES, "Conv1d", "Conv2d")
SPIKING = ("IF", "LIF", "CubaLIF", "Threshold")
READOUTS = ("I", "LI", "CubaLI")


class Late(NamedTuple):
    """How much later a Linear's spikes arrive, or its currents.

    Attributes:
        seconds: (n_in,) or (n_out,), or one number.
        per: "input" or "output".
    """

    seconds: NDArray[np.float64]
    per: Per


class Plain:
    """Nodes and edges, with what only moves numbers about taken into the matrices beside it.

    Subgraphs are taken for their nodes; scales and delays go into a Linear or an Affine beside them; a
    connection of several sources becomes one for each, of the same weights; two matrices in a row become
    their product.

    Args:
        graph: `nir.NIRGraph`; it stays as it is.

    Attributes:
        nodes: by name; those of a subgraph have its name before theirs.
        before, after: names of the nodes that each takes from, and gives to.
        own: of neurons, the Linear or Affine from them to themselves, which is in neither list.
        late: delays of a Linear or an Affine.
        order: names, each after those that it takes from; without what is in `own`.

    Raises:
        ValueError: naming the node that no network of ours can have.
    """

    def __init__(self, graph: Any) -> None:
        self.nodes: dict[str, Any] = {}
        self.edges: list[tuple[str, str]] = []
        self.late: dict[str, Late] = {}
        self.own: dict[str, str] = {}
        self._unpack(graph, "")
        for name in self._named(*MATRICES):
            self._check(name)
        self._split()
        for name in reversed(self._in_a_step()):
            if self.kind(name) in ("Scale", "Delay"):
                (self._take_scale if self.kind(name) == "Scale" else self._take_delay)(name)
        self._split()
        for name in self._in_a_step():
            self._multiply(name)
        self.before = {name: self._into(name) for name in self.nodes}
        self.after = {name: self._onto(name) for name in self.nodes}
        for name in self._named(*MATRICES):
            ends = self.before[name], self.after[name]
            if ends[0] == ends[1] and len(ends[0]) == 1 and self.kind(ends[0][0]) in SPIKING:
                self.own.setdefault(ends[0][0], name)
        for neurons, connection in self.own.items():
            self.before[neurons].remove(connection)
            self.after[neurons].remove(connection)
        alone = {name: self.before[name] for name in self.nodes if name not in self.own.values()}
        self.order = _sorted(alone, "cycles of spiking neurons and one Linear or Affine each")

    def kind(self, name: str) -> str:
        """The class of a node."""
        return type(self.nodes[name]).__name__

    def refused(self, name: str, why: str) -> Refused:
        """The error for a node that cannot be kept."""
        return refused(name, f"nir.{self.kind(name)}", why)

    def _named(self, *kinds: str) -> list[str]:
        return [name for name in self.nodes if self.kind(name) in kinds]

    def _into(self, name: str) -> list[str]:
        return [one for one, other in self.edges if other == name]

    def _onto(self, name: str) -> list[str]:
        return [other for one, other in self.edges if one == name]

    def _in_a_step(self) -> list[str]:
        """Names, each after those that reach it without neurons between."""
        neurons = (*SPIKING, *READOUTS)
        needs = {
            name: [each for each in self._into(name) if self.kind(each) not in neurons]
            for name in self.nodes
        }
        return _sorted(needs, "neurons in every cycle")

    def _without(self, name: str) -> None:
        """Takes a node out; what it took from gives to what it gave to."""
        around = [(one, other) for one in self._into(name) for other in self._onto(name)]
        self.edges = [edge for edge in self.edges if name not in edge] + around
        del self.nodes[name]

    # ---- subgraphs -----------------------------------------------------------------------------

    def _unpack(self, graph: Any, prefix: str) -> None:
        ends = []
        for name, node in graph.nodes.items():
            if type(node).__name__ == "NIRGraph":
                self._unpack(node, f"{prefix}{name}.")
                inside = {f"{prefix}{name}.{key}": each for key, each in node.nodes.items()}
                ends += [k for k, v in inside.items() if type(v).__name__ in ("Input", "Output")]
            else:
                self.nodes[f"{prefix}{name}"] = node
        for one, other in graph.edges:
            edge = self._end(graph, prefix, one, "Output"), self._end(graph, prefix, other, "Input")
            if not set(edge) <= set(self.nodes):
                raise ValueError(
                    f"graph: expected edges between its nodes, found {prefix}{one} -> {prefix}{other}"
                )
            self.edges.append(edge)
        for name in ends:
            self._without(name)

    def _end(self, graph: Any, prefix: str, name: str, kind: str) -> str:
        node = graph.nodes.get(name)
        if type(node).__name__ != "NIRGraph":
            return f"{prefix}{name}"
        found = [key for key, each in node.nodes.items() if type(each).__name__ == kind]
        if len(found) != 1:
            why = f"expected a subgraph of one {kind}, found {len(found)}"
            raise refused(f"{prefix}{name}", "nir.NIRGraph", why)
        return f"{prefix}{name}.{found[0]}"

    # ---- into the matrices ---------------------------------------------------------------------

    def _check(self, name: str) -> None:
        weight, bias = _weight(self.nodes[name]), bias_of(self.nodes[name])
        if weight.ndim != 2:
            raise self.refused(name, f"weight: expected (n_out, n_in), found {weight.shape}")
        if bias is not None and bias.size != len(weight):
            raise self.refused(name, f"bias: expected {len(weight)} numbers, found {bias.size}")

    def _beside(self, name: str) -> tuple[list[str], bool]:
        """The matrices before a node, if they give to it alone; else those after it.

        Returns:
            their names, and whether they are before.
        """
        into, onto = self._into(name), self._onto(name)
        before = all(self.kind(each) in MATRICES and self._onto(each) == [name] for each in into)
        found = into if before and into else onto
        if not found or any(self.kind(each) not in MATRICES for each in found):
            raise self.refused(name, "only a Linear or an Affine beside it takes it in")
        return found, found is into

    def _take_scale(self, name: str) -> None:
        """Takes a scale into the matrix before it, or into those after it."""
        scale = array(self.nodes[name].scale).reshape(-1)
        found, before = self._beside(name)
        for each in found:
            weight = _weight(self.nodes[each])
            n_unit = weight.shape[0 if before else 1]
            if scale.size not in (1, n_unit):
                why = f"scale: expected {n_unit} numbers for {each}, found {scale.size}"
                raise self.refused(name, why)
            scaled = weight * (scale[:, None] if before else scale)
            self.nodes[each] = _changed(self.nodes[each], scaled, scale if before else 1.0)
        self._without(name)

    def _take_delay(self, name: str) -> None:
        """Takes delays into the matrix before them, or into those after them."""
        found, before = self._beside(name)
        for each in found:
            bias = bias_of(self.nodes[each])
            if each in self.late or (before and bias is not None and bias.any()):
                raise self.refused(
                    name, f"{each} beside it has delays already, or a bias to be late"
                )
            seconds = array(self.nodes[name].delay).astype(np.float64).reshape(-1)
            self.late[each] = Late(seconds, "output" if before else "input")
        self._without(name)

    def _split(self) -> None:
        for name in self._in_a_step():
            for source in self._into(name)[1:] if self.kind(name) in CURRENTS else ():
                self._part(name, source)

    def _part(self, name: str, source: str) -> None:
        """One more connection with the same weights, for one more source; it has no bias."""
        part = f"{name}.{source}"
        while part in self.nodes:
            part += "_"
        self.nodes[part] = copy.copy(self.nodes[name])
        if hasattr(self.nodes[part], "bias"):
            self.nodes[part].bias = None
        if name in self.late:
            self.late[part] = self.late[name]
        self.edges.remove((source, name))
        self.edges += [(source, part), *((part, each) for each in self._onto(name))]

    def _multiply(self, name: str) -> None:
        """Takes the matrix before a matrix into it; the one before stays for others that it gives to."""
        into = self._into(name)
        if self.kind(name) not in MATRICES or not into or self.kind(into[0]) not in MATRICES:
            return
        (before,) = into
        late = self.late.get(before)
        if name in self.late or (late is not None and late.per == "output"):
            raise self.refused(name, f"{before} before it is a matrix too, with delays between")
        first, second = self.nodes[before], self.nodes[name]
        if len(_weight(first)) != _weight(second).shape[1]:
            why = f"weight: expected {len(_weight(first))} columns after {before}, found "
            raise self.refused(name, why + str(_weight(second).shape[1]))
        if late is not None:
            self.late[name] = late
        weight, bias = _weight(second) @ _weight(first), bias_of(second)
        brought = bias_of(first)
        if brought is not None:
            brought = _weight(second) @ brought
            bias = brought if bias is None else bias + brought
        both = copy.copy(first if brought is not None else second)
        both.weight = weight
        if bias is not None:
            both.bias = bias
        self.nodes[name] = both
        self.edges.remove((before, name))
        self.edges += [(each, name) for each in self._into(before)]
        if not self._onto(before):
            self.edges = [edge for edge in self.edges if before not in edge]
            del self.nodes[before]


def _sorted(needs: dict[str, list[str]], expected: str) -> list[str]:
    """Names after those that they need.

    Raises:
        ValueError: if there is a cycle; naming it.
    """
    left, order = {name: set(each) for name, each in needs.items()}, list[str]()
    while left:
        ready = [name for name, each in left.items() if not each & set(left)]
        if not ready:
            raise ValueError(f"graph: expected {expected}, found one of {_cycle(left)}")
        order += ready
        for name in ready:
            del left[name]
    return order


def _cycle(needs: dict[str, set[str]]) -> str:
    """Names of one cycle; every node needs another of them."""
    path = [next(iter(needs))]
    while True:
        name = next(iter(sorted(needs[path[-1]] & set(needs))))
        if name in path:
            return ", ".join(sorted(path[path.index(name) :]))
        path.append(name)


def array(value: Any) -> NDArray[Any]:
    """Numbers of a node, which some libraries leave as tensors."""
    return value.detach().cpu().numpy() if isinstance(value, torch.Tensor) else np.asarray(value)


def _weight(node: Any) -> Any:
    return array(node.weight)


def bias_of(node: Any) -> Any:
    """The bias of a node, (n_out,), or None."""
    bias = getattr(node, "bias", None)
    return None if bias is None else array(bias).reshape(-1)


def _changed(node: Any, weight: Any, scale: Any = 1.0) -> Any:
    """The matrix with other weights, of its dtype if it has fractions, and its bias scaled."""
    made, bias, dtype = copy.copy(node), bias_of(node), _weight(node).dtype
    made.weight = weight.astype(dtype) if dtype.kind == "f" else weight
    if bias is not None:
        made.bias = bias * scale
    return made
