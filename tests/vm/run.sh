#!/usr/bin/env bash
# Runs the tests of `mod root` on other kernels, each in a virtual machine of its own.
#
#   run.sh [SUITE…]      (default: every suite that fetch-kernels.sh knows)
#
# Prints one line for each kernel and kind of test. The full output is left in
# target/vm/SUITE.log. Environment: VM_JOBS (2), VM_GROUPS (names of kinds; default: all).
#
# Exit status: 0, all passed. 1: a test failed. 70: no test failed, but a machine broke. 3: neither,
# but a kernel could not be had.
set -euo pipefail
cd "$(dirname "$0")/../.."

readonly FAILED=1 NO_KERNEL=3 BROKEN=70
readonly CACHE=target/vm/kernels
# Kind of test : which tests of the probes crate it is.
readonly GROUPS_ALL=(
    "process:bpf::tests::root"
    "socket:bpf::objects::socket::tests::root"
    "fanotify:fanotify::tests::root"
)

work=$(mktemp -d)
jobs_running=()
trap 'for job in "${jobs_running[@]}"; do kill "$job" 2>/dev/null || true; done; rm -rf "$work"' EXIT

suites=("$@")
[ ${#suites[@]} -gt 0 ] || suites=(bullseye bookworm bookworm-backports sid)

wanted=()
for group in "${GROUPS_ALL[@]}"; do
    case " ${VM_GROUPS:-${group%%:*}} " in *" ${group%%:*} "*) wanted+=("$group") ;; esac
done

# The test binary, without what only a debugger needs: it is copied into every machine's memory.
if ! cargo test --locked --package osquery-ebpf-probes --lib --no-run >"$work/build" 2>&1; then
    cat "$work/build" >&2
    exit $FAILED
fi
binary=$(sed -n 's/^ *Executable .*(\(.*\))$/\1/p' "$work/build" | tail -n 1)
strip --strip-debug -o "$work/probes-tests" "$binary"

{
    echo '#!/bin/sh'
    echo 'mount -t cgroup2 cgroup2 /sys/fs/cgroup'
    echo 'status=0'
    for group in "${wanted[@]}"; do
        echo "echo '::group ${group%%:*}'"
        echo "probes-tests '${group#*:}' 2>&1 || status=1"
    done
    echo 'exit $status'
} >"$work/script"

one() {
    local suite=$1 status=0
    local log=target/vm/$suite.log
    if ! tests/vm/fetch-kernels.sh "$CACHE" "$suite" >"$log" 2>&1; then
        return $NO_KERNEL
    fi
    VM_SECONDS=${VM_SECONDS:-300} tests/vm/boot.sh "$CACHE/$suite" "$work/script" "$work/probes-tests" \
        >"$log" 2>&1 || status=$?
    return $status
}

# What came of a kernel: a line for each kind of test. Answers as `one` did.
tell() {
    local suite=$1 status=$2 log=target/vm/$1.log release group result
    release=$(cat "$CACHE/$suite/release" 2>/dev/null || echo '?')
    if [ "$status" -eq $NO_KERNEL ]; then
        printf '%-20s %-28s not tested: no kernel could be had (%s)\n' "$suite" "$release" "$log"
        return
    fi
    for group in "${wanted[@]}"; do
        group=${group%%:*}
        result=$(awk -v group="$group" '$1 == "::group" { on = $2 == group } on && /^test result:/' "$log" | tail -n 1)
        case $result in
        *" passed; "*)
            printf '%-20s %-28s %-10s %s\n' "$suite" "$release" "$group" "$(sed \
                's/test result: \([A-Za-z]*\)\. \([0-9]* passed\); \([0-9]* failed\);.*finished in \(.*\)/\1: \2, \3, \4/' <<<"$result")"
            ;;
        *) printf '%-20s %-28s %-10s the machine broke (%s)\n' "$suite" "$release" "$group" "$log" ;;
        esac
    done
    grep -E '^test .*(\.\.\. FAILED|FAILED$)|^    [a-z_:]+::root::' "$log" | grep '^    ' | sort -u || true
}

mkdir -p "$CACHE"
declare -A pending=()
worst=0
worse() {
    case $1 in
    0) ;;
    "$NO_KERNEL") [ "$worst" -ne 0 ] || worst=$NO_KERNEL ;;
    "$BROKEN") [ "$worst" -eq $FAILED ] || worst=$BROKEN ;;
    *) worst=$FAILED ;;
    esac
}
reap() {
    local pid status=0
    wait -n -p pid "${!pending[@]}" || status=$?
    tell "${pending[$pid]}" "$status"
    unset "pending[$pid]"
    jobs_running=("${!pending[@]}")
    worse "$status"
}

for suite in "${suites[@]}"; do
    while [ ${#pending[@]} -ge "${VM_JOBS:-2}" ]; do reap; done
    one "$suite" &
    pending[$!]=$suite
    jobs_running=("${!pending[@]}")
done
while [ ${#pending[@]} -gt 0 ]; do reap; done
exit "$worst"
