# `make` lists what there is. Needs Python >= 3.11 and make; everything else goes into .venv.
PYTHON ?= python3
PROFILE ?= smoke
BIN := .venv/bin
INSTALLED := .venv/.installed

export CAUSALKIT_PROGRESS := 0
export PYTHONDONTWRITEBYTECODE := 1
# Threads that wait must not spin: on a shared machine that makes training many times slower.
export OMP_WAIT_POLICY := PASSIVE

.DEFAULT_GOAL := help
.PHONY: help book test notebooks test-book system-deps links bench baselines scale clean

help:  ## this list
	@grep -E '^[a-z-]+:.*  ## ' Makefile | sed -E 's/:.*  ## /\t/' | awk -F '\t' '{printf "make %-12s %s\n", $$1, $$2}'

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "causalkit needs Python 3.11 or newer, and '$(PYTHON)' is not: try make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[book,test]'
	@touch $@

book: $(INSTALLED)  ## run the notebooks with small parameters (PROFILE=paper: the paper's) and build _build/html
	$(BIN)/python tools/book.py --profile $(PROFILE)

test: $(INSTALLED)  ## all tests that need no system package, and the notebooks against their stored outputs
	$(BIN)/ruff check .
	$(BIN)/python -m pytest -q -p no:cacheprovider
	$(BIN)/python -m pytest -q -p no:cacheprovider --nbval --nbval-cell-timeout=600 -m '' notebooks

notebooks: $(INSTALLED)  ## remake the committed notebooks from notebooks/py, with outputs (the only way to change them)
	$(BIN)/python tools/run_notebooks.py refresh

system-deps:  ## install what test-book needs besides: Chromium (Debian or Ubuntu, as root or with sudo)
	tools/install_chromium.sh

test-book: $(INSTALLED)  ## open the built book in Chromium: links, images, search, phone width, accessibility
	$(BIN)/python -m pytest -q -p no:cacheprovider -m browser tests/test_browser.py tests/test_report_browser.py

links: $(INSTALLED)  ## check that the addresses in the book still answer (needs the network)
	$(BIN)/python tools/book.py --check-links

bench: $(INSTALLED)  ## speed of simulator and training: every benchmarks/*_speed.py
	@for file in $(wildcard benchmarks/*_speed.py); do echo "== $$file"; $(BIN)/python $$file || exit 1; done

baselines: $(INSTALLED)  ## speed beside statsmodels, and beside Brian2 with BRIAN2=path/to/its/python
	$(BIN)/python benchmarks/baselines.py $(if $(BRIAN2),--brian2-python $(BRIAN2))

scale: $(INSTALLED)  ## seconds and memory for up to 1,000 neurons (hours; needs 16 GB)
	$(BIN)/python benchmarks/scale.py
	$(BIN)/python benchmarks/scale.py --method causalformer

clean:  ## remove everything that was built (the .venv stays)
	rm -rf _build results notebooks/results
