#!/usr/bin/env bash
# Puts the built program where osqueryd can autoload it, with the owner and mode that osqueryd
# demands, and names it in the autoload file. Changes nothing else; --uninstall takes it back.
#
#   install.sh PROGRAM [DESTDIR]        install.sh --uninstall [DESTDIR]
set -euo pipefail

usage="usage: install.sh PROGRAM [DESTDIR] | install.sh --uninstall [DESTDIR]"
program=${1:?$usage}
root=${2:-}
directory=/usr/lib/osquery/extensions
extension=$directory/osquery-ebpf.ext
load=$root/etc/osquery/extensions.load

if [ "$program" = --uninstall ]; then
    rm -f "$root$extension" "$root$directory/osquery-ebpf"
    if [ -f "$load" ]; then
        grep -vxF "$extension" "$load" >"$load.new" || true
        mv "$load.new" "$load"
    fi
    exit 0
fi

[ -f "$program" ] || {
    echo "install: $program: no such file; run 'make build' first" >&2
    exit 1
}
install -d -o root -g root -m 0755 "$root$directory" "$(dirname "$load")"
install -o root -g root -m 0755 "$program" "$root$directory/osquery-ebpf"
# osqueryd autoloads only what ends in .ext. A hard link, since it resolves symbolic ones.
ln -f "$root$directory/osquery-ebpf" "$root$extension"
touch "$load"
grep -qxF "$extension" "$load" || echo "$extension" >>"$load"
echo "installed $extension; see osquery.flags.example for osqueryd's flags"
