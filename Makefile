# Two commands do everything: `make demo` and `make test`. Each sets up what it needs inside this folder.
PYTHON ?= python3
PIP := --disable-pip-version-check --quiet
STUDIO := $(CURDIR)/.venv-studio

.PHONY: help demo test postgres pictures search check setup studio down clean

help:
	@echo "make demo   set up, run the whole loop on real data, open Label Studio and the review page;"
	@echo "            KIND=relation (or multilabel, multiclass, pair, scores, or several) runs that kind of work"
	@echo "make test   set up, run every test"
	@echo "make postgres  the tests with a real Label Studio, on PostgreSQL"
	@echo "make pictures  every tab of the review page, into docs/img"
	@echo "make search property tests on new random examples"
	@echo "make check  ruff and mypy"
	@echo "make down   stop what the demo left running"

# A stamp is made last, so an interrupted set-up is done again.
.venv/.ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "toughcall needs Python 3.11 or newer: make PYTHON=python3.12"; exit 2; }
	@test -x .venv/bin/python || $(PYTHON) -m venv .venv || { echo "python3 -m venv failed: on Debian and Ubuntu, apt install python3-venv"; exit 2; }
	@echo "setting up the tool's environment (.venv, about 4 minutes the first time)"
	@.venv/bin/python -m pip install $(PIP) -c constraints.txt torch
	@.venv/bin/python -m pip install $(PIP) -c constraints.txt -e '.[cpu,demo,dev,tune]'
	@touch $@

.venv-studio/.ready: constraints-studio.txt
	@test -x .venv-studio/bin/python || $(PYTHON) -m venv .venv-studio
	@echo "setting up the Label Studio server (.venv-studio, about 4 minutes the first time)"
	@.venv-studio/bin/python -m pip install $(PIP) -c constraints-studio.txt label-studio
	@touch $@

setup: .venv/.ready
studio: .venv-studio/.ready

demo: setup studio
	TOUGHCALL_STUDIO=$(STUDIO) .venv/bin/toughcall demo $(foreach kind,$(KIND),--kind $(kind))

down:
	.venv/bin/toughcall demo --down

test: setup studio
	TOUGHCALL_STUDIO=$(STUDIO) .venv/bin/python -m pytest

# The tests with a real Label Studio once more, on PostgreSQL instead of a file; skipped where none can be started.
postgres: setup studio
	TOUGHCALL_TEST_POSTGRES=1 TOUGHCALL_STUDIO=$(STUDIO) .venv/bin/python -m pytest -m studio

# Each tab of the review page as a picture; needs Chromium, and a demo of each kind:
# make demo KIND="multiclass pair multilabel relation scores"
pictures: setup
	.venv/bin/python docs/pictures.py

# Property tests on examples never drawn before. What one of them finds becomes an example of its test.
search: setup
	.venv/bin/python -m pytest -m hypothesis --hypothesis-profile search --hypothesis-show-statistics

check: setup
	.venv/bin/ruff check . && .venv/bin/ruff format --check . && .venv/bin/mypy

clean:
	rm -rf .venv .venv-studio demo build dist *.egg-info
