# Every target works in a fresh clone; CI calls the same ones.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
export RAY_USAGE_STATS_ENABLED := 0

.PHONY: bench-rollout setup format check types lint test test-unit demo lock proto bench-telemetry bench-bandwidth bench-patterns bench-serving bench-decisions bench-forecasts results bench-simulator bench-optimizer bench-tuning testbed clean

setup: $(STAMP)

# torch first and bounded, so that nothing later pulls a CUDA build; then the hashed lock as it is.
$(STAMP): requirements/torch-cpu.txt requirements/lock-py311.txt pyproject.toml
	@echo "setting up $(VENV) (about two minutes the first time)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install -q -r requirements/torch-cpu.txt
	@$(BIN)/python -m pip install -q --no-deps --require-hashes -r requirements/lock-py311.txt
	@$(BIN)/python -m pip install -q --no-deps --no-build-isolation -e .
	@touch $@

format: setup
	@$(BIN)/ruff format . && $(BIN)/ruff check --fix .

lint: setup
	@$(BIN)/ruff format --check . && $(BIN)/ruff check .
	@$(BIN)/lint-imports --no-cache
	@$(BIN)/codespell .

types: setup
	@$(BIN)/mypy

check: lint types

test-unit: setup
	@OMP_NUM_THREADS=1 $(BIN)/pytest -q -n 2 -m "not ray and not serve and not browser and not server"

# The unit lane runs on both cores; whatever starts a cluster or a server runs alone after it.
test: setup
	@OMP_NUM_THREADS=1 $(BIN)/pytest -q -n 2 -m "not ray and not serve and not browser and not server"
	@OMP_NUM_THREADS=1 $(BIN)/pytest -q -p no:randomly -m "ray or serve or browser or server"

demo: setup
	@$(BIN)/python -m ray_jobs.demo $(if $(KEEP),--keep)

bench-telemetry: setup
	@$(BIN)/python -m benchmarks.telemetry

bench-bandwidth: setup
	@$(BIN)/python -m benchmarks.bandwidth

bench-patterns: setup
	@$(BIN)/python -m benchmarks.patterns

# Needs the network once, for the peers' environments under runs/; about forty minutes.
bench-serving: setup
	@$(BIN)/python -m benchmarks.serving

# Updates, rollouts and faults under load; about half an hour.
bench-rollout: setup
	@OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.rollout

# The models on which operators act, one after another.
bench-decisions: setup
	@for name in anomaly patterns placement placement_hindsight; do $(BIN)/python -m benchmarks.$$name || exit 1; done

# The forecasters, one after another.
bench-forecasts: setup
	@for name in bandwidth bandwidth_paths performance scaling capacity; do $(BIN)/python -m benchmarks.$$name || exit 1; done
	@$(BIN)/python -m benchmarks.report_page bandwidth

# Copies the measured figures into the marked tables of README and docs.
results: setup
	@$(BIN)/python -m benchmarks.readme_table

# Real TCP over an emulated link: Linux, root, about an hour. `python -m rl_envs.testbed ship` would
# put the table in the place of the one that ships.
testbed: setup
	@$(BIN)/python -m rl_envs.testbed check
	@$(BIN)/python -m rl_envs.testbed grid
	@$(BIN)/python -m rl_envs.testbed fit --table runs/testbed/tcp_testbed.json
	@$(BIN)/python -m rl_envs.testbed report --table runs/testbed/tcp_testbed.json

bench-simulator: setup
	@$(BIN)/python -m benchmarks.environment

bench-tuning: setup
	@OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.tuning

bench-optimizer: setup
	@OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.optimizer

proto: setup
	@$(BIN)/python -m novacron.contracts.protobuf
	@$(BIN)/python -m novacron.contracts.reference
	@$(BIN)/python -m novacron.features.reference
	@$(BIN)/python -m novacron.telemetry.datasets.reference
	@$(BIN)/python -m tuning.reference

# Writes names, versions and hashes only: no hosts.
lock:
	@$(BIN)/python -m pip install -q uv
	@$(BIN)/uv pip compile -q pyproject.toml --all-extras --generate-hashes --no-emit-package torch \
	  --python-version 3.11 --no-header --no-emit-index-url --no-annotate -o requirements/lock-py311.txt

# What the server and browser tests need; they skip without it. Needs root on Debian.
system-packages:
	@apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
	  postgresql prometheus chromium >/dev/null

clean:
	@rm -rf $(VENV) runs build .mypy_cache .ruff_cache .pytest_cache
