// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Socket calls, and what became of TCP connections.
 *
 *   connect(2) ─ sys_enter ─▶ calls[thread] ────────────────────────── sys_exit ─▶ WIRE_SOCKET
 *                                │                                        │
 *        tcp_v4_connect ─ inet_sock_set_state SYN_SENT ─▶ connections[sock]
 *                                                                         │
 *        softirq, later ─ inet_sock_set_state ESTABLISHED, CLOSE ─────────┴─▶ WIRE_CONNECTION
 *                                                                          or WIRE_SOCKET close
 *
 * Why per-call tracepoints: they are everywhere, and cost only the calls they are for, where
 * raw_syscalls costs every call on the host. Why not these alone: connect may return before there
 * is an outcome, and user space may change an address after we looked, so addresses come from the
 * struct sock after the call. Why not inet_sock_set_state alone: it knows TCP only, and runs in
 * softirq, where current is whoever was interrupted. What it sees of calls that have no tracepoint
 * of ours (32-bit callers, io_uring, a first write that connects) is reported without a call.
 */
#include "socket_report.bpf.h"

/*
 * Enter.
 */

static __always_inline bool is_announced(struct sock *sk)
{
	u64 key = (u64)sk;
	struct connection *conn = bpf_map_lookup_elem(&connections, &key);

	return conn && conn->announced;
}

static __always_inline int entering(u8 name, s32 fd, const void *address, u32 length)
{
	u64 thread = bpf_get_current_pid_tgid();
	struct sock *sk = socket_of(fd);
	u64 size = length;
	struct call call = {};

	if (!sk || !wanted(BPF_CORE_READ(sk, __sk_common.skc_family)))
		return 0;
	if (left_out(WIRE_SOCKET, thread >> 32))
		return 0;
	call.start = bpf_ktime_get_boot_ns();
	call.sk = (u64)sk;
	call.fd = fd;
	call.name = name;
	if (name == WIRE_CALL_CONNECT)
		call.again = is_announced(sk);
	/* Else the compiler compares one copy of it and passes another. */
	barrier_var(size);
	if (size > sizeof(call.address))
		size = sizeof(call.address);
	/* Unreadable: the call itself fails with EFAULT, and has no address. */
	if (address && !bpf_probe_read_user(call.address, size, address))
		call.length = size;
	if (bpf_map_update_elem(&calls, &thread, &call, BPF_ANY))
		count(WIRE_SOCKET, WIRE_LOST_STATE);
	return 0;
}

#define ENTER_WITH_ADDRESS(syscall, name)                                                      \
	SEC("tp/syscalls/sys_enter_" #syscall)                                                 \
	int enter_##syscall(struct trace_event_raw_sys_enter *ctx)                             \
	{                                                                                      \
		return entering(name, ctx->args[0], (const void *)ctx->args[1], ctx->args[2]); \
	}

#define ENTER(syscall, name)                                       \
	SEC("tp/syscalls/sys_enter_" #syscall)                     \
	int enter_##syscall(struct trace_event_raw_sys_enter *ctx) \
	{                                                          \
		return entering(name, ctx->args[0], NULL, 0);      \
	}

ENTER_WITH_ADDRESS(connect, WIRE_CALL_CONNECT)
ENTER_WITH_ADDRESS(bind, WIRE_CALL_BIND)
ENTER(listen, WIRE_CALL_LISTEN)
ENTER(accept, WIRE_CALL_ACCEPT)
ENTER(accept4, WIRE_CALL_ACCEPT4)

/*
 * Exit.
 */

/* The call goes on: it is made again, or a signal handler makes it EINTR. */
static __always_inline bool restarts(s32 result)
{
	return result <= -ERESTARTSYS && result >= -ERESTART_RESTARTBLOCK;
}

static __always_inline void finish_connect(struct call *call, s32 result)
{
	struct sock *sk = (void *)call->sk;
	u64 key = call->sk;
	struct connection *conn = bpf_map_lookup_elem(&connections, &key);
	u16 family = BPF_CORE_READ(sk, __sk_common.skc_family);
	bool open;

	/*
	 * It asked what became of an earlier one, or is that one, restarted after a signal; or
	 * another thread is about to report it.
	 */
	if (call->again ||
	    (conn && (conn->announced || conn->owner.tid != (u32)bpf_get_current_pid_tgid())))
		return;
	/* Dissolves the association of a datagram socket. */
	if (call->length >= sizeof(u16) && *(u16 *)call->address == AF_UNSPEC)
		return;
	if (restarts(result))
		result = -EINTR;
	if (family == AF_UNIX) {
		report_unix(call, sk, WIRE_SOCKET_CONNECT, call->name, call->fd, result);
		return;
	}
	report_inet(call, conn, sk, WIRE_SOCKET_CONNECT, call->name, call->fd, result);
	if (!conn)
		return;
	open = result == -EINPROGRESS || result == -EINTR;
	if (result && !open) {
		bpf_map_delete_elem(&connections, &key);
		return;
	}
	/*
	 * From here on, changes of state are reported where they are seen; those that came before
	 * are reported here. Both sides write, then read what the other wrote, with a barrier
	 * between, so that at least one of them sees both.
	 */
	__sync_fetch_and_add(&conn->announced, 1);
	if (conn->closed || conn->outcome == OUTCOME_FAILED) {
		if (open && conn->outcome == OUTCOME_ESTABLISHED)
			report_connection(conn, sk, 0);
		settle(conn, sk);
	} else if (open && conn->outcome == OUTCOME_ESTABLISHED) {
		report_connection(conn, sk, 0);
	}
}

/* An accepted connection is reported, then remembered until it ends. */
static __always_inline void finish_accepted(struct sock *sk, u8 name, s32 fd)
{
	u64 key = (u64)sk;
	struct connection conn = {};

	fill_task(&conn.owner, (void *)bpf_get_current_task());
	fill_local(&conn.local, sk);
	fill_remote(&conn.remote, sk);
	conn.start = bpf_ktime_get_boot_ns();
	conn.announced = 1;
	conn.outcome = OUTCOME_ESTABLISHED;
	report_inet(NULL, &conn, sk, WIRE_SOCKET_ACCEPT, name, fd, fd);
	if (bpf_map_update_elem(&connections, &key, &conn, BPF_ANY)) {
		count(WIRE_CONNECTION, WIRE_LOST_STATE);
		return;
	}
	/* It may have ended while it waited to be accepted, or just now. */
	if (BPF_CORE_READ(sk, __sk_common.skc_state) == TCP_CLOSE &&
	    !bpf_map_delete_elem(&connections, &key))
		report_close(&conn, sk);
}

/*
 * The new socket says all about an accept that succeeded, so a call that was waiting when we were
 * attached is reported too.
 */
static __always_inline void finish_accept(struct call *call, u8 name, s32 result)
{
	struct sock *sk = result >= 0 ? socket_of(result) : call ? (void *)call->sk : NULL;
	s32 fd = result >= 0 ? result : call ? call->fd : -1;
	u16 family = BPF_CORE_READ(sk, __sk_common.skc_family);

	if (!sk || !wanted(family) || restarts(result))
		return;
	if (!call && own())
		return;
	if (family == AF_UNIX) {
		report_unix(call, sk, WIRE_SOCKET_ACCEPT, name, fd, result);
		return;
	}
	if (result >= 0 && is_tcp(sk))
		finish_accepted(sk, name, fd);
	else
		report_inet(call, NULL, sk, WIRE_SOCKET_ACCEPT, name, fd, result);
}

static __always_inline void finish_local(struct call *call, u8 action, s32 result)
{
	struct sock *sk = (void *)call->sk;

	if (restarts(result))
		return;
	if (BPF_CORE_READ(sk, __sk_common.skc_family) == AF_UNIX)
		report_unix(call, sk, action, call->name, call->fd, result);
	else
		report_inet(call, NULL, sk, action, call->name, call->fd, result);
}

SEC("tp/syscalls/sys_exit_connect")
int exit_connect(struct trace_event_raw_sys_exit *ctx)
{
	u64 thread = bpf_get_current_pid_tgid();
	struct call *call = bpf_map_lookup_elem(&calls, &thread);

	if (!call)
		return 0;
	finish_connect(call, ctx->ret);
	bpf_map_delete_elem(&calls, &thread);
	return 0;
}

static __always_inline int leaving_accept(u8 name, s32 result)
{
	u64 thread = bpf_get_current_pid_tgid();
	struct call *call = bpf_map_lookup_elem(&calls, &thread);

	finish_accept(call, name, result);
	if (call)
		bpf_map_delete_elem(&calls, &thread);
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

static __always_inline int leaving_local(u8 action, s32 result)
{
	u64 thread = bpf_get_current_pid_tgid();
	struct call *call = bpf_map_lookup_elem(&calls, &thread);

	if (!call)
		return 0;
	finish_local(call, action, result);
	bpf_map_delete_elem(&calls, &thread);
	return 0;
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

/*
 * Datagrams to a peer that was not connected to, the first of each socket and peer. These calls are
 * hot, so the loader leaves these programs out unless it is told otherwise. A connected send has no
 * address, and is left at once; so is an exit of a call that was not remembered.
 */

static __always_inline int sending(u8 name, s32 fd, const void *address, u32 length)
{
	u64 thread = bpf_get_current_pid_tgid();
	struct call call = {};
	struct peer peer = {};
	struct wire_end to = {};
	struct sock *sk;
	u8 seen = 1;
	u64 size = length;

	if (!wants_datagrams())
		return 0;
	barrier_var(size);
	if (size > SOCKADDR_IN6)
		size = SOCKADDR_IN6;
	if (bpf_probe_read_user(call.address, size, address))
		return 0;
	call.length = size;
	fill_given(&to, &call);
	sk = socket_and_inode(fd, &peer.inode);
	if (!to.family || !sk || is_tcp(sk) || left_out(WIRE_SOCKET, thread >> 32))
		return 0;
	peer.sk = (u64)sk;
	__builtin_memcpy(peer.address, to.address, sizeof(peer.address));
	peer.port = to.port;
	/* Refreshes its place in the order of use, too. */
	if (bpf_map_lookup_elem(&peers, &peer))
		return 0;
	if (bpf_map_update_elem(&peers, &peer, &seen, BPF_ANY))
		count(WIRE_SOCKET, WIRE_LOST_STATE);
	call.start = bpf_ktime_get_boot_ns();
	call.sk = (u64)sk;
	call.fd = fd;
	call.name = name;
	if (bpf_map_update_elem(&calls, &thread, &call, BPF_ANY))
		count(WIRE_SOCKET, WIRE_LOST_STATE);
	return 0;
}

static __always_inline int sent(s32 result)
{
	u64 thread = bpf_get_current_pid_tgid();
	struct call *call = bpf_map_lookup_elem(&calls, &thread);

	if (!call)
		return 0;
	/* Bytes that were sent are no result that a connect could have. */
	if (!restarts(result))
		report_inet(call, NULL, (void *)call->sk, WIRE_SOCKET_CONNECT, call->name, call->fd,
			    result > 0 ? 0 : result);
	bpf_map_delete_elem(&calls, &thread);
	return 0;
}

SEC("tp/syscalls/sys_enter_sendto")
int enter_sendto(struct trace_event_raw_sys_enter *ctx)
{
	if (!ctx->args[4])
		return 0;
	return sending(WIRE_CALL_SENDTO, ctx->args[0], (const void *)ctx->args[4], ctx->args[5]);
}

SEC("tp/syscalls/sys_enter_sendmsg")
int enter_sendmsg(struct trace_event_raw_sys_enter *ctx)
{
	struct user_message message;

	if (bpf_probe_read_user(&message, sizeof(message), (const void *)ctx->args[1]) ||
	    !message.name)
		return 0;
	return sending(WIRE_CALL_SENDMSG, ctx->args[0], message.name, message.name_length);
}

/* The first of its messages stands for all: a caller with many peers uses it over and over. */
SEC("tp/syscalls/sys_enter_sendmmsg")
int enter_sendmmsg(struct trace_event_raw_sys_enter *ctx)
{
	struct user_message message;

	if (bpf_probe_read_user(&message, sizeof(message), (const void *)ctx->args[1]) ||
	    !message.name)
		return 0;
	return sending(WIRE_CALL_SENDMMSG, ctx->args[0], message.name, message.name_length);
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

/*
 * TCP states.
 */

/* A connect or listen that none of our tracepoints saw being called. */
static __always_inline void report_unseen(struct sock *sk, u8 action, s32 result)
{
	struct wire_socket *out = reserve(WIRE_SOCKET, sizeof(*out));

	if (!out)
		return;
	fill_socket(out, sizeof(*out), sk, action, WIRE_CALL_NONE);
	fill_task(&out->task, (void *)bpf_get_current_task());
	out->result = result;
	out->known = WIRE_SOCKET_RESULT;
	fill_local(&out->local, sk);
	if (action == WIRE_SOCKET_CONNECT)
		fill_remote(&out->remote, sk);
	submit(out);
}

/*
 * Whether a descriptor leads to it. The kernel's own connections (NFS) have no file, and the
 * subflows of MPTCP share that of another socket.
 */
static __always_inline bool of_user(struct sock *sk)
{
	struct socket *socket = BPF_CORE_READ(sk, sk_socket);

	return socket && BPF_CORE_READ(socket, file, private_data) == socket;
}

/* In the task that connects; what it was asked for is in `calls`. */
static __always_inline void on_syn_sent(struct sock *sk)
{
	u64 thread = bpf_get_current_pid_tgid();
	u64 key = (u64)sk;
	struct call *call = bpf_map_lookup_elem(&calls, &thread);
	struct connection conn = {};
	bool called = call && call->name == WIRE_CALL_CONNECT;

	/* Of MPTCP, the connection that is followed is the first TCP connection beneath. */
	if (socket_protocol(sk) == IPPROTO_MPTCP)
		return;
	if (!of_user(sk) && !(called && socket_protocol((void *)call->sk) == IPPROTO_MPTCP))
		return;
	if (!call && own())
		return;
	fill_task(&conn.owner, (void *)bpf_get_current_task());
	fill_remote(&conn.remote, sk);
	conn.active = 1;
	if (called) {
		/* Whatever descriptor was read at enter, this is what the call acts on. */
		call->sk = key;
		call->again = 0;
		conn.start = call->start;
	} else {
		conn.start = bpf_ktime_get_boot_ns();
		conn.announced = 1;
		report_unseen(sk, WIRE_SOCKET_CONNECT, -EINPROGRESS);
	}
	if (bpf_map_update_elem(&connections, &key, &conn, BPF_ANY))
		count(WIRE_CONNECTION, WIRE_LOST_STATE);
}

static __always_inline void on_established(struct sock *sk)
{
	u64 key = (u64)sk;
	struct connection *conn = bpf_map_lookup_elem(&connections, &key);

	if (!conn || conn->outcome)
		return;
	fill_local(&conn->local, sk);
	__sync_fetch_and_add(&conn->outcome, OUTCOME_ESTABLISHED);
	if (conn->announced)
		report_connection(conn, sk, 0);
}

static __always_inline void on_close(struct sock *sk)
{
	u64 key = (u64)sk;
	struct connection *conn = bpf_map_lookup_elem(&connections, &key);
	s32 error;

	if (!conn)
		return;
	if (conn->outcome) {
		__sync_fetch_and_add(&conn->closed, 1);
	} else {
		fill_local(&conn->local, sk);
		error = BPF_CORE_READ(sk, sk_err);
		/* None: the caller gave up before there was an answer. */
		conn->error = error ? error : ECONNABORTED;
		__sync_fetch_and_add(&conn->outcome, OUTCOME_FAILED);
	}
	if (conn->announced)
		settle(conn, sk);
}

static __always_inline void on_listen(struct sock *sk)
{
	u64 thread = bpf_get_current_pid_tgid();

	if (bpf_map_lookup_elem(&calls, &thread) || !of_user(sk))
		return;
	if (own())
		return;
	report_unseen(sk, WIRE_SOCKET_LISTEN, 0);
}

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(set_state, struct sock *typed, int before, int after)
{
	struct sock *sk = NULL;

	/* The same pointer as a number: the verifier lets no typed one be a key, or be hashed. */
	bpf_probe_read_kernel(&sk, sizeof(sk), ctx);
	if (!is_tcp(sk))
		return 0;
	if (after == TCP_SYN_SENT)
		on_syn_sent(sk);
	else if (after == TCP_ESTABLISHED)
		on_established(sk);
	else if (after == TCP_CLOSE)
		on_close(sk);
	else if (after == TCP_LISTEN)
		on_listen(sk);
	return 0;
}
