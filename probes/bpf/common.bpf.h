/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What every object shares: its ring, its counters, the common part of each record, and the one
 * way out. Each object that includes this gets a ring and counters of its own.
 */
#ifndef COMMON_BPF_H
#define COMMON_BPF_H

#include "kernel.h"
#include "wire.h"
#include "compat.bpf.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* In a section of its own, so that the loader knows where it is. */
const volatile struct wire_config config SEC(".rodata.config");

/* The loader sets the size. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 18);
} ring SEC(".maps");

/*
 * One for each CPU, of a number that the loader sets; CPUs beyond share. Not a per-CPU map, which
 * can only be looked up: whoever does has programs on tracepoints of calls skipped meanwhile. The
 * reader has this mapped.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct wire_counters);
} counters SEC(".maps");

/*
 * While records come, the reader comes round by itself, so most of them wake nobody. It is woken
 * early only while the backlog passes the mark: not before, and not again for each record after it.
 * Wider than any one record, so that none can step across.
 */
#define WAKEUP_WINDOW (1 << 18)

/* Atomic, since a program in softirq may come between load and store, or another CPU share it. */
static __always_inline void count(u32 type, u32 outcome)
{
	u32 cpu = bpf_get_smp_processor_id() & config.cpu_mask;
	struct wire_counters *all = bpf_map_lookup_elem(&counters, &cpu);

	if (all && type < WIRE_TYPES && outcome < WIRE_OUTCOMES)
		__sync_fetch_and_add(&all->count[type][outcome], 1);
}

static __always_inline u64 wakeup_flags(void)
{
	u64 past = bpf_ringbuf_query(&ring, BPF_RB_AVAIL_DATA) - config.wakeup_bytes;

	return past < WAKEUP_WINDOW ? BPF_RB_FORCE_WAKEUP : BPF_RB_NO_WAKEUP;
}

/*
 * Not 0: nothing has come for a while, and the reader sleeps until it is woken. It has this mapped.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} asleep SEC(".maps");

/* Bytes of a record that is given up again: none can be shorter. */
#define NUDGE 8

/*
 * Wakes a reader that sleeps. To be called after each record: its submit is the full fence between
 * that and the look at the word. The nudge is reserved before the word is cleared, and given up
 * after: until then the ring is not empty, and the reader does not sleep again. Why nothing is
 * missed thereby, src/bpf/bell.rs has in full.
 */
static __always_inline void wake_reader(void)
{
	u32 zero = 0;
	volatile u64 *sleeps = bpf_map_lookup_elem(&asleep, &zero);
	void *nudge;

	if (!sleeps || !*sleeps)
		return;
	nudge = bpf_ringbuf_reserve(&ring, NUDGE, 0);
	if (!nudge)
		return;
	*sleeps = 0;
	bpf_ringbuf_discard(nudge, BPF_RB_FORCE_WAKEUP);
}

/*
 * Room for a record of fixed size, to be handed to submit(). Counted as produced from here on.
 * Nothing may return between the two.
 */
static __always_inline void *reserve(u32 type, const u64 size)
{
	void *record = bpf_ringbuf_reserve(&ring, size, 0);

	count(type, WIRE_PRODUCED);
	if (!record)
		count(type, WIRE_LOST_RING);
	return record;
}

static __always_inline void submit(void *record)
{
	bpf_ringbuf_submit(record, wakeup_flags());
	wake_reader();
}

/* Hands over a record that was built elsewhere. */
static __always_inline void output(u32 type, void *record, u64 size)
{
	count(type, WIRE_PRODUCED);
	if (bpf_ringbuf_output(&ring, record, size, wakeup_flags())) {
		count(type, WIRE_LOST_RING);
		return;
	}
	wake_reader();
}

/* Real ids of users whose doings are left out. The loader sets the size, and what is in it. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 256);
	__type(key, __u32);
	__type(value, __u8);
} quiet_users SEC(".maps");

/*
 * Not asked for exec, fork and exit: whoever is excluded may execute, or become, what is not, and
 * then the record of its execution, its parent and its end are needed. Those rows are left out in
 * user space.
 */
static __always_inline bool is_quiet_user(void)
{
	u32 uid = bpf_get_current_uid_gid();

	return bpf_map_lookup_elem(&quiet_users, &uid);
}

/* Whether this process's doings are left out, as asked. Counts it if so. */
static __always_inline bool left_out(u32 type, u32 tgid)
{
	if (tgid != config.own_tgid)
		return false;
	count(type, WIRE_FILTERED);
	return true;
}

static __always_inline void fill_header(struct wire_header *header, u32 type, u32 length)
{
	header->length = length;
	header->type = type;
	header->flags = 0;
	header->time = bpf_ktime_get_boot_ns();
	header->cpu = bpf_get_smp_processor_id();
	header->reserved = 0;
}

/* A struct pid's number in the innermost namespace it has, and that namespace. 0: unreadable. */
static __always_inline u32 innermost(const struct pid *pid, struct pid_namespace **ns)
{
	struct upid *last;

	*ns = NULL;
	if (!pid)
		return 0;
	last = (void *)pid + bpf_core_field_offset(struct pid, numbers) +
	       (u64)BPF_CORE_READ(pid, level) * bpf_core_type_size(struct upid);
	*ns = BPF_CORE_READ(last, ns);
	return BPF_CORE_READ(last, nr);
}

static __always_inline void fill_creds(struct wire_creds *out, const struct cred *cred)
{
	out->uid = BPF_CORE_READ(cred, uid.val);
	out->gid = BPF_CORE_READ(cred, gid.val);
	out->suid = BPF_CORE_READ(cred, suid.val);
	out->sgid = BPF_CORE_READ(cred, sgid.val);
	out->euid = BPF_CORE_READ(cred, euid.val);
	out->egid = BPF_CORE_READ(cred, egid.val);
	out->fsuid = BPF_CORE_READ(cred, fsuid.val);
	out->fsgid = BPF_CORE_READ(cred, fsgid.val);
}

/*
 * Everything about the task that did something. Pointers may be scalars or BTF pointers: it serves
 * programs of every type, hence the probe reads.
 */
static __always_inline void fill_task(struct wire_task *out, struct task_struct *task)
{
	struct task_struct *leader = BPF_CORE_READ(task, group_leader);
	struct task_struct *parent = BPF_CORE_READ(task, real_parent);
	struct nsproxy *proxy = BPF_CORE_READ(task, nsproxy);
	const struct cred *cred = BPF_CORE_READ(task, cred);
	struct kernfs_node *node = BPF_CORE_READ(task, cgroups, dfl_cgrp, kn);
	struct pid_namespace *pid_ns;
	u32 known = 0;

	out->tgid = BPF_CORE_READ(task, tgid);
	out->tid = BPF_CORE_READ(task, pid);
	out->start = task_start(leader);
	if (out->start)
		known |= WIRE_KNOWN_START;

	out->parent_tgid = BPF_CORE_READ(parent, tgid);
	out->parent_start = task_start(BPF_CORE_READ(parent, group_leader));
	if (parent)
		known |= WIRE_KNOWN_PARENT;

	out->ns_tgid = innermost(BPF_CORE_READ(leader, thread_pid), &pid_ns);
	if (out->ns_tgid)
		known |= WIRE_KNOWN_NS_PID;

	fill_creds(&out->creds, cred);
	if (cred)
		known |= WIRE_KNOWN_CREDS;
	if (task_loginuid(task, &out->auid))
		known |= WIRE_KNOWN_AUID;

	out->namespaces.mnt = BPF_CORE_READ(proxy, mnt_ns, ns.inum);
	out->namespaces.net = BPF_CORE_READ(proxy, net_ns, ns.inum);
	out->namespaces.pid = BPF_CORE_READ(pid_ns, ns.inum);
	out->namespaces.user = BPF_CORE_READ(cred, user_ns, ns.inum);
	if (proxy && pid_ns)
		known |= WIRE_KNOWN_NAMESPACES;

	out->cgroup_id = kernfs_id(node);
	if (node)
		known |= WIRE_KNOWN_CGROUP;

	out->known = known;
	__builtin_memset(out->comm, 0, sizeof(out->comm));
	BPF_CORE_READ_INTO(&out->comm, task, comm);
}

#endif
