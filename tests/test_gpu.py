"""What is the GPU backend's own: segments, forms, precision, listing, refusals."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor

import sparsespike as ss
from cases import BASE, EXACT_LIF, GENERAL_LIF, NO_LEAK, Case, device_of
from checks import assert_close, assert_same_lists, assert_something_happened, relative_error
from compare import compare, compare_layer, compare_network, run_layer, run_readout, stored_for
from sparsespike import backends
from sparsespike.backends.gpu import launch, plan, precision
from sparsespike.spikes.words import STEPS

DEVICE = device_of("gpu")
FORMS: list[Any] = [("dense", "dense"), ("sparse", "sparse")]  # the two sums do not meet
# Several words and blocks, a last word that is not full, few active entries: none but one fits the pool.
LONG = Case(
    "long", batch=2, steps=70, sizes=(40, 70), rate=0.02, neuron=EXACT_LIF.changed(b_th=0.01)
)


def exact(case: Case) -> Case:
    """Without leak: potentials stay on the grid however many steps there are."""
    return replace(case, neuron=ss.LIF(**NO_LEAK).changed(b_th=case.neuron.b_th))


CASES = (
    exact(LONG),
    exact(replace(LONG, name="wide_band", neuron=EXACT_LIF.changed(b_th=0.5), dtype=torch.float32)),
)


# ---- segments and forms --------------------------------------------------------------------------


@pytest.mark.parametrize("transient", [1, 2 * 2 * STEPS * 70 * 8, 2**30], ids=["1", "2", "all"])
@pytest.mark.parametrize(("gradient", "below"), FORMS)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_form_and_segmentation_equals_the_oracle(
    monkeypatch, case, gradient, below, transient
):
    monkeypatch.setattr(plan, "TRANSIENT", transient)
    with plan.use_forms(gradient, below):
        seen = compare_layer(case, "gpu")
    assert min(seen["spiking"], seen["learning"]), seen


@pytest.mark.parametrize("reset", ["zero", "none"])
@pytest.mark.parametrize("detach", [True, False])
def test_resets_across_segments_equal_the_oracle(monkeypatch, reset, detach):
    monkeypatch.setattr(plan, "TRANSIENT", 1)
    case = CASES[1]
    neuron = case.neuron.changed(reset=reset, detach_reset=detach)
    assert compare_layer(replace(case, neuron=neuron), "gpu")["learning"]


def test_readout_across_segments_equals_the_oracle(monkeypatch):
    monkeypatch.setattr(plan, "TRANSIENT", 1)
    case = replace(LONG, bias=True)
    found, expected = run_readout(case, "gpu"), run_readout(case, "dense")
    assert_close(found[0], expected[0], "potential")
    assert compare(found[1], expected[1])["learning"]


def test_network_in_segments_equals_the_oracle(monkeypatch):
    monkeypatch.setattr(plan, "TRANSIENT", 1)
    case = exact(replace(LONG, sizes=(20, 30, 9, 4), rate=0.2, neuron=EXACT_LIF.changed(b_th=0.5)))
    assert compare_network(case, "gpu")["learning"]


def test_cases_fill_the_pool_and_do_not():
    """Both ways of listing are taken: with room enough, and again with more room."""
    few, many = (run_layer(case, "gpu")[0] for case in CASES)
    words = few.to_words().words.word
    assert 0 < few.n_active <= words.numel() < many.n_active


@pytest.mark.parametrize("n_word", [1, 2, 7])
@pytest.mark.parametrize("transient", [1, 4 * STEPS * 10 * 4 * 3, 2**40])
def test_segments_cover_all_words_once(monkeypatch, n_word, transient):
    monkeypatch.setattr(plan, "TRANSIENT", transient)
    found = plan.segments(4, n_word, 10, 4)
    covered = [w for first, words in found for w in range(first, first + words)]
    assert covered == list(range(n_word))
    assert all(words == 1 or words * 4 * STEPS * 10 * 4 <= transient for _, words in found)


def test_no_samples_need_no_segment_of_endless_words():
    assert plan.segments(0, 5, 10, 4) == [(0, 5)]


def test_forms_follow_the_table(monkeypatch, caplog):
    table = {"gradient": {"100": 0.5, "1000": 0.0}, "input": {"100": 0.0, "1000": 1.1}}
    monkeypatch.setattr(plan, "break_even", lambda _: table)
    spikes = stored_for(BASE.spikes()[0], "gpu")
    assert plan.forms(spikes, 100) == ("sparse", "dense")
    with caplog.at_level(logging.DEBUG, logger="sparsespike.gpu"):
        assert plan.forms(spikes, 900) == ("dense", "sparse")
    assert "rate" in caplog.text
    with plan.use_forms("dense", "dense"):
        assert plan.forms(spikes, 100) == ("dense", "dense")


def test_shipped_table_has_a_default_for_both_sums():
    table = plan.break_even("a model that nobody has measured")
    assert set(table) == {"gradient", "input"}
    for limit in table.values():
        assert all(0 < share < 1 for share in limit.values())
        assert plan.nearest(limit, 10**6) == limit["1000"]


def test_unknown_form_is_refused():
    with (
        pytest.raises(ValueError, match=r'gradient: expected "dense" or "sparse"'),
        plan.use_forms("fast", "dense"),  # pyright: ignore
    ):
        pass


# ---- precision -----------------------------------------------------------------------------------


def outcome(case: Case, how: str) -> tuple[ss.Spikes, Tensor]:
    """Spikes and ∇W of a layer that multiplies so."""
    (layer,) = case.layers("gpu")
    spikes = stored_for(case.spikes()[0], "gpu")
    dtype = {"bfloat16": torch.bfloat16, "float16": torch.float16}.get(how, torch.bfloat16)
    with torch.autocast(DEVICE, dtype, enabled=how != "full"):
        out = layer(spikes)
    out.value.sum().backward()
    assert layer.connection.weight.grad is not None
    return out.to("cpu"), layer.connection.weight.grad.cpu()


def test_two_planes_are_as_good_as_float32_and_one_is_not():
    case = Case(steps=40, sizes=(30, 20), rate=0.2, neuron=GENERAL_LIF, exact=False, seed=1)
    weight = case.parameters()[0][0].float().to(DEVICE)
    how = precision.products(torch.float32, "full")
    assert how.planes == 2
    planes = precision.planes_of(weight.t(), how).double().sum(0)
    assert 0 < relative_error(planes, weight.t().double()) < 2**-16
    one = precision.planes_of(weight.t(), precision.products(torch.float32, "bfloat16"))
    assert one.shape[0] == 1
    assert 2**-12 < relative_error(one[0].double(), weight.t().double()) < 2**-7


@pytest.mark.parametrize("how", ["bfloat16", "float16"])
def test_autocast_computes_coarsely(how):
    """Close to full precision and not the same; what is kept between layers is float32."""
    case = Case(
        steps=40, sizes=(30, 20), rate=0.1, neuron=GENERAL_LIF, exact=False, seed=1,
        dtype=torch.float32,
    )  # fmt: skip
    full, grad_full = outcome(case, "full")
    coarse, grad_coarse = outcome(case, how)
    assert_something_happened(full, grad_full)
    assert coarse.value.dtype == torch.float32
    assert not torch.equal(grad_coarse, grad_full)
    assert abs(coarse.n_spikes - full.n_spikes) <= 0.1 * full.n_spikes


def test_torchs_switches_choose_the_precision():
    device = torch.device(DEVICE)
    before = torch.backends.cuda.matmul.fp32_precision
    assert backends.precision_for("gpu", device) == "full"
    torch.backends.cuda.matmul.fp32_precision = "tf32"
    try:
        assert backends.precision_for("gpu", device) == "tf32"
        assert backends.precision_for("cpu", device) == "full"
    finally:
        torch.backends.cuda.matmul.fp32_precision = before
    with torch.autocast(DEVICE, torch.bfloat16):
        assert backends.precision_for("gpu", device) == "bfloat16"


def test_float64_is_never_cut():
    for chosen in ("full", "tf32", "bfloat16", "float16"):
        how = precision.products(torch.float64, chosen)
        assert (how.operand, how.planes) == (torch.float64, 1)


# ---- what a pass keeps, and gives ----------------------------------------------------------------


def test_same_bits_on_every_run():
    case = Case(steps=40, sizes=(30, 20), rate=0.2, neuron=GENERAL_LIF, exact=False, seed=1)
    case = replace(case, dtype=torch.float32)
    (first, grads), (second, again) = run_layer(case, "gpu"), run_layer(case, "gpu")
    assert_same_lists(first, second)
    for name, grad in grads.items():
        assert grad is not None
        assert torch.equal(grad, again[name])  # pyright: ignore[reportArgumentType]


def test_without_gradient_nothing_is_listed_and_everything_counted():
    (layer,) = BASE.layers("gpu")
    spikes = stored_for(replace(BASE, active=0.0).spikes()[0], "gpu")
    recorded = layer(spikes)
    with torch.no_grad():
        bare = layer(spikes)
    assert len(bare.value) == 0 < recorded.n_active == bare.n_active
    assert bare.n_spikes == recorded.n_spikes > 0
    assert torch.equal(bare.count(), recorded.count().detach())
    for name in ("word", "active"):
        assert torch.equal(getattr(bare.words, name), getattr(recorded.words, name))


def test_what_is_saved_for_backward_is_a_small_share_of_the_dense_method():
    """Per layer two bits an entry and a list; the dense method keeps two float32, V and the spike."""
    case = Case(batch=2, steps=320, sizes=(64, 64), rate=0.01, exact=False, dtype=torch.float32)
    case = replace(case, neuron=GENERAL_LIF.changed(b_th=0.02), active=0.01)
    (layer,) = case.layers("gpu")
    spikes = stored_for(case.spikes()[0], "gpu")
    saved: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        saved[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        out = layer(spikes)
    assert out.n_spikes > 0
    given = [layer.connection.weight, spikes.value, *spikes.storage]
    for tensor in given:
        saved.pop(tensor.untyped_storage().data_ptr(), None)
    mine, dense = sum(saved.values()), 2 * out.value.itemsize * math.prod(out.shape)
    # The weights, as the kernels multiply by them: two planes, which do not grow with the recording.
    planes = (
        2 * layer.connection.weight.nbytes
        if precision.INTERPRETED
        else layer.connection.weight.nbytes
    )
    assert planes < mine < planes + dense / 20, (mine, planes, dense, out.activity())


def test_kernels_write_nothing_beyond_their_tensors(monkeypatch):
    """Every tensor that the backend makes lies between canaries."""
    made: list[Tensor] = []
    plain = torch.empty

    def guarded(shape, *, dtype, device, fill=math.nan) -> Tensor:
        shape = (shape,) if isinstance(shape, int) else tuple(shape)
        numel, margin = math.prod(shape), 64
        whole = plain(
            numel + 2 * margin, dtype=torch.uint8 if dtype is None else dtype, device=device
        )
        canary = 77
        whole.fill_(canary)
        made.append(whole)
        return whole[margin : margin + numel].view(shape)

    def new_empty(self: Tensor, *shape, dtype=None, device=None) -> Tensor:
        size = shape[0] if len(shape) == 1 else shape
        return guarded(size, dtype=dtype or self.dtype, device=device or self.device)

    monkeypatch.setattr(Tensor, "new_empty", new_empty)
    monkeypatch.setattr(
        torch, "empty_like", lambda t: guarded(t.shape, dtype=t.dtype, device=t.device)
    )
    spikes = stored_for(exact(LONG).spikes()[0], "gpu")
    (layer,) = exact(LONG).layers("gpu")
    made.clear()
    for transient in (1, 2**30):
        monkeypatch.setattr(plan, "TRANSIENT", transient)
        for gradient, below in FORMS:
            out = layer(spikes)
            with plan.use_forms(gradient, below):
                out.value.sum().backward(retain_graph=True)
    assert len(made) > 50
    for whole in made:
        assert bool((whole[:64] == 77).all() and (whole[-64:] == 77).all())


@dataclass(frozen=True)
class Cosine(ss.Surrogate):
    """A surrogate of one's own."""

    def slope(self, distance: Tensor) -> Tensor:
        return torch.cos(distance).clamp(min=0)

    def kept(self, b_th: float) -> float:
        return math.sin(min(b_th, math.pi / 2))


def test_surrogate_of_ones_own_equals_the_oracle():
    neuron = EXACT_LIF.changed(surrogate=Cosine(), detach_reset=False)
    assert compare_layer(replace(BASE, neuron=neuron), "gpu")["learning"]


# ---- refusals ------------------------------------------------------------------------------------


def test_lists_are_refused_with_the_way_out():
    (layer,) = BASE.layers("gpu")
    with pytest.raises(ValueError, match=r"expected words of bits.*to_words"):
        layer(BASE.spikes()[0].to(DEVICE).to_lists())


def test_words_are_refused_by_the_cpu_backend():
    (layer,) = BASE.layers("cpu")
    with pytest.raises(ValueError, match=r"expected lists.*to_lists"):
        layer(BASE.spikes()[0].to_words())


def test_the_oracle_takes_words_and_gives_them():
    (layer,) = BASE.layers("dense")
    lists = layer(BASE.spikes()[0])
    words = layer(BASE.spikes()[0].to_words())
    assert_something_happened(lists)
    assert words.words.word.shape[0] == BASE.batch
    assert_same_lists(words.to_lists(), lists)


def test_cpu_tensors_are_refused_without_the_interpreter(monkeypatch):
    monkeypatch.setattr(launch, "INTERPRETED", False)
    with pytest.raises(ValueError, match="expected tensors on a CUDA device"):
        launch.on_device(torch.zeros(1))


def test_missing_triton_is_told(monkeypatch):
    monkeypatch.setattr(backends.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ValueError, match="pip install triton"):
        backends.load("gpu")


def test_torch_that_is_too_old_is_told(monkeypatch):
    monkeypatch.setattr(torch, "__version__", "2.8.1+cu126")
    with pytest.raises(ValueError, match=r"expected torch 2.9 or newer.*2.8.1"):
        backends.load("gpu")


def test_weight_that_is_not_finite_is_refused():
    (layer,) = BASE.layers("gpu")
    with torch.no_grad():
        layer.connection.weight[0, 0] = math.nan
    with pytest.raises(ValueError, match=r"weight: expected finite numbers, found 1"):
        layer(stored_for(BASE.spikes()[0], "gpu"))
