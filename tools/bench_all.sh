#!/usr/bin/env bash
# Records every benchmark of the README and docs/method.md, on an otherwise quiet machine (half an hour):
#   tools/bench_all.sh OUT RUN [RUN ...]
# OUT takes bench-layer.jsonl and bench-step.jsonl; each RUN is the folder of a trained network.
set -euo pipefail
out=$1
shift
bench() { sparsespike bench "$@" --out "$out"; }
dense="sparsespike clean-dense fused-dense"

# The second layer, synthetic input evenly spread over time: N = 200 against all, N = 1000, T = 500.
bench layer --threads 1 --repeats 15
bench layer --threads 1 --neurons 1000 --repeats 7 --methods $dense
bench layer --threads 1 --steps 500 --repeats 9 --methods $dense
# The second layer of trained networks, at the paper's band and at its narrow one.
for run in "$@"; do
  for b_th in 0.2 0.05; do
    bench layer --threads 1 --trained "$run" --b-th $b_th --repeats 9 --methods $dense
  done
done
# Convolutions, the first against all; then from 0.1 to 30 % of spikes and active entries; then real recordings.
for preset in 14x14-k3 14x14-k5 first nmnist; do
  methods="--methods $dense snntorch spikingjelly"
  bench layer --threads 1 --connection conv2d --preset $preset --repeats 7 --limit 60 $methods
done
bench layer --threads 1 --connection conv2d --curve --repeats 5 --limit 60
# A whole step, of the paper's network and of one with convolutions.
bench step --threads 1 --repeats 9
bench step --threads 1 --recipe fashion-mnist-conv --repeats 3 --limit 120 --methods $dense
# Two cores against one.
for threads in 1 2; do
  bench step --threads $threads --methods sparsespike --repeats 40
  for case in "" "--steps 500" "--neurons 1000" "--connection conv2d"; do
    bench layer --threads $threads --methods sparsespike --repeats 40 $case
  done
done
# Cost against T, and against activity.
for steps in 100 300 1000 3000; do
  bench layer --threads 1 --batch-size 32 --steps $steps --repeats 5 --methods $dense
done
for steps in 10000 30000; do
  bench layer --threads 1 --batch-size 32 --steps $steps --repeats 5 --methods sparsespike
done
wide="--threads 1 --batch-size 16 --neurons 1000 --repeats 5 --methods sparsespike"
for steps in 1000 10000 100000; do
  bench layer $wide --steps $steps --rate 0.001 --activity 0.001
done
for rate in 0.0003 0.003 0.01; do
  bench layer $wide --steps 10000 --rate $rate --activity $rate
done
