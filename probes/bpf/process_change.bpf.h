/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Changes of a thread's ids and namespaces.
 *
 *   setresuid(2) ─ sys_enter ─▶ changing[thread] = ids before
 *                                    │
 *                  sys_exit ─────────┴─▶ WIRE_SETID, if they are others now
 *
 * Per-call tracepoints, since nothing else is everywhere: commit_creds and switch_task_namespaces
 * have no tracepoint, and trampolines are not to be had on every kernel. What was asked for is not
 * looked at, nor what the call returned (setfsuid returns the same whether it worked or not): ids
 * and namespaces are compared. setgroups changes none of the ids that an event has.
 *
 * Both belong to a thread, not to a process. The C library changes every thread, one call each.
 */
#ifndef PROCESS_CHANGE_BPF_H
#define PROCESS_CHANGE_BPF_H

#include "common.bpf.h"

/* Every namespace a task has or gives to its children, by inode number. */
struct spaces {
	__u32 mnt;
	__u32 pid;
	__u32 net;
	__u32 user;
	__u32 uts;
	__u32 ipc;
	__u32 cgroup;
	__u32 child_pid;
	__u32 child_time;
};

struct change {
	struct wire_creds creds;
	struct spaces spaces;
	__u32 reserved;
	__u64 flags;
};

/*
 * The calls that are being made, by thread. They take microseconds, or as long as an RCU grace
 * period, and leave nothing behind: a thread does not end between enter and exit.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, __u64);
	__type(value, struct change);
} changing SEC(".maps");

static __always_inline void fill_spaces(struct spaces *out, struct task_struct *task)
{
	struct nsproxy *proxy = BPF_CORE_READ(task, nsproxy);
	struct pid_namespace *pid_ns;

	innermost(BPF_CORE_READ(task, thread_pid), &pid_ns);
	out->mnt = BPF_CORE_READ(proxy, mnt_ns, ns.inum);
	out->pid = BPF_CORE_READ(pid_ns, ns.inum);
	out->net = BPF_CORE_READ(proxy, net_ns, ns.inum);
	out->user = BPF_CORE_READ(task, cred, user_ns, ns.inum);
	out->uts = BPF_CORE_READ(proxy, uts_ns, ns.inum);
	out->ipc = BPF_CORE_READ(proxy, ipc_ns, ns.inum);
	out->cgroup = BPF_CORE_READ(proxy, cgroup_ns, ns.inum);
	out->child_pid = BPF_CORE_READ(proxy, pid_ns_for_children, ns.inum);
	out->child_time = time_ns_for_children(proxy);
}

/* Remembers what holds before the call. `type` is what it will be reported as. */
static __always_inline int change_begins(u32 type, u64 flags)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	u64 thread = bpf_get_current_pid_tgid();
	struct change change = {};

	if (type == WIRE_SETID)
		fill_creds(&change.creds, BPF_CORE_READ(task, cred));
	else
		fill_spaces(&change.spaces, task);
	change.flags = flags;
	if (bpf_map_update_elem(&changing, &thread, &change, BPF_ANY))
		count(type, WIRE_LOST_STATE);
	return 0;
}

/* memcmp, which clang 14 does not write out. Both are made of __u32 only. */
static __always_inline bool same(const void *left, const void *right, const u32 size)
{
	u32 difference = 0;

	for (u32 i = 0; i < size / sizeof(__u32); i++)
		difference |= ((const __u32 *)left)[i] ^ ((const __u32 *)right)[i];
	return !difference;
}

static __always_inline void report_setid(const struct change *before, struct task_struct *task,
					 u32 call)
{
	struct wire_creds now;
	struct wire_setid *setid;

	fill_creds(&now, BPF_CORE_READ(task, cred));
	if (same(&now, &before->creds, sizeof(now)))
		return;
	if (left_out(WIRE_SETID, bpf_get_current_pid_tgid() >> 32))
		return;
	if (is_quiet_user()) {
		count(WIRE_SETID, WIRE_FILTERED);
		return;
	}
	setid = reserve(WIRE_SETID, sizeof(*setid));
	if (!setid)
		return;
	fill_header(&setid->header, WIRE_SETID, sizeof(*setid));
	fill_task(&setid->task, task);
	setid->before = before->creds;
	setid->call = call;
	setid->reserved = 0;
	submit(setid);
}

static __always_inline void report_namespace(const struct change *before, struct task_struct *task,
					     u32 call)
{
	struct wire_namespace *change;
	struct spaces now;

	fill_spaces(&now, task);
	if (same(&now, &before->spaces, sizeof(now)))
		return;
	if (left_out(WIRE_NAMESPACE, bpf_get_current_pid_tgid() >> 32))
		return;
	if (is_quiet_user()) {
		count(WIRE_NAMESPACE, WIRE_FILTERED);
		return;
	}
	change = reserve(WIRE_NAMESPACE, sizeof(*change));
	if (!change)
		return;
	fill_header(&change->header, WIRE_NAMESPACE, sizeof(*change));
	fill_task(&change->task, task);
	change->before.mnt = before->spaces.mnt;
	change->before.pid = before->spaces.pid;
	change->before.net = before->spaces.net;
	change->before.user = before->spaces.user;
	change->flags = before->flags;
	change->call = call;
	change->reserved = 0;
	submit(change);
}

/* No state: the call was being made when we came, or there was no room, which was counted. */
static __always_inline int change_ends(u32 type, u32 call)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	u64 thread = bpf_get_current_pid_tgid();
	struct change *before = bpf_map_lookup_elem(&changing, &thread);

	if (!before)
		return 0;
	if (type == WIRE_SETID)
		report_setid(before, task, call);
	else
		report_namespace(before, task, call);
	bpf_map_delete_elem(&changing, &thread);
	return 0;
}

#endif
