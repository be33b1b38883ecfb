# The two commands: `make demo` and `make test`. `make` alone lists the others.

PYTHON ?= python3.11
BIGTABLE ?= auto
ROWS ?= 1000000
RUNS ?= 3
SECONDS ?= 5
MINUTES ?= 30
REFRESHES ?= 15
SEED ?= 1
SERVER ?= granian
# Other Airflow versions are tested with what was current when they were: raise it with the versions.
OTHER_AIRFLOWS_DATE := 2026-06-01
# The package that has the schema of the Google provider; which version of that, it says itself.
PROVIDER_SCHEMA := 21.1.0

VENVS := .venvs
UV := $(VENVS)/uv/bin/uv
AIRFLOW := $(VENVS)/airflow/bin
LOCAL := $(VENVS)/local_stack/bin
LOCAL_BIGQUERY := $(VENVS)/local_bigquery/bin
TOOLS := $(VENVS)/tools/bin
FACTORY := PYTHONPATH=.:dags:plugins $(AIRFLOW)/python -m refresh_factory
ENVIRONMENTS := $(patsubst %,$(VENVS)/%/.installed,airflow serving_api local_stack local_bigquery tools)
FEAST_ENVIRONMENT := $(VENVS)/feast/.installed
TERRAFORM := command -v terraform > /dev/null || { echo "No terraform: install 1.9 or later; make test checks infra/ without" >&2; exit 1; }
OTHER_AIRFLOWS := $(VENVS)/airflow-2.11/.installed $(VENVS)/airflow-3.1/.installed

IMAGE_LOCKS := requirements.txt serving_api/requirements.txt local_stack/requirements.txt local_bigquery/requirements.txt
LOCKS := $(IMAGE_LOCKS) $(wildcard tests/*/requirements.txt tests/*/*/requirements.txt) \
	$(wildcard tests/airflow_versions/requirements-*.txt benchmarks/serving/*-requirements.txt)
OSV := https://api.osv.dev/v1/query
SBOM := .state/sbom

DOCKERFILES := $(wildcard */Dockerfile */*/Dockerfile)
WORKFLOWS := $(wildcard .github/workflows/*.yaml)

export UV_PYTHON_DOWNLOADS := never
export UV_COMPILE_BYTECODE := 1
# On a terminal, uv shows what it downloads and installs, with sizes.
QUIET := $(shell test -t 2 || echo --quiet)
.DEFAULT_GOAL := help

.PHONY: help
help: ## List the commands
	@awk 'BEGIN {FS = ":.*## "} /^[a-z0-9-]+:.*## / {printf "  make %-22s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: demo
demo: install ## Run a whole refresh on this machine, and report
	@$(LOCAL)/python -m local_stack demo --bigtable $(BIGTABLE)

.PHONY: up
up: install ## Start the stack and keep it running (BIGTABLE=auto|cbtemulator|embedded)
	@$(LOCAL)/python -m local_stack up --bigtable $(BIGTABLE)

.PHONY: load
load: install ## Load a CSV file into a table of the running stack (CSV=people.csv TABLE=my_lab.people)
	@$(LOCAL)/python -m local_stack load "$(CSV)" "$(TABLE)"

.PHONY: refresh
refresh: install ## Run the refresh of a model in the running stack, and report (NAME=repeat_purchase CONF='{"promote": false}')
	@$(LOCAL)/python -m local_stack refresh "$(NAME)" --conf '$(or $(CONF),{})'

.PHONY: status
status: install ## Say what is running, and where
	@$(LOCAL)/python -m local_stack status

.PHONY: down
down: install ## Stop the stack; it keeps its tables, models, versions and runs
	@$(LOCAL)/python -m local_stack down

.PHONY: new-pipeline
new-pipeline: install ## Start a pipeline (NAME=big_spender), or one for a table (TABLE=dataset.table ID=column LABEL=column EXPLAIN=3)
	@$(FACTORY).new "$(NAME)" $(if $(TABLE),--table "$(TABLE)") $(if $(ID),--id "$(ID)") $(if $(LABEL),--label "$(LABEL)") \
		$(if $(EXPLAIN),--explain "$(EXPLAIN)")
	@$(if $(TABLE),$(FACTORY).check.record "$(NAME)")

.PHONY: check-pipelines
check-pipelines: install ## Check all pipelines, without running them (BIGQUERY=local|cloud: also by dry runs)
	@$(FACTORY).check $(if $(BIGQUERY),--bigquery $(BIGQUERY))

.PHONY: record-schemas
record-schemas: install ## Record the columns of the tables that a pipeline reads (NAME=big_spender BIGQUERY=local|cloud)
	@$(FACTORY).check.record "$(NAME)" $(if $(BIGQUERY),--bigquery $(BIGQUERY))

.PHONY: schema
schema: install ## Write the JSON Schema of pipeline.yaml anew
	@$(FACTORY).schema

.PHONY: bigquery
bigquery: $(VENVS)/local_bigquery/.installed ## Start only BigQuery with BigQuery ML, in the foreground
	@$(LOCAL_BIGQUERY)/local-bigquery

DEPLOY = APPLY="$(APPLY)" OUTPUTS="$(OUTPUTS)" WATCH="$(WATCH)" deployment/deploy $(or $(ENV),example)

.PHONY: deploy
deploy: ## Print the commands of a deployment; APPLY=1 runs them (ENV=example)
	@$(DEPLOY)

.PHONY: deploy-back
deploy-back: ## Print the commands that go back to the deployment before; APPLY=1 runs them
	@$(DEPLOY) back

.PHONY: test
test: install ## Check and test all but the whole stack; ARGS="tests/plugins -k gate" runs only those tests
	@$(AIRFLOW)/python tests/run.py $(ARGS)

.PHONY: test-fast
test-fast: install lint-style ## Before each commit: check style, run the tests not marked slow, in under a minute
	@$(AIRFLOW)/python tests/run.py --fast

.PHONY: test-e2e
test-e2e: install ## Test the whole stack: refreshes through Airflow, with failures
	$(LOCAL)/python -m pytest tests/end_to_end

.PHONY: chaos
chaos: install ## Refresh while things fail, and search the protocol's states (REFRESHES=15 SEED=1)
	$(AIRFLOW)/python -m tests.chaos.campaign --refreshes $(REFRESHES) --seed $(SEED) $(if $(WRITE),--write $(WRITE))
	$(AIRFLOW)/python -m tests.chaos.protocol

.PHONY: test-official-client
test-official-client: install ## Test the service with Google's client of Bigtable instead of its own
	SERVING_BIGTABLE_CLIENT=official $(AIRFLOW)/python -m pytest -n logical --maxprocesses 4 tests/serving_api \
		--ignore tests/serving_api/bigtable/http2

.PHONY: test-browser
test-browser: install $(VENVS)/browser/.installed ## Test the service's page in headless Chromium
	@tests/browser/install_chromium
	$(VENVS)/browser/bin/python -m pytest tests/browser

.PHONY: screenshots
screenshots: install $(VENVS)/browser/.installed ## Make the pictures in docs/ again, by headless Chromium
	@tests/browser/install_chromium
	$(VENVS)/browser/bin/python -m pytest tests/browser/screenshots.py

.PHONY: test-monitoring
test-monitoring: install ## Test the rules, alerts and dashboard in a real Prometheus
	@tests/monitoring/install_prometheus $(VENVS)/prometheus
	$(AIRFLOW)/python -m pytest tests/monitoring

.PHONY: test-docker
test-docker: install ## Build the images, start docker-compose.yaml, and test what runs (needs Docker)
	docker compose up --build --detach --wait --wait-timeout 600
	$(LOCAL)/python -m pytest tests/docker
	docker compose down --volumes

.PHONY: test-airflow-versions
test-airflow-versions: install $(OTHER_AIRFLOWS) ## Test the DAGs in Airflow 2.11, 3.1 and the newest
	$(LOCAL)/python -m pytest -rP tests/airflow_versions

.PHONY: test-deployment
test-deployment: install $(VENVS)/stand_in/.installed ## Test deployments, each command failing in turn, to stand-ins for Google Cloud
	$(AIRFLOW)/python -m pytest -n logical --maxprocesses 4 tests/deployment

.PHONY: test-infra
test-infra: install $(VENVS)/stand_in/.installed ## Plan and apply infra/ by Terraform, without a project or a network
	@$(TERRAFORM)
	$(AIRFLOW)/python -m pytest tests/infra/terraform

.PHONY: check-infra
check-infra: ## Check infra/ by Terraform, with Google's provider, which it downloads
	@$(TERRAFORM)
	terraform fmt -check -diff -recursive infra
	@for root in infra/examples/* $(wildcard infra/environments/*); do echo "$$root"; \
		export TF_DATA_DIR=$(CURDIR)/.state/terraform/$$root; \
		terraform -chdir=$$root init -backend=false -input=false > /dev/null \
			|| { echo "No provider: it is downloaded from Terraform's registry; make test-infra needs none" >&2; exit 1; }; \
		terraform -chdir=$$root validate || exit 1; done

.PHONY: infra-schema
infra-schema: $(UV) ## Record anew what infra/ uses of the provider's schema
	@$(UV) venv -q --clear --python $(PYTHON) $(VENVS)/provider
	@$(UV) pip install -q --no-deps --python $(VENVS)/provider cdktn-provider-google==$(PROVIDER_SCHEMA)
	@$(VENVS)/provider/bin/python tests/infra/record_schema.py

.PHONY: bench
bench: bench-refresh bench-export bench-serving bench-airflow bench-models bench-profiles bench-page ## Run all benchmarks: an hour on a quiet machine

.PHONY: bench-refresh
bench-refresh: install ## Measure whole refreshes by number of entities and share of changes (ENTITIES="1000 1000000")
	$(AIRFLOW)/python -m benchmarks.refresh $(if $(ENTITIES),--entities $(ENTITIES))

.PHONY: bench-endurance
bench-endurance: install ## Put load on the service for long, then too much of it (MINUTES=30 WRITE=docs/reliability.md)
	$(AIRFLOW)/python -m benchmarks.serving.endurance --minutes $(MINUTES) $(if $(WRITE),--write $(WRITE))

.PHONY: bench-export
bench-export: install $(FEAST_ENVIRONMENT) ## Measure the export against Beam's own connectors and Feast (ROWS=1000000 RUNS=3)
	$(AIRFLOW)/python -m benchmarks.export --rows $(ROWS) --runs $(RUNS) --bigtable $(BIGTABLE) --feast

.PHONY: bench-serving
bench-serving: install $(FEAST_ENVIRONMENT) ## Measure the service against its alternatives (RUNS=3 SECONDS=5 PARTS="comparison writes")
	$(AIRFLOW)/python -m benchmarks.serving $(PARTS) --runs $(RUNS) --seconds $(SECONDS) --server $(SERVER) \
		--bigtable $(BIGTABLE) --feast

.PHONY: bench-airflow
bench-airflow: install $(OTHER_AIRFLOWS) ## Measure Airflow's share of a refresh, and the parsing of pipelines, by version
	$(AIRFLOW)/python -m benchmarks.airflow

.PHONY: bench-models
bench-models: install ## Measure the local BigQuery ML against scikit-learn and XGBoost (ROWS=1000000)
	$(AIRFLOW)/python -m benchmarks.models --rows $(ROWS)

.PHONY: bench-profiles
bench-profiles: install $(VENVS)/profiler/.installed ## Draw flame graphs of the hot paths (needs root or ptrace)
	$(AIRFLOW)/python -m benchmarks.profiles --rows $(ROWS)

.PHONY: bench-page
bench-page: install ## Fill the documents in from benchmarks/results
	$(AIRFLOW)/python -m benchmarks.page

.PHONY: lint
lint: install ## Check style, types, Dockerfiles, docker-compose.yaml and workflows
	@$(MAKE) --no-print-directory --keep-going -j2 lint-types lint-style lint-local-types lint-files

.PHONY: lint-style lint-types lint-local-types lint-files
lint-style:
	$(AIRFLOW)/ruff check
	$(AIRFLOW)/ruff format --check
	$(AIRFLOW)/python tests/tools/docstrings.py

lint-types:
	MYPYPATH=.:local_bigquery/src $(AIRFLOW)/mypy -p prediction_store -p beam_jobs -p serving_api -p foreserve -m foreserve_plugin -p refresh_factory -p benchmarks -p foreserve_cli

lint-local-types:
	MYPYPATH=. $(AIRFLOW)/mypy --cache-dir .mypy_cache/local_stack --python-executable $(LOCAL)/python --exclude local_stack/airflow local_stack
	MYPYPATH=local_bigquery/src $(AIRFLOW)/mypy --cache-dir .mypy_cache/local_bigquery --python-executable $(LOCAL_BIGQUERY)/python -p local_bigquery

lint-files:
	$(TOOLS)/hadolint $(DOCKERFILES)
	$(TOOLS)/check-jsonschema -q --builtin-schema vendor.compose-spec docker-compose.yaml
	$(TOOLS)/docker-compose config -q
	$(TOOLS)/check-jsonschema -q --builtin-schema vendor.github-workflows $(WORKFLOWS)
	$(TOOLS)/check-jsonschema -q --builtin-schema vendor.dependabot .github/dependabot.yml
	$(TOOLS)/check-jsonschema -q --builtin-schema vendor.github-actions $(wildcard .github/actions/*/action.yaml)
	$(TOOLS)/actionlint $(WORKFLOWS)
	$(TOOLS)/zizmor -q --offline --persona pedantic .github

.PHONY: format
format: install ## Format the code
	$(AIRFLOW)/ruff check --fix
	$(AIRFLOW)/ruff format

.PHONY: install
install: $(ENVIRONMENTS) ## Install what is missing

COMPILE := $(UV) pip compile -q --upgrade --no-header --generate-hashes --python-version 3.11

.PHONY: lock
lock: $(UV) ## Lock the requirements anew, with the newest versions
	$(COMPILE) requirements.in -o requirements.txt
	$(COMPILE) -c requirements.txt serving_api/requirements.in -o serving_api/requirements.txt
	$(COMPILE) local_stack/requirements.in -o local_stack/requirements.txt
	$(COMPILE) local_bigquery/requirements.in -o local_bigquery/requirements.txt
	$(COMPILE) tests/tools/requirements.in -o tests/tools/requirements.txt
	$(COMPILE) -c requirements.txt tests/browser/requirements.in -o tests/browser/requirements.txt
	$(COMPILE) tests/infra/terraform/requirements.in -o tests/infra/terraform/requirements.txt
	$(COMPILE) benchmarks/serving/feast-requirements.in -o benchmarks/serving/feast-requirements.txt
	$(COMPILE) benchmarks/profiler-requirements.in -o benchmarks/profiler-requirements.txt
	$(COMPILE) --exclude-newer $(OTHER_AIRFLOWS_DATE) --resolution lowest-direct \
		tests/airflow_versions/requirements-2.11.in -o tests/airflow_versions/requirements-2.11.txt
	$(COMPILE) --exclude-newer $(OTHER_AIRFLOWS_DATE) \
		tests/airflow_versions/requirements-3.1.in -o tests/airflow_versions/requirements-3.1.txt

.PHONY: audit
audit: $(VENVS)/tools/.installed ## Find the locked packages that have known vulnerabilities, by the data of osv.dev
	@status=0; for lock in $(LOCKS); do echo "$$lock"; \
		$(TOOLS)/pip-audit --progress-spinner off --disable-pip --require-hashes --strict \
			--vulnerability-service osv --osv-url $(OSV) -r $$lock || status=1; done; exit $$status

.PHONY: sbom
sbom: $(VENVS)/tools/.installed ## List the packages of each image in the format of CycloneDX (SBOM=.state/sbom)
	@mkdir -p $(SBOM)
	@for lock in $(IMAGE_LOCKS); do to=$(SBOM)/$$(dirname $$lock | sed s/^[.]$$/airflow/).json; \
		$(TOOLS)/cyclonedx-py requirements --output-reproducible $$lock -o $$to && echo "$$to" || exit 1; done

.PHONY: clean
clean: ## Stop the stack, and forget its tables, models, versions and runs
	@if [ -x $(LOCAL)/python ]; then $(LOCAL)/python -m local_stack forget; else rm -rf .state; fi

.PHONY: uninstall
uninstall: clean ## Forget them, and remove the environments
	rm -rf $(VENVS)

$(VENVS)/airflow/.installed: requirements.txt
$(VENVS)/airflow/.installed: AFTERWARDS = PYTHONPATH=local_bigquery/src $(AIRFLOW)/python -m local_bigquery.analyzer
$(VENVS)/serving_api/.installed: serving_api/requirements.txt
$(VENVS)/local_stack/.installed: local_stack/requirements.txt
$(VENVS)/local_stack/.installed: PACKAGE := .
$(VENVS)/local_bigquery/.installed: local_bigquery/requirements.txt local_bigquery/pyproject.toml
$(VENVS)/local_bigquery/.installed: PACKAGE := local_bigquery
# Compiling takes 20 s of a core: take what the other environment has compiled.
$(VENVS)/local_bigquery/.installed: AFTERWARDS = cp $(VENVS)/airflow/zetasql-*.cwasm $(@D) 2> /dev/null; \
	$(LOCAL_BIGQUERY)/python -m local_bigquery.analyzer
$(VENVS)/tools/.installed: tests/tools/requirements.txt
$(VENVS)/browser/.installed: tests/browser/requirements.txt
$(VENVS)/stand_in/.installed: tests/infra/terraform/requirements.txt
$(FEAST_ENVIRONMENT): benchmarks/serving/feast-requirements.txt
$(VENVS)/profiler/.installed: benchmarks/profiler-requirements.txt

$(VENVS)/airflow-2.11/.installed: tests/airflow_versions/requirements-2.11.txt
$(VENVS)/airflow-3.1/.installed: tests/airflow_versions/requirements-3.1.txt

$(ENVIRONMENTS) $(OTHER_AIRFLOWS) $(VENVS)/browser/.installed $(VENVS)/stand_in/.installed $(FEAST_ENVIRONMENT) $(VENVS)/profiler/.installed: | $(UV)
	@echo "installing $(@D): $$(grep -c == $<) packages of $<"
	@$(UV) venv -q --clear --python $(PYTHON) $(@D)
	@$(UV) pip sync $(QUIET) --python $(@D) $<
	@$(if $(PACKAGE),$(UV) pip install -q --python $(@D) --no-deps --no-build-isolation --editable ./$(PACKAGE))
	@$(AFTERWARDS)
	@echo "installed $(@D): $$(du -sh $(@D) | cut -f1)"
	@touch $@

$(UV):
	@echo "installing uv"
	@$(PYTHON) -m venv $(VENVS)/uv
	@$(VENVS)/uv/bin/pip install -q --disable-pip-version-check uv
