"""The dense form of the backend "auto" equals the oracle, and either form takes over from the other."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import replace

import pytest
import torch
from hypothesis import assume, given, settings

import sparsespike as ss
from cases import BASE, EXACT_LIF, GENERAL_LIF, LIVELY, QUIET, Case, cases
from checks import assert_same_lists
from compare import compare, compare_layer, compare_network, compare_readout, run_layer
from conv_cases import ConvCase, compare_conv, conv_cases
from sparsespike.backends import auto
from sparsespike.backends.cpu import unpacked
from terms import compare_terms, several

WIDE = "SPARSESPIKE_SWEEP" in os.environ
EXAMPLES = 300 if WIDE else 60
RESETS = [("subtract", True), ("subtract", False), ("zero", True), ("zero", False), ("none", True)]
MIXED = [("dense", "dense"), ("dense", "sparse"), ("sparse", "dense")]
FORMS = pytest.mark.parametrize("forms", MIXED, ids="-".join)


# ---- the dense form ------------------------------------------------------------------------------


@pytest.mark.parametrize("case", LIVELY, ids=str)
@pytest.mark.parametrize(("reset", "detach"), RESETS)
def test_dense_form_of_a_linear_equals_the_oracle(case, reset, detach):
    neuron = case.neuron.changed(reset=reset, detach_reset=detach)
    seen = Counter()
    with auto.use_forms("dense", "dense"):
        for dtype, bias in ((torch.float64, True), (torch.float32, False)):
            seen += compare_layer(replace(case, neuron=neuron, dtype=dtype, bias=bias), "auto")
    assert min(seen["spiking"], seen["in_band"], seen["learning"]), seen


@FORMS
@pytest.mark.parametrize("case", QUIET, ids=str)
def test_quiet_cases_equal_the_oracle_in_any_form(case, forms):
    with auto.use_forms(*forms):
        compare_layer(case, "auto")
        compare_layer(replace(case, bias=True), "auto")


@FORMS
@pytest.mark.parametrize(("reset", "detach"), RESETS)
def test_one_form_takes_over_from_the_other(forms, reset, detach):
    neuron = EXACT_LIF.changed(reset=reset, detach_reset=detach)
    with auto.use_forms(*forms):
        seen = compare_layer(replace(BASE, neuron=neuron, sizes=(20, 63)), "auto")
        seen += compare_conv(ConvCase(neuron=neuron), "auto")
    assert seen["learning"] == 2, seen


def _agree(strategy, compared, examples: int) -> Counter:
    seen = Counter()

    @settings(max_examples=examples)
    @given(case=strategy)
    def agree(case):
        with auto.use_forms("dense", "dense"):
            seen.update(compared(case))

    agree()
    return seen


def test_generated_exact_linears_equal_the_oracle():
    seen = _agree(cases(exact=True), lambda case: compare_layer(case, "auto"), EXAMPLES)
    assert min(seen["spiking"], seen["in_band"], seen["learning"]) >= EXAMPLES // 6, seen


def test_generated_general_linears_equal_the_oracle():
    def compared(case: Case) -> Counter:
        assume(case.is_decided())
        return compare_layer(case, "auto")

    seen = _agree(cases(exact=False), compared, EXAMPLES)
    assert min(seen["spiking"], seen["learning"]) >= EXAMPLES // 6, seen


@pytest.mark.parametrize("n_dim", [1, 2])
def test_generated_exact_convolutions_equal_the_oracle(n_dim):
    seen = _agree(
        conv_cases(exact=True, n_dim=n_dim), lambda case: compare_conv(case, "auto"), EXAMPLES
    )
    assert min(seen["spiking"], seen["in_band"], seen["learning"]) >= EXAMPLES // 25, seen


def test_generated_general_convolutions_equal_the_oracle():
    def compared(case: ConvCase) -> Counter:
        assume(case.is_decided())
        return compare_conv(case, "auto")

    seen = _agree(conv_cases(exact=False), compared, EXAMPLES)
    assert min(seen["spiking"], seen["learning"]) >= EXAMPLES // 20, seen


def test_generated_layers_of_several_terms_equal_the_oracle():
    seen = _agree(several(), lambda case: compare_terms(case, "auto", readout=False), EXAMPLES)
    assert min(seen["spiking"], seen["learning"]) >= EXAMPLES // 6, seen


@FORMS
@pytest.mark.parametrize("even", [True, False])
def test_a_linear_into_a_convolution_equals_the_oracle(forms, even):
    """Currents add in the order (C, H, W); an uneven padding is done beforehand."""
    case = ConvCase(padding=(1, 1) if even else "same", kernel=(3, 3) if even else (2, 4))
    grads, outs = {}, {}
    for name in ("auto", "dense"):
        conv = case.connection()
        linear = ss.Linear(60, 90, bias=True, dtype=torch.float64)
        with torch.no_grad():
            for parameter in linear.parameters():
                parameter.copy_(torch.linspace(-1, 1, parameter.numel()).view_as(parameter) / 4)
                parameter.copy_((8 * parameter).round() / 8)
        spikes, leaf = case.spikes()
        layer = ss.Layer([conv, linear], EXACT_LIF, backend=name)
        with auto.use_forms(*forms):
            outs[name] = layer(spikes, spikes)
            (outs[name].to_dense() * torch.linspace(-1, 1, 90).view(3, 5, 6)).sum().backward()
        assert leaf is not None
        grads[name] = {key: p.grad for key, p in layer.named_parameters()} | {"input": leaf.grad}
    assert_same_lists(outs["auto"], outs["dense"])
    assert compare(grads["auto"], grads["dense"])["learning"]


@FORMS
@pytest.mark.parametrize("kind", [ss.SumPool2d, ss.AvgPool2d])
def test_units_that_a_row_lists_several_times_equal_the_oracle(forms, kind):
    dense = (torch.rand(2, 9, 2, 4, 4) < 0.4).double()
    conv = ss.Conv2d(2, 3, 2, dtype=torch.float64)
    torch.nn.init.normal_(conv.weight, 0.1, 0.2)
    grads, outs = {}, {}
    for name in ("auto", "dense"):
        leaf = dense.clone().requires_grad_()
        pooled = kind(2)(ss.Spikes.from_dense(leaf))
        assert len(pooled.lists.entry(pooled.shape).unique()) < pooled.n_spikes
        conv.weight.grad = None
        with auto.use_forms(*forms):
            outs[name] = ss.Layer(conv, ss.LIF(10e-3, 1e-3, b_th=0.9), backend=name)(pooled)
            (outs[name].to_dense() * torch.linspace(-1, 1, 3).view(3, 1, 1)).sum().backward()
        grads[name] = {"weight": conv.weight.grad, "input": leaf.grad}
    assert_same_lists(outs["auto"], outs["dense"])
    assert compare(grads["auto"], grads["dense"])["learning"]


def test_chunks_and_threads_make_no_difference(monkeypatch, two_threads):
    monkeypatch.setattr(unpacked, "CHUNK", 2 * 9 * 8 * (20 + 65))  # two samples
    with auto.use_forms("dense", "dense"):
        assert compare_layer(replace(BASE, sizes=(20, 65), batch=5), "auto")["learning"]
        assert compare_conv(ConvCase(batch=7), "auto")["learning"]


def test_networks_and_readouts_equal_the_oracle():
    case = Case("three_layers", sizes=(20, 30, 17, 11), batch=4)
    with auto.use_forms("dense", "dense"):
        assert compare_network(case, "auto")["learning"]
        assert compare_readout(case, "auto")["learning"]


def test_autocast_and_reduced_precision_do_not_reach_the_products():
    case = replace(BASE, dtype=torch.float32, exact=False, neuron=GENERAL_LIF, sizes=(64, 64))
    expected, grads = run_layer(case, "dense")
    assert expected.n_spikes
    with auto.use_forms("dense", "dense"):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            out, found = run_layer(case, "auto")
        assert_same_lists(out, expected)
        assert compare(found, grads, 1e-3)["learning"]
        before = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("medium")
        try:
            with auto.noted() as seen:
                out, _ = run_layer(case, "auto")
        finally:
            torch.set_float32_matmul_precision(before)
    assert_same_lists(out, expected)
    assert [choice.form for choice in seen] == ["sparse", "sparse"]
    assert "torch is set to round products" in next(iter(seen)).reason
