/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Whose sockets are left out, and to whom: decided here, so that they never reach the ring.
 *
 * User space holds every event against the same list, so what is not known here (too many entries,
 * a program that was started a moment ago) is left out there: the rows are the same, and each event
 * is counted where it was left out.
 *
 * Which programs are excluded is a matter of patterns, so it is user space that matches each path
 * once, when it reads the exec, and marks the process here. The mark names the file that runs,
 * which cannot become another while it does: a process that executes something else is not left out
 * by a mark that is about to be taken off.
 */
#ifndef SOCKET_EXCLUDE_BPF_H
#define SOCKET_EXCLUDE_BPF_H

#include "common.bpf.h"

/* include/uapi/linux/bpf.h; a trie can have no other. */
#define BPF_F_NO_PREALLOC 1

/* USER_HZ is 100 wherever there is BTF; TICK_NS in event.rs. */
#define WIRE_TICK 10000000

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, __u32);
	__type(value, struct wire_mark);
} quiet_processes SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 512);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct wire_network_key);
	__type(value, __u8);
} quiet_networks SEC(".maps");

static __always_inline bool is_quiet_process(void)
{
	u32 tgid = bpf_get_current_pid_tgid() >> 32;
	struct wire_mark *mark = bpf_map_lookup_elem(&quiet_processes, &tgid);
	struct task_struct *task = (void *)bpf_get_current_task();
	struct inode *inode;

	if (!mark)
		return false;
	inode = BPF_CORE_READ(task, mm, exe_file, f_inode);
	return mark->start == task_start(BPF_CORE_READ(task, group_leader)) / WIRE_TICK &&
	       mark->ino == BPF_CORE_READ(inode, i_ino) &&
	       mark->dev == BPF_CORE_READ(inode, i_sb, s_dev);
}

/* Whether the current task's sockets are left out: ours, and what is excluded. */
static __always_inline bool is_quiet(void)
{
	return bpf_get_current_pid_tgid() >> 32 == config.own_tgid || is_quiet_user() ||
	       is_quiet_process();
}

/* The same; it is counted. */
static __always_inline bool quiet(void)
{
	if (!is_quiet())
		return false;
	count(WIRE_SOCKET, WIRE_FILTERED);
	return true;
}

/* Whether traffic with this peer is left out; for bind and listen, with our own end. Counts it. */
static __noinline bool quiet_peer(const struct wire_end *peer)
{
	struct wire_network_key key = {};
	const __u32 *words = (const void *)peer->address;

	if (peer->family == AF_INET) {
		key.family = 4;
		key.bits = 8 + 32;
		__builtin_memcpy(key.address, peer->address, 4);
	} else if (peer->family != AF_INET6) {
		return false;
	} else if (!words[0] && !words[1] && words[2] == bpf_htonl(0xffff)) {
		key.family = 4;
		key.bits = 8 + 32;
		__builtin_memcpy(key.address, peer->address + 12, 4);
	} else {
		key.family = 6;
		key.bits = 8 + 128;
		__builtin_memcpy(key.address, peer->address, 16);
	}
	if (!bpf_map_lookup_elem(&quiet_networks, &key))
		return false;
	count(WIRE_SOCKET, WIRE_FILTERED);
	return true;
}

#endif
