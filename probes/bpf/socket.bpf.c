// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Socket calls, and what became of TCP connections.
 *
 *   connect(2) ─ begins ─▶ calls[thread] ───────────────────────────── returns ─▶ WIRE_SOCKET
 *                                │                                        │
 *        tcp_v4_connect ─ inet_sock_set_state SYN_SENT ─▶ connections[sock]
 *                                                                         │
 *        softirq, later ─ inet_sock_set_state ESTABLISHED, CLOSE ─────────┴─▶ WIRE_CONNECTION
 *                                                                          or WIRE_SOCKET close
 *
 * Where calls are seen to begin and return: socket_functions.bpf.h where the kernel takes
 * trampolines, else socket_tracepoints.bpf.h. The loader takes one of the two for each kind of
 * call; what they do is the same (socket_calls.bpf.h). Why not these alone: connect may return
 * before there is an outcome. Why not inet_sock_set_state alone: it knows TCP only, and runs in
 * softirq, where current is whoever was interrupted. What it sees of calls that no hook of ours saw
 * being made (behind tracepoints: 32-bit callers and io_uring; behind both: a first write that
 * connects) is reported without a call.
 */
#include "socket_functions.bpf.h"
#include "socket_tracepoints.bpf.h"

/*
 * TCP states.
 */

/* A connect or listen that none of our hooks saw being called. */
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

/* In the task that connects; what it was asked for is in `calls`. */
static __always_inline void on_syn_sent(struct sock *sk, bool again)
{
	u64 thread = bpf_get_current_pid_tgid();
	u64 key = (u64)sk;
	struct call *call = bpf_map_lookup_elem(&calls, &thread);
	struct connection conn = {};
	bool called = call && call->action == WIRE_SOCKET_CONNECT;
	bool failed;

	/* Of MPTCP, the connection that is followed is the first TCP connection beneath. */
	if (socket_protocol(sk) == IPPROTO_MPTCP)
		return;
	if (!of_user(sk) && !(called && socket_protocol((void *)call->sk) == IPPROTO_MPTCP))
		return;
	/* Where there was an enter, it has counted it. */
	if (!call && is_quiet())
		return;
	if (called && call->flags & CALL_UNFOLLOWED)
		return;
	fill_task(&conn.owner, (void *)bpf_get_current_task());
	fill_remote(&conn.remote, sk);
	conn.active = 1;
	if (called) {
		/* Whatever descriptor was read at enter, this is what the call acts on. */
		call->sk = key;
		call->flags &= ~CALL_AGAIN;
		conn.start = call->start;
	} else if (quiet_peer(&conn.remote)) {
		return;
	} else {
		conn.start = bpf_ktime_get_boot_ns();
		conn.announced = 1;
	}
	failed = bpf_map_update_elem(&connections, &key, &conn, BPF_ANY);
	if (failed) {
		count(WIRE_CONNECTION, WIRE_LOST_STATE);
		if (called)
			call->flags |= CALL_UNFOLLOWED;
	}
	/* Where there was no room, it was told the first time. */
	if (!called && !(again && failed))
		report_unseen(sk, WIRE_SOCKET_CONNECT, -EINPROGRESS);
}

static __always_inline void establish(struct connection *conn, struct sock *sk)
{
	fill_local(&conn->local, sk);
	__sync_fetch_and_add(&conn->outcome, OUTCOME_ESTABLISHED);
	if (conn->announced)
		report_connection(conn, sk, 0);
}

static __always_inline void fail(struct connection *conn, struct sock *sk, s32 error)
{
	fill_local(&conn->local, sk);
	conn->error = error;
	__sync_fetch_and_add(&conn->outcome, OUTCOME_FAILED);
}

static __always_inline void on_established(struct sock *sk)
{
	u64 key = (u64)sk;
	struct connection *conn = bpf_map_lookup_elem(&connections, &key);

	if (conn && !conn->outcome)
		establish(conn, sk);
}

static __always_inline void on_close(struct sock *sk, int before)
{
	u64 key = (u64)sk;
	struct connection *conn = bpf_map_lookup_elem(&connections, &key);
	s32 error;

	if (!conn)
		return;
	/* No program ran when it was established. */
	if (!conn->outcome && before != TCP_SYN_SENT && before != TCP_SYN_RECV &&
	    before != TCP_CLOSE)
		establish(conn, sk);
	if (conn->outcome == OUTCOME_ESTABLISHED) {
		__sync_fetch_and_add(&conn->closed, 1);
	} else if (!conn->outcome) {
		error = BPF_CORE_READ(sk, sk_err);
		/* None: the caller gave up, or asked for it a moment ago and so took it. */
		fail(conn, sk, error ? error : ECONNABORTED);
	}
	if (conn->announced)
		settle(conn, sk);
}

static __always_inline void on_listen(struct sock *sk)
{
	u64 thread = bpf_get_current_pid_tgid();

	if (bpf_map_lookup_elem(&calls, &thread) || !of_user(sk))
		return;
	if (is_quiet())
		return;
	report_unseen(sk, WIRE_SOCKET_LISTEN, 0);
}

/* The same pointer as a number: the verifier lets no typed one be a key, or be hashed. */
static __always_inline struct sock *untyped(void *ctx)
{
	struct sock *sk = NULL;

	bpf_probe_read_kernel(&sk, sizeof(sk), ctx);
	return sk;
}

static __always_inline bool is_remembered(struct sock *sk)
{
	u64 key = (u64)sk;

	return bpf_map_lookup_elem(&connections, &key);
}

/*
 * Half of the changes are on the way to the end of a connection, and of no interest. Again: the
 * same change may have been looked at; all but a connection that was opened are found done.
 */
static __always_inline void on_change(void *ctx, int before, int after, bool again)
{
	struct sock *sk;

	if (after != TCP_SYN_SENT && after != TCP_ESTABLISHED && after != TCP_CLOSE &&
	    after != TCP_LISTEN)
		return;
	sk = untyped(ctx);
	/* What is followed is TCP. */
	if (after == TCP_ESTABLISHED)
		on_established(sk);
	else if (after == TCP_CLOSE)
		on_close(sk, before);
	else if (!is_tcp(sk))
		return;
	else if (after == TCP_LISTEN && !again)
		on_listen(sk);
	else if (after == TCP_SYN_SENT && !(again && is_remembered(sk)))
		on_syn_sent(sk, again);
}

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(set_state, struct sock *typed, int before, int after)
{
	on_change(ctx, before, after, false);
	return 0;
}

/*
 * What set_state was skipped at: the kernel runs no program inside itself, so a change that is made
 * in an interrupt is skipped while the same CPU is looking at that of another socket; and that of a
 * task is, where another was preempted while it looked (seen with 7.2). On a machine that does
 * nothing but open and close connections, those are one in twenty of the connects that time out.
 */
SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(set_state_again, struct sock *typed, int before, int after)
{
	on_change(ctx, before, after, true);
	return 0;
}

/*
 * The end of a socket whose connection is still followed: neither of the above ran when it closed.
 * So it is where a task was preempted within each of them, and with kernels that run no programs in
 * interrupts of some process. What is still known is told, else counted.
 */
SEC("tp_btf/tcp_destroy_sock")
int BPF_PROG(destroy_sock, struct sock *typed)
{
	struct sock *sk = untyped(ctx);
	u64 key = (u64)sk;
	struct connection *conn = bpf_map_lookup_elem(&connections, &key);
	s32 error;

	if (!conn)
		return 0;
	if (conn->announced && !conn->outcome) {
		/* 0 also once the caller has asked for it. */
		error = BPF_CORE_READ(sk, sk_err);
		if (error)
			fail(conn, sk, error);
		else
			count(WIRE_CONNECTION, WIRE_LOST_STATE);
	}
	if (conn->announced && conn->outcome)
		settle(conn, sk);
	else
		bpf_map_delete_elem(&connections, &key);
	return 0;
}
