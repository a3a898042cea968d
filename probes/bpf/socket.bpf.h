/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What a struct sock says, and what is remembered between the hooks of socket.bpf.c.
 */
#ifndef SOCKET_BPF_H
#define SOCKET_BPF_H

#include "kernel_net.h"
#include "wire.h"
#include "compat.bpf.h"
#include <bpf/bpf_endian.h>

#define S_IFMT 0170000
#define S_IFSOCK 0140000

enum {
	/* Connect on a socket whose connection was already reported. */
	CALL_AGAIN = 1 << 0,
	/* A datagram to a new peer. */
	CALL_DATAGRAM = 1 << 1,
	/* Its result is not known. */
	CALL_UNANSWERED = 1 << 2,
	/* There was no room to remember the connection; that is counted. */
	CALL_UNFOLLOWED = 1 << 3,
};

/* A call that has not returned. */
struct call {
	u64 start;
	/* Address of the struct sock, never followed without a probe read. */
	u64 sk;
	/* -1: none, or not known. */
	s32 fd;
	u8 length;
	/* enum wire_socket_action, enum wire_socket_call. */
	u8 action;
	u8 name;
	/* CALL_*. */
	u8 flags;
	/* The caller's sockaddr: sockaddr_un is the longest of ours, 110 bytes. */
	u8 address[112];
};

enum {
	OUTCOME_NONE = 0,
	OUTCOME_ESTABLISHED = 1,
	OUTCOME_FAILED = 2,
};

#define SOCKADDR_IN6 28

/* Whom a datagram socket sent to. */
struct peer {
	u64 sk;
	/* Of the socket: a struct sock's address is soon that of another. */
	u64 inode;
	u8 address[16];
	u64 port;
};

/* The beginning of struct user_msghdr, and so of struct mmsghdr; as user space lays it out. */
struct user_message {
	const void *name;
	u32 name_length;
	u32 padding;
};

/* A TCP connection. */
struct connection {
	u64 start;
	struct wire_end local;
	struct wire_end remote;
	/* Who opened it: when its state changes, current is whoever was interrupted. */
	struct wire_task owner;
	/* The record of the call that opened it was handed over. */
	u32 announced;
	u32 outcome;
	/* It was established, and has ended. */
	u32 closed;
	s32 error;
	/* Opened by us, not accepted. */
	u32 active;
	u32 reserved;
};

/* The socket behind a descriptor of the current task; NULL if it is none. */
static __always_inline struct sock *socket_and_inode(s32 fd, u64 *inode)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct fdtable *table = BPF_CORE_READ(task, files, fdt);
	struct file **files;
	struct file *file = NULL;
	struct socket *socket;

	if (fd < 0 || (u32)fd >= BPF_CORE_READ(table, max_fds))
		return NULL;
	files = BPF_CORE_READ(table, fd);
	bpf_probe_read_kernel(&file, sizeof(file), &files[fd]);
	if (!file || (BPF_CORE_READ(file, f_inode, i_mode) & S_IFMT) != S_IFSOCK)
		return NULL;
	/* A file of that type in a directory, opened with O_PATH, has no struct socket. */
	socket = BPF_CORE_READ(file, private_data);
	if (!socket || BPF_CORE_READ(socket, file) != file)
		return NULL;
	*inode = BPF_CORE_READ(file, f_inode, i_ino);
	return BPF_CORE_READ(socket, sk);
}

static __always_inline struct sock *socket_of(s32 fd)
{
	u64 inode;

	return socket_and_inode(fd, &inode);
}

static __always_inline bool is_tcp(struct sock *sk)
{
	u16 protocol = socket_protocol(sk);

	return protocol == IPPROTO_TCP || protocol == IPPROTO_MPTCP;
}

static __always_inline void fill_ends(struct wire_end *out, struct sock *sk, bool local)
{
	u16 family = BPF_CORE_READ(sk, __sk_common.skc_family);
	u32 *words = (void *)out->address;
	struct inet_sock *inet = (void *)sk;

	/* skc_num is already cleared when a state change to CLOSE is reported. */
	out->port = local ? bpf_ntohs(BPF_CORE_READ(inet, inet_sport))
			  : bpf_ntohs(BPF_CORE_READ(sk, __sk_common.skc_dport));
	if (family == AF_INET) {
		words[0] = local ? BPF_CORE_READ(sk, __sk_common.skc_rcv_saddr)
				 : BPF_CORE_READ(sk, __sk_common.skc_daddr);
	} else if (family == AF_INET6) {
		fill_in6(out->address, sk, local);
	} else {
		return;
	}
	if (out->port || words[0] || words[1] || words[2] || words[3])
		out->family = family;
}

static __always_inline void fill_local(struct wire_end *out, struct sock *sk)
{
	fill_ends(out, sk, true);
}

static __always_inline void fill_remote(struct wire_end *out, struct sock *sk)
{
	fill_ends(out, sk, false);
}

/* The address the caller gave, as it was when the call began. */
static __always_inline void fill_given(struct wire_end *out, const struct call *call)
{
	u16 family = *(const u16 *)call->address;

	/* sockaddr_in: family, port, address; sockaddr_in6 has the flow label before the last. */
	if (family == AF_INET && call->length >= 8) {
		__builtin_memset(out->address, 0, sizeof(out->address));
		__builtin_memcpy(out->address, call->address + 4, 4);
	} else if (family == AF_INET6 && call->length >= 24) {
		__builtin_memcpy(out->address, call->address + 8, 16);
	} else {
		return;
	}
	out->port = bpf_ntohs(*(const u16 *)(call->address + 2));
	out->family = family;
}

/* User space ends the name of a path at its NUL; an abstract one begins with it. */
static __always_inline void fill_given_name(struct wire_end *out, u8 *name, const struct call *call)
{
	if (*(const u16 *)call->address != AF_UNIX || call->length <= 2)
		return;
	__builtin_memcpy(name, call->address + 2, WIRE_UNIX_NAME);
	out->family = AF_UNIX;
	out->name_length = call->length - 2;
	if (out->name_length > WIRE_UNIX_NAME)
		out->name_length = WIRE_UNIX_NAME;
}

static __always_inline struct sock *unix_peer(struct sock *sk)
{
	struct unix_sock *unix_socket = (void *)sk;

	return BPF_CORE_READ(unix_socket, peer);
}

static __always_inline void fill_name(struct wire_end *out, u8 *name, struct sock *sk)
{
	struct unix_sock *unix_socket = (void *)sk;
	struct unix_address *address = BPF_CORE_READ(unix_socket, addr);
	u32 length;

	if (!address)
		return;
	/* Counts the family that stands before the name. */
	length = BPF_CORE_READ(address, len) - (s32)sizeof(u16);
	if (!length || length > WIRE_UNIX_NAME)
		return;
	if (bpf_probe_read_kernel(
		name, length,
		(void *)address + bpf_core_field_offset(struct unix_address, name) + sizeof(u16)))
		return;
	out->family = AF_UNIX;
	out->name_length = length;
}

/*
 * Payload bytes each way; returns which are known. The kernel's counters take SYN and FIN for a
 * byte each: bytes_acked has the SYN of a connection we opened, and the FIN once it is
 * acknowledged, by when all data is; bytes_received has the peer's FIN, which sets SOCK_DONE.
 */
static __always_inline u32 fill_totals(struct sock *sk, bool active, u64 *sent, u64 *received)
{
	struct tcp_sock *tcp = (void *)sk;
	u64 payload, flags;

	/* struct mptcp_sock is another type. */
	if (socket_protocol(sk) != IPPROTO_TCP)
		return 0;
	*sent = BPF_CORE_READ(tcp, bytes_acked);
	if (active && *sent)
		*sent -= 1;
	payload = BPF_CORE_READ(tcp, bytes_sent) - BPF_CORE_READ(tcp, bytes_retrans);
	if (*sent > payload)
		*sent = payload;
	*received = BPF_CORE_READ(tcp, bytes_received);
	flags = BPF_CORE_READ(sk, __sk_common.skc_flags);
	if (*received && flags & 1ULL << bpf_core_enum_value(enum sock_flags, SOCK_DONE))
		*received -= 1;
	return WIRE_SOCKET_SENT | WIRE_SOCKET_RECEIVED;
}

#endif
