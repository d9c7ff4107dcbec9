# The front desk: `make` alone lists what there is.
.DEFAULT_GOAL := help
.PHONY: help setup demo dashboard test soak check bench lock

# Byte code makes every later start 3 to 6 times faster; some machines switch it off.
unexport PYTHONDONTWRITEBYTECODE
unexport PYTHONPATH

PYTHON ?= python3
BIN := .venv/bin
TRADE := $(BIN)/peak-trade
READY := .venv/.ready
COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	--group dev pyproject.toml --custom-compile-command "make lock"

help:  ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/make \1\t\2/' | expand -t 14

setup: $(READY)  ## make .venv from the lock file

$(READY): requirements.lock tests/source.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "expected Python 3.11 or newer as $(PYTHON), found " + sys.version.split()[0] + "; set PYTHON=python3.12 or so")'
	@echo "setting up .venv from requirements.lock (about a minute)"
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --require-hashes --only-binary :all: -r requirements.lock
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --require-hashes --no-deps --no-build-isolation -r tests/source.lock || \
		 echo "krakenex could not be built here; its tests are left out"
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $(READY)

demo: $(READY)  ## stages 0 to 2, offline: backtest, sweep, proof, sessions, journal, reports
	@printf '\n== one backtest on twenty years of the S&P 500 ==\n'
	$(TRADE) backtest --strategy ma_crossover --tag demo
	@printf '\n== a thousand parameter pairs on the same bars ==\n'
	$(BIN)/python scripts/run_sweep.py --config config/sweeps/ma_crossover_sweep.toml --tag demo
	@printf '\n== the registry has both ==\n'
	$(TRADE) experiments --tag demo --limit 4
	@printf '\n== the backtest once more: is every figure identical? ==\n'
	$(TRADE) reproduce latest:backtest
	@printf '\n== a shadow session: the same strategy through risk gate, orders, fills, books and journal ==\n'
	$(BIN)/python scripts/run_execution_session.py --strategy ma_crossover --steps 2000 --speed max --tag demo
	@printf '\n== decided again from its journal: is every decision identical? ==\n'
	$(TRADE) session replay latest
	@printf '\n== a testnet session, at an exchange of our own on this machine: every order is validated there, none is executed ==\n'
	$(BIN)/python scripts/run_testnet_session.py --profile quick_smoke --emulator --speed 60 --tag demo
	@printf '\n== is any record of the journal changed or missing? ==\n'
	$(TRADE) journal verify
	@printf '\n== does the strategy use the future, and is its warm-up enough? ==\n'
	$(TRADE) strategy check ma_crossover
	@printf '\n== the ladder: where the strategy stands, and what its next gate lacks ==\n'
	$(TRADE) gate status
	@printf '\n== all sessions so far ==\n'
	$(BIN)/python scripts/report_live_sessions.py --status completed --summary-only --stdout
	@printf '\n== the reports to open in a browser: the backtest, and the sessions above ==\n'
	@$(TRADE) report latest:backtest
	@$(TRADE) report latest:live_session_shadow
	@$(TRADE) report latest:live_session_testnet
	@printf '\nall of it in a browser: make dashboard\n'

dashboard: $(READY)  ## serve the dashboard on http://127.0.0.1:8000/
	$(TRADE) dashboard

test: $(READY)  ## all tests
	$(BIN)/python -m pytest -q -n 2 --dist worksteal

soak: $(READY)  ## the long simulations: sessions killed at every single place, storms of faults, verdicts on noise, drills
	$(BIN)/python -m pytest -q -n 2 tests/simulation/soak.py tests/simulation/soak_edges.py tests/simulation/soak_drills.py

check: $(READY)  ## lint, types, import contracts, lock freshness
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	@cp requirements.lock .venv/fresh.lock
	@$(COMPILE) --output-file .venv/fresh.lock
	@cmp -s requirements.lock .venv/fresh.lock && echo "requirements.lock is fresh" \
		|| { echo "requirements.lock does not fit pyproject.toml; run make lock"; exit 1; }
	@echo "all checks passed"

bench: $(READY)  ## measure against the bare bound, in one run
	$(BIN)/python -m bench

lock: $(READY)  ## pin the newest versions that pyproject.toml allows
	$(COMPILE) --upgrade --output-file requirements.lock
