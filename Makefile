# Everything that people and CI do with Watertight. `make help` lists it.
#
# Besides make and rustup, a machine needs a C compiler (for the bundled SQLite), and the tests need strace. What is missing is
# installed, after saying so: Rust's toolchain and targets by rustup, the rest by apt-get where that is possible.

.DEFAULT_GOAL := help
.PHONY: help run build modules check test test-native bench lint fmt toolchain tools tools-test clean
SHELL := /bin/bash

# `make run APP=elsewhere ARGS='--listen 0.0.0.0:80'`
APP ?= .
ARGS ?=
# For `make bench`: BENCH=http runs that one; QUICK=1 takes fewer rounds.
BENCH ?=

HOST := target/release/watertight
DEV_HOST := target/debug/watertight

help: ## List what can be made.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: build ## Build everything and serve the shop on 127.0.0.1:8080 (admin 8081).
	$(HOST) run $(APP) $(ARGS)

build: $(HOST) modules ## Build the host (target/release/watertight) and every component (target/components).

# Cargo knows best whether anything is to be done.
.PHONY: $(HOST) $(DEV_HOST)
$(HOST): toolchain
	cargo build --release --locked -p watertight

$(DEV_HOST): toolchain
	cargo build --locked -p watertight --features failpoints

modules: $(HOST) ## Build the modules' components only.
	$(HOST) build --app $(APP)

check: build ## Say everything that is wrong with the application, without running it.
	$(HOST) check $(APP)

test: tools-test $(DEV_HOST) ## Run every test: modules natively, the host, and both together over real sockets.
	$(DEV_HOST) build --app .
	cargo test --locked --workspace --no-fail-fast --features watertight/failpoints

test-native: toolchain ## Run the modules' own tests only: natively, without the host.
	cargo test --locked -p shop-common -p shop-orders -p shop-payments -p shop-notifications

bench: build ## Measure beside native and bare baselines; prints ratios, writes target/bench/*.json.
	cargo bench --locked -p watertight $(if $(BENCH),--bench $(BENCH))

lint: toolchain ## Check formatting, and clippy with warnings denied.
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets --features watertight/failpoints -- -D warnings

fmt: toolchain ## Format the Rust code.
	cargo fmt --all

clean: ## Remove what was built. The shop's data in modules/.watertight stays.
	cargo clean

# What has to be there before anything is built. Each step looks first and installs only what is missing.
RUST := $(shell sed -n 's/^channel = "\(.*\)"/\1/p' rust-toolchain.toml)

define need_program # program, Debian's package, what for
	@command -v $(1) >/dev/null || { \
	  echo "watertight: installing $(2) by apt-get: $(3)"; \
	  { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get update -qq && apt-get install -y -qq $(2); } || { \
	    echo "watertight: $(1) is missing and can't be installed from here; install the package $(2) and try again" >&2; exit 1; }; }
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

tools-test: toolchain
	$(call need_target,wasm32-wasip2)
	$(call need_program,strace,strace,the durability tests watch what the host asks of the kernel)

comma := ,
