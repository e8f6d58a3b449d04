# make paper      the paper bot, until Ctrl-C (ARGS="--once" and the like are passed on)
# make test       the test suite
# make lint       format, lint, types, import contracts
# make check      the same and the fast tests
# make bench      speed against references measured in the same run
# make eval-ml    the scoreboard of learning: made worlds and recorded bars (40 minutes on two cores)
# make verify-replay   months of recorded bars through the real bot, checked
# make evidence   half a year of recorded bars, retrained weekly, twice: figures, hashes, time (hours on two cores)
# make soak       2,000 cycles of the paper bot beside hanging sinks, trainers and streams (12 minutes; ARGS="--hours 2")
# make sim        3,000 seeded fault schedules and every planted bug (8 minutes on two cores)
# make rehearse   ten minutes of live trading against the sandbox, judged
# make coverage   branch coverage of the money path (4 minutes)
# make mutants    mutation score of the money path on a sample (20 minutes)
# make package    wheel and source archive in dist/
# make package-check   the wheel again, byte for byte; installed in an empty environment, every command run
# make audit bandit secrets sbom   known vulnerabilities, dangerous code, secrets, bill of materials with licences
# make acceptance the acceptance list holds together (ARGS=--run runs the tests it names)
# make lock       renew the hash-locked requirements
# make clean      remove the environment and caches (never artifacts/ or models/)

PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3.13 || command -v python3.10 || command -v python3)
FITS := import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
SECURITY := .venv-security
TOOLS := $(SECURITY)/.ready
PACKAGES := bn_ml data_manager ml_engine scanner trader monitoring public_api evidence scripts
export OMP_NUM_THREADS := 1
export OMP_WAIT_POLICY := PASSIVE

.PHONY: paper test lint check bench eval-ml verify-replay evidence soak sim rehearse coverage mutants package package-check audit bandit secrets sbom acceptance lock clean install

install: $(READY)

$(READY): requirements-dev.txt pyproject.toml
	$(BIN)/python -c '$(FITS)' 2>/dev/null || $(PYTHON) -m venv --clear $(VENV)
	@$(BIN)/python -c '$(FITS)' || { echo 'Python 3.10-3.13 is needed: make install PYTHON=/path/to/python3.11' >&2; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $(READY)

paper: $(READY)
	$(BIN)/bnml-bot --paper --market-data auto $(ARGS)

test: $(READY)
	$(BIN)/python -m pytest -q $(ARGS)

lint: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

check: lint
	$(BIN)/python -m pytest -q -m "not slow"

bench: $(READY)
	$(BIN)/python -m benchmarks.run $(ARGS)

eval-ml: $(READY)
	$(BIN)/python -m benchmarks.eval_ml $(ARGS)

verify-replay: $(READY)
	$(BIN)/python -m benchmarks.verify_replay $(ARGS)

evidence: $(READY)
	$(BIN)/python -m benchmarks.evidence $(ARGS)

soak: $(READY)
	$(BIN)/python -m benchmarks.soak $(ARGS)

sim: $(READY)
	$(BIN)/python -m tests.sim --schedules 3000 --json $(ARGS)
	$(BIN)/python -m tests.sim --bugs --json

rehearse: $(READY)
	$(BIN)/python -m benchmarks.rehearse $(ARGS)

coverage: $(READY)
	$(BIN)/python -m benchmarks.branch_coverage $(ARGS)

mutants: $(READY)
	$(BIN)/python -m benchmarks.mutation_score --sample 320 --seed 2026 --json $(ARGS)

package: $(READY)
	rm -f dist/*.whl dist/*.tar.gz
	SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) $(BIN)/uv build --quiet --offline --no-build-isolation --python $(BIN)/python --out-dir dist

package-check: $(READY)
	$(BIN)/python -m benchmarks.package_check $(ARGS)

acceptance: $(READY)
	$(BIN)/python -m benchmarks.acceptance $(ARGS)

$(TOOLS): requirements-security.txt
	$(PYTHON) -m venv --clear $(SECURITY)
	$(SECURITY)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-security.txt
	touch $(TOOLS)

audit: $(TOOLS)
	$(SECURITY)/bin/pip-audit --disable-pip --require-hashes -r requirements.txt -r requirements-dev.txt $(ARGS)

# B608: table names and placeholders in SQL are the program's own words; values are always bound.
bandit: $(TOOLS)
	$(SECURITY)/bin/bandit --quiet --recursive $(PACKAGES) --severity-level medium --skip B608

secrets: $(TOOLS)
	git ls-files -z | xargs -0 $(SECURITY)/bin/detect-secrets-hook --baseline .secrets.baseline

sbom: $(TOOLS) $(READY)
	mkdir -p dist
	$(SECURITY)/bin/cyclonedx-py environment --output-reproducible -o dist/sbom.json $(BIN)/python

lock: $(READY)
	for out in "requirements.txt" "requirements-dev.txt --extra dev"; do \
	  $(BIN)/uv pip compile --quiet --universal --python-version 3.10 --generate-hashes --no-emit-index-url \
	    --no-header --no-annotate --no-strip-extras --no-build pyproject.toml -o $$out || exit 1; \
	done
	$(BIN)/uv pip compile --quiet --universal --python-version 3.10 --generate-hashes --no-emit-index-url \
	  --no-header --no-annotate --no-strip-extras requirements-security.in -o requirements-security.txt

clean:
	rm -rf $(VENV) $(SECURITY) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .grimp_cache .import_linter_cache
