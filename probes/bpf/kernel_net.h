/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The kernel's types of the network, as far as the programs use them. As in kernel.h, offsets come
 * from the running kernel's BTF.
 */
#ifndef KERNEL_NET_H
#define KERNEL_NET_H

#include "kernel.h"

/* include/linux/socket.h, uapi/linux/in.h, include/net/tcp_states.h: part of the ABI. */
enum {
	AF_UNSPEC = 0,
	AF_UNIX = 1,
	AF_INET = 2,
	AF_INET6 = 10,

	SOCK_STREAM = 1,

	IPPROTO_TCP = 6,
	IPPROTO_SCTP = 132,
	IPPROTO_SMC = 256,
	IPPROTO_MPTCP = 262,

	TCP_ESTABLISHED = 1,
	TCP_SYN_SENT = 2,
	TCP_SYN_RECV = 3,
	TCP_CLOSE = 7,
	TCP_LISTEN = 10,
};

/* uapi/asm-generic/errno.h, and include/linux/errno.h: the latter never reach a caller. */
enum {
	ENOENT = 2,
	EINTR = 4,
	ECONNABORTED = 103,
	EISCONN = 106,
	EALREADY = 114,
	EINPROGRESS = 115,
	ERESTARTSYS = 512,
	ERESTART_RESTARTBLOCK = 516,
};

/* Bits of sk_flags; the number is read with bpf_core_enum_value. */
enum sock_flags {
	SOCK_DONE = 1,
};

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct trace_event_raw_sys_enter {
	unsigned long args[6];
};

struct trace_event_raw_sys_exit {
	long ret;
};

struct in6_addr {
	union {
		__u8 u6_addr8[16];
	} in6_u;
};

struct sock_common {
	union {
		struct {
			__be32 skc_daddr;
			__be32 skc_rcv_saddr;
		};
	};
	union {
		struct {
			__be16 skc_dport;
			__u16 skc_num;
		};
	};
	unsigned short skc_family;
	volatile unsigned char skc_state;
	struct in6_addr skc_v6_daddr;
	struct in6_addr skc_v6_rcv_saddr;
	unsigned long skc_flags;
};

struct socket;

struct sock {
	struct sock_common __sk_common;
	struct socket *sk_socket;
	int sk_err;
	u16 sk_protocol;
	u16 sk_type;
};

struct inet_sock {
	__be16 inet_sport;
};

struct tcp_sock {
	u64 bytes_received;
	u64 bytes_acked;
	u64 bytes_sent;
	u64 bytes_retrans;
};

struct socket {
	struct file *file;
	struct sock *sk;
};

struct msghdr {
	void *msg_name;
	int msg_namelen;
};

struct fdtable {
	unsigned int max_fds;
	struct file **fd;
};

struct files_struct {
	struct fdtable *fdt;
};

struct sockaddr_un {
	char sun_path[108];
};

struct unix_address {
	int len;
	struct sockaddr_un name[0];
};

struct unix_sock {
	struct unix_address *addr;
	struct sock *peer;
};

#pragma clang attribute pop

#endif
