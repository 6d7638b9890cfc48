# make demo: set up and do the whole job on simulated studies. make test: set up and run the tests.
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# threads times processes never exceed the cores: torch stalls beyond them
CORES := $(shell nproc 2>/dev/null || sysctl -n hw.ncpu)

.PHONY: setup demo test check clean

setup: $(READY)

# torch first and pinned: its plain name fetches gigabytes of CUDA on a machine without a GPU
$(READY): pyproject.toml constraints.txt
	test -x $(BIN)/python || python3 -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt torch==2.13.0
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev,pretrain]'
	touch $@

demo: $(READY)
	HF_HUB_OFFLINE=1 OMP_NUM_THREADS=$(CORES) $(BIN)/residency demo

test: $(READY)
	HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 $(BIN)/pytest -m "not slow and not gpu and not hub" -n $(CORES) --dist loadfile

check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis
