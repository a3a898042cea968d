#!/usr/bin/env bash
# Takes Debian's cloud kernels of several releases into a cache, from the mirror that this machine's
# own apt uses, with an apt state of its own: the host's packages and lists are not touched.
#
#   fetch-kernels.sh CACHE [SUITE…]      (default: every suite below)
#
# Leaves CACHE/SUITE/{vmlinuz,modules/,release}. Exit 3: some kernel could not be had.
set -euo pipefail

cache=${1:?usage: fetch-kernels.sh CACHE [SUITE…]}
shift
suites=("$@")
[ ${#suites[@]} -gt 0 ] || suites=(bullseye bookworm bookworm-backports sid)
mkdir -p "$cache"
cache=$(cd "$cache" && pwd)

mirror=$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' |
    grep -E '/debian/?$' | sort | uniq -c | sort -rn | awk 'NR==1 {print $2}')
if [ -z "$mirror" ]; then
    echo "fetch-kernels: apt has no Debian mirror configured, or 'apt-get update' never ran" >&2
    exit 3
fi

fetch() {
    local suite=$1 dir=$cache/$1 work image
    [ -s "$dir/release" ] && return 0
    work=$(mktemp -d "$cache/.$suite.XXXXXX")
    mkdir -p "$work"/{lists/partial,archives/partial,root}
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $suite main" >"$work/sources.list"
    : >"$work/status"
    local apt=(apt-get -qq -o APT::Sandbox::User=root -o Dir::State="$work" -o Dir::State::lists="$work/lists"
        -o Dir::State::status="$work/status" -o Dir::Cache="$work" -o Dir::Cache::archives="$work/archives"
        -o Dir::Etc::sourcelist="$work/sources.list" -o Dir::Etc::sourceparts=/dev/null
        -o APT::Architecture=amd64 -o Acquire::Languages=none)
    "${apt[@]}" update || return 1
    # The metapackage names the newest cloud kernel of the suite; on sid it may lag behind the kernels.
    image=$("${apt[@]/#apt-get/apt-cache}" depends linux-image-cloud-amd64 2>/dev/null |
        sed -n 's/.*Depends: *\(linux-image-[^ ]*\).*/\1/p' | head -n 1)
    [ -n "$image" ] || return 1
    (cd "$work" && "${apt[@]}" download "$image") || return 1
    dpkg-deb -x "$work"/linux-image-*.deb "$work/root" || return 1
    # Newer packages leave the modules to a package of their own.
    local extra
    extra=$("${apt[@]/#apt-get/apt-cache}" depends "$image" | sed -n 's/.*Depends: *\(linux-\(modules\|base\|binary\)-[0-9][^ ]*\).*/\1/p' | head -n 3)
    for package in $extra; do
        (cd "$work" && "${apt[@]}" download "$package" 2>/dev/null && dpkg-deb -x "$package"_*.deb "$work/root") || true
    done
    rm -rf "$dir" && mkdir -p "$dir"
    # In /boot, or on the newest releases beside the modules.
    local kernel modules
    kernel=$(find "$work/root" -name 'vmlinuz*' -type f | head -n 1)
    modules=$(find "$work/root" -type d -path '*/lib/modules/*' -prune | head -n 1)
    [ -n "$kernel" ] && [ -n "$modules" ] || return 1
    cp "$kernel" "$dir/vmlinuz"
    cp -r "$modules" "$dir/modules"
    basename "$modules" >"$dir/release"
    rm -rf "$work"
}

status=0
for suite in "${suites[@]}"; do
    if fetch "$suite"; then
        echo "$suite: $(cat "$cache/$suite/release")"
    else
        echo "fetch-kernels: $suite: no kernel could be had from the configured mirror" >&2
        status=3
    fi
    rm -rf "$cache"/."$suite".*
done
exit $status
