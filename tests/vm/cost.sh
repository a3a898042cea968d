#!/usr/bin/env bash
# Counts the instructions that our probes add to what they meet, in each tier, on other kernels.
#
#   cost.sh [SUITE…]      (default: every suite that fetch-kernels.sh knows)
#
# In virtual machines whose clock counts instructions, so that the same run gives the same numbers on
# a machine of any speed and load. Exit status: as run.sh's.
set -euo pipefail
cd "$(dirname "$0")/../.."

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
. tests/vm/build.sh

suites=("$@")
[ ${#suites[@]} -gt 0 ] || suites=("${SUITES_ALL[@]}")

build_probes_tests
cat >"$work/script" <<'SCRIPT'
#!/bin/sh
mount -t cgroup2 cgroup2 /sys/fs/cgroup
exec probes-tests bpf::tests::root::cost --ignored --nocapture --test-threads=1 2>&1
SCRIPT

mkdir -p "$CACHE"
for suite in "${suites[@]}"; do
    log=target/vm/$suite.cost.log
    status=0
    if ! tests/vm/fetch-kernels.sh "$CACHE" "$suite" >"$log" 2>&1; then
        echo "$suite: not measured: no kernel could be had (see $log)"
        status=$NO_KERNEL
    else
        VM_ICOUNT=1 VM_SECONDS=600 tests/vm/boot.sh "$CACHE/$suite" "$work/script" "$work/probes-tests" \
            >"$log" 2>"$log.broken" || status=$?
        echo "$suite $(cat "$CACHE/$suite/release")"
        sed -n 's/^.*::cost //p' "$log"
        [ "$status" -eq 0 ] || echo "    FAILED ($status): see $log and $log.broken"
    fi
    worse "$status"
done
exit "$worst"
