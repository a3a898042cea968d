#!/usr/bin/env bash
# Boots a kernel in QEMU (no KVM needed) on a small initramfs that holds a few static programs, runs
# one script in it as pid 1's child, and prints what the script printed.
#
#   boot.sh KERNEL_DIR SCRIPT [FILE…]      each FILE is put into the guest's /bin
#
# KERNEL_DIR is what fetch-kernels.sh leaves: vmlinuz, modules/, release.
# Environment: VM_SECONDS (120), VM_MEMORY (1024 MiB), VM_APPEND (more kernel arguments), VM_ICOUNT=1:
# one CPU, whose clock counts instructions: a nanosecond of the guest is one of them.
#
# A kernel that does not come up is booted again: emulated, one in some hundred boots panics before
# anything of ours has run, while it patches its own code. It is said by a line "::boot-again REASON".
#
# Exit status: the script's own, or 70 when the machine broke (no boot, panic, time over): a broken
# virtual machine is not a failed test.
set -euo pipefail

readonly BROKEN=70
readonly BOOTS=3
# It takes 3 to 10, and 30 where four machines share a CPU.
readonly BOOT_SECONDS=120
kernel=${1:?usage: boot.sh KERNEL_DIR SCRIPT [FILE…]}
script=${2:?usage: boot.sh KERNEL_DIR SCRIPT [FILE…]}
shift 2

work=$(mktemp -d)
trap 'kill "${qemu:-}" 2>/dev/null || true; rm -rf "$work"' EXIT
root=$work/root
mkdir -p "$root"/{bin,proc,sys,dev,tmp,run,etc,root,var}
cp "$(command -v busybox)" "$root/bin/busybox"
for file in "$@"; do cp "$file" "$root/bin/"; done
cp "$script" "$root/script"
chmod +x "$root/script"
printf 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n' >"$root/etc/passwd"
cat >"$root/init" <<'INIT'
#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin HOME=/root
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mount -t tmpfs tmpfs /tmp
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
ip link set lo up
echo ::vm-started
/script
echo "::vm-exit $?"
# Which ends it (-no-reboot). A machine that has slept cannot be powered off.
reboot -f
INIT
chmod +x "$root/init"
(cd "$root" && find . | busybox cpio -o -H newc 2>/dev/null | gzip -1) >"$work/initramfs"

# Always emulated: a nested /dev/kvm may be there and yet fail on the guest's first wide instruction,
# and emulation gives the same machine everywhere. Without cmpxchg16b, after which QEMU 7.2 now and
# then leaves other bits in the flags than it found, and the guest double-faults.
if [ -n "${VM_ICOUNT:-}" ]; then
    machine=(-accel tcg,thread=single -icount shift=0,sleep=off -smp 1)
else
    machine=(-accel tcg,thread=multi -smp 2)
fi
machine() {
    exec timeout --kill-after=5 "${VM_SECONDS:-120}" qemu-system-x86_64 \
        -M q35 "${machine[@]}" -cpu max,cx16=off -m "${VM_MEMORY:-1024}" -nographic -nodefaults -no-reboot \
        -serial stdio -kernel "$kernel/vmlinuz" -initrd "$work/initramfs" \
        -append "console=ttyS0 quiet panic=-1 mitigations=off lsm=landlock,lockdown,yama,integrity,apparmor,bpf ${VM_APPEND:-}" \
        </dev/null >"$work/serial.raw" 2>"$work/qemu.err"
}
came_up() { grep -q '::vm-started' "$work/serial.raw"; }

for ((boot = 1; boot <= BOOTS; boot++)); do
    : >"$work/serial.raw"
    machine &
    qemu=$!
    for ((second = 0; second < BOOT_SECONDS; second++)); do
        if came_up || ! kill -0 "$qemu" 2>/dev/null; then break; fi
        sleep 1
    done
    if came_up; then break; fi
    kill "$qemu" 2>/dev/null || true
    wait "$qemu" || true
    if [ "$boot" -lt "$BOOTS" ]; then
        echo "::boot-again $(grep -a -m 1 -o 'Kernel panic.*' "$work/serial.raw" | tr -d '\r' || echo "nothing came up in $BOOT_SECONDS s")"
    fi
done
wait "$qemu" || true
tr -d '\r' <"$work/serial.raw" >"$work/serial"

sed -n '/::vm-started/,/^::vm-exit/p' "$work/serial" | grep -v '::vm-\(started\|exit\)' || true
status=$(sed -n 's/^::vm-exit \([0-9]*\)$/\1/p' "$work/serial" | tail -n 1)
if [ -z "$status" ]; then
    echo "boot: the virtual machine ($(cat "$kernel/release")) broke or ran out of time; its last lines:" >&2
    tail -n 25 "$work/serial" "$work/qemu.err" >&2
    exit $BROKEN
fi
exit "$status"
