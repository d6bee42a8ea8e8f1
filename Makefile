# Every target does its own set-up: virtual environment, pinned packages, the project itself.
# Variables are set with =, so that a stray environment variable changes nothing; override them on the command line.

VENV = .venv
PYTHON = python3
DATASET = demo
DATA = data/$(DATASET)
# The demo set is built in and has no folder: DATA is passed on only for other sets, or if it is given.
ROOT = $(if $(or $(filter-out demo,$(DATASET)),$(filter command,$(origin DATA))),--data "$(DATA)")
CHECKPOINT =
ADAPTER =
# Compared with its base: what make finetune left, else the built-in adapter of the built-in model. ADAPTER= for none.
FINETUNED = $(wildcard runs/$(DATASET)/finetune/adapter.safetensors)
COMPARED = $(if $(filter file,$(origin ADAPTER)),$(if $(FINETUNED),comparison,$(if $(CHECKPOINT),,built-in)))
PROPOSALS = runs/$(DATASET)/proposals
# The paper's rates are for large models; the built-in one learns nothing from them.
RECIPE = $(if $(filter demo,$(DATASET)),demo,$(if $(CHECKPOINT),paper,study))
# Masks of each level in an evaluation, drawn by the seed; empty for all. The comparison has some 40 runs over each.
SAMPLE = $(if $(filter demo,$(DATASET)),$(if $(COMPARED),30,50))
OUT = runs/$(DATASET)/$@$(if $(filter eval,$@),$(if $(ADAPTER),-adapted)$(if $(COMPARED),-$(COMPARED)))
ARGS =

AGG = $(VENV)/bin/agg
INSTALL = $(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
SUITE = tests

.PHONY: help proposals finetune eval pretrain study study-small test golden lint bench setup setup-dev clean

help:
	@echo "make proposals [DATASET=sbd DATA=folder CHECKPOINT=file OUT=folder ARGS='--limit-images 40']"
	@echo "make finetune [DATASET=sbd DATA=folder PROPOSALS=folder CHECKPOINT=file RECIPE=name OUT=folder ARGS=...]"
	@echo "make eval [DATASET=grabcut DATA=folder CHECKPOINT=file ADAPTER=file OUT=folder SAMPLE=N ARGS=...]"
	@echo "make pretrain [DATASET=sbd DATA=folder CHECKPOINT=file OUT=folder ARGS=...]"
	@echo "make study DATA=folder of sbd-mini, parts-mini, grabcut-mini and pascal-part-mini [CHECKPOINT=file OUT=folder]"
	@echo "make test | study-small | golden | lint | bench | clean"

proposals: setup
	$(AGG) proposals run --dataset "$(DATASET)" $(ROOT) --out "$(OUT)" $(if $(CHECKPOINT),--checkpoint "$(CHECKPOINT)") $(ARGS)

# Learns from the result of make proposals; the demo set's recipe and the built-in model's are for small machines.
finetune: setup
	$(AGG) finetune --proposals "$(PROPOSALS)" $(ROOT) --out "$(OUT)" --recipe $(RECIPE) $(if $(CHECKPOINT),--checkpoint "$(CHECKPOINT)") $(ARGS)

# The adapted model beside its base and the controls: that of make finetune, else the built-in one. With ADAPTER: that
# model alone, with the best granularity for each mask, as in the paper's tables; ARGS can say otherwise (ADAPTER=built-in
# is the built-in one). With ADAPTER=, or a CHECKPOINT that nothing was taught yet, the base alone.
eval: setup
	$(AGG) eval $(if $(COMPARED),adapted,run) --dataset "$(DATASET)" $(ROOT) --out "$(OUT)" $(if $(CHECKPOINT),--checkpoint "$(CHECKPOINT)") $(if $(filter comparison,$(COMPARED)),--adapter "$(FINETUNED)") $(if $(ADAPTER),--adapter "$(ADAPTER)" --granularity optimal) $(if $(SAMPLE),--sample $(SAMPLE)) $(ARGS)

# A click model for whole objects, from generated scenes and, with DATASET, three times as often from that set.
pretrain: setup
	$(AGG) pretrain $(if $(filter-out demo,$(DATASET)),--data "$(DATASET):$(DATA)" --weight 3 --data demo:1000 --weight 1) --out "$(OUT)" $(if $(CHECKPOINT),--checkpoint "$(CHECKPOINT)") $(ARGS)

# Fine-tuning from several sources, ablations, evaluation on photographs: hours. The report goes to docs/results/study.md.
study: setup
	$(AGG) study --data "sbd:$(DATA)/sbd-mini" --data "partimagenet:$(DATA)/parts-mini" --data "grabcut:$(DATA)/grabcut-mini" --data "pascal_part:$(DATA)/pascal-part-mini" --out "$(OUT)" --report docs/results/study.md $(if $(CHECKPOINT),--checkpoint "$(CHECKPOINT)") $(ARGS)

# The same in minutes, on generated scenes alone.
study-small: setup
	$(AGG) study --recipe small --out "$(OUT)" --report "$(OUT).md" $(if $(CHECKPOINT),--checkpoint "$(CHECKPOINT)") $(ARGS)

test: setup-dev lint
	$(VENV)/bin/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder $(SUITE)

# All 51 recorded interactions and 10 choices of a granularity, of which the suite takes three.
golden: setup-dev
	$(VENV)/bin/python -m pytest --numprocesses 2 --all-recorded tests/evaluation/test_evaluator_golden.py

lint: setup-dev
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports --no-cache

# With the allocator settings that the workers of a run get.
bench: setup-dev
	MALLOC_TRIM_THRESHOLD_=1073741824 MALLOC_MMAP_THRESHOLD_=4194304 $(VENV)/bin/python -m benchmarks $(if $(filter-out demo,$(DATASET)),--dataset "$(DATASET)" --data "$(DATA)")

setup: $(VENV)/.ready
setup-dev: $(VENV)/.ready-dev

# torch by itself and first: where an index offers the CPU build, pip then takes it instead of the CUDA packages.
$(VENV)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) torch==2.13.0
	$(INSTALL) --editable .
	@touch $@

$(VENV)/.ready-dev: $(VENV)/.ready
	$(INSTALL) --editable ".[dev]"
	@touch $@

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis build *.egg-info
