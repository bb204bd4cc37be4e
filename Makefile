# make demo   SFT, PPO and evaluation of the embedded default (about 5 minutes on two cores)
# make study  the paper's comparison, over three seeds, from an ordinary and from a sparse start (45 minutes to 2 hours)
# make study-options  other rewards beside it: gates, schedules, difficulty, weights (1 to 3 hours)
# make test   the test suite           make lint   ruff and mypy
# Each creates .venv and installs what it needs; nothing is to be activated. But for
# make gpu    what needs a GPU: tests, and the benchmark; by the PYTHON that is there, with wheels from WHEELS

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin

# Volta (compute capability 7.0) has no kernels in current default wheels of torch.
COMPUTE_CAP := $(shell nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2>/dev/null | sort | head -n 1)
CONSTRAINTS := $(if $(filter 7.0 7.2,$(COMPUTE_CAP)),constraints-v100.txt,constraints.txt)

# Of the tests: one more than cores, for some wait on others, and each reads all tests first; the dear ones, of the
# commands, come first.
WORKERS := $(shell n=$$(nproc 2>/dev/null || echo 2); echo $$(( n < 5 ? n + 1 : 6 )))

JOBS ?= $(shell nproc 2>/dev/null || echo 2)

.PHONY: demo study study-options test test-slow gpu lint clean
.DELETE_ON_ERROR:

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Python 3.11 or newer is needed: make $(MAKECMDGOALS) PYTHON=/path/to/python3.11"; exit 2; }
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "no venv module: install it (Debian: python3-venv)"; exit 2; }

$(VENV)/installed: $(BIN)/python requirements.txt $(CONSTRAINTS)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt -c $(CONSTRAINTS)
	@touch $@

$(VENV)/installed-dev: $(VENV)/installed requirements-dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt -c $(CONSTRAINTS)
	@touch $@

demo: $(VENV)/installed
	$(BIN)/python train.py demo

study: $(VENV)/installed
	$(BIN)/python train.py study --jobs $(JOBS) --out runs/study
	$(BIN)/python train.py study --jobs $(JOBS) --out runs/study-sparse --config configs/tiny-sparse.yaml

study-options: $(VENV)/installed
	$(BIN)/python train.py study --jobs $(JOBS) --out runs/study-options --arms options sweep

# With byte code, even where the environment is against it: all workers read all tests, and rewrite their asserts.
test: $(VENV)/installed-dev
	PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder

test-slow: $(VENV)/installed-dev
	$(BIN)/python -m pytest -m slow
	EXAMPLES=500 $(BIN)/python -m pytest tests/reward/test_reward_properties.py tests/reward/test_reward_difficulty.py

gpu:
	PYTHON="$(PYTHON)" WHEELS="$(WHEELS)" MODEL="$(MODEL)" JSON="$(JSON)" DTYPE="$(DTYPE)" TESTS="$(TESTS)" \
	  sh benchmarks/gpu.sh

lint: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis
