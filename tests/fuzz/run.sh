#!/usr/bin/env bash
# Runs the fuzz targets one after the other, FUZZ_SECONDS (60) each, and prints a line for each.
#
#   run.sh [TARGET…]      (default: all of them)
#
# Needs no nightly compiler: the coverage counters are LLVM's own pass, and libFuzzer comes with the
# crate libfuzzer-sys. What is found is kept in target/fuzz/corpus/TARGET, what breaks a target in
# target/fuzz/broken/.
#
# Exit status: 1 if a target broke.
set -euo pipefail
cd "$(dirname "$0")/../.."

readonly ALL="audit connector bpf thrift context config"
out=${CARGO_TARGET_DIR:-target}/fuzz
mkdir -p "$out/broken"
triple=$(rustc -vV | sed -n 's/^host: //p')

# What cargo-fuzz gives, without AddressSanitizer: the stable compiler has it behind a switch that is not
# stable, and `make sanitize` runs the tests of the libraries under it.
export RUSTFLAGS="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
-Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1 --cfg fuzzing"
cargo build --release --locked --manifest-path tests/fuzz/Cargo.toml --target "$triple" \
    --target-dir "$out/build"
bin=$out/build/$triple/release
"$bin/seeds" "$out/seeds" >/dev/null

worst=0
for target in ${*:-$ALL}; do
    mkdir -p "$out/corpus/$target"
    log=$out/$target.log
    status=0
    nice -n 19 "$bin/$target" -max_total_time="${FUZZ_SECONDS:-60}" -max_len=16384 -timeout=10 \
        -rss_limit_mb=2048 -print_final_stats=1 -artifact_prefix="$out/broken/$target-" \
        "$out/corpus/$target" "$out/seeds/$target" >"$log" 2>&1 || status=$?
    runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    edges=$(sed -n 's/.* cov: \([0-9]*\) .*/\1/p' "$log" | tail -n 1)
    inputs=$(find "$out/corpus/$target" -type f | wc -l)
    if [ "$status" -eq 0 ]; then
        printf '%-10s %12s runs, %6s edges, %6s inputs kept\n' "$target" "$runs" "$edges" "$inputs"
    else
        printf '%-10s BROKEN (status %s): see %s\n' "$target" "$status" "$log"
        worst=1
    fi
done
exit $worst
