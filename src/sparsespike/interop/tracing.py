"""What a network of another library does with its input, layer by layer: its graph, by `torch.fx`."""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import fx, nn
from torch.fx.proxy import TraceError
from torch.nn.utils import parametrize

from sparsespike.interop.layers import View
from sparsespike.interop.peer import Peer
from sparsespike.interop.refused import refused

PACKAGES = ("snntorch", "spikingjelly", "norse")


class Whole(nn.Module):
    """A network that takes one input, whatever else its `forward` may take."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Any) -> Any:
        """What the network makes of x."""
        return self.net(x)


class Tracer(fx.Tracer):
    """Follows `forward` down to neurons and PyTorch's own layers."""

    def __init__(self, peer: Peer) -> None:
        super().__init__()
        self.peer = peer
        self.views: dict[str, View] = {}  # of layers inside of a container, by name
        self.inside: list[View] = []

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Whether a module is taken as a whole."""
        if self.peer.parts(m) is not None or type(m) is nn.Sequential:
            return False
        return self.peer.kind_of(m) is not None or self.peer.owns(m)

    def call_module(self, m: nn.Module, forward: Any, args: Any, kwargs: Any) -> Any:
        """Runs the parts of a container in a row, anything else as it is."""
        found = self.peer.parts(m)
        if found is None:
            if self.inside:
                self.views[self.path_of_module(m)] = self.inside[-1]
            return super().call_module(m, forward, args, kwargs)
        (signal,) = args
        parts, view = found
        self.inside.append(view)
        for part in parts:
            signal = part(signal)
        self.inside.pop()
        return signal


class Traced(NamedTuple):
    """A network's graph.

    Attributes:
        graph: as `torch.fx` has it.
        modules: by the names that the graph has for them.
        views: what layers inside of containers see, by name.
    """

    graph: fx.Graph
    modules: dict[str, nn.Module]
    views: dict[str, View]


def traced(peer: Peer, module: nn.Module) -> Traced:
    """The graph of a network.

    Raises:
        ValueError: if `forward` does what cannot be followed, hooks would be lost, or a layer is another
            library's.
    """
    for name, each in module.named_modules():
        home = type(each).__module__.split(".")[0]
        if home in PACKAGES and home != peer.package:
            why = f"it is no layer of {peer.name}'s; ss.interop.from_{home} takes its library's"
            raise refused(name, each, why)
        hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
        if any(getattr(each, kind) for kind in hooks):
            raise refused(
                name, each, "its hooks would not run; remove them, or compute what they do first"
            )
        if parametrize.is_parametrized(each):
            raise refused(name, each, "a parameter of it is computed; make it one of its own first")
    whole = Whole(module)
    tracer = Tracer(peer)
    try:
        graph = tracer.trace(whole)
    except (TraceError, TypeError, NameError, AttributeError, RuntimeError) as error:
        raise refused(
            "",
            module,
            f"torch.fx cannot follow its forward, which must not depend on values or sizes: {error}",
        ) from error
    modules: dict[str, nn.Module] = dict(whole.named_modules(remove_duplicate=False))
    return Traced(graph, modules, tracer.views)


def short(target: str) -> str:
    """A module's name in the network that the user knows."""
    return target.removeprefix("net").removeprefix(".")
