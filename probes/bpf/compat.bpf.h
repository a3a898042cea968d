/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What differs between kernels: one function for each change, and the commit that made it.
 * Each asks the running kernel's BTF for the field, type or helper, never for a version.
 */
#ifndef COMPAT_BPF_H
#define COMPAT_BPF_H

#include "kernel.h"
#include "kernel_net.h"
#include "wire.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct task_struct___start_boottime {
	u64 start_boottime;
};

struct task_struct___real_start_time {
	u64 real_start_time;
};

struct task_struct___audit {
	kuid_t loginuid;
};

struct nsproxy___time {
	struct time_namespace *time_ns_for_children;
};

struct inode___timespec {
	struct timespec64 i_atime;
	struct timespec64 i_mtime;
	struct timespec64 i_ctime;
};

struct inode___ctime {
	struct timespec64 __i_ctime;
};

struct inode___wrapped {
	struct timespec64 __i_atime;
	struct timespec64 __i_mtime;
};

struct inode___seconds {
	time64_t i_atime_sec;
	time64_t i_mtime_sec;
	time64_t i_ctime_sec;
};

struct ext4_inode_info {
	__u16 i_extra_isize;
	struct timespec64 i_crtime;
	struct inode vfs_inode;
};

struct shmem_inode_info {
	struct timespec64 i_crtime;
	struct inode vfs_inode;
};

struct xfs_inode {
	struct timespec64 i_crtime;
	struct inode i_vnode;
};

struct btrfs_inode___timespec {
	struct timespec64 i_otime;
	struct inode vfs_inode;
};

struct btrfs_inode___seconds {
	u64 i_otime_sec;
	struct inode vfs_inode;
};

struct kernfs_node___parent {
	struct kernfs_node *parent;
};

struct kernfs_node___rcu_parent {
	struct kernfs_node *__parent;
};

union kernfs_node_id {
	u64 id;
};

struct kernfs_node___id {
	u64 id;
};

struct kernfs_node___union_id {
	union kernfs_node_id id;
};

struct linux_binprm___fdpath {
	const char *fdpath;
};

#pragma clang attribute pop

/* cf25e24db61c (5.5) renamed real_start_time. */
static __always_inline u64 task_start(const struct task_struct *task)
{
	const struct task_struct___start_boottime *now = (const void *)task;
	const struct task_struct___real_start_time *before = (const void *)task;

	if (bpf_core_field_exists(now->start_boottime))
		return BPF_CORE_READ(now, start_boottime);
	if (bpf_core_field_exists(before->real_start_time))
		return BPF_CORE_READ(before, real_start_time);
	return 0;
}

/* 769071ac9f20 (5.6) brought time namespaces. 0: there are none. */
static __always_inline u32 time_ns_for_children(const struct nsproxy *proxy)
{
	const struct nsproxy___time *timed = (const void *)proxy;

	if (bpf_core_field_exists(timed->time_ns_for_children))
		return BPF_CORE_READ(timed, time_ns_for_children, ns.inum);
	return 0;
}

/* Only with CONFIG_AUDIT. False: there is none. */
static __always_inline bool task_loginuid(const struct task_struct *task, u32 *uid)
{
	const struct task_struct___audit *audited = (const void *)task;

	if (!bpf_core_field_exists(audited->loginuid)) {
		*uid = 0;
		return false;
	}
	*uid = BPF_CORE_READ(audited, loginuid.val);
	return true;
}

/*
 * 13bc24457850 (6.6) wrapped i_ctime, 12cd44023651 (6.7) the other two, 3aa63a569c64 (6.11) split
 * seconds from nanoseconds.
 */
static __always_inline void inode_times(const struct inode *inode, __s64 *atime, __s64 *mtime,
					__s64 *ctime)
{
	const struct inode___timespec *oldest = (const void *)inode;
	const struct inode___ctime *ctime_moved = (const void *)inode;
	const struct inode___wrapped *wrapped = (const void *)inode;
	const struct inode___seconds *seconds = (const void *)inode;

	if (bpf_core_field_exists(seconds->i_atime_sec)) {
		*atime = BPF_CORE_READ(seconds, i_atime_sec);
		*mtime = BPF_CORE_READ(seconds, i_mtime_sec);
		*ctime = BPF_CORE_READ(seconds, i_ctime_sec);
		return;
	}
	if (bpf_core_field_exists(wrapped->__i_atime)) {
		*atime = BPF_CORE_READ(wrapped, __i_atime.tv_sec);
		*mtime = BPF_CORE_READ(wrapped, __i_mtime.tv_sec);
	} else {
		*atime = BPF_CORE_READ(oldest, i_atime.tv_sec);
		*mtime = BPF_CORE_READ(oldest, i_mtime.tv_sec);
	}
	if (bpf_core_field_exists(ctime_moved->__i_ctime))
		*ctime = BPF_CORE_READ(ctime_moved, __i_ctime.tv_sec);
	else
		*ctime = BPF_CORE_READ(oldest, i_ctime.tv_sec);
}

/* include/uapi/linux/magic.h, fs/xfs/libxfs/xfs_format.h. */
#define EXT4_SUPER_MAGIC 0xef53
#define TMPFS_MAGIC 0x01021994
#define XFS_SUPER_MAGIC 0x58465342
#define BTRFS_SUPER_MAGIC 0x9123683e

/* The inode of a file system that holds this one as its part `member`. */
#define INODE_OF(type, inode, member) \
	((const type *)((const void *)(inode)-bpf_core_field_offset(type, member)))

/* Bytes of i_extra_isize from which on ext4_getattr trusts i_crtime: it ends at 148 of 128 more. */
#define EXT4_HAS_CRTIME 20

/* ext2 has the same number, and inodes of its own, with no such time. */
static __always_inline __s64 ext4_btime(const struct inode *inode)
{
	const struct ext4_inode_info *info = INODE_OF(struct ext4_inode_info, inode, vfs_inode);
	char name[8] = {};

	bpf_probe_read_kernel_str(name, sizeof(name), BPF_CORE_READ(inode, i_sb, s_type, name));
	if (name[0] != 'e' || name[1] != 'x' || name[2] != 't' || name[3] != '4' || name[4])
		return 0;
	if (BPF_CORE_READ(info, i_extra_isize) < EXT4_HAS_CRTIME)
		return 0;
	return BPF_CORE_READ(info, i_crtime.tv_sec);
}

/*
 * When a file was made, which only its file system knows; 0: it does not tell. These are the file
 * systems that executables mostly lie on; of those that are modules, the kernel has no BTF before
 * 36e68442d1af (5.11). tmpfs and XFS had no such field at first, or elsewhere; btrfs made a number
 * of a timespec64.
 */
static __always_inline __s64 inode_btime(const struct inode *inode)
{
	switch (BPF_CORE_READ(inode, i_sb, s_magic)) {
	case EXT4_SUPER_MAGIC:
		if (bpf_core_field_exists(struct ext4_inode_info, i_crtime))
			return ext4_btime(inode);
		break;
	case TMPFS_MAGIC:
		if (bpf_core_field_exists(struct shmem_inode_info, i_crtime))
			return BPF_CORE_READ(INODE_OF(struct shmem_inode_info, inode, vfs_inode),
					     i_crtime.tv_sec);
		break;
	case XFS_SUPER_MAGIC:
		if (bpf_core_field_exists(struct xfs_inode, i_crtime))
			return BPF_CORE_READ(INODE_OF(struct xfs_inode, inode, i_vnode),
					     i_crtime.tv_sec);
		break;
	case BTRFS_SUPER_MAGIC:
		if (bpf_core_field_exists(struct btrfs_inode___seconds, i_otime_sec))
			return BPF_CORE_READ(
			    INODE_OF(struct btrfs_inode___seconds, inode, vfs_inode), i_otime_sec);
		if (bpf_core_field_exists(struct btrfs_inode___timespec, i_otime))
			return BPF_CORE_READ(
			    INODE_OF(struct btrfs_inode___timespec, inode, vfs_inode),
			    i_otime.tv_sec);
		break;
	}
	return 0;
}

/* 633488947ef6 (6.15) renamed parent, when it came under RCU. */
static __always_inline struct kernfs_node *kernfs_parent(const struct kernfs_node *node)
{
	const struct kernfs_node___rcu_parent *now = (const void *)node;
	const struct kernfs_node___parent *before = (const void *)node;

	if (bpf_core_field_exists(now->__parent))
		return BPF_CORE_READ(now, __parent);
	return BPF_CORE_READ(before, parent);
}

/* 67c0496e87d1 (5.5) made a u64 of a union. */
static __always_inline u64 kernfs_id(const struct kernfs_node *node)
{
	const struct kernfs_node___id *now = (const void *)node;
	const struct kernfs_node___union_id *before = (const void *)node;

	if (bpf_core_field_exists(now->id))
		return BPF_CORE_READ(now, id);
	return BPF_CORE_READ(before, id.id);
}

/*
 * How the call named the program: WIRE_BY_DESCRIPTOR, WIRE_BY_PATH, or 0 where it cannot be told.
 * "exec: Move initialization of bprm->filename into alloc_bprm" (5.9) moved the path made of a
 * descriptor from the stack into linux_binprm.
 */
static __always_inline u32 exec_named_by(const struct linux_binprm *bprm)
{
	const struct linux_binprm___fdpath *now = (const void *)bprm;

	if (!bpf_core_field_exists(now->fdpath))
		return 0;
	return BPF_CORE_READ(now, fdpath) ? WIRE_BY_DESCRIPTOR : WIRE_BY_PATH;
}

/*
 * The registers that the current task entered the kernel with. bpf_task_pt_regs is there from
 * dd6e10fbd9fb (5.15); before, they lie at the very end of the stack, whose size is fixed on x86
 * (THREAD_SIZE in arch/x86/include/asm/page_64_types.h, without KASAN). NULL: not to be found.
 */
static __always_inline struct pt_regs *current_regs(void)
{
	if (bpf_core_enum_value_exists(enum bpf_func_id, BPF_FUNC_task_pt_regs))
		return (void *)bpf_task_pt_regs((void *)bpf_get_current_task_btf());
#ifdef __TARGET_ARCH_x86
	struct task_struct *task = (void *)bpf_get_current_task();

	return BPF_CORE_READ(task, stack) + (4 << 12) - bpf_core_type_size(struct pt_regs);
#else
	return NULL;
#endif
}

/*
 * Number of the system call the current task is in, and whose numbering it is. Wrong after exec:
 * x86's set_personality_64bit writes execve's number over what was there.
 */
static __always_inline u32 current_syscall(u32 *abi)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct pt_regs *regs = current_regs();

	*abi = WIRE_ABI_UNKNOWN;
	if (!regs)
		return 0;
#ifdef __TARGET_ARCH_x86
	/* TS_COMPAT in arch/x86/include/asm/thread_info.h. */
	*abi = BPF_CORE_READ(task, thread_info.status) & 2 ? WIRE_ABI_COMPAT : WIRE_ABI_NATIVE;
	return BPF_CORE_READ(regs, orig_ax);
#else
	/* TIF_32BIT in arch/arm64/include/asm/thread_info.h. */
	*abi =
	    BPF_CORE_READ(task, thread_info.flags) & (1 << 22) ? WIRE_ABI_COMPAT : WIRE_ABI_NATIVE;
	return BPF_CORE_READ(regs, syscallno);
#endif
}

/* The first argument of that call. */
static __always_inline u64 current_first_argument(u32 abi)
{
	struct pt_regs *regs = current_regs();

	if (!regs)
		return -1;
#ifdef __TARGET_ARCH_x86
	return abi == WIRE_ABI_COMPAT ? BPF_CORE_READ(regs, bx) : BPF_CORE_READ(regs, di);
#else
	return BPF_CORE_READ(regs, orig_x0);
#endif
}

/* bf9765145b85 (5.6) made these fields of their own; before, they were bits of one word. */
static __always_inline u16 socket_protocol(struct sock *sk)
{
	return BPF_CORE_READ_BITFIELD_PROBED(sk, sk_protocol);
}

static __always_inline u16 socket_type(struct sock *sk)
{
	return BPF_CORE_READ_BITFIELD_PROBED(sk, sk_type);
}

/* Only with CONFIG_IPV6. */
static __always_inline void fill_in6(u8 *out, struct sock *sk, bool local)
{
	if (!bpf_core_field_exists(sk->__sk_common.skc_v6_daddr))
		return;
	if (local)
		BPF_CORE_READ_INTO((struct in6_addr *)out, sk, __sk_common.skc_v6_rcv_saddr);
	else
		BPF_CORE_READ_INTO((struct in6_addr *)out, sk, __sk_common.skc_v6_daddr);
}

#endif
