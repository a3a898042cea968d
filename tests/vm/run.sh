#!/usr/bin/env bash
# Runs the tests of `mod root` on other kernels, each in a virtual machine of its own.
#
#   run.sh [SUITE…]      (default: every suite that fetch-kernels.sh knows)
#
# Prints one line for each kernel, kind of test and tier (how socket calls are seen). The full output is left in
# target/vm/SUITE.log. Environment: VM_JOBS (2), VM_GROUPS (names of kinds, below).
#
# Exit status: 0, all passed. 1: a test failed. 70: no test failed, but a machine broke. 3: neither,
# but a kernel could not be had.
set -euo pipefail
cd "$(dirname "$0")/../.."

readonly FAILED=1 NO_KERNEL=3 BROKEN=70
readonly CACHE=target/vm/kernels
# One kind of test takes half a minute where two machines have a CPU each.
readonly GROUP_SECONDS=300
# Kind of test : tier (- where there is but one) : which tests of the probes crate it is. What is
# skipped takes minutes when emulated.
readonly GROUPS_ALL=(
    "process:-:bpf::tests::root"
    "socket:1:bpf::objects::socket::tests::root"
    "socket:2:bpf::objects::socket::tests::root"
    "connector:-:connector::tests::root --skip of_thirty_thousand_execs"
    "fanotify:-:fanotify::tests::root"
)
# The others start tools that the machines do not have, and those of fanotify want file systems.
readonly GROUPS_DEFAULT="process socket"

work=$(mktemp -d)
jobs_running=()
trap 'for job in "${jobs_running[@]}"; do kill "$job" 2>/dev/null || true; done; rm -rf "$work"' EXIT

suites=("$@")
[ ${#suites[@]} -gt 0 ] || suites=(bullseye bookworm bookworm-backports sid)

wanted=()
for group in "${GROUPS_ALL[@]}"; do
    case " ${VM_GROUPS:-$GROUPS_DEFAULT} " in
    *" ${group%%:*} "*) wanted+=("$group") ;;
    *) echo "not run here: tests of ${group%%:*} (VM_GROUPS names what is)" ;;
    esac
done

# The test binary, without what only a debugger needs: it is copied into every machine's memory.
if ! cargo test --locked --package osquery-ebpf-probes --lib --no-run >"$work/build" 2>&1; then
    cat "$work/build" >&2
    exit $FAILED
fi
binary=$(sed -n 's/^ *Executable .*(\(.*\))$/\1/p' "$work/build" | tail -n 1)
strip --strip-debug -o "$work/probes-tests" "$binary"

# One test after another: while one loads programs, the kernel skips those of others on the same CPU.
{
    echo '#!/bin/sh'
    echo 'mount -t cgroup2 cgroup2 /sys/fs/cgroup'
    echo 'status=0'
    for group in "${wanted[@]}"; do
        read -r name tier filter < <(sed 's/:/ /; s/:/ /' <<<"$group")
        echo "echo '::group $name $tier'"
        case $tier in -) ;; *) echo -n "OSQUERY_EBPF_TEST_TIER=$tier " ;; esac
        echo "timeout -s KILL $GROUP_SECONDS probes-tests $filter --test-threads=1 2>&1 || status=1"
        echo "echo '::group-end'"
    done
    echo 'exit $status'
} >"$work/script"

one() {
    local suite=$1 status=0 log=target/vm/$1.log
    if ! tests/vm/fetch-kernels.sh "$CACHE" "$suite" >"$log" 2>&1; then
        return $NO_KERNEL
    fi
    VM_SECONDS=$((GROUP_SECONDS * ${#wanted[@]} + 60)) \
        tests/vm/boot.sh "$CACHE/$suite" "$work/script" "$work/probes-tests" >"$log" 2>"$log.broken" || status=$?
    return $status
}

# What came of a kernel: a line for each kind of test, and the names of what failed.
tell() {
    local suite=$1 status=$2 log=target/vm/$1.log release group name tier output line left_out
    release=$(cat "$CACHE/$suite/release" 2>/dev/null || echo '?')
    line="%-20s %-28s %-10s %-4s %s\n"
    if [ "$status" -eq $NO_KERNEL ]; then
        printf "$line" "$suite" "$release" - - "not tested: no kernel could be had (see $log)"
        return
    fi
    for group in "${wanted[@]}"; do
        left_out=
        case $group in *" --skip "*) left_out=", without ${group##* --skip }…" ;; esac
        read -r name tier _ < <(sed 's/:/ /; s/:/ /' <<<"$group")
        output=$(sed -n "/^::group $name $tier\$/,/^::group-end\$/p" "$log")
        if grep -q '^test result:' <<<"$output"; then
            printf "$line" "$suite" "$release" "$name" "$tier" "$(sed -n \
                's/^test result: \([A-Za-z]*\)\. \([0-9]* passed\); \([0-9]* failed\);.*finished in \(.*\)/\1: \2, \3, \4/p' <<<"$output")$left_out"
        elif grep -q '^::group-end$' <<<"$output"; then
            printf "$line" "$suite" "$release" "$name" "$tier" "FAILED: no end in $GROUP_SECONDS s: $(grep '^test ' <<<"$output" | tail -n 1)"
        else
            printf "$line" "$suite" "$release" "$name" "$tier" "the machine broke (see $log and $log.broken)"
        fi
        sed -n 's/^    \([a-z_0-9:]*::root::[a-z_0-9:]*\)$/    \1/p' <<<"$output" | sort -u
    done
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
