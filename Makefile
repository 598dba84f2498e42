# `make help` lists the targets.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
LIVE := _build/live/sympy.zip
VALIDATOR := _build/validator

.DEFAULT_GOAL := help
.PHONY: help book pdf report archive serve test slow library live browser notebooks lab picture versions links lint clean

help:           ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

book: $(READY) $(LIVE)  ## make the environment, run the notebooks at quick, build the book
	$(BIN)/entropy-book build

pdf: $(READY) $(LIVE)   ## print the whole book to _build/book.pdf (make browser first); the next make book offers it
	$(BIN)/entropy-book pdf

report: $(READY) ## print the report, a page of the built book, to _build/report.pdf (make book and make browser first)
	$(BIN)/entropy-book report

archive: $(READY) $(VALIDATOR)/.ready ## pack the built book, records and code into one zip for libraries (make book first), and validate it
	$(BIN)/entropy-book archive
	$(VALIDATOR)/bin/python tests/validate_crate.py _build/archive/*.zip

serve: $(READY) ## serve the built book on 127.0.0.1 and open it
	$(BIN)/entropy-book serve

test: $(READY) $(LIVE)  ## run the test suite (make browser first for the browser tests)
	$(BIN)/pytest -n 2 --dist loadfile

slow: $(READY)  ## run the tests that need longer, as CI does
	$(BIN)/pytest -m slow

library:        ## try the library alone, from its wheel, on $$(PYTHON): it needs nothing of the replication
	rm -rf _build/library && $(PYTHON) -m venv _build/library
	_build/library/bin/pip install --quiet --disable-pip-version-check . pytest hypothesis
	_build/library/bin/python -m pytest tests/test_theory.py tests/test_laws.py tests/test_guidance.py
	test ! -e _build/library/bin/entropy-book

live: $(LIVE)   ## make what lets a page's derivations run in the browser

browser: $(READY) ## install Chromium for the browser tests
	@command -v chromium || command -v google-chrome || \
	  { apt-get update -qq && apt-get install -y -qq chromium; } || $(BIN)/playwright install chromium

notebooks:      ## write the chapters as .ipynb into _build/notebooks, for papermill or Jupyter; installs nothing
	@test -x $(BIN)/jupytext || { echo "there is no environment yet; make book makes it"; exit 1; }
	$(BIN)/jupytext --quiet --to ipynb notebooks/*.md
	mkdir -p _build/notebooks && mv notebooks/*.ipynb _build/notebooks/

lab: notebooks  ## open the chapters in JupyterLab, which the first call installs
	test -x $(BIN)/jupyter-lab || $(BIN)/pip install --quiet --disable-pip-version-check --editable './replication[lab]'
	$(BIN)/jupyter-lab --notebook-dir=_build/notebooks

picture: $(READY) ## redraw the README's picture from the committed records
	$(BIN)/entropy-book picture

versions: $(READY) ## write constraints.txt and environment.yml from requirements.txt, where versions stand, and .zenodo.json
	UV_FIND_LINKS="$$PIP_FIND_LINKS" $(BIN)/uv pip compile --quiet --no-header --no-annotate --no-emit-index-url \
	  --no-emit-find-links requirements.txt -o constraints.txt
	sed -i 's/+cpu$$//; 1i # Everything that requirements.txt pulls in; `make versions` writes this file.' constraints.txt
	{ printf '# The versions of requirements.txt for conda; `make versions` writes this file.\n'; \
	  printf 'name: entropy-book\nchannels: [conda-forge]\ndependencies:\n  - python=3.11\n  - pip\n  - pip:\n'; \
	  sed -n 's/^\([A-Za-z].*==.*\)/      - \1/p' requirements.txt; } > environment.yml
	$(BIN)/python -m replication.pages.crate > .zenodo.json.new && mv .zenodo.json.new .zenodo.json

links: $(READY) ## ask every address in the book whether it answers
	$(BIN)/jupyter-book build _build/stage --builder custom --custom-builder linkcheck --quiet

lint: $(READY)  ## check the style, the imports and the types of the code
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/lint-imports && $(BIN)/mypy --no-incremental

clean:          ## remove everything that was built, keep the environment
	rm -rf _build

# Python, SymPy and an editor for the browser, from the npm registry and the environment's own SymPy.
$(LIVE): $(READY) $(wildcard live/*.*)
	cd live && PATH="$(CURDIR)/$(BIN):$$PATH" npm ci --silent && \
	  PATH="$(CURDIR)/$(BIN):$$PATH" node build.mjs \
	    "$$("$(CURDIR)/$(BIN)/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')" "$(CURDIR)/_build/live"

# The validator of archives wants an older rich than the rest, and has an environment of its own.
$(VALIDATOR)/.ready: constraints.txt
	rm -rf $(VALIDATOR) && $(PYTHON) -m venv $(VALIDATOR)
	$(VALIDATOR)/bin/pip install --quiet --disable-pip-version-check roc-validator==0.13.0 \
	  $$(grep '^rocrate==' constraints.txt)
	@touch $@

# uv installs in seconds; where it cannot be had or fails, pip does the same. uv does not read
# pip's find-links setting, so it is handed over.
$(READY): requirements.txt constraints.txt pyproject.toml replication/pyproject.toml
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check uv==0.13.9 || true
	UV_FIND_LINKS="$$PIP_FIND_LINKS" $(BIN)/uv pip install --quiet --python $(BIN)/python \
	    -r requirements.txt -c constraints.txt || \
	  $(BIN)/pip install --quiet --disable-pip-version-check -r requirements.txt -c constraints.txt
	for part in . ./replication; do \
	  $(BIN)/pip install --quiet --disable-pip-version-check --no-deps --editable $$part || exit 1; done
	@touch $@
