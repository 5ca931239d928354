"""The public names, as people and other programs import them."""

from __future__ import annotations

import contextlib
import inspect
import io
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import sparsespike as ss
from sparsespike.backends import BACKENDS, placed

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", README, re.DOTALL)

NAMES = [
    "Spikes",
    "Network",
    "Layer",
    "Linear",
    "LIF",
    "Readout",
    "MaxPool2d",
    "AvgPool2d",
    "SumPool2d",
    "FastSigmoid",
    "use_backend",
    "losses.cross_entropy",
    "losses.activity",
    "data.load",
    "data.EventDataset",
    "data.EventLoader",
    "Spikes.from_dense",
    "Spikes.to_dense",
    "Spikes.count",
    "Spikes.rate",
    "Spikes.n_active",
    "Spikes.to",
]


@pytest.mark.parametrize("name", NAMES)
def test_public_name_exists_and_is_documented(name):
    found = ss
    for part in name.split("."):
        assert hasattr(found, part), f"{name}: no {part} in {found!r}"
        found = getattr(found, part)
    assert inspect.getdoc(found), f"{name} has no docstring"


def test_all_lists_exist_and_are_sorted():
    for name in ss.__all__:
        assert hasattr(ss, name), name
    # As ruff sorts them: constants, classes, functions.
    assert ss.__all__ == sorted(ss.__all__, key=lambda n: (not n.isupper(), not n[0].isupper(), n))


def example_network() -> ss.Network:
    return ss.Network(
        ss.Layer(ss.Linear(784, 200), ss.LIF(tau_mem=10e-3, dt=1e-3, v_th=1.0, b_th=0.2)),
        ss.Layer(ss.Linear(200, 200), ss.LIF(tau_mem=10e-3, dt=1e-3, v_th=1.0, b_th=0.2)),
        ss.Layer(ss.Linear(200, 10), ss.Readout(tau_mem=10e-3, dt=1e-3)),
    )


# The interpreter would need minutes for it; `test_gpu.py` and `test_train.py` have smaller ones.
AT_HAND = [name for name in BACKENDS if name != "gpu" or torch.cuda.is_available()]


@pytest.mark.parametrize("backend", [None, *AT_HAND])
def test_the_example_network_learns(backend):
    net = example_network()
    for layer in net:
        assert isinstance(layer, ss.Layer)
        layer.backend = backend
        nn.init.normal_(layer.connection.weight, 0.02, 0.1)
    spikes = ss.Spikes.from_dense((torch.rand(4, 20, 784) < 0.02).float())
    spikes, label = placed(spikes, torch.tensor([0, 1, 2, 3]), backend or "cpu")
    net.to(spikes.device)
    optimiser = torch.optim.Adam(net.parameters(), lr=2e-3)
    losses, hidden = [], []
    for _ in range(6):
        potential, hidden = net(spikes, return_spikes=True)
        assert potential.shape == (4, 20, 10)
        assert [signal.shape for signal in hidden] == [(4, 20, 200)] * 2
        loss = ss.losses.cross_entropy(potential, label, reduce="max")
        for signal in hidden:
            loss = loss + ss.losses.activity(signal, upper=1.0)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert hidden[1].n_spikes > 0
    assert losses[-1] < losses[0]
    assert torch.equal(net(spikes), net(spikes))


def test_use_backend_rules_inside_its_with_and_layers_over_it():
    class Seen(Exception):
        pass

    layer = ss.Layer(ss.Linear(3, 2), ss.LIF(tau_mem=1.0, dt=1.0))
    spikes = ss.Spikes.from_dense(torch.ones(1, 4, 3))
    expected = layer(spikes)
    for name in BACKENDS:
        own = placed(spikes, torch.zeros(1), name)[0]
        layer.to(own.device)
        with ss.use_backend(name):
            assert torch.equal(layer(own).to_dense().cpu(), expected.to_dense())
            with ss.use_backend("dense"):
                layer(own)
        layer.cpu()
    with pytest.raises(ValueError, match="backend: expected one of"), ss.use_backend("abacus"):
        raise Seen
    with pytest.raises(Seen), ss.use_backend("dense"):
        raise Seen
    layer(spikes)


@pytest.mark.parametrize("bias", [False, True])
def test_state_dict_of_nn_linear_loads_and_goes_back(bias):
    ours, theirs = ss.Linear(5, 3, bias=bias), nn.Linear(5, 3, bias=bias)
    ours.load_state_dict(theirs.state_dict())
    assert torch.equal(ours.weight, theirs.weight)
    other = nn.Linear(5, 3, bias=bias)
    other.load_state_dict(ours.state_dict())
    assert torch.equal(other.weight, theirs.weight)


def test_network_is_an_ordinary_module(tmp_path):
    net = example_network()
    assert sum(p.numel() for p in net.parameters()) == 784 * 200 + 200 * 200 + 200 * 10
    torch.save(net.state_dict(), tmp_path / "net.pt")
    again = example_network()
    again.load_state_dict(torch.load(tmp_path / "net.pt"))
    spikes = ss.Spikes.from_dense((torch.rand(2, 10, 784) < 0.1).float())
    assert torch.equal(again(spikes), net(spikes))
    assert all(p.dtype == torch.float64 for p in net.double().parameters())
    assert net(spikes).dtype == torch.float64


def test_own_surrogate_works_or_is_refused_by_name():
    """`ss.Surrogate` is public: who derives from it must not meet a KeyError."""

    class Cosine(ss.Surrogate):
        def slope(self, distance):
            return torch.cos(distance.clamp(-1.5, 1.5))

        def kept(self, b_th):
            return 1.0

    with contextlib.suppress(ValueError):
        layer = ss.Layer(ss.Linear(3, 2), ss.LIF(tau_mem=1.0, dt=1.0, surrogate=Cosine()))
        layer(ss.Spikes.from_dense(torch.ones(1, 4, 3)))


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda text: text.strip().splitlines()[0][:40])
def test_readme_example_runs(example, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(compile(example, "README.md", "exec"), {"__name__": "__main__"})


def test_help_needs_none_of_the_heavy_packages():
    heavy = ("torch", "numba", "numpy", "rich")
    asked = (
        "import sys, sparsespike.cli as cli\n"
        "try: cli.main(['train', 'fashion-mnist', '--help'])\n"
        f"except SystemExit: print([m for m in {heavy} if m in sys.modules], file=sys.stderr)"
    )
    found = subprocess.run(
        [sys.executable, "-c", asked], capture_output=True, text=True, check=True
    )
    assert "--hidden" in found.stdout
    assert found.stderr.strip() == "[]"


def test_every_public_name_is_there_and_no_other():
    assert set(ss.__all__) <= set(dir(ss))
    for name in ss.__all__:
        assert getattr(ss, name) is not None
    with pytest.raises(AttributeError, match="module 'sparsespike' has no attribute 'Spike'"):
        ss.Spike  # noqa: B018  # pyright: ignore[reportAttributeAccessIssue]


def test_the_examples_of_the_page_on_neurons_run_in_turn():
    page = (ROOT / "docs" / "neurons.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len(blocks) >= 5
    names: dict[str, object] = {}
    torch.manual_seed(0)
    with contextlib.redirect_stdout(io.StringIO()) as said:
        for block in blocks:
            exec(block, names)
    assert "learned for each of 64" in said.getvalue()
    layer = names["layer"]
    assert isinstance(layer, ss.Layer)
    assert all(p.grad is not None and bool((p.grad != 0).any()) for p in layer.parameters())


def test_the_example_of_the_page_on_streams_runs():
    page = (ROOT / "docs" / "streaming.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    names: dict[str, object] = {}
    exec(block, names)
    assert names["potentials"].shape == (40, 20)  # pyright: ignore[reportAttributeAccessIssue]
