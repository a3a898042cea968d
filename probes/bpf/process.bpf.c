// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Processes: exec, fork, exit; changes of ids and namespaces are in process_change.bpf.h.
 *
 *   do_execveat_common
 *     bprm_execve
 *       exec_binprm
 *         load_elf_binary            the point of no return, new mm, argv on the new stack
 *         sched_process_exec         <- here
 *   kernel_clone
 *     copy_process                   pids, start time, credentials are final
 *     sched_process_fork             <- here, before the child runs
 *   do_exit
 *     --signal->live                 0: the last thread
 *     sched_process_exit             <- here, for each thread
 *
 * Not the system calls: their arguments can change after they are read, they fail, and io_uring or
 * 32-bit programs go past them. The tracepoints see only what took place.
 */
#include "common.bpf.h"
#include "process_change.bpf.h"

/* The longest of each part. All of them together fit the scratch. */
#define ARGS_MAX 32768
#define ENV_MAX 8192
#define PATH_MAX 4096
#define INTERPRETER_MAX 512
#define NAME_MAX 255
/* Deeper directories and cgroups are cut. */
#define PATH_DEPTH 160
#define CGROUP_DEPTH 48
#define RECORD_MAX 65536

_Static_assert(sizeof(struct wire_exec) + ARGS_MAX + ENV_MAX + 4 * PATH_MAX + INTERPRETER_MAX + 1 <
		   RECORD_MAX,
	       "a record with every part at its longest");

union exec_record {
	struct wire_exec exec;
	__u8 bytes[RECORD_MAX];
};

struct scratch {
	/* Who builds here: pid_tgid. 0: nobody. */
	volatile __u64 owner;
	union exec_record record;
};

/*
 * One for each CPU, as a plain array since per-CPU values end at 32 KiB. The loader sets the number
 * to that of the CPUs there are; one that comes later builds in the ring, which costs ring space
 * only.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct scratch);
} scratches SEC(".maps");

/*
 * Where the next part goes: the record's length so far. It and the flags are kept in the record,
 * not in registers, because the verifier does not follow what is in the record: it sees one state
 * after each part instead of one for each way through it, of which a walk of 160 steps has
 * hundreds.
 */
static __always_inline u32 end_of(union exec_record *record)
{
	return *(volatile __u32 *)&record->exec.header.length & (RECORD_MAX - 1);
}

static __always_inline void set_end(union exec_record *record, u32 end)
{
	*(volatile __u32 *)&record->exec.header.length = end;
}

static __always_inline void flag(union exec_record *record, u32 part)
{
	*(volatile __u32 *)&record->exec.parts |= part;
}

static __always_inline struct mount *real_mount(struct vfsmount *mnt)
{
	return (void *)mnt - bpf_core_field_offset(struct mount, mnt);
}

/*
 * Adds the names from a file up to the root of its mount namespace, as d_path would find them.
 * chroot is not followed: the path is the same for everyone in the namespace. The lengths come from
 * the kernel's qstr rather than from a search for NUL.
 */
static __noinline int add_path(union exec_record *record, struct wire_span *span,
			       struct dentry *dentry, struct mount *mount)
{
	struct dentry *mount_root = BPF_CORE_READ(mount, mnt.mnt_root);
	const u32 start = end_of(record);
	int done = 0;

	for (int i = 0; i < PATH_DEPTH; i++) {
		struct dentry *parent;
		const unsigned char *name;
		u32 at = end_of(record);
		u32 length;

		if (dentry == mount_root) {
			struct mount *above = BPF_CORE_READ(mount, mnt_parent);

			if (above == mount) {
				done = 1;
				break;
			}
			dentry = BPF_CORE_READ(mount, mnt_mountpoint);
			mount = above;
			mount_root = BPF_CORE_READ(mount, mnt.mnt_root);
			continue;
		}
		parent = BPF_CORE_READ(dentry, d_parent);
		name = BPF_CORE_READ(dentry, d_name.name);
		length = BPF_CORE_READ(dentry, d_name.len) & NAME_MAX;
		if (!parent || !length || at - start > PATH_MAX - NAME_MAX - 1)
			break;
		if (at > RECORD_MAX - NAME_MAX - 1)
			break;
		if (bpf_probe_read_kernel(&record->bytes[at], length, name))
			break;
		record->bytes[at + length] = 0;
		set_end(record, at + length + 1);
		/* memfd and the like: a name of its own, in no directory. */
		if (parent == dentry) {
			done = 1;
			break;
		}
		dentry = parent;
	}
	span->offset = start;
	span->length = end_of(record) - start;
	return done;
}

/* The same for a cgroup, up to the root of its hierarchy, which has no name. */
static __noinline int add_cgroup(union exec_record *record, struct kernfs_node *node)
{
	const u32 start = end_of(record);
	int done = 0;

	for (int i = 0; i < CGROUP_DEPTH; i++) {
		struct kernfs_node *parent = kernfs_parent(node);
		u32 at = end_of(record);
		long length;

		if (!parent) {
			done = 1;
			break;
		}
		if (at - start > PATH_MAX - NAME_MAX - 1 || at > RECORD_MAX - NAME_MAX - 1)
			break;
		length = bpf_probe_read_kernel_str(&record->bytes[at], NAME_MAX + 1,
						   BPF_CORE_READ(node, name));
		if (length <= 0)
			break;
		set_end(record, at + length);
		node = parent;
	}
	record->exec.cgroup.offset = start;
	record->exec.cgroup.length = end_of(record) - start;
	return done;
}

/* A v1 controller's cgroup, where it is not the root. */
static __always_inline struct kernfs_node *below_root(void *subsys, u64 controller)
{
	struct cgroup_subsys_state *state = NULL;
	struct kernfs_node *node;

	bpf_probe_read_kernel(&state, sizeof(state), subsys + controller * sizeof(state));
	node = BPF_CORE_READ(state, cgroup, kn);
	return node && kernfs_parent(node) ? node : NULL;
}

/* The cgroup that says most: v2's, else that of the first v1 hierarchy where it is not the root. */
static __always_inline struct kernfs_node *telling_cgroup(struct task_struct *task)
{
	struct css_set *set = BPF_CORE_READ(task, cgroups);
	struct kernfs_node *node = BPF_CORE_READ(set, dfl_cgrp, kn);
	struct kernfs_node *other = NULL;
	void *subsys = (void *)set + bpf_core_field_offset(struct css_set, subsys);

	if (!node || kernfs_parent(node))
		return node;
	if (bpf_core_enum_value_exists(enum cgroup_subsys_id, pids_cgrp_id))
		other =
		    below_root(subsys, bpf_core_enum_value(enum cgroup_subsys_id, pids_cgrp_id));
	if (!other && bpf_core_enum_value_exists(enum cgroup_subsys_id, memory_cgrp_id))
		other =
		    below_root(subsys, bpf_core_enum_value(enum cgroup_subsys_id, memory_cgrp_id));
	return other ? other : node;
}

static __always_inline void fill_inode(struct wire_inode *out, const struct inode *inode)
{
	out->ino = BPF_CORE_READ(inode, i_ino);
	out->size = BPF_CORE_READ(inode, i_size);
	inode_times(inode, &out->atime, &out->mtime, &out->ctime);
	out->btime = inode_btime(inode);
	out->dev = BPF_CORE_READ(inode, i_sb, s_dev);
	out->magic = BPF_CORE_READ(inode, i_sb, s_magic);
	out->mode = BPF_CORE_READ(inode, i_mode);
	out->uid = BPF_CORE_READ(inode, i_uid.val);
	out->gid = BPF_CORE_READ(inode, i_gid.val);
	out->nlink = BPF_CORE_READ(inode, i_nlink);
}

/* Whichever the pages are, they are no smaller. */
#define PAGE 4096

/*
 * Reads user memory to the first page that is not in memory: programs cannot wait for it to be
 * fetched. Gives the number of bytes.
 */
static __noinline u32 read_pages(union exec_record *record, u64 from, u32 length)
{
	const u32 start = end_of(record);
	u32 done = 0;

	for (int i = 0; i <= ARGS_MAX / PAGE; i++) {
		u32 chunk = PAGE - ((from + done) & (PAGE - 1));
		u32 at = start + done;

		if (chunk > length - done)
			chunk = length - done;
		asm volatile("" : "+r"(chunk), "+r"(at));
		if (!chunk || chunk > PAGE || at > RECORD_MAX - PAGE)
			break;
		if (bpf_probe_read_user(&record->bytes[at], chunk, (void *)(from + done)))
			break;
		done += chunk;
	}
	return done;
}

/* Adds user memory, at most `max` bytes of it. `parts` are the flags for cut and unreadable. */
static __always_inline void add_user(union exec_record *record, struct wire_span *span, u64 from,
				     u64 size, const u32 max, u32 cut, u32 unread)
{
	u32 at = end_of(record);
	u32 length = size > max ? max : size;

	span->offset = at;
	span->length = 0;
	if (size > max)
		flag(record, cut);
	asm volatile("" : "+r"(length));
	if (length > max || at > RECORD_MAX - max)
		return;
	if (bpf_probe_read_user(&record->bytes[at], length, (void *)from)) {
		u32 got = read_pages(record, from, length);

		if (got < length)
			flag(record, got ? cut : unread);
		length = got;
		asm volatile("" : "+r"(length));
		if (length > max)
			return;
	}
	span->length = length;
	set_end(record, at + length);
}

/*
 * Adds a string of the kernel's. On 5.8 to 6.1 a read that faults writes a NUL to the byte before
 * its buffer, so there is always one to spare, and it is NUL already.
 */
static __always_inline void add_string(union exec_record *record, struct wire_span *span,
				       const char *from, const u32 max, u32 unread)
{
	u32 at = end_of(record);
	long length;

	span->offset = at;
	span->length = 0;
	if (at > RECORD_MAX - max - 1)
		return;
	record->bytes[at] = 0;
	at += 1;
	length = bpf_probe_read_kernel_str(&record->bytes[at], max, from);
	if (length < 0) {
		flag(record, unread);
		return;
	}
	span->offset = at;
	span->length = length;
	set_end(record, at + length);
}

/* Builds the whole record; its length is in its header. */
static __noinline int build_exec(union exec_record *record, struct task_struct *task,
				 struct linux_binprm *bprm, u32 old_tid)
{
	struct wire_exec *exec = &record->exec;
	struct mm_struct *mm = BPF_CORE_READ(task, mm);
	struct file *file = BPF_CORE_READ(mm, exe_file);
	struct inode *inode = BPF_CORE_READ(file, f_inode);
	struct dentry *name = BPF_CORE_READ(file, f_path.dentry);
	struct tty_struct *tty = BPF_CORE_READ(task, signal, tty);
	const char *filename = BPF_CORE_READ(bprm, filename);
	const char *interp = BPF_CORE_READ(bprm, interp);
	struct kernfs_node *cgroup;
	u64 start;

	fill_header(&exec->header, WIRE_EXEC, sizeof(*exec));
	fill_task(&exec->task, task);
	fill_inode(&exec->file, inode);
	exec->argc = BPF_CORE_READ(bprm, argc);
	exec->envc = BPF_CORE_READ(bprm, envc);
	exec->parts = 0;
	exec->old_tid = old_tid;
	__builtin_memset(exec->tty, 0, sizeof(exec->tty));
	if (tty)
		BPF_CORE_READ_INTO(&exec->tty, tty, name);
	flag(record, exec_named_by(bprm));
	if (!inode)
		flag(record, WIRE_FILE_UNREAD);
	if (!BPF_CORE_READ(name, d_hash.pprev))
		flag(record, WIRE_FILE_UNHASHED);

	start = BPF_CORE_READ(mm, arg_start);
	exec->args_size = BPF_CORE_READ(mm, arg_end) - start;
	add_user(record, &exec->args, start, exec->args_size, ARGS_MAX, WIRE_ARGS_CUT,
		 WIRE_ARGS_UNREAD);
	start = BPF_CORE_READ(mm, env_start);
	exec->env_size = BPF_CORE_READ(mm, env_end) - start;
	add_user(record, &exec->env, start, exec->env_size, ENV_MAX, WIRE_ENV_CUT, WIRE_ENV_UNREAD);

	add_string(record, &exec->raw_path, filename, PATH_MAX, WIRE_RAW_PATH_UNREAD);
	exec->interpreter.offset = exec->interpreter.length = 0;
	if (interp != filename)
		add_string(record, &exec->interpreter, interp, INTERPRETER_MAX,
			   WIRE_INTERPRETER_UNREAD);

	if (!name)
		flag(record, WIRE_PATH_UNREAD);
	if (!add_path(record, &exec->path, name, real_mount(BPF_CORE_READ(file, f_path.mnt))))
		flag(record, WIRE_PATH_CUT);
	name = BPF_CORE_READ(task, fs, pwd.dentry);
	if (!name)
		flag(record, WIRE_CWD_UNREAD);
	if (!add_path(record, &exec->cwd, name, real_mount(BPF_CORE_READ(task, fs, pwd.mnt))))
		flag(record, WIRE_CWD_CUT);
	cgroup = telling_cgroup(task);
	if (!cgroup)
		flag(record, WIRE_CGROUP_UNREAD);
	if (!add_cgroup(record, cgroup))
		flag(record, WIRE_CGROUP_CUT);
	return 0;
}

static __always_inline int on_exec(struct task_struct *task, pid_t old_tid,
				   struct linux_binprm *bprm)
{
	u32 cpu = bpf_get_smp_processor_id();
	u64 self = bpf_get_current_pid_tgid();
	struct scratch *scratch;
	union exec_record *record;
	u32 length;

	if (left_out(WIRE_EXEC, self >> 32))
		return 0;
	scratch = bpf_map_lookup_elem(&scratches, &cpu);
	if (!scratch || scratch->owner) {
		record = reserve(WIRE_EXEC, sizeof(*record));
		if (!record)
			return 0;
		build_exec(record, task, bprm, old_tid);
		submit(record);
		return 0;
	}
	/*
	 * A program that preempts this one between the test above and here builds in the same
	 * place. It leaves another owner, or none.
	 */
	scratch->owner = self;
	build_exec(&scratch->record, task, bprm, old_tid);
	length = end_of(&scratch->record);
	if (scratch->owner == self)
		output(WIRE_EXEC, &scratch->record, length);
	else
		count(WIRE_EXEC, WIRE_LOST_STATE);
	scratch->owner = 0;
	return 0;
}

static __always_inline int on_fork(struct task_struct *child)
{
	struct task_struct *parent = BPF_CORE_READ(child, real_parent);
	pid_t tgid = BPF_CORE_READ(child, tgid);
	struct pid_namespace *ns;
	struct wire_fork *fork;

	/* A thread. */
	if (BPF_CORE_READ(child, pid) != tgid)
		return 0;
	if (left_out(WIRE_FORK, bpf_get_current_pid_tgid() >> 32))
		return 0;
	fork = reserve(WIRE_FORK, sizeof(*fork));
	if (!fork)
		return 0;
	fill_header(&fork->header, WIRE_FORK, sizeof(*fork));
	/* Not current: with CLONE_PARENT the parent is the caller's. */
	fill_task(&fork->task, parent);
	fork->child_start = task_start(child);
	fork->child_tgid = tgid;
	fork->child_ns_tgid = innermost(BPF_CORE_READ(child, thread_pid), &ns);
	fork->syscall = current_syscall(&fork->abi);
	submit(fork);
	return 0;
}

/* include/linux/sched/signal.h. */
#define SIGNAL_GROUP_EXIT 4

static __always_inline int on_exit(struct task_struct *task)
{
	struct signal_struct *signal = BPF_CORE_READ(task, signal);
	struct wire_exit *exit;

	if (left_out(WIRE_EXIT, bpf_get_current_pid_tgid() >> 32))
		return 0;
	exit = reserve(WIRE_EXIT, sizeof(*exit));
	if (!exit)
		return 0;
	fill_header(&exit->header, WIRE_EXIT, sizeof(*exit));
	fill_task(&exit->task, task);
	/* As wait_task_zombie does. */
	if (BPF_CORE_READ(signal, flags) & SIGNAL_GROUP_EXIT)
		exit->status = BPF_CORE_READ(signal, group_exit_code);
	else
		exit->status = BPF_CORE_READ(task, group_leader, exit_code);
	exit->reserved = 0;
	submit(exit);
	return 0;
}

SEC("tp_btf/sched_process_exec")
int BPF_PROG(process_exec, struct task_struct *task, pid_t old_tid, struct linux_binprm *bprm)
{
	return on_exec(task, old_tid, bprm);
}

SEC("tp_btf/sched_process_fork")
int BPF_PROG(process_fork, struct task_struct *parent, struct task_struct *child)
{
	return on_fork(child);
}

/* The tracepoint says itself whether this is the last thread. */
SEC("tp_btf/sched_process_exit")
int BPF_PROG(process_exit, struct task_struct *task, bool group_dead)
{
	return group_dead ? on_exit(task) : 0;
}

/* It does not. signal->live was counted down before. */
SEC("tp_btf/sched_process_exit")
int BPF_PROG(process_exit_live, struct task_struct *task)
{
	return BPF_CORE_READ(task, signal, live.counter) ? 0 : on_exit(task);
}

#define CHANGE(syscall, type, call, given)                         \
	SEC("tp/syscalls/sys_enter_" #syscall)                     \
	int enter_##syscall(struct trace_event_raw_sys_enter *ctx) \
	{                                                          \
		return change_begins(type, given);                 \
	}                                                          \
	SEC("tp/syscalls/sys_exit_" #syscall)                      \
	int exit_##syscall(struct trace_event_raw_sys_exit *ctx)   \
	{                                                          \
		return change_ends(type, call);                    \
	}

CHANGE(setuid, WIRE_SETID, WIRE_SETUID, 0)
CHANGE(setgid, WIRE_SETID, WIRE_SETGID, 0)
CHANGE(setreuid, WIRE_SETID, WIRE_SETREUID, 0)
CHANGE(setregid, WIRE_SETID, WIRE_SETREGID, 0)
CHANGE(setresuid, WIRE_SETID, WIRE_SETRESUID, 0)
CHANGE(setresgid, WIRE_SETID, WIRE_SETRESGID, 0)
CHANGE(setfsuid, WIRE_SETID, WIRE_SETFSUID, 0)
CHANGE(setfsgid, WIRE_SETID, WIRE_SETFSGID, 0)
CHANGE(unshare, WIRE_NAMESPACE, WIRE_UNSHARE, ctx->args[0])
CHANGE(setns, WIRE_NAMESPACE, WIRE_SETNS, ctx->args[1])
