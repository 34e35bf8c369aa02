# `make demo` and `make test` are all the set-up there is; both make the environment if it is not there.
PYTHON ?= python3
VENV ?= .venv
# Tests run in so many processes, each file's in one of them; `python -m pytest` runs them in one.
WORKERS ?= 2
BIN := $(if $(filter /%,$(VENV)),,$(CURDIR)/)$(VENV)/bin
READY := $(VENV)/.ready
export PATH := $(BIN):$(PATH)

.PHONY: demo test coverage lint experiments lock tiny clean

demo: $(READY)
	dvc repro
	python -m pipelines.summary

test: lint
	python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder
	@for name in chromium chromium-browser google-chrome google-chrome-stable; do \
		! command -v $$name > /dev/null || exit 0; \
	done; echo "not tested: the review in a browser, for there is no Chromium here (apt-get install chromium)"

# How much of the code the tests run; slower than `make test`.
coverage: lint
	python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder --cov --cov-report=term:skip-covered

lint: $(READY)
	ruff check .
	ruff format --check .
	mypy

# An environment's programs name its path in their first lines: of a checkout that was moved or copied they are another's.
MOVED := $(shell test ! -e '$(BIN)/pip' || head -2 '$(BIN)/pip' | grep -qF '$(BIN)/' || echo --clear)
ifneq ($(MOVED),)
.PHONY: $(READY)
endif

# The environment: what the lock pins, then this checkout, editable.
$(READY): requirements.lock pyproject.toml
	$(PYTHON) -m venv $(MOVED) $(VENV)
	"$(BIN)/pip" install --quiet --disable-pip-version-check -r requirements.lock
	"$(BIN)/pip" install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $(READY)

# What `dvc exp run` has made or queued: scores, and what sets each apart.
experiments: $(READY)
	python -m pipelines.experiments

# Make the tiny family again: hours on a CPU; see models/tiny/README.md.
tiny: $(READY)
	"$(BIN)/pip" install --quiet --disable-pip-version-check -e ".[tiny]"
	python -m recipes.tiny

# Pin what a fresh environment gets today.
lock:
	rm -rf cache/lock && $(PYTHON) -m venv cache/lock
	cache/lock/bin/pip install --quiet --disable-pip-version-check torch==2.13.0 -e ".[dev]"
	grep '^#' requirements.lock > cache/lock/head
	cache/lock/bin/pip freeze --exclude-editable | sed 's/+cpu$$//' | cat cache/lock/head - > requirements.lock
	rm -rf cache/lock

clean:
	rm -rf cache runs wandb outputs/prepared outputs/captioned outputs/encoded outputs/run outputs/choice outputs/lora outputs/report
