#!/usr/bin/env bash
# Installs what building needs and this machine lacks; with the word `test`, also what only the tests
# and benchmarks need. Debian and its relatives only: elsewhere it says what is missing and stops.
set -euo pipefail

# command or file that must exist : package that brings it
needs=(
    "clang:clang"
    "clang-format:clang-format"
    "gcc:gcc"
    "make:make"
    "pkg-config:pkg-config"
    "libelf.a:libelf-dev"
    "libz.a:zlib1g-dev"
)
if [ "${1:-}" = test ]; then
    needs+=(
        "auditctl:auditd"
        "bash:bash"
        "busybox:busybox-static"
        "mke2fs:e2fsprogs"
        "python3:python3"
        "qemu-system-x86_64:qemu-system-x86"
        "setpriv:util-linux"
        "strip:binutils"
        "unshare:util-linux"
    )
fi

has() {
    case $1 in
    *.a) compgen -G "/usr/lib/*/$1" >/dev/null ;;
    # It is all there is in a virtual machine, with no libraries.
    busybox) command -v busybox >/dev/null && ! ldd "$(command -v busybox)" 2>/dev/null | grep -q libc ;;
    *) command -v "$1" >/dev/null ;;
    esac
}

if ! command -v cargo >/dev/null; then
    echo "setup: cargo is not on PATH; install Rust first (package rustup, or rustup's own installer)" >&2
    exit 1
fi

missing=()
for need in "${needs[@]}"; do
    has "${need%%:*}" || missing+=("${need##*:}")
done
[ ${#missing[@]} -eq 0 ] && exit 0

if ! command -v apt-get >/dev/null; then
    echo "setup: please install by hand: ${missing[*]}" >&2
    exit 1
fi
if [ "$(id -u)" -ne 0 ]; then
    echo "setup: ${missing[*]} missing; run as root, or: apt-get install ${missing[*]}" >&2
    exit 1
fi

echo "setup: installing ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null

# The tests start auditd themselves where they want it beside them; nobody else is to start it.
if [[ " ${missing[*]} " == *" auditd "* ]] && [ -d /run/systemd/system ]; then
    systemctl disable --now auditd.service || true
fi

for need in "${needs[@]}"; do
    has "${need%%:*}" || {
        echo "setup: ${need%%:*} still missing after installing ${need##*:}" >&2
        exit 1
    }
done
