"""A network of ours as a `NeuroBenchModel`: NeuroBench's own metrics, of what the network does.

NeuroBench hooks layers of PyTorch's, and counts what they are given. Ours are given events, and none of its
hooks would see them: it would count zero. So each connection has a twin here, a layer of PyTorch's with the
same weights, and each layer of neurons a module that hands on. The network runs as ever; then the twins are
shown, step by step, the dense tensors that they would have seen, which is all that the hooks look at.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

from sparsespike.connections.connection import Connection
from sparsespike.connections.conv import Conv1d, Conv2d
from sparsespike.connections.linear import Linear
from sparsespike.connections.sparse import SparseLinear
from sparsespike.metrics.watch import Call, Pass, Watch, spiking_names
from sparsespike.spikes.spikes import Spikes

NeuroBenchModel: Any = import_module("neurobench.models").NeuroBenchModel
NeuronHook: Any = import_module("neurobench.hooks.neuron").NeuronHook
LayerHook: Any = import_module("neurobench.hooks.layer").LayerHook


class Model(NeuroBenchModel):
    """See `ss.interop.to_neurobench`."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net.eval()
        self._passes: list[Pass] = []
        self._watch = Watch(net, self._passes.append)
        self._shown = Shown(net)
        self._refused: str | None = None
        self._n_hooking = 0
        self.add_activation_module(Sent)

    def __call__(self, batch: Tensor) -> Tensor:
        """(B, T, ...) of 0 and 1 -> (B, T, ...), potentials or spikes.

        Raises:
            ValueError: if the input is no such tensor, or the output neither.
        """
        spikes = Spikes.from_dense(batch)
        with torch.no_grad(), self._watch:
            out = self.net(spikes)
        hooked = self.activation_hooks or self.connection_hooks
        for each in self._passes if hooked else ():
            self._shown.see(each)
        self._passes.clear()
        if isinstance(out, Spikes):
            return out.to_dense()
        if not isinstance(out, Tensor):
            raise ValueError(f"net: expected spikes or a potential, found {type(out).__name__}")
        return out

    def __net__(self) -> nn.Module:
        """The network, and the layers that NeuroBench's hooks are at."""
        return self._shown

    def register_hooks(self) -> None:
        """See `NeuroBenchModel`; hooks are shared by all benchmarks that want them.

        A benchmark that is thrown away cleans up, and may do so after the next one has begun.
        """
        self._n_hooking += 1
        if self._n_hooking > 1:
            return
        for each in self.activation_layers():
            self.activation_hooks.append(Hook(each["layer"], each["layer_name"], self))
        self.connection_hooks += [LayerHook(layer) for layer in self.connection_layers()]

    def cleanup_hooks(self) -> None:
        """See `NeuroBenchModel`; only the last benchmark's removes them."""
        self._n_hooking = max(0, self._n_hooking - 1)
        if not self._n_hooking:
            super().cleanup_hooks()

    def refuse(self, why: str) -> ValueError:
        """An error; again after the batch, as NeuroBench puts 0.0 in place of a metric that fails."""
        self._refused = why
        return ValueError(why)

    def reset_hooks(self) -> None:
        """See `NeuroBenchModel`.

        Raises:
            ValueError: if a metric asked for what is not known.
        """
        super().reset_hooks()
        if self._refused is not None:
            why, self._refused = self._refused, None
            raise ValueError(why)


class Hook(NeuronHook):
    """NeuroBench's hook of neurons, which says that it has no potentials rather than none that changed."""

    def __init__(self, layer: nn.Module, name: str, model: Model) -> None:
        super().__init__(layer, name)
        del self.pre_fire_mem_potential, self.post_fire_mem_potential
        self._model = model

    def __getattr__(self, name: str) -> Any:
        if name in ("pre_fire_mem_potential", "post_fire_mem_potential"):
            raise self._model.refuse(
                "metrics: expected those of spikes and weights, found one of membrane potentials "
                "(MembraneUpdates, NeuronOperations), which are not kept step by step"
            )
        raise AttributeError(name)

    def reset(self) -> None:
        """See `NeuronHook`."""
        self.activation_inputs.clear()
        self.activation_outputs.clear()


class Sent(nn.Module):
    """Stands for the neurons of one layer: hands on what they sent in a step."""

    _reset_mechanism = "subtract"  # what NeuronOperations reads first; then it asks for potentials

    def forward(self, spikes: Tensor) -> Tensor:
        """(B, ...) -> the same."""
        return spikes


class Shown(nn.Module):
    """The network with a twin for each connection and each layer of spiking neurons."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net
        named = list(net.named_modules())
        self.connections = nn.ModuleDict(
            {_key(name): _twin(name, each) for name, each in named if isinstance(each, Connection)}
        )
        self.neurons = nn.ModuleDict(
            {_key(name): Sent() for names in spiking_names(net).values() for name in names}
        )

    def forward(self, spikes: Spikes) -> Any:
        """As the network."""
        return self.net(spikes)

    def see(self, found: Pass) -> None:
        """Shows the twins what they would have been given and would have sent, step by step."""
        for call in found.calls:
            twin = self.connections[_key(call.name)]
            for step in _given(call).unbind(1):
                twin(step)
        for fired in found.fired:
            twin = self.neurons[_key(fired.name)]
            for step in fired.spikes.to_dense().unbind(1):
                twin(step)


class _Twin:
    """What the twins share: the connection's weight as it is now, and nothing of their own."""

    connection: Any
    bias = None  # which NeuroBench does not count

    @property
    def weight(self) -> Tensor:
        """As PyTorch's layer has it."""
        if not isinstance(self.connection, SparseLinear):
            return self.connection.weight
        own = self.connection
        dense = own.weight.new_zeros(own.n_out, own.n_in)
        return dense.index_put(tuple(own.index), own.weight)

    def forward(self, given: Tensor) -> None:  # (B, ...)
        """Nothing: hooks have seen what was given."""

    def __deepcopy__(self, memo: Any) -> nn.Module:
        """The layer of which NeuroBench counts: in float64, as sums in float32 are not exact beyond 2^24."""
        made = _plain(self.connection)
        made.weight = nn.Parameter(self.weight.detach().double(), requires_grad=False)
        return made


# NeuroBench goes by the class.
TWINS: dict[Any, Any] = {
    kind: type(f"{kind.__name__}Twin", (_Twin, kind), {})
    for kind in (nn.Linear, nn.Conv1d, nn.Conv2d)
}


def _twin(name: str, connection: Connection) -> nn.Module:
    try:
        plain = _plain(connection)
    except TypeError:
        kind = type(connection).__name__
        raise ValueError(
            f"net: expected Linear, SparseLinear, Conv1d or Conv2d, found {kind} at {name!r}"
        ) from None
    kind = TWINS[type(plain)]
    made = kind.__new__(kind)
    # Neither parameters nor a child: those of the network are counted once.
    made.__dict__.update(vars(plain), _parameters={}, connection=connection)
    return made


def _plain(connection: Any) -> nn.Module:
    """PyTorch's layer of these sizes, without memory."""
    if isinstance(connection, Linear | SparseLinear):
        return nn.Linear(connection.n_in, connection.n_out, bias=False, device="meta")
    if not isinstance(connection, Conv1d | Conv2d):
        raise TypeError
    kind: Any = nn.Conv1d if isinstance(connection, Conv1d) else nn.Conv2d
    return kind(
        connection.in_channels,
        connection.out_channels,
        connection.kernel_size,
        connection.stride,
        connection.padding,
        connection.dilation,
        connection.groups,
        bias=False,
        device="meta",
    )


def _given(call: Call) -> Tensor:
    """(B, T, ...) as the twin takes it."""
    spikes = call.spikes
    dense = spikes.to_dense().double()
    if call.later:
        dense = torch.cat([torch.zeros_like(dense[:, :1]), dense[:, :-1]], 1)
    if not isinstance(call.module, Conv1d | Conv2d):
        return dense.flatten(2)
    n_dim = call.module.n_dim
    return dense.unsqueeze(2) if dense.dim() == 2 + n_dim else dense


def _key(name: str) -> str:
    """A name that a module may have within another."""
    return name.replace(".", "/")
