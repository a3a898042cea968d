# Sourced by run.sh and cost.sh, at the top of the checkout: which kernels there are, how what runs in
# a machine is built, and which exit status is worse. The caller makes $work, a directory, before.
# shellcheck shell=bash disable=SC2034,SC2154

# As in the header of run.sh.
readonly FAILED=1 NO_KERNEL=3 BROKEN=70
readonly CACHE=target/vm/kernels
# Every suite that fetch-kernels.sh knows.
readonly SUITES_ALL=(bullseye bookworm bookworm-backports sid)

# CARGO'S-ARGUMENTS…: what it says is told only if it fails, which ends the caller.
quiet_cargo() {
    if ! cargo "$@" >"$work/build" 2>&1; then
        cat "$work/build" >&2
        exit $FAILED
    fi
}

# BUILT NAME: puts it into $work, without what only a debugger needs: it is copied into every machine's
# memory.
strip_into_work() {
    strip --strip-debug -o "$work/$2" "$1"
}

# The tests of the probes, as $work/probes-tests.
build_probes_tests() {
    local built
    quiet_cargo test --locked --package osquery-ebpf-probes --lib --no-run
    built=$(sed -n 's/^ *Executable .*(\(.*\))$/\1/p' "$work/build" | tail -n 1)
    strip_into_work "$built" probes-tests
}

# The program itself, as $work/osquery-ebpf.
build_program() {
    local triple
    quiet_cargo build --locked --package osquery-ebpf
    triple=$(rustc -vV | sed -n 's/^host: //p')
    strip_into_work "${CARGO_TARGET_DIR:-target}/$triple/debug/osquery-ebpf" osquery-ebpf
}

# STATUS: makes it the $worst if it is worse. A failed test says more than a broken machine, and that
# more than a missing kernel; a status of any other program is a failed test.
worst=0
worse() {
    case $1 in
    0) ;;
    "$NO_KERNEL") [ "$worst" -ne 0 ] || worst=$NO_KERNEL ;;
    "$BROKEN") [ "$worst" -eq $FAILED ] || worst=$BROKEN ;;
    *) worst=$FAILED ;;
    esac
}
