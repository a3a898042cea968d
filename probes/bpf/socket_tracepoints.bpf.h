/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Socket calls by their tracepoints: they are everywhere, and cost less than raw_syscalls, which
 * every call on the host pays in full; but a kernel with any of them on takes the slow way through
 * every call. Callers of 32-bit calls and io_uring pass them by, and user space may change an
 * address after we read it, so addresses come from the struct sock where it has them.
 */
#ifndef SOCKET_TRACEPOINTS_BPF_H
#define SOCKET_TRACEPOINTS_BPF_H

#include "socket_calls.bpf.h"

static __always_inline int entering(u8 action, u8 name, s32 fd, const void *address, u32 length)
{
	struct call call = {};

	if (!begin_call(&call, socket_of(fd), action, name, fd))
		return 0;
	take_address(&call, address, length, USER_MEMORY);
	remember_call(&call);
	return 0;
}

#define ENTER_WITH_ADDRESS(syscall, action, name)                                       \
	SEC("tp/syscalls/sys_enter_" #syscall)                                          \
	int enter_##syscall(struct trace_event_raw_sys_enter *ctx)                      \
	{                                                                               \
		return entering(action, name, ctx->args[0], (const void *)ctx->args[1], \
				ctx->args[2]);                                          \
	}

#define ENTER(syscall, action, name)                                  \
	SEC("tp/syscalls/sys_enter_" #syscall)                        \
	int enter_##syscall(struct trace_event_raw_sys_enter *ctx)    \
	{                                                             \
		return entering(action, name, ctx->args[0], NULL, 0); \
	}

ENTER_WITH_ADDRESS(connect, WIRE_SOCKET_CONNECT, WIRE_CALL_CONNECT)
ENTER_WITH_ADDRESS(bind, WIRE_SOCKET_BIND, WIRE_CALL_BIND)
ENTER(listen, WIRE_SOCKET_LISTEN, WIRE_CALL_LISTEN)
ENTER(accept, WIRE_SOCKET_ACCEPT, WIRE_CALL_ACCEPT)
ENTER(accept4, WIRE_SOCKET_ACCEPT, WIRE_CALL_ACCEPT4)

SEC("tp/syscalls/sys_exit_connect")
int exit_connect(struct trace_event_raw_sys_exit *ctx)
{
	return leaving_connect(ctx->ret);
}

static __always_inline int leaving_accept(u8 name, s32 result)
{
	struct call *call = this_call();

	finish_accept(call, name, result);
	if (call)
		forget_call();
	return 0;
}

SEC("tp/syscalls/sys_exit_accept")
int exit_accept(struct trace_event_raw_sys_exit *ctx)
{
	return leaving_accept(WIRE_CALL_ACCEPT, ctx->ret);
}

SEC("tp/syscalls/sys_exit_accept4")
int exit_accept4(struct trace_event_raw_sys_exit *ctx)
{
	return leaving_accept(WIRE_CALL_ACCEPT4, ctx->ret);
}

SEC("tp/syscalls/sys_exit_bind")
int exit_bind(struct trace_event_raw_sys_exit *ctx)
{
	return leaving_local(WIRE_SOCKET_BIND, ctx->ret);
}

SEC("tp/syscalls/sys_exit_listen")
int exit_listen(struct trace_event_raw_sys_exit *ctx)
{
	return leaving_local(WIRE_SOCKET_LISTEN, ctx->ret);
}

/* A connected send has no address, and is left at once; so is the exit of a call not remembered. */
static __always_inline int entering_send(u8 name, s32 fd, const void *address, u32 length)
{
	u64 inode = 0;

	return sending(name, fd, socket_and_inode(fd, &inode), inode, address, length, USER_MEMORY);
}

SEC("tp/syscalls/sys_enter_sendto")
int enter_sendto(struct trace_event_raw_sys_enter *ctx)
{
	if (!ctx->args[4])
		return 0;
	return entering_send(WIRE_CALL_SENDTO, ctx->args[0], (const void *)ctx->args[4],
			     ctx->args[5]);
}

static __always_inline int entering_message(u8 name, s32 fd, const void *given)
{
	struct user_message message;

	if (bpf_probe_read_user(&message, sizeof(message), given) || !message.name)
		return 0;
	return entering_send(name, fd, message.name, message.name_length);
}

SEC("tp/syscalls/sys_enter_sendmsg")
int enter_sendmsg(struct trace_event_raw_sys_enter *ctx)
{
	return entering_message(WIRE_CALL_SENDMSG, ctx->args[0], (const void *)ctx->args[1]);
}

/* The first of its messages stands for all: a caller with many peers uses it over and over. */
SEC("tp/syscalls/sys_enter_sendmmsg")
int enter_sendmmsg(struct trace_event_raw_sys_enter *ctx)
{
	return entering_message(WIRE_CALL_SENDMMSG, ctx->args[0], (const void *)ctx->args[1]);
}

SEC("tp/syscalls/sys_exit_sendto")
int exit_sendto(struct trace_event_raw_sys_exit *ctx)
{
	return sent(ctx->ret);
}

SEC("tp/syscalls/sys_exit_sendmsg")
int exit_sendmsg(struct trace_event_raw_sys_exit *ctx)
{
	return sent(ctx->ret);
}

SEC("tp/syscalls/sys_exit_sendmmsg")
int exit_sendmmsg(struct trace_event_raw_sys_exit *ctx)
{
	return sent(ctx->ret);
}

#endif
