# Every target sets up what it needs on a machine that has make, Python >= 3.10 and Rust.
# `make demo` shows it, `make test` tests it; CONTRIBUTING.md tells of the others.

# The interpreter that the virtual environments are made with.
PYTHON ?= python3
# Which directories `make bench` scrapes; empty for all: S M L.
BENCH_SIZES ?=
# How long `make fuzz` runs each of its targets.
FUZZ_SECONDS ?= 60
# How long `make soak` runs its service.
SOAK_MINUTES ?= 3

TARGET_DIR := $(abspath $(or $(CARGO_TARGET_DIR),target))
UPSTREAM := build/upstream
UPSTREAM_TESTS := $(UPSTREAM)/prometheus_client-0.26.0/tests
VENVS := .venv .venv-oldest .venv-upstream .venv-e2e

export PIP_DISABLE_PIP_VERSION_CHECK := 1

# The environments share one module built in place.
.NOTPARALLEL:
.DELETE_ON_ERROR:

.PHONY: help
help:
	@echo 'make demo            gunicorn with a demo application, scraped through multiprom'
	@echo 'make test            all tests, Rust and Python'
	@echo 'make test-rust       the tests of the Rust core'
	@echo 'make loom            models of what counts without a lock: every order of its threads'
	@echo 'make test-python     the Python tests, with the newest prometheus_client'
	@echo 'make test-oldest     the same but for gunicorn, with the oldest prometheus_client supported'
	@echo 'make test-upstream   the tests of prometheus_client itself, run on multiprom'
	@echo 'make test-install    the source distribution and the wheel install, count, fold and scrape'
	@echo 'make test-examples   the applications of examples/ run, and count right'
	@echo 'make wheel           the wheels for this platform, checked'
	@echo 'make lint            formatting, lints, types and the documentation of the core'
	@echo 'make docs            the site of the documentation, in build/site'
	@echo 'make pictures        what commands show, for docs/command-line.md; needs Chromium'
	@echo 'make fmt             formats Rust and Python'
	@echo 'make e2e             real servers under load, kills and a real Prometheus: a part, some minutes'
	@echo 'make e2e-all         all servers and neighbours, half an hour; the table is build/e2e.md'
	@echo 'make fuzz            random files are read, folded and compared (FUZZ_SECONDS=60 for each target)'
	@echo 'make miri            what counts without a lock, in an interpreter that knows undefined behaviour'
	@echo 'make sanitize        the tests of the core under the address and the thread sanitizer'
	@echo 'make bench           the tables of docs/performance.md (BENCH_SIZES="S M" for a part of the first)'
	@echo 'make bench-count     those of counting alone'
	@echo 'make bench-compaction those of the dead alone, before and after they are folded'
	@echo 'make bench-space     that of the room on a disk that files take'
	@echo 'make bench-rust      the benchmark of the Rust core alone'
	@echo 'make soak            a service whose workers come and go: nothing grows (SOAK_MINUTES=3)'
	@echo 'make operations      ten million random operations in threads, beside patches: no leak, no crash'
	@echo 'make clean           removes what these targets made'

# The tools that no target can install. One line each, and no traceback.

.PHONY: python-is-there
python-is-there:
	@command -v $(PYTHON) >/dev/null || \
	  { echo "multiprom needs Python 3.10 or later: '$(PYTHON)' is not there (make PYTHON=...)" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	  { echo "multiprom needs Python 3.10 or later: '$(PYTHON)' is $$($(PYTHON) -V 2>&1) (make PYTHON=...)" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	  { echo "'$(PYTHON)' cannot make virtual environments: install its venv module (Debian: python3-venv)" >&2; exit 1; }

.PHONY: rust-is-there
rust-is-there:
	@command -v cargo >/dev/null || \
	  { echo "multiprom needs a Rust toolchain: 'cargo' is not there (see rustup, or your distribution)" >&2; exit 1; }
	@command -v cc >/dev/null || \
	  { echo "Rust needs a linker: 'cc' is not there (Debian: apt-get install gcc libc6-dev)" >&2; exit 1; }

# Virtual environments. A stamp says that a dependency group of pyproject.toml is in one.

$(VENVS:%=%/.made): | python-is-there
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet --upgrade 'pip>=25.1'
	@touch $@

.venv/.group-%: pyproject.toml | .venv/.made
	.venv/bin/python -m pip install --quiet --group $*
	@touch $@

# The package that we compare with has wheels for some Pythons only; the table tells. It is not in
# the environment itself: the doctor warns of it, and the tests of the doctor would fail.
build/speedups: pyproject.toml | .venv/.made
	rm -rf $@
	.venv/bin/python -m pip install --quiet --no-deps --only-binary :all: --target $@ --group bench || \
	  echo 'make: the bench goes on without prometheus-client-python-speedups' >&2
	@mkdir -p $@
	@touch $@

.venv-oldest/.group-oldest: pyproject.toml | .venv-oldest/.made
	.venv-oldest/bin/python -m pip install --quiet --group oldest
	@touch $@

.venv-e2e/.group-%: pyproject.toml | .venv-e2e/.made
	.venv-e2e/bin/python -m pip install --quiet --group $*
	@touch $@

.venv-upstream/.group-upstream: pyproject.toml | .venv-upstream/.made
	.venv-upstream/bin/python -m pip install --quiet --group upstream
	@touch $@

# Cargo knows what changed, so these always ask it.
.PHONY: $(VENVS:%=develop%)
$(VENVS:%=develop%): develop%: .venv/.group-build | rust-is-there %/.made
	env -u CONDA_PREFIX VIRTUAL_ENV=$(abspath $*) .venv/bin/maturin develop --release --quiet

.PHONY: demo
demo: develop.venv .venv/.group-demo
	.venv/bin/python examples/demo/run.py

.PHONY: test
test: python-is-there rust-is-there test-rust loom test-python test-oldest test-upstream test-install test-examples

# Without the binding: what it has to say is tested from Python, and the floors below Python
# must stand alone.
.PHONY: test-rust
test-rust: | rust-is-there
	cargo test --no-default-features

# Every order in which threads can meet at the gate of a value.
.PHONY: loom
loom: | rust-is-there
	RUSTFLAGS='--cfg loom' CARGO_TARGET_DIR=$(TARGET_DIR)/loom cargo test --no-default-features --release --lib sys::gate::models

.PHONY: test-python
test-python: develop.venv .venv/.group-test build/gunicorn-23
	.venv/bin/python -m pytest --ignore=tests/examples

# All but the tests of a running gunicorn, which tell little about prometheus_client.
.PHONY: test-oldest
test-oldest: .venv-oldest/.group-oldest develop.venv-oldest
	.venv-oldest/bin/python -m pytest --ignore=tests/gunicorn --ignore=tests/examples

.PHONY: test-upstream
test-upstream: .venv-upstream/.group-upstream develop.venv-upstream $(UPSTREAM_TESTS)
	for values in '' --in-files; do \
	  (cd $(UPSTREAM) && PYTHONPATH=$(abspath tests/upstream) \
	    $(abspath .venv-upstream)/bin/pytest -p install_multiprom -c /dev/null --rootdir . $$values $(abspath $(UPSTREAM_TESTS))) || exit 1; \
	done

# Only the tests, so that they cannot import a prometheus_client beside them.
$(UPSTREAM_TESTS): tests/upstream/requirements.txt | .venv-upstream/.made
	rm -rf $(UPSTREAM)
	.venv-upstream/bin/python -m pip download --quiet --no-deps --dest $(UPSTREAM) --requirement $<
	.venv-upstream/bin/python scripts/unpack_tests.py $(UPSTREAM)/*.tar.gz $(UPSTREAM)
	@touch $@

# The last gunicorn that runs the hooks inside its signal handler.
build/gunicorn-23: | .venv/.made
	rm -rf $@
	.venv/bin/python -m pip install --quiet --no-deps --target $@ gunicorn==23.0.0

# Its exporter alone is run, so what else it needs, half a gigabyte, stays out.
build/mlflow: | .venv/.made
	rm -rf $@
	.venv/bin/python -m pip install --quiet --no-deps --target $@ 'mlflow>=3'

.PHONY: test-examples
test-examples: develop.venv .venv/.group-examples
	.venv/bin/python -m pytest tests/examples

# The last line needs no cargo: it installs what the first target built, for each CPython that
# is on PATH or in pyenv.
.PHONY: test-install
test-install: wheel-abi3 | rust-is-there
	$(MAKE) check-wheels
	rm -rf build/install
	.venv/bin/maturin sdist --out build/install
	$(PYTHON) -m venv build/install/venv
	CARGO_TARGET_DIR=$(TARGET_DIR) build/install/venv/bin/python -m pip install --quiet build/install/multiprom-*.tar.gz
	cd build/install && venv/bin/python -I $(abspath scripts/try_installed.py)
	.venv/bin/python scripts/try_wheels.py build/wheels build/install/wheels

# On Linux zig links against the old glibc of manylinux2014, and for other processors; maturin finds
# it on PATH. The interpreters of the free-threaded wheels need not be there: maturin knows them.
HOST_TARGET = $(shell rustc --print host-tuple)
WHEEL_TARGET ?= $(HOST_TARGET)
WHEEL_COMPATIBILITY ?= manylinux2014
WHEEL = PATH="$(abspath .venv/bin):$$PATH" CARGO_TARGET_DIR=$(TARGET_DIR)/wheel \
  .venv/bin/maturin build --release --quiet --compression-level 9 --out build/wheels \
  --target $(WHEEL_TARGET) --compatibility $(WHEEL_COMPATIBILITY) $(if $(findstring linux,$(WHEEL_TARGET)),--zig)

.PHONY: wheel-abi3
wheel-abi3: .venv/.group-wheel | rust-is-there
	rm -rf build/wheels
	$(WHEEL)

.PHONY: wheel
wheel: wheel-abi3
	$(WHEEL) --interpreter python3.14t
	$(WHEEL) --interpreter python3.15t --features pyo3/abi3t-py315
	$(MAKE) check-wheels

# abi3audit knows only the older of the two stable ABIs: `abi3t` came with Python 3.15.
.PHONY: check-wheels
check-wheels: .venv/.group-wheel
	.venv/bin/abi3audit --strict --summary build/wheels/*-abi3-*.whl
	$(if $(findstring linux,$(filter $(HOST_TARGET),$(WHEEL_TARGET))),for wheel in build/wheels/*.whl; do .venv/bin/auditwheel show $$wheel || exit 1; done)
	.venv/bin/twine check --strict build/wheels/*.whl
	.venv/bin/check-wheel-contents build/wheels/*.whl

# Debian has them; elsewhere they must be there.
.PHONY: prometheus-is-there redis-server-is-there
prometheus-is-there redis-server-is-there: %-is-there:
	@command -v $* >/dev/null || \
	  { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get update -qq && \
	    apt-get install -qq --no-install-recommends $* >/dev/null; } || \
	  { echo "the tests need '$*', which is not there (Debian: apt-get install $*)" >&2; exit 1; }

# The drills that are marked as quick.
.PHONY: e2e
e2e: prometheus-is-there develop.venv .venv/.group-e2e
	.venv/bin/python -m pytest e2e -m quick

# The servers and neighbours bring much along, so they have an environment of their own.
.PHONY: e2e-all
e2e-all: prometheus-is-there redis-server-is-there .venv-e2e/.group-e2e-all develop.venv-e2e \
  build/gunicorn-23 build/mlflow
	.venv-e2e/bin/python -m pytest e2e

.PHONY: lint
lint: develop.venv .venv/.group-lint
	cargo fmt --check
	cargo fmt --manifest-path fuzz/Cargo.toml --check
	cargo clippy --all-targets -- -D warnings
	cargo clippy --all-targets --no-default-features -- -D warnings
	RUSTDOCFLAGS="-Dwarnings -Arustdoc::private-intra-doc-links" cargo doc --no-deps --document-private-items
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy
	.venv/bin/python -m mypy.stubtest multiprom._core
	.venv/bin/python scripts/check_dependencies.py
	.venv/bin/zizmor --offline --quiet .github
	.venv/bin/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	.venv/bin/check-jsonschema --builtin-schema vendor.dependabot .github/dependabot.yml

.PHONY: fmt
fmt: .venv/.group-lint | rust-is-there
	cargo fmt
	cargo fmt --manifest-path fuzz/Cargo.toml
	.venv/bin/ruff check --fix-only --quiet
	.venv/bin/ruff format

.PHONY: docs
docs: develop.venv .venv/.group-docs
	NO_MKDOCS_2_WARNING=1 .venv/bin/mkdocs build --strict --quiet --site-dir build/site

# Those of docs/command-line.md: what commands print in a terminal, and a page in Chromium.
.PHONY: pictures
pictures: develop.venv .venv/.group-test
	.venv/bin/python scripts/record_terminal.py

# What watches memory or branches needs Rust's nightly compiler, and some of it more.
.PHONY: nightly-is-there
nightly-is-there: | rust-is-there
	@command -v rustup >/dev/null || \
	  { echo "this needs rustup, which fetches Rust's nightly compiler: 'rustup' is not there" >&2; exit 1; }
	@rustup run nightly rustc --version >/dev/null 2>&1 || \
	  rustup toolchain install nightly --profile minimal

.PHONY: nightly-is-complete
nightly-is-complete: | nightly-is-there
	@rustup component add --toolchain nightly miri rust-src

build/cargo-fuzz/bin/cargo-fuzz: | rust-is-there
	cargo install cargo-fuzz --version '^0.13' --locked --quiet --root build/cargo-fuzz

.PHONY: fuzz
fuzz: build/cargo-fuzz/bin/cargo-fuzz | nightly-is-there
	for target in entries bytes; do \
	  PATH="$(abspath build/cargo-fuzz/bin):$$PATH" CARGO_TARGET_DIR=$(TARGET_DIR)/fuzz \
	    cargo +nightly fuzz run $$target -- \
	    -max_total_time=$(FUZZ_SECONDS) -dict=fuzz/keys.dict -verbosity=0 -print_final_stats=1 || exit 1; \
	done

# The `unsafe` code that touches memory, and the gate that lets threads in: the rest makes system
# calls that miri lacks.
.PHONY: miri
miri: | nightly-is-complete
	MIRIFLAGS='-Zmiri-disable-isolation -Zmiri-many-seeds=0..16' CARGO_TARGET_DIR=$(TARGET_DIR)/miri \
	  cargo +nightly miri test --no-default-features --lib -- sys::gate:: sys::mapping:: sys::attachment::

# With a standard library of their own, or the thread sanitizer takes its locks for races.
.PHONY: sanitize
sanitize: | nightly-is-complete
	for sanitizer in address thread; do \
	  RUSTFLAGS="-Zsanitizer=$$sanitizer" CARGO_TARGET_DIR=$(TARGET_DIR)/$$sanitizer-sanitizer \
	    cargo +nightly test -Zbuild-std --no-default-features --lib \
	    --target "$$(rustc +nightly --print host-tuple)" || exit 1; \
	done

.PHONY: bench
bench: develop.venv build/speedups
	cargo build --release --no-default-features --example reading_floor
	PYTHONPATH=build/speedups .venv/bin/python benches/scrape_table.py --floor $(TARGET_DIR)/release/examples/reading_floor $(BENCH_SIZES)
	@echo
	.venv/bin/python benches/request_table.py
	@echo
	.venv/bin/python benches/count_table.py
	.venv/bin/python benches/install_table.py
	@echo
	.venv/bin/python benches/compaction_table.py
	@echo
	.venv/bin/python benches/space_table.py

# The room that files take.
.PHONY: bench-space
bench-space: develop.venv
	.venv/bin/python benches/space_table.py

# What the dead cost before and after they are folded.
.PHONY: bench-compaction
bench-compaction: develop.venv
	.venv/bin/python benches/compaction_table.py

.PHONY: bench-count
bench-count: develop.venv
	.venv/bin/python benches/count_table.py
	.venv/bin/python benches/install_table.py

.PHONY: bench-rust
bench-rust: | rust-is-there
	cargo bench --no-default-features --bench scrape

# As the test of `make test`, which does 200,000.
.PHONY: operations
operations: develop.venv .venv/.group-test
	MULTIPROM_OPERATIONS=10000000 .venv/bin/python -m pytest tests/native/test_leaks.py

# What grows in a service that runs for long. The picture is build/soak.png.
.PHONY: soak
soak: develop.venv .venv/.group-soak
	.venv/bin/python benches/soak.py --minutes $(SOAK_MINUTES) --picture build/soak.png

.PHONY: clean
clean:
	rm -rf $(VENVS) build target fuzz/artifacts fuzz/corpus
