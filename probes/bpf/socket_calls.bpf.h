/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What is done when a socket call begins and when it returns, whichever hook told us: tracepoints
 * of the calls (socket_tracepoints.bpf.h) or functions they end up in (socket_functions.bpf.h).
 */
#ifndef SOCKET_CALLS_BPF_H
#define SOCKET_CALLS_BPF_H

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

/* Where the caller's address lies. */
enum memory {
	USER_MEMORY,
	KERNEL_MEMORY,
};

static __always_inline void take_address(struct call *call, const void *address, u64 size,
					 enum memory memory)
{
	long failed;

	if (!address)
		return;
	/* Else the compiler compares one copy of it and passes another. */
	barrier_var(size);
	if (size > sizeof(call->address))
		size = sizeof(call->address);
	if (memory == USER_MEMORY)
		failed = bpf_probe_read_user(call->address, size, address);
	else
		failed = bpf_probe_read_kernel(call->address, size, address);
	/* Unreadable: the call itself fails with EFAULT, and has no address. */
	if (!failed)
		call->length = size;
}

/* Starts the record of a call of the current task. False: nobody wants to know. */
static __always_inline bool begin_call(struct call *call, struct sock *sk, u8 action, u8 name,
				       s32 fd)
{
	if (!sk || !wanted(BPF_CORE_READ(sk, __sk_common.skc_family)))
		return false;
	if (quiet())
		return false;
	call->start = bpf_ktime_get_boot_ns();
	call->sk = (u64)sk;
	call->fd = fd;
	call->action = action;
	call->name = name;
	if (action == WIRE_SOCKET_CONNECT && is_announced(sk))
		call->flags |= CALL_AGAIN;
	return true;
}

static __always_inline void remember_call(const struct call *call)
{
	u64 thread = bpf_get_current_pid_tgid();

	if (bpf_map_update_elem(&calls, &thread, call, BPF_ANY))
		count(WIRE_SOCKET, WIRE_LOST_STATE);
}

static __always_inline struct call *this_call(void)
{
	u64 thread = bpf_get_current_pid_tgid();

	return bpf_map_lookup_elem(&calls, &thread);
}

static __always_inline void forget_call(void)
{
	u64 thread = bpf_get_current_pid_tgid();

	bpf_map_delete_elem(&calls, &thread);
}

/*
 * Exit.
 */

/* The call goes on: it is made again, or a signal handler makes it EINTR. */
static __always_inline bool restarts(s32 result)
{
	return result <= -ERESTARTSYS && result >= -ERESTART_RESTARTBLOCK;
}

/*
 * Whether there is a connection of which nobody saw that it was opened. There is none yet where the
 * first write is to open it (TCP_FASTOPEN_CONNECT).
 */
static __always_inline bool is_unfollowed(const struct call *call, struct sock *sk, s32 result,
					  bool open)
{
	if (!is_tcp(sk) || call->flags & CALL_UNFOLLOWED)
		return false;
	return open || (!result && BPF_CORE_READ(sk, __sk_common.skc_state) != TCP_CLOSE);
}

static __always_inline void finish_connect(struct call *call, s32 result)
{
	struct sock *sk = (void *)call->sk;
	u64 key = call->sk;
	struct connection *conn = bpf_map_lookup_elem(&connections, &key);
	u16 family = BPF_CORE_READ(sk, __sk_common.skc_family);
	struct wire_end to = {};
	bool open;

	/*
	 * It asked what became of an earlier one, or is that one, restarted after a signal; or
	 * another thread is about to report it.
	 */
	if (call->flags & CALL_AGAIN ||
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
	if (has_remote(call, WIRE_SOCKET_CONNECT, result))
		fill_remote(&to, sk);
	else if (conn)
		to = conn->remote;
	if (!to.family)
		fill_given(&to, call);
	if (quiet_peer(&to)) {
		bpf_map_delete_elem(&connections, &key);
		return;
	}
	report_inet(call, conn, sk, WIRE_SOCKET_CONNECT, call->name, call->fd, result);
	open = result == -EINPROGRESS || result == -EINTR;
	if (!conn) {
		if (is_unfollowed(call, sk, result, open))
			count(WIRE_CONNECTION, WIRE_LOST_STATE);
		return;
	}
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
static __always_inline void finish_accepted(struct call *call, struct sock *sk, u8 name, s32 fd)
{
	u64 key = (u64)sk;
	struct connection conn = {};

	fill_task(&conn.owner, (void *)bpf_get_current_task());
	fill_local(&conn.local, sk);
	fill_remote(&conn.remote, sk);
	conn.start = bpf_ktime_get_boot_ns();
	conn.announced = 1;
	conn.outcome = OUTCOME_ESTABLISHED;
	if (quiet_peer(&conn.remote))
		return;
	report_inet(call, &conn, sk, WIRE_SOCKET_ACCEPT, name, fd, fd < 0 ? 0 : fd);
	if (bpf_map_update_elem(&connections, &key, &conn, BPF_ANY)) {
		count(WIRE_CONNECTION, WIRE_LOST_STATE);
		return;
	}
	/* It may have ended while it waited to be accepted, or just now. */
	if (BPF_CORE_READ(sk, __sk_common.skc_state) == TCP_CLOSE &&
	    !bpf_map_delete_elem(&connections, &key))
		report_close(&conn, sk);
}

/* A socket that was accepted; fd < 0: at which descriptor is not known. */
static __always_inline void accepted(struct call *call, struct sock *sk, u8 name, s32 fd)
{
	if (BPF_CORE_READ(sk, __sk_common.skc_family) == AF_UNIX)
		report_unix(call, sk, WIRE_SOCKET_ACCEPT, name, fd, fd < 0 ? 0 : fd);
	else if (is_tcp(sk))
		finish_accepted(call, sk, name, fd);
	else
		report_inet(call, NULL, sk, WIRE_SOCKET_ACCEPT, name, fd, fd < 0 ? 0 : fd);
}

/*
 * The new socket says all about an accept that succeeded, so a call that was waiting when we were
 * attached is reported too.
 */
static __always_inline void finish_accept(struct call *call, u8 name, s32 result)
{
	struct sock *sk = result >= 0 ? socket_of(result) : call ? (void *)call->sk : NULL;

	if (!sk || !wanted(BPF_CORE_READ(sk, __sk_common.skc_family)) || restarts(result))
		return;
	/* Where there was an enter, it has counted it. */
	if (!call && is_quiet())
		return;
	if (result >= 0)
		accepted(call, sk, name, result);
	else if (BPF_CORE_READ(sk, __sk_common.skc_family) == AF_UNIX)
		report_unix(call, sk, WIRE_SOCKET_ACCEPT, name, call ? call->fd : -1, result);
	else
		report_inet(call, NULL, sk, WIRE_SOCKET_ACCEPT, name, call ? call->fd : -1, result);
}

static __always_inline void finish_local(struct call *call, s32 result)
{
	struct sock *sk = (void *)call->sk;
	struct wire_end at = {};

	if (restarts(result))
		return;
	fill_local(&at, sk);
	if (call->action == WIRE_SOCKET_BIND && result)
		fill_given(&at, call);
	if (quiet_peer(&at))
		return;
	if (BPF_CORE_READ(sk, __sk_common.skc_family) == AF_UNIX)
		report_unix(call, sk, call->action, call->name, call->fd, result);
	else
		report_inet(call, NULL, sk, call->action, call->name, call->fd, result);
}

static __always_inline int leaving_connect(s32 result)
{
	struct call *call = this_call();

	if (!call || call->action != WIRE_SOCKET_CONNECT || call->flags & CALL_DATAGRAM)
		return 0;
	finish_connect(call, result);
	forget_call();
	return 0;
}

static __always_inline int leaving_local(u8 action, s32 result)
{
	struct call *call = this_call();

	if (!call || call->action != action)
		return 0;
	finish_local(call, result);
	forget_call();
	return 0;
}

/*
 * Datagrams to a peer that was not connected to, the first of each socket and peer. Sends are hot,
 * so the loader leaves these programs out unless it is told otherwise.
 */

static __always_inline int sending(u8 name, s32 fd, struct sock *sk, u64 inode, const void *address,
				   u32 length, enum memory memory)
{
	struct call call = {};
	struct peer peer = {};
	struct wire_end to = {};
	u8 seen = 1;

	if (!wants_datagrams() || !sk || is_tcp(sk))
		return 0;
	take_address(&call, address, length > SOCKADDR_IN6 ? SOCKADDR_IN6 : length, memory);
	if (!call.length)
		return 0;
	fill_given(&to, &call);
	if (!to.family)
		return 0;
	peer.sk = (u64)sk;
	peer.inode = inode;
	__builtin_memcpy(peer.address, to.address, sizeof(peer.address));
	peer.port = to.port;
	/* Refreshes its place in the order of use, too. */
	if (bpf_map_lookup_elem(&peers, &peer))
		return 0;
	if (!begin_call(&call, sk, WIRE_SOCKET_CONNECT, name, fd))
		return 0;
	call.flags = CALL_DATAGRAM;
	if (bpf_map_update_elem(&peers, &peer, &seen, BPF_ANY))
		count(WIRE_SOCKET, WIRE_LOST_STATE);
	if (!quiet_peer(&to))
		remember_call(&call);
	return 0;
}

static __always_inline int sent(s32 result)
{
	struct call *call = this_call();

	if (!call || !(call->flags & CALL_DATAGRAM))
		return 0;
	/* Bytes that were sent are no result that a connect could have. */
	if (!restarts(result))
		report_inet(call, NULL, (void *)call->sk, WIRE_SOCKET_CONNECT, call->name, call->fd,
			    result > 0 ? 0 : result);
	forget_call();
	return 0;
}

#endif
