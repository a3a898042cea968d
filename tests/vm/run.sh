#!/usr/bin/env bash
# Runs the tests of `mod root` on other kernels, each in a virtual machine of its own, in every tier.
#
#   run.sh [SUITE…]      (default: every suite that fetch-kernels.sh knows)
#
# Prints one line for each kernel, kind of test and tier (how socket calls are seen), and at the end
# what failed tests said. The full output is left in target/vm/SUITE.log.
#
# How much of each program the kernel's verifier looks at is compared with instructions.txt, beside
# this: a program that takes more than a fifth more than before, or is not there, is a failed test.
#
# Environment: VM_JOBS (2) machines at once; VM_GROUPS, names of kinds, below; VM_REGENERATE=1 writes
# instructions.txt instead of comparing.
#
# Exit status: 0, all passed. 1: a test failed. 70: no test failed, but a machine broke. 3: neither,
# but a kernel could not be had. 2: nothing was run, VM_GROUPS names what is not there.
set -euo pipefail
cd "$(dirname "$0")/../.."

readonly UNKNOWN=2
readonly INSTRUCTIONS=tests/vm/instructions.txt
# Of what failed tests of one kind said, this much is told at the end.
readonly SAID_LINES=80
# One kind of test takes two minutes at most where two machines have a CPU each, and five where four
# share two.
readonly GROUP_SECONDS=600
# Kind of test : tier (- where there is but one) : which tests of the probes crate it is. What is
# skipped takes minutes when emulated, or wants python, or modules that are not loaded here.
readonly GROUPS_ALL=(
    "size:-:bpf::tests::root::size --nocapture"
    "process:-:bpf::tests::root --show-output --skip root::size"
    "socket:1:bpf::objects::socket::tests::root --show-output"
    "socket:2:bpf::objects::socket::tests::root --show-output"
    "connector:-:connector::tests::root --skip of_thirty_thousand_execs"
    "fanotify:-:fanotify::tests::root bpf::tests::root::exec_files --show-output --skip root::storms --skip an_overlay_ --skip what_cannot_be_watched --skip made_without_a_name"
    # The program itself where BPF may not be used (audit.guest.sh), in a machine of its own with audit
    # on, and in another with it off; what follows are the kernel's arguments.
    "audit:on:"
    "audit:off:audit=0 lockdown=confidentiality"
    # The program itself while the clock is set.
    "clock:-:"
)
# Those of the connector start tools that the machines do not have.
readonly GROUPS_DEFAULT="size process socket fanotify audit clock"
# Those that are a script, NAME.guest.sh, which runs the program itself in a machine of its own.
readonly GROUPS_GUEST="audit clock"
is_guest() { # NAME
    [[ " $GROUPS_GUEST " == *" $1 "* ]]
}

work=$(mktemp -d)
trap 'jobs -pr | xargs -r kill 2>/dev/null || true; rm -rf "$work"' EXIT
. tests/vm/build.sh

suites=("$@")
[ ${#suites[@]} -gt 0 ] || suites=("${SUITES_ALL[@]}")

known=("${GROUPS_ALL[@]%%:*}")
for name in ${VM_GROUPS:-}; do
    if [[ " ${known[*]} " != *" $name "* ]]; then
        echo "run.sh: VM_GROUPS: there are no tests of $name, but of: $(printf '%s\n' "${known[@]}" | uniq | paste -sd' ')" >&2
        exit $UNKNOWN
    fi
done

wanted=() probes=() apart=()
for group in "${GROUPS_ALL[@]}"; do
    case " ${VM_GROUPS:-$GROUPS_DEFAULT} " in
    *" ${group%%:*} "*) wanted+=("$group") ;;
    *) echo "not run here: tests of ${group%%:*} (VM_GROUPS names what is)" ;;
    esac
done
for group in "${wanted[@]}"; do
    if is_guest "${group%%:*}"; then apart+=("$group"); else probes+=("$group"); fi
done

# The program, and Debian's tools to look at audit with, which run by the loader beside them.
files_apart=()
if [ ${#apart[@]} -gt 0 ]; then
    build_program
    tools=("$(command -v auditctl)" "$(command -v setpriv)")
    mapfile -t libraries < <(ldd "${tools[@]}" | sed -n 's/.*=> \(\/[^ ]*\) .*/\1/p' | sort -u)
    files_apart=(tests/vm/claims.sh "$work/osquery-ebpf" "${tools[@]}" "${libraries[@]}" /lib64/ld-linux-x86-64.so.2)
fi

if [ ${#probes[@]} -gt 0 ]; then build_probes_tests; fi

# A file system as disks have it: that of the machines is in memory.
truncate -s 16M "$work/ext4.image"
mke2fs -q -t ext4 -O ^has_journal -I 256 -F "$work/ext4.image"

# One test after another: while one loads programs, the kernel skips those of others on the same CPU.
{
    echo '#!/bin/sh'
    echo 'mount -t cgroup2 cgroup2 /sys/fs/cgroup'
    # Both kinds, as on hosts that are half way.
    echo 'mkdir /run/pids && mount -t cgroup -o pids pids /run/pids'
    echo 'status=0'
    # For tests of files, and of those that are executed: /tmp on a disk. A kernel before 5.13 gives what is in memory no id.
    cat <<'SCRIPT'
prepare_fanotify() {
    insmod /bin/loop.ko && losetup /dev/loop0 /bin/ext4.image && mount -t ext4 /dev/loop0 /tmp || return 1
    [ "$(stat -f -c %i /dev/shm)" = 0 ] || return 0
    left_out='--skip on_tmpfs --skip root::mounts --skip root::moves'
    echo '::left-out tests on tmpfs, among them those of mounts and moves: this kernel gives it no id (5.13 does)'
}
SCRIPT
    for group in "${probes[@]}"; do
        IFS=: read -r name tier _ <<<"$group"
        filter=${group#*:*:}
        echo "echo '::group $name $tier'"
        [ "$tier" = - ] && echo "unset OSQUERY_EBPF_TEST_TIER" || echo "export OSQUERY_EBPF_TEST_TIER=$tier"
        echo 'left_out='
        [ "$name" = fanotify ] && echo 'prepare_fanotify || status=1'
        echo "timeout -s KILL $GROUP_SECONDS probes-tests $filter \$left_out --test-threads=1 2>&1 || status=1"
        echo "echo '::group-end'"
    done
    echo 'exit $status'
} >"$work/script"

one() {
    local suite=$1 status=0 log=target/vm/$1.log loop
    if ! tests/vm/fetch-kernels.sh "$CACHE" "$suite" >"$log" 2>&1; then
        return $NO_KERNEL
    fi
    : >"$log" >"$log.broken"
    if [ ${#probes[@]} -gt 0 ]; then
        mkdir -p "$work/$suite"
        loop=$(compgen -G "$CACHE/$suite/modules/kernel/drivers/block/loop.ko*" || true)
        case $loop in
        *.xz) busybox unxz -c "$loop" >"$work/$suite/loop.ko" ;;
        *.ko) cp "$loop" "$work/$suite/loop.ko" ;;
        *) echo "run.sh: $suite: no module loop.ko that can be unpacked: ${loop:-none}" >"$log.broken"; return $BROKEN ;;
        esac
        VM_SECONDS=$((GROUP_SECONDS * ${#probes[@]} + 60)) tests/vm/boot.sh \
            "$CACHE/$suite" "$work/script" "$work/probes-tests" "$work/$suite/loop.ko" "$work/ext4.image" \
            >>"$log" 2>>"$log.broken" || status=$?
    fi
    local group name tier arguments result
    for group in "${apart[@]}"; do
        IFS=: read -r name tier arguments <<<"$group"
        result=0
        echo "::group $name $tier" >>"$log"
        VM_APPEND=$arguments VM_SECONDS=$GROUP_SECONDS tests/vm/boot.sh "$CACHE/$suite" \
            "tests/vm/$name.guest.sh" "${files_apart[@]}" >>"$log" 2>>"$log.broken" || result=$?
        if [ "$result" -ne $BROKEN ]; then echo "::group-end" >>"$log"; fi
        # That a test failed says more than that a machine broke.
        if [ "$result" -ne 0 ] && [ "$status" -ne $FAILED ]; then status=$result; fi
    done
    return $status
}

# How much the verifier looked at, against what is on record. False: a program grew, or is new.
compare() {
    local suite=$1 log=target/vm/$1.log
    sed -n "s/^.*::verified \(.*\)\$/$suite \1/p" "$log" | sort >"$work/verified"
    [ -s "$work/verified" ] || return 0
    if [ -n "${VM_REGENERATE:-}" ]; then
        { grep -v "^$suite " "$INSTRUCTIONS" 2>/dev/null || true; cat "$work/verified"; } | sort >"$work/instructions"
        cp "$work/instructions" "$INSTRUCTIONS"
        return 0
    fi
    awk -v record="$INSTRUCTIONS" '
        FILENAME == record { before[$1, $2, $3] = $4; next }
        !(($1, $2, $3) in before) {
            print "    " $3 ": " $4 " instructions, and none in " record " (VM_REGENERATE=1 writes it)"; bad = 1; next
        }
        $4 > before[$1, $2, $3] * 1.2 {
            print "    " $3 ": " $4 " instructions, before it was " before[$1, $2, $3]; bad = 1
        }
        END { exit bad }' "$INSTRUCTIONS" "$work/verified"
}

# What came of a kernel: a line for each kind of test, and the names of what failed.
tell() {
    local suite=$1 status=$2 log=target/vm/$1.log release group name tier output line left_out
    release=$(cat "$CACHE/$suite/release" 2>/dev/null || echo '?')
    line="%-20s %-28s %-10s %-4s %s\n"
    if [ "$status" -eq $NO_KERNEL ]; then
        printf "$line" "$suite" "$release" - - "NOT TESTED: no kernel could be had (see $log)"
        return
    fi
    for group in "${wanted[@]}"; do
        left_out=$(grep -o -- '--skip [^ ]*' <<<"$group" | cut -d' ' -f2 | paste -sd' ' || true)
        left_out=${left_out:+, without $left_out}
        IFS=: read -r name tier _ <<<"$group"
        # Of a machine that broke there is no end, but another one's output may follow.
        output=$(awk -v group="::group $name $tier" '
            /^::group / { inside = $0 == group }
            inside { print }
            /^::group-end$/ { inside = 0 }' "$log")
        if grep -q '^test result:' <<<"$output"; then
            printf "$line" "$suite" "$release" "$name" "$tier" "$(sed -n \
                's/^test result: \([A-Za-z]*\)\. \([0-9]* passed\); \([0-9]* failed\);.*finished in \(.*\)/\1: \2, \3, \4/p' <<<"$output")$left_out"
            sed -n 's/^::left-out /    left out: /p' <<<"$output"
        elif grep -q '^::group-end$' <<<"$output"; then
            printf "$line" "$suite" "$release" "$name" "$tier" "FAILED: no end in $GROUP_SECONDS s: $(grep '^test ' <<<"$output" | tail -n 1)"
        else
            printf "$line" "$suite" "$release" "$name" "$tier" "the machine broke: $(grep '^test ' <<<"$output" | tail -n 1) (see $log.broken)"
        fi
        sed -n '/^failures:$/,$s/^    \([a-z_0-9:]*::root::[a-z_0-9:]*\)$/    \1/p' <<<"$output" | sort -u
        if is_guest "$name"; then sed -n 's/^test \(.*\) \.\.\. FAILED$/    \1/p' <<<"$output"; fi
        if ! grep -q '^test result: ok' <<<"$output"; then
            {
                printf '\n%s, %s, tier %s:\n' "$suite" "$name" "$tier"
                said "$name" <<<"$output" | tail -n "$SAID_LINES"
            } >>"$work/failed"
        fi
    done
    sed -n 's/^::boot-again /    booted again: /p' "$log"
    if [ -s "$log.broken" ]; then
        { printf '\n%s, its machines:\n' "$suite"; tail -n "$SAID_LINES" "$log.broken"; } >>"$work/failed"
    fi
}

# NAME: what failed said, of the output of a kind of test: what the tests left, or the end of it all
# where there is no such thing (a script, or tests that did not end).
said() {
    local output
    output=$(cat)
    if is_guest "$1" || ! grep -q '^failures:$' <<<"$output"; then
        echo "$output"
    else
        sed -n '/^failures:$/,/^test result:/p' <<<"$output"
    fi
}

mkdir -p "$CACHE"
declare -A pending=()
reap() {
    local pid status=0
    wait -n -p pid "${!pending[@]}" || status=$?
    tell "${pending[$pid]}" "$status"
    if [ "$status" -ne $NO_KERNEL ] && ! compare "${pending[$pid]}" >"$work/grown"; then
        status=$FAILED
        { printf '\n%s:\n' "${pending[$pid]}"; cat "$work/grown"; } | tee -a "$work/failed"
    fi
    unset "pending[$pid]"
    worse "$status"
}

for suite in "${suites[@]}"; do
    while [ ${#pending[@]} -ge "${VM_JOBS:-2}" ]; do reap; done
    one "$suite" &
    pending[$!]=$suite
done
while [ ${#pending[@]} -gt 0 ]; do reap; done
# Last, where whoever sees but the end of a long run's output sees it.
if [ -s "$work/failed" ]; then
    echo "What failed:"
    cat "$work/failed"
fi
exit "$worst"
