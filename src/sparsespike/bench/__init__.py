"""Benchmarks: a layer, or a whole training step, against dense methods and other libraries.

trial.py      what a case and a method on it are
layer.py, layer_case.py, step.py        the two benchmarks
inputs.py, cases.py     synthetic and real input, sizes of convolutions
dense.py, baselines.py, fused.py, dense_net.py, peers.py    what sparsespike is compared with
gate.py       first the same spikes and gradients as the oracle,
measure.py, worker.py   then memory and time, each method in a process of its own
runner.py, report.py, blocks.py         rows, table, results/bench-*.jsonl
tune_cpu.py   by what costs the backend "auto" chooses on this CPU
curve.py, crossing.py   from which share of events on the dense methods are faster
gpu.py, tune.py, fit.py on a GPU: the paper's sizes, which form of a sum is faster, the largest that fits
"""

from __future__ import annotations

from sparsespike.bench.gpu import GpuBench
from sparsespike.bench.layer import LayerBench
from sparsespike.bench.step import StepBench

__all__ = ["GpuBench", "LayerBench", "StepBench"]
