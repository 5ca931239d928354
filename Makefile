# Two words to know: `make train` and `make test`. Both set up .venv first; nothing outside this folder is changed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Options of `sparsespike train`, for instance: make train ARGS="--epochs 2"
ARGS ?=

.PHONY: train test ahead sweep kills check package setup peers test-gpu sanitize-gpu bench-gpu clean

train: $(VENV)/.ready
	$(BIN)/sparsespike train fashion-mnist-fast --out runs/fashion-mnist-fast $(ARGS)

# Two workers, each with an OpenMP team of two: threads that wait must not spin on cores that the other needs.
test ahead sweep: export OMP_WAIT_POLICY = passive

test: $(VENV)/.ready-peers check
	$(BIN)/pytest -n 2 --ignore tests/test_gpu_compile.py

# Every Triton kernel compiled for four GPUs that are not here; CI runs this after the tests.
ahead: $(VENV)/.ready-dev
	$(BIN)/pytest -n 2 tests/test_gpu_compile.py

# Every combination and many generated cases: over an hour on two cores.
sweep: $(VENV)/.ready-peers
	SPARSESPIKE_SWEEP=1 $(BIN)/pytest -n 2 --timeout 3000 tests/test_backends.py tests/test_current.py \
		tests/test_conv.py tests/test_delays.py tests/test_dynamics.py tests/test_interop.py
	$(BIN)/python -W ignore tools/fuzz_door.py --cases 10000

# Ranks and torchrun killed at random moments, forty times: every run ends as one left alone. Twenty minutes.
kills: $(VENV)/.ready
	$(BIN)/python tools/kill_ranks.py

check: $(VENV)/.ready-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright

# Wheel and sdist in an empty environment, for a minute or two.
package:
	$(PYTHON) tools/check_package.py

setup: $(VENV)/.ready-dev

# torch first and by its exact version: a range would fetch the newest build, with gigabytes of CUDA.
$(VENV)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet -c constraints.txt torch==2.13.0
	$(BIN)/pip install --quiet -c constraints.txt -e .
	touch $@

$(VENV)/.ready-dev: $(VENV)/.ready
	$(BIN)/pip install --quiet -c constraints.txt -e '.[dev]'
	touch $@

# What `sparsespike bench layer` and the tests of `ss.interop` compare with. Without their dependencies, which would
# bring torchvision and with it a CUDA build of torch; the last three are all that their neurons import beside what
# 'make setup' installs.
peers: $(VENV)/.ready-peers

$(VENV)/.ready-peers: $(VENV)/.ready-dev
	$(BIN)/pip install --quiet --no-deps snntorch==1.0.0 spikingjelly==2.0.0 norse==1.1.0 neurobench==2.3.0 \
		loguru==0.7.3 nir==1.0.8 nirtorch==2.6
	touch $@

# On a machine with a GPU, with the Python that has torch, Triton and pytest there: nothing is installed.
test-gpu:
	PYTHONPATH=src $(PYTHON) -m pytest $(wildcard tests/test_backends.py tests/test_backend_inputs.py \
		tests/test_ops.py tests/test_gpu.py tests/test_gpu_batches.py tests/test_gpu_sparse.py \
		tests/test_gpu_dynamics.py tests/test_gpu_delays.py \
		tests/test_gpu_pool.py tests/test_graded_words.py tests/test_words.py)

# The same under NVIDIA's checker of memory accesses, races and uninitialised reads; slow.
sanitize-gpu:
	for tool in memcheck racecheck initcheck; do \
		PYTHONPATH=src compute-sanitizer --tool $$tool --error-exitcode 1 $(PYTHON) -m pytest \
			tests/test_gpu.py -k "form_and_segmentation or resets or readout or count" || exit 1; done

# As test-gpu; within 20 minutes. First the tuning, which the others make use of.
bench-gpu:
	PYTHONPATH=src $(PYTHON) -m sparsespike bench gpu --tune
	PYTHONPATH=src $(PYTHON) -m sparsespike bench gpu --minutes 11 $(ARGS)
	PYTHONPATH=src $(PYTHON) -m sparsespike bench gpu --fit --minutes 4

clean:
	rm -rf $(VENV) runs .pytest_cache .ruff_cache .hypothesis
