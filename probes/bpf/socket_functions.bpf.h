/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Socket calls by the kernel's functions, where it takes trampolines. Whoever calls, and however,
 * comes through here, and no other call pays:
 *
 *   connect(2), int 0x80, io_uring
 *        └─ security_socket_connect   the address is the kernel's own copy by now ─▶ calls[thread]
 *        └─ inet_stream_connect, …    by pointer, from the socket's operations ─────▶ WIRE_SOCKET
 *
 *   accept(2), accept4(2), int 0x80
 *        └─ __sys_accept4             has the descriptors ─▶ calls[thread] … ───────▶ WIRE_SOCKET
 *            └─ security_sock_graft   the new socket gets its struct socket
 *   io_uring ─┘                       … reported here where __sys_accept4 was not entered
 *
 * Why not __sys_connect_file and its like, one place for every protocol: the compiler may put them
 * into their callers and leave a copy that only io_uring calls, which BTF does not tell. What is
 * called through a pointer or from another file of the kernel is never gone. Why not inet_accept:
 * its arguments changed (6.10), and who waits in it when we come is not seen leaving.
 *
 * Arguments are read by number, and pointers as numbers (see set_state): their types changed
 * (struct sockaddr_unsized, 6.19), their places did not. The loader compares how many there are.
 */
#ifndef SOCKET_FUNCTIONS_BPF_H
#define SOCKET_FUNCTIONS_BPF_H

#include "socket_calls.bpf.h"
#include "socket_named.bpf.h"

typedef unsigned long long arguments;

/* A pointer among the arguments, as a number that the verifier lets be a key. */
static __always_inline void *pointer(const arguments *ctx, u32 number)
{
	void *value = NULL;

	bpf_probe_read_kernel(&value, sizeof(value), &ctx[number]);
	return value;
}

static __always_inline struct sock *sock_of(struct socket *socket)
{
	return BPF_CORE_READ(socket, sk);
}

/*
 * Protocols whose operations are in modules and not hooked: their calls are reported where they
 * begin, without a result.
 */
static __always_inline bool is_followed(struct sock *sk)
{
	u16 protocol;

	if (BPF_CORE_READ(sk, __sk_common.skc_family) == AF_UNIX)
		return true;
	protocol = socket_protocol(sk);
	return protocol != IPPROTO_SCTP && protocol != IPPROTO_SMC;
}

/*
 * Security modules have spoken; `refused` is what they said. It is an exit, so that a call they
 * refuse is reported too. True: nothing of ours will see it return.
 */
static __always_inline bool ends_here(struct socket *socket, u8 action, const void *address,
				      u32 length, s32 refused)
{
	struct sock *sk = sock_of(socket);
	struct call call = {};
	s32 fd;

	call.name = named_call(action, sk, &fd);
	if (!begin_call(&call, sk, action, call.name, fd))
		return false;
	take_address(&call, address, length, KERNEL_MEMORY);
	if (action != WIRE_SOCKET_BIND && !refused && !is_followed(sk))
		call.flags |= CALL_UNANSWERED;
	remember_call(&call);
	return refused || call.flags & CALL_UNANSWERED;
}

SEC("fexit/security_socket_connect")
int permit_connect(arguments *ctx)
{
	if (ends_here(pointer(ctx, 0), WIRE_SOCKET_CONNECT, pointer(ctx, 1), ctx[2], ctx[3]))
		leaving_connect(ctx[3]);
	return 0;
}

SEC("fexit/security_socket_bind")
int permit_bind(arguments *ctx)
{
	if (ends_here(pointer(ctx, 0), WIRE_SOCKET_BIND, pointer(ctx, 1), ctx[2], ctx[3]))
		leaving_local(WIRE_SOCKET_BIND, ctx[3]);
	return 0;
}

SEC("fexit/security_socket_listen")
int permit_listen(arguments *ctx)
{
	if (ends_here(pointer(ctx, 0), WIRE_SOCKET_LISTEN, NULL, 0, ctx[2]))
		leaving_local(WIRE_SOCKET_LISTEN, ctx[2]);
	return 0;
}

/* Of MPTCP, the connection beneath is opened by the same function within the call. */
#define CONNECTED(function)                     \
	SEC("fexit/" #function)                 \
	int exit_##function(arguments *ctx)     \
	{                                       \
		return leaving_connect(ctx[4]); \
	}

CONNECTED(inet_stream_connect)
CONNECTED(inet_dgram_connect)
CONNECTED(unix_stream_connect)
CONNECTED(unix_dgram_connect)

/* Not that of a socket beneath: MPTCP binds one, and its own ends are filled in after that. */
static __always_inline int operated(struct socket *socket, u8 action, s32 result)
{
	struct call *call = this_call();

	if (!call || call->sk != (u64)sock_of(socket))
		return 0;
	return leaving_local(action, result);
}

#define OPERATED(function, action, result)                               \
	SEC("fexit/" #function)                                          \
	int exit_##function(arguments *ctx)                              \
	{                                                                \
		return operated(pointer(ctx, 0), action, ctx[(result)]); \
	}

OPERATED(inet_bind, WIRE_SOCKET_BIND, 3)
OPERATED(inet6_bind, WIRE_SOCKET_BIND, 3)
OPERATED(unix_bind, WIRE_SOCKET_BIND, 3)
OPERATED(mptcp_bind, WIRE_SOCKET_BIND, 3)
OPERATED(inet_listen, WIRE_SOCKET_LISTEN, 2)
OPERATED(unix_listen, WIRE_SOCKET_LISTEN, 2)
OPERATED(mptcp_listen, WIRE_SOCKET_LISTEN, 2)

SEC("fentry/__sys_accept4")
int enter_sys_accept4(arguments *ctx)
{
	struct call call = {};
	struct sock *sk = socket_of(ctx[0]);
	s32 fd;

	call.name = named_call(WIRE_SOCKET_ACCEPT, sk, &fd);
	if (begin_call(&call, sk, WIRE_SOCKET_ACCEPT, call.name, ctx[0]))
		remember_call(&call);
	return 0;
}

SEC("fexit/__sys_accept4")
int exit_sys_accept4(arguments *ctx)
{
	struct call *call = this_call();

	if (!call || call->action != WIRE_SOCKET_ACCEPT)
		return 0;
	finish_accept(call, call->name, ctx[4]);
	forget_call();
	return 0;
}

SEC("fentry/security_sock_graft")
int graft(arguments *ctx)
{
	struct sock *sk = pointer(ctx, 0);
	struct call *call = this_call();
	s32 fd;

	if ((call && call->action == WIRE_SOCKET_ACCEPT) || !of_user(sk))
		return 0;
	if (!wanted(BPF_CORE_READ(sk, __sk_common.skc_family)))
		return 0;
	if (quiet())
		return 0;
	accepted(NULL, sk, named_call(WIRE_SOCKET_ACCEPT, NULL, &fd), -1);
	return 0;
}

/* IPv6 hands datagrams to v4-mapped peers on to IPv4: what is being sent already stays as it is. */
static __always_inline int entering_datagram(arguments *ctx)
{
	struct msghdr *message = pointer(ctx, 1);
	struct sock *sk = pointer(ctx, 0);
	void *name = BPF_CORE_READ(message, msg_name);
	u64 inode;
	s32 fd;
	u8 call;

	if (!name || !wants_datagrams() || this_call() || !of_user(sk))
		return 0;
	inode = BPF_CORE_READ(sk, sk_socket, file, f_inode, i_ino);
	call = named_call(WIRE_SOCKET_CONNECT, sk, &fd);
	return sending(call, fd, sk, inode, name, BPF_CORE_READ(message, msg_namelen),
		       KERNEL_MEMORY);
}

#define SENDS(function)                        \
	SEC("fentry/" #function)               \
	int enter_##function(arguments *ctx)   \
	{                                      \
		return entering_datagram(ctx); \
	}                                      \
	SEC("fexit/" #function)                \
	int exit_##function(arguments *ctx)    \
	{                                      \
		return sent(ctx[3]);           \
	}

SENDS(udp_sendmsg)
SENDS(udpv6_sendmsg)
SENDS(raw_sendmsg)
SENDS(rawv6_sendmsg)
SENDS(ping_v4_sendmsg)
SENDS(ping_v6_sendmsg)

#endif
