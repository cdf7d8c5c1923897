# Every target does its own set-up on a fresh Debian or Ubuntu with make, Python >= 3.11 and apt.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Which build of ONNX Runtime: cpu, openvino or gpu. The one that is installed stays until another is asked for.
EXTRA ?= $(or $(patsubst $(VENV)/installed-%,%,$(firstword $(wildcard $(VENV)/installed-*))),cpu)
ifeq ($(filter cpu openvino gpu,$(EXTRA)),)
$(error EXTRA=$(EXTRA): choose cpu, openvino or gpu)
endif
# Set to have the tests of training/ run too: they need PyTorch. A CI machine always runs them.
TRAINING ?= $(filter 1 true,$(CI))

# Where benchmarks and training write.
RUNS ?= runs
VERSION ?= $(shell sed -n 's/^version: *//p' models/skullbase/model.yaml)
FUZZ_CASES ?= 1000000
FUZZ_SEED ?= 1
export SBNODE_DATA ?= $(abspath ../shared/data)

INSTALLED := $(VENV)/installed-$(EXTRA)
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
PACKAGES := sbnode simulator demo training benchmarks scripts tests

.PHONY: help install demo test viewer faults fuzz check format lock licences schema metrics dashboard rules audit sbom accuracy train peers clean

help: ## Show this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

install: $(INSTALLED) ## Make .venv with sbnode in it (EXTRA=cpu|openvino|gpu)

demo: install ## Start a node, send it a head CT, fetch what it returns (CT=folder: your own scan)
	$(BIN)/python -m demo $(if $(CT),--ct "$(CT)")

test: check peers ## All checks and tests, real peers included
	$(BIN)/python -m pytest

viewer: $(VENV)/checks peers ## Look at results in OHIF, in a browser; screenshots in build/viewer (10 minutes)
	@scripts/apt-install nginx:nginx-light npm:npm
	scripts/fetch-ohif
	scripts/fetch-axe
	$(BIN)/python -m pytest -m viewer

faults: $(VENV)/checks peers ## Every fault test: kills, disk, destinations, clients (40 minutes at most)
	$(BIN)/python -m pytest tests/faults -m "faults or not viewer"

fuzz: $(VENV)/checks ## Send the receiving process what nobody should (FUZZ_CASES=1000000, FUZZ_SEED=1)
	$(BIN)/python -m tests.faults.fuzz --cases $(FUZZ_CASES) --seed $(FUZZ_SEED)

check: $(VENV)/checks ## Format, lint, types, layers, Dockerfile, lock files, bill of materials, known vulnerabilities
	$(BIN)/ruff format --check $(PACKAGES)
	$(BIN)/ruff check $(PACKAGES)
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/hadolint Dockerfile
	scripts/check-locks
	$(BIN)/python -m scripts.sbom requirements/$(EXTRA).txt build/sbom.json
	$(BIN)/python -m scripts.audit_dependencies $(BIN)/pip-audit

audit: $(VENV)/checks ## Look up all locked packages for known vulnerabilities (AUDIT=strict: none may be left out)
	$(BIN)/python -m scripts.audit_dependencies $(BIN)/pip-audit

sbom: $(VENV)/checks ## Write build/sbom.json: what the node is made of (CycloneDX)
	$(BIN)/python -m scripts.sbom requirements/$(EXTRA).txt build/sbom.json

format: $(VENV)/checks ## Format and mend what ruff can mend
	$(BIN)/ruff format $(PACKAGES)
	$(BIN)/ruff check --fix $(PACKAGES)

accuracy: $(VENV)/checks ## Score the model against thresholds on scans with known truth (QUICK=1: 3 minutes)
	$(BIN)/python -m benchmarks.accuracy $(if $(QUICK),--quick) --out $(RUNS)/accuracy

train: $(VENV)/training ## Make both models anew from their seeds: many hours on two cores (VERSION=1.2.3)
	$(BIN)/python -m training generate --cache $(RUNS)/skullbase
	$(BIN)/python -m training train --cache $(RUNS)/skullbase
	$(BIN)/python -m training export --checkpoint $(RUNS)/skullbase/checkpoint.pt --version $(VERSION)
	$(BIN)/python -m training.region generate --cache $(RUNS)/region
	$(BIN)/python -m training.region train --cache $(RUNS)/region
	$(BIN)/python -m training.region export --cache $(RUNS)/region --version $(VERSION)

lock: $(VENV)/checks ## Resolve the lock files anew (UPGRADE=1: to the newest versions)
	cd requirements && for name in cpu openvino gpu dev; do \
	  env -u UV_INDEX_URL -u UV_EXTRA_INDEX_URL -u UV_FIND_LINKS ../$(BIN)/uv pip compile --quiet --no-config \
	    --universal --fork-strategy fewest --python-version 3.11 --generate-hashes --custom-compile-command 'make lock' \
	    $(if $(UPGRADE),--upgrade) --output-file $$name.txt $$name.in; \
	done

licences: install ## Write docs/licences.md from what is installed
	$(BIN)/python scripts/licences.py docs/licences.md

metrics: install ## Write docs/metrics.md from the code
	$(BIN)/python -m scripts.metrics_manual docs/metrics.md

dashboard: install ## Write the Grafana dashboard, monitoring/grafana/dashboard.json
	$(BIN)/python -m scripts.dashboard monitoring/grafana/dashboard.json

rules: install ## Write the alert rules for the Prometheus Operator, from monitoring/alerts.yml
	$(BIN)/python -m scripts.prometheus_rule deploy/kubernetes/components/monitoring/prometheusrule.yaml

schema: install ## Write config.schema.json, by which editors complete and check config.yaml
	$(BIN)/python -m scripts.config_schema config.schema.json

peers: ## Install DCMTK, dicom3tools, Orthanc, PostgreSQL, Chromium, what checks units and rotates files; unpack Prometheus
	@scripts/apt-install storescu:dcmtk dciodvfy:dicom3tools Orthanc:orthanc \
	  /usr/share/orthanc/plugins/libOrthancDicomWeb.so:orthanc-dicomweb pg_ctlcluster:postgresql chromium:chromium \
	  systemd-analyze:systemd unshare:util-linux logrotate:logrotate
	@scripts/fetch-prometheus

clean: ## Remove .venv and everything that can be made again
	rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache demo-out
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/pyvenv.cfg:
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit(1)' || { \
	  echo "sbnode needs Python >= 3.11; '$(PYTHON)' is $$($(PYTHON) --version 2>&1 || echo missing)." \
	    "Name another one: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || scripts/apt-install :python3-venv
	$(PYTHON) -m venv --clear $(VENV)

# Only one build of ONNX Runtime may be installed at a time: they share their files.
$(VENV)/installed-%: requirements/%.txt pyproject.toml | $(VENV)/pyvenv.cfg
	@for other in $$(ls $(VENV) | sed -n 's/^installed-//p' | grep -vx '$*'); do \
	  $(PIP) uninstall --yes onnxruntime onnxruntime-openvino onnxruntime-gpu; rm "$(VENV)/installed-$$other"; done
	$(PIP) install --require-hashes --requirement $<
	$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/checks: requirements/dev.txt $(INSTALLED) $(if $(TRAINING),$(VENV)/training)
	$(PIP) install --require-hashes --requirement $<
	@touch $@

$(VENV)/training: requirements/training.txt $(INSTALLED)
	$(PIP) install --requirement $<
	@touch $@
