# Two commands for everybody (demo, test); the others are for developers.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
export PATH := $(CURDIR)/.venv/bin:$(PATH)
.PHONY: demo test check schemas setup benchmarks clean

setup:
	@bash envs/setup.sh

demo: setup
	@snakemake --quiet reason host
	@ihdsi recovery show results/demo/recovery.json
	@echo "Report: $(CURDIR)/results/demo/report/index.html"

test:
	@bash envs/setup.sh tests
	@python -m pytest -n 2 --dist loadfile tests

check: setup
	ruff check .
	ruff format --check .
	mypy
	snakefmt --check Snakefile workflow
	snakemake --lint
	snakemake --dry-run > /dev/null

schemas: setup
	ihdsi schemas write workflow/schemas

benchmarks: setup
	set -e; for script in benchmarks/*.py; do python $$script --quick; done

clean:
	rm -rf results exchange .snakemake
