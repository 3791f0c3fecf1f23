# make book   build the book            make bench  run the benchmarks
#             (SOLUTIONS=hidden: without the solutions of its exercises; PDF=yes: with PDFs of its pages)
# make test   run every test            make clean  remove what was built; runs are kept
# make colab  write the copies for Colab and run them all with Colab's packages
# make teach  assignments, graders, slides and notes of the course, in build/teach
PYTHON ?= python3
VENV   := .venv
PY     := $(VENV)/bin/python
READY  := $(VENV)/.ready

SESSIONS ?=

.PHONY: book test teach colab bench clean

book: $(READY)
	$(PY) -m equitutor build $(if $(filter hidden,$(SOLUTIONS)),--hide-solutions) $(if $(PDF),--pdf)

# First every chapter, two at a time; the pages that the browser tests open are made from these runs.
# Then tests and doctests.
test: $(READY)
	OMP_NUM_THREADS=1 $(PY) -m pytest -n 2 --dist worksteal tests/notebooks
	OMP_NUM_THREADS=1 $(PY) -m pytest -n 2 --dist worksteal --ignore=tests/notebooks

colab: $(READY)
	$(PY) -m tools.colab
	$(PY) -m tools.colab_run $(NAMES)

# One session: make teach SESSIONS=nero
teach: $(READY)
	OMP_NUM_THREADS=1 $(PY) -m tools.teach $(SESSIONS)

bench: $(READY)
	@for file in tests/bench/*.py; do \
		[ -e "$$file" ] || { echo "there are no benchmarks in tests/bench"; exit 2; }; \
		echo "== $$file"; $(PY) "$$file" || exit 1; \
	done

# The checkpoints in build/runs may be hours of work; `rm -rf build` removes them, too.
clean:
	[ ! -d build ] || find build -mindepth 1 -maxdepth 1 ! -name runs -exec rm -rf {} +
	rm -rf .pytest_cache .ruff_cache .hypothesis

# Installs anew only when one of the lists changed; a PyTorch that is in .venv already is kept if it
# is of the version that constraints.txt names.
$(READY): requirements.txt constraints.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "Python 3.11 or later is needed, $(PYTHON) is: $$($(PYTHON) --version 2>&1)."; \
		echo "Name another one: make book PYTHON=python3.12"; exit 2; }
	[ -x $(PY) ] || $(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --disable-pip-version-check -r requirements.txt -c constraints.txt
	touch $@
