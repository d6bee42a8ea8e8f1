# Every target sets up what it needs: a virtual environment with pinned packages and the project itself.
# Variables are set with =, so that a stray environment variable changes nothing; set them on make's command line.

VENV = .venv
PYTHON = python3
DATASET = demo
DATA = data/$(DATASET)
CHECKPOINT =
ADAPTER =
PROPOSALS = runs/$(DATASET)/proposals
# The paper's learning rate is for large models; the built-in model learns nothing at it.
RECIPE = $(if $(filter demo,$(DATASET)),demo,$(if $(CHECKPOINT),paper,study))
# Masks per level in an evaluation; empty for all. The comparison of make eval runs 22 interactions per mask.
SAMPLE = $(if $(filter demo,$(DATASET)),$(if $(COMPARED),30,50))
OUT = runs/$(DATASET)/$@$(if $(filter eval,$@),$(if $(ADAPTER),-adapted)$(if $(COMPARED),-$(COMPARED)))
ARGS =
SUITE = tests
MINUTES = 60

# The variables that each target uses, beside PYTHON and VENV; another one on the command line is a mistake.
USED_BY_proposals = ARGS CHECKPOINT DATA DATASET OUT
USED_BY_finetune = ARGS CHECKPOINT DATA DATASET OUT PROPOSALS RECIPE
USED_BY_eval = ADAPTER ARGS CHECKPOINT DATA DATASET OUT SAMPLE
USED_BY_pretrain = ARGS CHECKPOINT DATA DATASET OUT
USED_BY_study = ARGS CHECKPOINT DATA OUT
USED_BY_study-small = ARGS CHECKPOINT OUT
USED_BY_view = ARGS DATA DATASET PROPOSALS
USED_BY_demo = ADAPTER ARGS CHECKPOINT DATA DATASET
USED_BY_test = SUITE
USED_BY_test-lowest = SUITE
USED_BY_test-long = SUITE
USED_BY_bench = DATA DATASET
USED_BY_bench-gpu = OUT
USED_BY_fuzz = MINUTES
USED_BY_screenshots = ARGS
TARGETS = proposals finetune eval pretrain study study-small view demo test test-faults test-long test-lowest test-wheel check-constraints fuzz golden lint bench bench-gpu screenshots setup setup-dev clean help
GOALS = $(or $(MAKECMDGOALS),help)

GIVEN = $(foreach name,$(.VARIABLES),$(if $(filter command,$(origin $(name))),$(name)))
SETTABLE = $(sort PYTHON VENV $(foreach target,$(TARGETS),$(USED_BY_$(target))))
ALWAYS = PYTHON VENV MAKE MAKEFLAGS SHELL
UNKNOWN = $(firstword $(filter-out $(SETTABLE) $(ALWAYS),$(GIVEN)))
# Of several goals, one that uses the variable is enough. A goal that is no target is make's to refuse.
USED = $(foreach goal,$(GOALS),$(USED_BY_$(goal)))
UNUSED = $(if $(filter-out $(TARGETS),$(GOALS)),,$(firstword $(filter-out $(USED) $(ALWAYS),$(GIVEN))))
USERS = $(strip $(foreach target,$(TARGETS),$(if $(filter $(UNUSED),$(USED_BY_$(target))),$(target))))
SIMILAR = $(shell $(PYTHON) -c 'import difflib, sys; print(*difflib.get_close_matches(sys.argv[1].upper(), sys.argv[2:], 1))' '$(UNKNOWN)' $(SETTABLE) 2>/dev/null)
# A make inside another one is given the outer one's variables, which are not ours to judge.
ifeq ($(MAKELEVEL),0)
ifneq ($(UNKNOWN),)
$(error unknown variable $(UNKNOWN); $(if $(SIMILAR),did you mean $(SIMILAR)? )known: $(SETTABLE))
endif
ifneq ($(UNUSED),)
$(error make $(GOALS) does not use $(UNUSED); these targets do: $(USERS))
endif
endif

WITHOUT_FILES = $(if $(filter demo,$(DATASET)),proposals finetune eval pretrain bench)
ifneq ($(and $(DATA),$(filter DATA,$(GIVEN)),$(filter $(WITHOUT_FILES),$(MAKECMDGOALS))),)
$(error DATA=$(DATA) needs a DATASET: the demo set is generated and has no files. For example: make $(firstword $(MAKECMDGOALS)) DATASET=sbd DATA=$(DATA))
endif

ifneq ($(and $(filter study,$(MAKECMDGOALS)),$(if $(filter DATA,$(GIVEN)),,missing)),)
$(error make study needs DATA, the folder around sbd-mini, parts-mini, grabcut-mini and pascal-part-mini)
endif

AGG = $(VENV)/bin/agg
# Environments of their own, so that no test changes the packages of a run that is going on.
DEV = $(VENV)-dev
LOWEST = $(VENV)-lowest

MODEL = $(if $(CHECKPOINT),--checkpoint "$(CHECKPOINT)")
ROOT = $(if $(filter-out demo,$(DATASET))$(filter DATA,$(GIVEN)),$(if $(DATA),--data "$(DATA)"))
# The adapter that make eval compares with the base: that of make finetune, or the built-in one of the built-in model.
FINETUNED = $(wildcard runs/$(DATASET)/finetune/adapter.safetensors)
COMPARED = $(if $(filter file,$(origin ADAPTER)),$(if $(FINETUNED),comparison,$(if $(CHECKPOINT),,built-in)))

.PHONY: $(TARGETS)

help:
	@echo "make proposals     turn object masks into a database of (mask, granularity) pairs"
	@echo "make finetune      fine-tune a click model on that database"
	@echo "make eval          evaluate the fine-tuned model beside its base model"
	@echo "make pretrain      train a click model on whole objects"
	@echo "make view          look at that database in the browser"
	@echo "make demo          click on images in the browser"
	@echo "make study         all of it on several data sets, with a report (hours); DATA: the folder around them"
	@echo "make study-small   the same on generated scenes (minutes)"
	@echo "make test | test-faults | test-long | test-lowest | test-wheel | check-constraints | fuzz | golden | lint | bench | bench-gpu | screenshots | clean   see CONTRIBUTING.md"
	@echo
	@echo "Without variables, these use the generated demo set and the built-in model. Variables:"
	@echo "  DATASET=sbd          data set (agg data list names them); default: demo"
	@echo "  DATA=folder          its root folder; default: data/DATASET"
	@echo "  CHECKPOINT=file      click model; default: the built-in one"
	@echo "  ADAPTER=file         make eval: evaluate this adapter alone; empty: the base model alone"
	@echo "  PROPOSALS=folder     make finetune: database to train on; default: that of make proposals"
	@echo "  RECIPE=name          make finetune: paper, study, demo, or a TOML file"
	@echo "  SAMPLE=50            make eval: number of masks per level; empty: all"
	@echo "  OUT=folder           output folder; default: below runs/DATASET"
	@echo "  ARGS='...'           further options of the agg command, such as --limit-images 40"
	@echo "  SUITE=path           make test: the tests to run; default: tests"
	@echo "  MINUTES=60           make fuzz: how long"
	@echo "  VENV=folder          virtual environment; default: .venv (tests use VENV-dev)"
	@echo "  PYTHON=program       Python 3.11 or later that makes the environment; default: python3"

proposals: $(VENV)/.ready
	$(AGG) proposals run --dataset "$(DATASET)" $(ROOT) --out "$(OUT)" $(MODEL) $(ARGS)

finetune: $(VENV)/.ready
	$(AGG) finetune --proposals "$(PROPOSALS)" $(ROOT) --out "$(OUT)" --recipe $(RECIPE) $(MODEL) $(ARGS)

# With an adapter from make finetune, or for the built-in model: the comparison of base and fine-tuned model.
# With ADAPTER=file: that model alone, with the best granularity per mask as in the paper's tables (ADAPTER=built-in is
# the built-in adapter). With ADAPTER=, or a CHECKPOINT that was not fine-tuned yet: the base model alone.
eval: $(VENV)/.ready
	$(AGG) eval $(if $(COMPARED),adapted,run) --dataset "$(DATASET)" $(ROOT) --out "$(OUT)" $(MODEL) $(if $(filter comparison,$(COMPARED)),--adapter "$(FINETUNED)") $(if $(ADAPTER),--adapter "$(ADAPTER)" --granularity optimal) $(if $(SAMPLE),--sample $(SAMPLE)) $(ARGS)

# From generated scenes and, with DATASET, from that set, three times as often.
pretrain: $(VENV)/.ready
	$(AGG) pretrain $(if $(filter-out demo,$(DATASET)),--data "$(DATASET):$(DATA)" --weight 3 --data demo:1000 --weight 1) --out "$(OUT)" $(MODEL) $(ARGS)

study: $(VENV)/.ready
	$(AGG) study --data "sbd:$(DATA)/sbd-mini" --data "partimagenet:$(DATA)/parts-mini" --data "grabcut:$(DATA)/grabcut-mini" --data "pascal_part:$(DATA)/pascal-part-mini" --out "$(OUT)" --report "$(OUT).md" $(MODEL) $(ARGS)

study-small: $(VENV)/.ready
	$(AGG) study --recipe small --out "$(OUT)" --report "$(OUT).md" $(MODEL) $(ARGS)

view: $(VENV)/.ready-web
	$(AGG) view "$(PROPOSALS)" $(ROOT) $(ARGS)

demo: $(VENV)/.ready-web
	$(AGG) demo $(if $(filter-out demo,$(DATASET)),--dataset "$(DATASET)") $(ROOT) $(MODEL) $(if $(ADAPTER),--adapter "$(ADAPTER)") $(ARGS)

test: $(DEV)/.ready-dev lint
	$(DEV)/bin/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder $(SUITE)

# All tests that kill and starve real processes: about 25 minutes on 2 cores.
test-faults: $(DEV)/.ready-dev
	$(DEV)/bin/python -m pytest --numprocesses 2 --dist worksteal -m "" tests/faults tests/database/publishing tests/e2e/test_same_bytes.py tests/e2e/test_evaluate.py

# Other tests that take too long for the suite.
test-long: $(DEV)/.ready-dev
	$(DEV)/bin/python -m pytest --numprocesses 2 --dist worksteal -m long $(SUITE)

# The suite with the oldest packages that pyproject.toml allows.
test-lowest: $(LOWEST)/.ready-lowest
	$(LOWEST)/bin/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder $(SUITE)

# Builds the wheel, installs it into a new environment, and makes proposals there.
test-wheel: $(DEV)/.ready-dev
	$(DEV)/bin/python tools/test_wheel.py

# Broken variants of every kind of file, with new random numbers, for so many minutes.
fuzz: $(DEV)/.ready-dev
	$(DEV)/bin/python tools/fuzz.py --minutes $(MINUTES)

# Whether pip can install every extra with the pinned and with the oldest packages. Needs the package index.
check-constraints: $(DEV)/.ready-dev
	$(DEV)/bin/python tools/check_constraints.py

# All 51 recorded interactions and all 10 recorded choices of a granularity; make test takes three of them.
golden: $(DEV)/.ready-dev
	$(DEV)/bin/python -m pytest --numprocesses 2 --all-recorded tests/evaluation/test_evaluator_golden.py

lint: $(DEV)/.ready-dev
	$(DEV)/bin/ruff check .
	$(DEV)/bin/ruff format --check .
	$(DEV)/bin/mypy
	$(DEV)/bin/lint-imports --no-cache

# With the memory settings that the workers of a run have.
bench: $(DEV)/.ready-dev
	MALLOC_TRIM_THRESHOLD_=1073741824 MALLOC_MMAP_THRESHOLD_=4194304 $(DEV)/bin/python -m benchmarks $(if $(filter-out demo,$(DATASET)),--dataset "$(DATASET)" $(ROOT))

# One GPU in eight minutes; in miniature where there is none.
bench-gpu: $(VENV)/.ready
	$(VENV)/bin/python -m benchmarks.bench_gpu --out "$(OUT)"

# Pictures of all pages, from four generated scenes: a few minutes. Needs chromium and chromedriver.
screenshots: $(DEV)/.ready-dev
	$(DEV)/bin/python -m tools.screenshots $(ARGS)

setup: $(VENV)/.ready
setup-dev: $(DEV)/.ready-dev

# $(1): constraints, $(2): extra of the project.
define set_up
@$(PYTHON) -c "" 2>/dev/null || { echo "error: $(PYTHON) does not run; agg needs Python 3.11 or later: make PYTHON=python3.11" >&2; exit 1; }
@$(PYTHON) tools/make_environment.py $@ $(1) $(2)
endef

$(VENV)/.ready: pyproject.toml constraints.txt
	$(call set_up,constraints.txt)

$(VENV)/.ready-web: $(VENV)/.ready
	$(call set_up,constraints.txt,web)

$(DEV)/.ready-dev: pyproject.toml constraints.txt
	$(call set_up,constraints.txt,dev)

$(LOWEST)/.ready-lowest: pyproject.toml constraints-lowest.txt
	$(call set_up,constraints-lowest.txt,test)

clean:
	rm -rf $(VENV) $(DEV) $(LOWEST) .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist *.egg-info
