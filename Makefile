# make demo: set up and do the whole job on simulated studies. make test: set up and run the tests.
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# threads times processes never exceed the cores: torch stalls beyond them
CORES := $(shell nproc 2>/dev/null || sysctl -n hw.ncpu)

.PHONY: setup demo test check clean detect-env

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

# a classic detector to beat, in an environment of its own: ultralytics is AGPL-3.0 and wants torchvision
# (benchmarks/detect_yolo.py says why nothing of torchvision is imported; its wheel alone is there, by name)
DETECT := .venv-detect
detect-env:
	test -x $(DETECT)/bin/python || python3 -m venv $(DETECT)
	$(DETECT)/bin/python -m pip install --quiet --disable-pip-version-check torch==2.13.0
	$(DETECT)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps \
		ultralytics==8.4.190 ultralytics-thop==2.2.3 ultralytics-platform==0.1.99 torchvision==0.28.0
	$(DETECT)/bin/python -m pip install --quiet --disable-pip-version-check \
		numpy matplotlib opencv-python-headless pillow pyyaml requests psutil polars nvidia-ml-py

check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis
