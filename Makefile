# The two commands a newcomer needs are `make run` and `make test`; both set the machine up first.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

TRIPLE := $(shell rustc -vV 2>/dev/null | sed -n 's/^host: //p')
RELEASE := target/$(TRIPLE)/release/osquery-ebpf

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
	cargo test --workspace --locked --no-fail-fast -- $(addprefix --skip ,$(AUDIT_TESTS))
	tests/vm/run.sh

# There is one audit socket in a kernel: these need it for themselves, and are not yet steady enough on a
# busy host to stand in everybody's way. The connector's count of what an overrun cost is not yet exact.
AUDIT_TESTS := audit::tests::root connector::tests::root

## audit-test: the live tests of the audit and connector sources, which take over the host's audit
audit-test: test-setup
	cargo test --package osquery-ebpf-probes --lib --locked --no-fail-fast -- $(AUDIT_TESTS)

## vm-test: the tests of the probes on Debian's other kernels, in virtual machines
vm-test: test-setup
	tests/vm/run.sh

## vm-cost: the instructions that our probes add to what they meet, on those kernels
vm-cost: test-setup
	tests/vm/cost.sh

test-setup:
	@packaging/setup.sh test

## lint: formats and lints only
lint: setup
	cargo fmt --all --check
	clang-format --dry-run --Werror $$(git ls-files 'probes/bpf/*.[ch]')
	cargo clippy --workspace --all-targets --locked -- -D warnings

## format: write the formats that `lint` checks
format:
	cargo fmt --all
	clang-format -i $$(git ls-files 'probes/bpf/*.[ch]')

## bench: cost on the host and speed of our own side, as ratios
bench: build
	packaging/setup.sh test
	cargo build --release --locked --package osquery-ebpf-tests
	cargo bench --workspace --locked
	target/$(TRIPLE)/release/host-cost --program $(RELEASE) --workload target/$(TRIPLE)/release/workload \
	    --save target/host-cost.json --compare tests/bench/host-cost.json

## clean: remove everything built
clean:
	cargo clean

.PHONY: help setup build run install test audit-test vm-test vm-cost test-setup lint format bench clean
export SQL
