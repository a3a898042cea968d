# The two commands a newcomer needs are `make run` and `make test`; both set the machine up first.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

TRIPLE := $(shell rustc -vV 2>/dev/null | sed -n 's/^host: //p')
RELEASE := target/$(TRIPLE)/release/osquery-ebpf
# The osqueryd that the end-to-end tests are run against once more, if there is one.
OSQUERYD ?= $(shell command -v osqueryd)

## help: what can be made
help:
	@sed -n 's/^## /  make /p' Makefile

## setup: install what is missing, by the distribution's package manager
setup:
	@packaging/setup.sh

## build: the release binary, one static file
build: setup
	cargo build --release --locked --package osquery-ebpf

## run: SQL over live events (SQL="..." runs one statement and leaves)
run: build
ifdef SQL
	@$(RELEASE) shell "$$SQL"
else
	@$(RELEASE) shell
endif

## install: put the binary where osqueryd autoloads extensions (DESTDIR=... for a package)
install: build
	packaging/install.sh $(RELEASE) "$(DESTDIR)"

# Kernels that cannot be fetched or booted fail it, too, with the codes of tests/vm/run.sh: what was not
# tested has not passed.
## test: formats, lints and the tests, on the running kernel and on Debian's others in virtual machines
test: test-setup lint
	cargo build --workspace --locked
	env -u OSQUERYD cargo test --workspace --locked --no-fail-fast
ifneq ($(OSQUERYD),)
	OSQUERYD=$(OSQUERYD) cargo test --locked --package osquery-ebpf-tests --no-fail-fast
else
	@echo "No osqueryd on the PATH, and OSQUERYD names none: the embedded host stood in for it."
endif
	tests/vm/run.sh

## vm-test: the tests of the probes on Debian's other kernels, in virtual machines
vm-test: test-setup
	tests/vm/run.sh

## vm-cost: the instructions that our probes add to what they meet, on those kernels
vm-cost: test-setup
	tests/vm/cost.sh

## fuzz: throw bytes at everything that reads bytes we did not write (FUZZ_SECONDS=60 each, TARGETS=...)
fuzz: setup
	tests/fuzz/run.sh $(TARGETS)

test-setup:
	@packaging/setup.sh test

## lint: formats and lints only
lint: setup
	cargo fmt --all --check
	clang-format --dry-run --Werror $$(git ls-files 'probes/bpf/*.[ch]')
	cargo clippy --workspace --all-targets --locked -- -D warnings
	cargo fmt --check --manifest-path tests/fuzz/Cargo.toml
	cargo metadata --locked --format-version 1 --manifest-path tests/fuzz/Cargo.toml >/dev/null

## format: write the formats that `lint` checks
format:
	cargo fmt --all
	clang-format -i $$(git ls-files 'probes/bpf/*.[ch]')

## bench: cost on the host, what we need ourselves, and speed of our own side (ROUNDS=n)
bench: bench-build
	cargo bench --workspace --locked
	$(BENCH)/host-cost $(UNDER_TEST) $(if $(ROUNDS),--rounds $(ROUNDS)) \
	    --save target/host-cost.json --compare tests/bench/host-cost.json
	$(BENCH)/footprint $(UNDER_TEST) --save target/footprint.json --compare tests/bench/footprint.json

## soak: memory and CPU under mixed load, drawn (SECONDS_OF_SOAK=600)
soak: bench-build
	$(BENCH)/footprint $(UNDER_TEST) --soak $(or $(SECONDS_OF_SOAK),600) \
	    --save target/soak.json --plot target/soak.svg

bench-build: build
	packaging/setup.sh test
	cargo build --release --locked --package osquery-ebpf-tests

BENCH := target/$(TRIPLE)/release
UNDER_TEST := --program $(RELEASE) --workload $(BENCH)/workload

## dependencies: licences, sources and doubles of what is depended on, as deny.toml allows
dependencies:
	@command -v cargo-deny >/dev/null || cargo install --locked cargo-deny
	cargo deny check bans licenses sources

# On the stable compiler, whose sanitizers wait for a name; memory is what unsafe code can get wrong. Not
# looked at: constants that two copies of a C library share, and what is still held at the end.
## sanitize: the tests of the libraries under AddressSanitizer
sanitize: test-setup
	ASAN_OPTIONS=detect_odr_violation=0:detect_leaks=0 RUSTC_BOOTSTRAP=1 RUSTFLAGS="-Zsanitizer=address -Ctarget-feature=-crt-static" \
	    cargo test --workspace --lib --locked --target-dir target/sanitize

## clean: remove everything built
clean:
	cargo clean

.PHONY: help setup build run install test vm-test vm-cost test-setup lint format fuzz bench soak bench-build dependencies sanitize clean
export SQL
