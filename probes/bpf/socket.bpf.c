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
static __always_inline void on_syn_sent(struct sock *sk)
{
	u64 thread = bpf_get_current_pid_tgid();
	u64 key = (u64)sk;
	struct call *call = bpf_map_lookup_elem(&calls, &thread);
	struct connection conn = {};
	bool called = call && call->action == WIRE_SOCKET_CONNECT;

	/* Of MPTCP, the connection that is followed is the first TCP connection beneath. */
	if (socket_protocol(sk) == IPPROTO_MPTCP)
		return;
	if (!of_user(sk) && !(called && socket_protocol((void *)call->sk) == IPPROTO_MPTCP))
		return;
	/* Where there was an enter, it has counted it. */
	if (!call && is_quiet())
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
	if (is_quiet())
		return;
	report_unseen(sk, WIRE_SOCKET_LISTEN, 0);
}

/*
 * The kernel runs no program inside itself: a change that is made in an interrupt, while this looks
 * at another on the same CPU, is skipped and counted as missed. Some 10 of a million are, when a
 * machine does nothing but open and close connections.
 */
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
