# make check: lint, format and types of everything.  make test: the tests.  make format: rewrite what `check` would refuse.
# make search: the tests that draw examples, with new ones.
# The tools come from .venv, which is made where it is missing, or from beside DNABERT_NEMO_PYTHON.
ifdef DNABERT_NEMO_PYTHON
bin := $(dir $(DNABERT_NEMO_PYTHON))
else
bin := .venv/bin/
endif

.PHONY: check format search test tools

check: tools
	$(bin)ruff check .
	$(bin)ruff format --check .
	$(bin)mypy
	$(bin)shellcheck scripts/*.sh scripts/slurm/*.sbatch .ci/run
	$(bin)hadolint Dockerfile

format: tools
	$(bin)ruff check --fix .
	$(bin)ruff format .

test:
	bash scripts/test.sh

search: tools
	HYPOTHESIS_PROFILE=search $(bin)pytest -q $$(grep -rl "@given" tests)

tools:
ifndef DNABERT_NEMO_PYTHON
	@bash scripts/install.sh dev
endif
