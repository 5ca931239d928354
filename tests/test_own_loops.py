"""Loops of one's own on several processes: DistributedDataParallel, its options, and FSDP."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import timedelta
from typing import Any

import pytest
import torch
from torch import Tensor, distributed, nn
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel

import sparsespike as ss
from ranks import on_ranks

NEAR = {torch.float64: 1e-12, torch.float32: 1e-6}
Weights = list[Any]


def lif(**settings: Any) -> ss.LIF:
    return ss.LIF(10e-3, 1e-3, **settings)


def readout() -> ss.Layer:
    return ss.Layer(ss.Linear(20, 5, bias=True), ss.Readout(10e-3, 1e-3))


def tau() -> Tensor:
    return torch.full((20,), 10e-3)


NETS: dict[str, Callable[[], ss.Network]] = {
    "linear": lambda: ss.Network(
        ss.Layer(ss.Linear(36, 30), lif()), ss.Layer(ss.Linear(30, 20), lif()), readout()
    ),
    "convolution": lambda: ss.Network(
        ss.Layer(ss.Conv2d(1, 5, 3), lif()), ss.MaxPool2d(2), readout()
    ),
    "sparse": lambda: ss.Network(
        ss.Layer(ss.SparseLinear.random(36, 20, fan_in=12), lif()), readout()
    ),
    "numbers and delays": lambda: ss.Network(
        ss.Layer(
            ss.Linear(36, 20, delay=ss.Delay(6, learn=True)),
            ss.LIF(tau(), 1e-3, learn=("tau_mem",)),
        ),
        readout(),
    ),
}
WRAPPED: dict[str, dict[str, Any]] = {
    "plain": {},
    "unused": {"find_unused_parameters": True},
    "view": {"gradient_as_bucket_view": True},
    "static": {"static_graph": True},
    "accumulated": {},
}


def batch(step: int) -> tuple[ss.Spikes, Tensor]:
    """7 samples, and every third time one alone: of two ranks one has none."""
    n = 1 if step % 3 == 2 else 7
    draw = torch.Generator().manual_seed(step)
    dense = (torch.rand(n, 30, 36, generator=draw) < 0.2).float()
    return ss.Spikes.from_dense(dense).with_unit_shape((1, 6, 6)), torch.arange(n) % 5


def trained(
    model: nn.Module, rank: int = 0, size: int = 1, parts: int = 1, steps: int = 50
) -> list[Tensor]:
    """What some steps make of the parameters; `parts`: of a rank's share, one after the other."""
    # Small steps: with large ones, weights that one process starts 1e-15 apart are 0.1 apart after 50.
    small = [
        {"params": [each], "lr": 1e-6 if "tau" in name else 0.02}
        for name, each in model.named_parameters()
    ]
    optimiser = torch.optim.SGD(small)
    for step in range(steps):
        spikes, label = batch(step)
        n = len(label)
        own = slice(rank * n // size, (rank + 1) * n // size)
        spikes, label = spikes[own], label[own]
        optimiser.zero_grad()
        for part in range(parts):
            some = slice(part * len(label) // parts, (part + 1) * len(label) // parts)
            more: AbstractContextManager[Any] = nullcontext()
            if part + 1 < parts and isinstance(model, DistributedDataParallel):
                more = model.no_sync()
            with more:
                logit = ss.losses.logits(model(spikes[some]))
                total = functional.cross_entropy(logit, label[some], reduction="sum")
                (total * size / n).backward()
        optimiser.step()
    return [each.detach() for each in model.parameters()]


def group() -> None:
    distributed.init_process_group("gloo", timeout=timedelta(seconds=60))


def made(name: str, dtype: torch.dtype) -> ss.Network:
    torch.manual_seed(0)
    return NETS[name]().to(dtype)


# Each option by few steps; the plain way by many, in single precision as well.
Way = tuple[str, torch.dtype, str, int]
WAYS: list[Way] = [
    *((name, torch.float64, how, 8) for name in NETS for how in WRAPPED if how != "plain"),
    *((name, torch.float64, "plain", 50) for name in NETS),
    *((name, torch.float32, "plain", 50) for name in ("linear", "convolution", "sparse")),
]


def by_ddp(rank: int) -> list[Weights]:
    group()
    found = []
    for name, dtype, how, steps in WAYS:
        model = DistributedDataParallel(made(name, dtype), **WRAPPED[how])
        parts = 2 if how == "accumulated" else 1
        found.append([each.numpy() for each in trained(model, rank, 2, parts, steps)])
    distributed.destroy_process_group()
    return found


@pytest.mark.timeout(600)  # of kernels that no other test has compiled yet
def test_ranks_of_ones_own_loop_learn_what_one_process_learns():
    expected: dict[Any, list[Tensor]] = {}
    for name, dtype, _, steps in WAYS:
        case = name, dtype, steps
        if case not in expected:
            net = made(name, dtype)
            start = [each.detach().clone() for each in net.parameters()]
            expected[case] = trained(net, steps=steps)
            for one, before in zip(expected[case], start, strict=True):
                assert (one - before).abs().max() > 1e-7
    off: dict[Way, float] = {}
    for rank in on_ranks(by_ddp):
        assert len(rank) == len(WAYS), rank
        for way, found in zip(WAYS, rank, strict=True):
            name, dtype, _, steps = way
            both = zip(found, expected[name, dtype, steps], strict=True)
            off[way] = max((torch.from_numpy(a) - b).abs().max().item() for a, b in both)
    assert {way: each for way, each in off.items() if each > NEAR[way[1]]} == {}


def ending_in_spikes() -> ss.Network:
    torch.manual_seed(0)
    return ss.Network(*(ss.Layer(ss.Linear(n, 36), lif(b_th=0.5)) for n in (36, 36))).double()


def counted(model: nn.Module, rank: int = 0, size: int = 1, steps: int = 6) -> list[Any]:
    """What a network learns that gives spikes: DistributedDataParallel finds what autograd knows in them."""
    optimiser = torch.optim.SGD(model.parameters(), lr=0.01)
    for step in range(0, 3 * steps, 3):
        spikes, label = batch(step)
        n = len(label)
        optimiser.zero_grad()
        out, state = model(spikes[rank * n // size : (rank + 1) * n // size], return_state=True)
        loss = out.count().square().mean(1).sum()
        # Half of it by the state.
        (
            size / n * (loss + sum(each.value.square().mean((1, 2)).sum() for each in state))
        ).backward()
        optimiser.step()
    return [each.detach().numpy() for each in model.parameters()]


def by_count(rank: int) -> dict[str, list[Any]]:
    group()
    ways = {how: settings for how, settings in WRAPPED.items() if how != "accumulated"}
    found = {
        how: counted(DistributedDataParallel(ending_in_spikes(), **settings), rank, 2)
        for how, settings in ways.items()
    }
    distributed.destroy_process_group()
    return found


@pytest.mark.timeout(600)
def test_a_network_that_gives_spikes_and_states_is_shared_too():
    expected, found = counted(ending_in_spikes()), on_ranks(by_count)
    for one, before in zip(expected, ending_in_spikes().parameters(), strict=True):
        assert abs(one - before.detach().numpy()).max() > 1e-4
    for rank in found:
        assert len(rank) == 4
        for how, weights in rank.items():
            off = [abs(a - b).max() for a, b in zip(weights, expected, strict=True)]
            assert max(off) < 1e-12, how


def hidden(n: int) -> ss.Spikes:
    return ss.Spikes.from_dense(torch.zeros(1, 30, n))


def sharded(rank: int, names: Sequence[str]) -> list[Any]:
    """What FSDP trains, with its modules sharded in two ways, and what it refuses."""
    import torch.distributed.fsdp as fsdp
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp.wrap import ModuleWrapPolicy

    group()
    mesh, found = init_device_mesh("cpu", (2,)), []

    def shard(module: nn.Module, **settings: Any) -> None:
        fsdp.fully_shard(module, mesh=mesh, **settings)  # pyright: ignore[reportArgumentType]

    for name in names:
        net = made(name, torch.float64)
        for layer in net.children():
            if [*layer.parameters()]:
                shard(layer)
        shard(net, reshard_after_forward=True)
        whole: Any = trained(net, rank, 2, steps=6)
        found.append([each.full_tensor().numpy() for each in whole])
        if name.startswith("numbers"):  # the older one flattens numbers that neurons are to find
            continue
        flat = fsdp.FullyShardedDataParallel(
            made(name, torch.float64),
            auto_wrap_policy=ModuleWrapPolicy({ss.Layer}),
            use_orig_params=True,
            device_id=torch.device("cpu"),
        )
        trained(flat, rank, 2, steps=6)
        with fsdp.FullyShardedDataParallel.summon_full_params(flat):
            found.append([each.detach().clone().numpy() for each in flat.parameters()])

    net: Any = made("linear", torch.float64)
    spikes, _ = batch(0)
    shard(net[0].connection, reshard_after_forward=True)
    shard(net[2])
    for wrong in (lambda: net[0](spikes), lambda: net[2].connection.forward(hidden(20))):
        try:
            net[2].neuron(wrong())
        except Exception as error:
            found.append(f"{type(error).__name__}: {error}")
    distributed.destroy_process_group()
    return found


@pytest.mark.skipif(
    tuple(map(int, torch.__version__.split(".")[:2])) < (2, 13), reason="tried with torch 2.13"
)
@pytest.mark.timeout(600)
def test_sharded_networks_learn_the_same_or_say_why_not():
    names = ["linear", "convolution", "numbers and delays"]
    expected = []
    for name in names:
        weights = [each.numpy() for each in trained(made(name, torch.float64), steps=6)]
        expected += [weights] * (1 if name.startswith("numbers") else 2)
    for of_rank in on_ranks(sharded, names):
        *found, parted, outside = of_rank
        assert len(found) == len(expected), of_rank
        for weights, others in zip(expected, found, strict=True):
            assert max(abs(a - b).max() for a, b in zip(weights, others, strict=True)) < 1e-12
        assert parted.startswith("RuntimeError: a parameter was sharded, and is not whole")
        assert outside.startswith(
            "ValueError: weight: expected a plain dense tensor, found a sharded"
        )
