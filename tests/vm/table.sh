#!/usr/bin/env bash
# Makes the README's table of what is seen on which kernel, out of what run.sh left in target/vm.
#
#   table.sh            prints it
#   table.sh --write    puts it into README.md, between its marks
set -euo pipefail
cd "$(dirname "$0")/../.."

readonly SUITES=(bullseye bookworm bookworm-backports sid)
readonly BEGIN='<!-- made by tests/vm/table.sh -->' END='<!-- end -->'

# Lines of run.sh's logs, each after its suite, group and tier.
rows() {
    local suite
    for suite in "${SUITES[@]}"; do
        [ -s "target/vm/$suite.log" ] || { echo "table: run tests/vm/run.sh first: no target/vm/$suite.log" >&2; exit 1; }
        awk -v suite="$suite" '
            /^::group / { group = $2; tier = $3 }
            match($0, /::(row|fields) /) { print suite "\t" group "\t" tier "\t" substr($0, RSTART + 2) }' "target/vm/$suite.log"
    done
}

table() {
    local heads=() suite
    for suite in "${SUITES[@]}"; do heads+=("$(sed 's/-.*//; s/+.*//; s/^\([0-9]*\.[0-9]*\).*/\1/' "target/vm/kernels/$suite/release")"); done
    printf '| what happens | %s | %s | %s | %s | compared by |\n|---|---|---|---|---|---|\n' "${heads[@]}"
    rows | awk -F '\t' -v suites="${SUITES[*]}" '
        {
            kind = $4; sub(/ .*/, "", kind)
            text = substr($4, length(kind) + 2)
            step = substr(text, 1, 44); rest = substr(text, 46)
            gsub(/^ +| +$/, "", step)
            if (!(step in known)) { known[step] = 1; order[++steps] = step }
            if (kind == "fields") {
                gsub(/_/, "\\_", rest)
                if (length(rest) > length(fields[step])) fields[step] = rest
                next
            }
            split(rest, part, " ")
            right = part[3] == "-" && part[4] == "-" && part[5] == "-"
            mark = !right ? "✗" : part[1] == 0 ? "–" : "✓"
            if ($3 == "2") mark = cell[$1, step] " / " mark
            cell[$1, step] = mark
        }
        END {
            count = split(suites, suite, " ")
            for (at = 1; at <= steps; at++) {
                line = "| " order[at]
                for (one = 1; one <= count; one++) line = line " | " cell[suite[one], order[at]]
                print line " | " fields[order[at]] " |"
            }
        }'
}

if [ "${1:-}" = --write ]; then
    made=$(table)
    MADE=$made awk -v begin="$BEGIN" -v end="$END" '
        $0 == begin { print; print ENVIRON["MADE"]; skip = 1; next }
        $0 == end { skip = 0 }
        !skip' README.md >target/vm/README.md
    cp target/vm/README.md README.md
else
    table
fi
