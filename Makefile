# A thin front over real tools: every target is one command, and each says what it needs by calling dev/setup.sh,
# which does nothing when nothing changed.
SHELL := /bin/bash
SUITE ?= demo
CONTROL := .assay/control/bin/python
DATA := .assay/data/bin/python
export PYTHONPATH := $(CURDIR):$(CURDIR)/plugins
export ASSAY_ROOT ?= $(CURDIR)/.assay/root

.PHONY: help demo up down status trigger validate test test-fast coverage lint format lock licences sbom docs pages setup clean

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: ## install the environments from their locks (a second run does nothing)
	@dev/setup.sh control data

demo: setup ## validate the demo's checkpoints through Airflow, Ray and vLLM, and print their verdicts
	@$(CONTROL) -m demo.run

up: setup ## start Airflow and Ray in the background; returns when they are healthy
	@$(CONTROL) -m dev.stack up

down: ## stop everything that `up` started
	@[ ! -x $(CONTROL) ] || $(CONTROL) -m dev.stack down

status: ## what is running, and whether it is healthy
	@$(CONTROL) -m dev.stack status

trigger: setup ## validate CHECKPOINT=uri with SUITE=name on the running stack
	@$(CONTROL) -m dev.stack trigger $(if $(CHECKPOINT),"$(CHECKPOINT)",) "$(SUITE)" $(if $(FORCE),--force)

validate: setup ## the same DAG in this process, no scheduler: CHECKPOINT=uri SUITE=name-or-file.yaml
	@$(CONTROL) -m dev.stack validate $(if $(CHECKPOINT),"$(CHECKPOINT)",) "$(SUITE)" $(if $(FORCE),--force)

test: ## every test: lint, both environments, real Ray, vLLM, S3 server and Airflow; or FILE=tests/... [K=name] alone
	@K="$(K)" dev/test.sh $(if $(FILE),files $(FILE),all)

test-fast: ## the inner loop: no engine, no server, nothing slow
	@dev/test.sh fast

coverage: ## which lines the fast tests run, by file; pages in .assay/coverage
	@dev/test.sh coverage

lint: ## ruff and mypy
	@dev/test.sh lint

format: setup ## rewrite the sources as ruff wants them
	@.assay/control/bin/ruff format . && .assay/control/bin/ruff check --fix .

lock: ## compile pyproject.toml's extras and groups into requirements/
	@dev/lock.sh

docs: ## build the documentation site into .assay/site, strictly
	@dev/setup.sh docs data
	@$(DATA) -m dev.docs.reference
	@dev/docs/build.sh
	@$(DATA) -m pytest tests/docs/test_snippets.py

pages: ## build the bundle of the pages in Airflow from its TypeScript (needs node; the built one is committed)
	@dev/pages.sh

licences: setup ## write docs/reference/licences.md: what the images ship, under which licence
	@$(DATA) -m dev.licences

sbom: ## write .assay/sbom/*.json: a CycloneDX bill of materials for each image
	@dev/sbom.sh

clean: down ## remove everything generated
	rm -rf .assay
