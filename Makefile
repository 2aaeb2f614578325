# Every target sets up .venv by itself, and again when pyproject.toml or constraints.txt changed.
#
#   make demo                    the main job on sample documents
#   make test PYTHON=python3.12  with another interpreter (for a .venv that does not exist yet)
#   make test ARGS="-k windows"  more arguments for pytest

PYTHON ?= python3
# Test processes. Each is held to one thread below, so as many as there are cores to spare.
JOBS ?= 2
ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
INSTALLED := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help demo test test-fast test-floor test-servers lint format bench bench-bulk bench-check
.PHONY: bench-models bench-quality reproduce
.PHONY: build clean docs

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' Makefile

demo: $(INSTALLED) ## Index sample documents early and late, and compare where the right chunk lands
	$(BIN)/python examples/demo.py

# One thread for each process: PyTorch's threads of several processes fight over the same cores.
# Offline: a test that reaches for a model hub fails at once instead of hanging.
# Bytecode is kept, whatever the shell says: tests start dozens of processes.
FOR_TESTS := OMP_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false HF_HUB_OFFLINE=1 PYTHONDONTWRITEBYTECODE=

test: $(INSTALLED) ## Run the tests
	$(FOR_TESTS) $(BIN)/python -m pytest -n $(JOBS) --dist worksteal $(ARGS)

# It lists tests of more than a second at the end: those want the marker.
test-fast: $(INSTALLED) ## Run the tests without those marked slow, in two minutes on two cores
	$(FOR_TESTS) $(BIN)/python -m pytest -n $(JOBS) --dist worksteal -m "not slow" \
	    --durations=20 --durations-min=1 $(ARGS)

# The newest release of the framework is the one that constraints.txt pins and `make test` runs.
test-floor: $(INSTALLED) ## Run the LlamaIndex tests with the oldest llama-index-core of the range
	$(FOR_TESTS) $(BIN)/python .ci/test_floor.py -n $(JOBS) --dist worksteal $(ARGS)

# In environments of their own, .venv-vllm and .venv-llama (4 GB), which stay for the next time.
test-servers: $(INSTALLED) ## Run the encoders against real vLLM and llama.cpp servers (minutes)
	$(BIN)/python -m tests.real_servers.install
	$(FOR_TESTS) $(BIN)/python -m pytest tests/real_servers $(ARGS)

lint: $(INSTALLED) ## Check style, types and import contracts
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(INSTALLED) ## Format the code and mend what ruff can mend
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

bench: $(INSTALLED) ## Measure throughput and memory against named peers
	$(PIP) install --quiet -c constraints.txt --group peers
	$(BIN)/python -m benchmarks.headers
	$(BIN)/python -m benchmarks.throughput
	$(BIN)/python -m benchmarks.peers
	$(BIN)/python -m benchmarks.ingest
	$(BIN)/python -m benchmarks.memory
	$(BIN)/python -m benchmarks.processes
	$(BIN)/python -m benchmarks.cost_model
	$(BIN)/python -m benchmarks.corpus_cost
	$(BIN)/python -m benchmarks.langchain_index
	$(BIN)/python -m benchmarks.llama_index_loop
	$(BIN)/python -m benchmarks.servers
	$(BIN)/python -m benchmarks.api_requests
	$(BIN)/python -m benchmarks.incremental
	$(BIN)/python -m benchmarks.gpu

bench-check: $(INSTALLED) ## Compare ratios with those stored for this kind of machine (ARGS=--store stores)
	$(BIN)/python -m benchmarks.check $(ARGS)

bench-bulk: $(INSTALLED) ## Measure Ray workers; kill indexing runs by the hundred; hostile servers (long)
	$(BIN)/python -m benchmarks.ray_workers
	$(BIN)/python -m benchmarks.bulk_chaos
	$(BIN)/python -m benchmarks.hostile_servers
	$(BIN)/python -m benchmarks.migration

bench-models: $(INSTALLED) ## Measure jina-v2, nomic and ModernBERT by window length (minutes)
	$(BIN)/python -m benchmarks.models $(ARGS)

# The golden sets are no part of the project; without them it says so and does nothing.
bench-quality: $(INSTALLED) ## Measure retrieval quality: early, late, blends, sub-spans, over golden sets
	$(BIN)/python -m benchmarks.quality $(ARGS)
	$(BIN)/python -m benchmarks.sub_spans

reproduce: $(INSTALLED) ## Fetch public golden sets, measure quality and cost, keep results and page
	$(BIN)/python -m benchmarks.reproduce $(ARGS)

docs: $(INSTALLED) ## Build the site into site/; a dead link or a missing page is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet --strict

# Tried in an environment of its own, without extras: what a user gets who installs only the wheel.
build: $(INSTALLED) ## Build the wheel and try it in a fresh environment without extras
	rm -rf build dist
	$(BIN)/python -m build
	$(BIN)/python -m twine check --strict dist/*
	$(BIN)/python -m venv build/venv
	build/venv/bin/python -m pip install --disable-pip-version-check --quiet \
	    -c constraints.txt dist/*.whl
	build/venv/bin/python -I .ci/check_wheel.py

clean: ## Remove the virtual environment, builds and caches
	rm -rf $(VENV) .venv-floor .venv-vllm .venv-llama build dist site .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# torch goes first, at the pinned version, so that nothing below brings in another build of it.
# Which build (CPU, CUDA) is pip's own configuration's choice. The venv line also mends a .venv
# that was left without pip. pip 25.1 is the first that knows --group.
$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
	    echo "Python 3.10 or newer is needed, and '$(PYTHON)' is not that." \
	         "Name one: make $(MAKECMDGOALS) PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PIP) --version >/dev/null 2>&1 || $(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet --upgrade "pip>=25.1"
	$(PIP) install -c constraints.txt torch
	$(PIP) install -c constraints.txt -e ".[all]" --group dev
	@touch $@
