/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What is remembered of socket calls and connections, and the records made of it.
 */
#ifndef SOCKET_REPORT_BPF_H
#define SOCKET_REPORT_BPF_H

#include "common.bpf.h"
#include "socket.bpf.h"
#include "socket_exclude.bpf.h"

/* Counted where a thread's call could not be remembered. The loader sets the size. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8192);
	__type(key, __u64);
	__type(value, struct call);
} calls SEC(".maps");

/* TCP connections that were opened or accepted since we run, by address of their struct sock. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, __u64);
	__type(value, struct connection);
} connections SEC(".maps");

/*
 * Peers that an unconnected datagram socket was seen sending to. What is pushed out is reported
 * again when it is next used.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct peer);
	__type(value, __u8);
} peers SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct wire_socket_switches);
} switches SEC(".maps");

static __always_inline bool wants_datagrams(void)
{
	u32 zero = 0;
	struct wire_socket_switches *now = bpf_map_lookup_elem(&switches, &zero);

	return now && now->datagram_peers;
}

static __always_inline bool wanted(u16 family)
{
	u32 zero = 0;
	struct wire_socket_switches *now;

	if (family == AF_INET || family == AF_INET6)
		return true;
	if (family != AF_UNIX)
		return false;
	now = bpf_map_lookup_elem(&switches, &zero);
	return now && now->unix_sockets;
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

/* Addresses are compared, never followed: what leaves the kernel is not one. */
static __always_inline u64 socket_id(struct sock *sk)
{
	u64 id = (u64)sk ^ config.secret;

	id = (id ^ (id >> 33)) * 0xff51afd7ed558ccdULL;
	id = (id ^ (id >> 33)) * 0xc4ceb9fe1a85ec53ULL;
	return id ^ (id >> 33);
}

static __always_inline void fill_socket(struct wire_socket *out, u32 size, struct sock *sk,
					u8 action, u8 call)
{
	fill_header(&out->header, WIRE_SOCKET, size);
	out->id = socket_id(sk);
	__builtin_memset(&out->local, 0, sizeof(out->local));
	__builtin_memset(&out->remote, 0, sizeof(out->remote));
	out->bytes_sent = 0;
	out->bytes_received = 0;
	out->duration = 0;
	out->error = 0;
	out->fd = 0;
	out->result = 0;
	out->known = 0;
	out->family = BPF_CORE_READ(sk, __sk_common.skc_family);
	out->socket_type = socket_type(sk);
	out->protocol = socket_protocol(sk);
	out->action = action;
	out->call = call;
}

/* What is known of a call: it may be one without a descriptor, without a beginning or a result. */
static __always_inline void fill_call(struct wire_socket *out, const struct call *call, s32 fd,
				      s32 result)
{
	u32 known = fd < 0 ? 0 : WIRE_SOCKET_FD;

	if (!call || !(call->flags & CALL_UNANSWERED))
		known |= WIRE_SOCKET_RESULT;
	if (call && !(call->flags & CALL_UNANSWERED)) {
		out->duration = out->header.time - call->start;
		known |= WIRE_SOCKET_DURATION;
	}
	out->fd = fd;
	out->result = result;
	out->known = known;
}

/*
 * Which ends of a returned call are the socket's own. The others are taken from what the caller
 * gave, since a failed call leaves nothing in the socket.
 */
static __always_inline bool has_remote(const struct call *call, u8 action, s32 result)
{
	if (call && call->flags & (CALL_DATAGRAM | CALL_UNANSWERED))
		return false;
	return action == WIRE_SOCKET_ACCEPT ? result >= 0
					    : action == WIRE_SOCKET_CONNECT && result == 0;
}

static __always_inline void report_inet(struct call *call, struct connection *conn, struct sock *sk,
					u8 action, u8 name, s32 fd, s32 result)
{
	struct wire_socket *out = reserve(WIRE_SOCKET, sizeof(*out));

	if (!out)
		return;
	fill_socket(out, sizeof(*out), sk, action, name);
	if (conn)
		out->task = conn->owner;
	else
		fill_task(&out->task, (void *)bpf_get_current_task());
	fill_call(out, call, fd, result);
	fill_local(&out->local, sk);
	if (has_remote(call, action, result))
		fill_remote(&out->remote, sk);
	if (conn && !out->remote.family)
		out->remote = conn->remote;
	if (conn && conn->local.family)
		out->local = conn->local;
	if (call && action == WIRE_SOCKET_CONNECT && !out->remote.family)
		fill_given(&out->remote, call);
	if (call && action == WIRE_SOCKET_BIND && result)
		fill_given(&out->local, call);
	submit(out);
}

static __always_inline void report_unix(struct call *call, struct sock *sk, u8 action, u8 name,
					s32 fd, s32 result)
{
	struct wire_unix *out = reserve(WIRE_SOCKET, sizeof(*out));

	if (!out)
		return;
	fill_socket(&out->socket, sizeof(*out), sk, action, name);
	fill_task(&out->socket.task, (void *)bpf_get_current_task());
	fill_call(&out->socket, call, fd, result);
	__builtin_memset(out->local_name, 0, sizeof(out->local_name));
	__builtin_memset(out->remote_name, 0, sizeof(out->remote_name));
	if (call && action == WIRE_SOCKET_BIND && result)
		fill_given_name(&out->socket.local, out->local_name, call);
	else
		fill_name(&out->socket.local, out->local_name, sk);
	if (has_remote(call, action, result))
		fill_name(&out->socket.remote, out->remote_name, unix_peer(sk));
	else if (call && action == WIRE_SOCKET_CONNECT)
		fill_given_name(&out->socket.remote, out->remote_name, call);
	submit(out);
}

static __always_inline void report_connection(struct connection *conn, struct sock *sk, s32 error)
{
	struct wire_connection *out = reserve(WIRE_CONNECTION, sizeof(*out));

	if (!out)
		return;
	fill_header(&out->header, WIRE_CONNECTION, sizeof(*out));
	out->task = conn->owner;
	out->id = socket_id(sk);
	out->local = conn->local;
	out->error = error;
	out->reserved = 0;
	submit(out);
}

/* The end of a connection that was established; conn is no longer in the map. */
static __always_inline void report_close(struct connection *conn, struct sock *sk)
{
	struct wire_socket *out = reserve(WIRE_SOCKET, sizeof(*out));

	if (!out)
		return;
	fill_socket(out, sizeof(*out), sk, WIRE_SOCKET_CLOSE, WIRE_CALL_NONE);
	out->task = conn->owner;
	out->local = conn->local;
	out->remote = conn->remote;
	out->duration = out->header.time - conn->start;
	out->error = BPF_CORE_READ(sk, sk_err);
	out->known = fill_totals(sk, conn->active, &out->bytes_sent, &out->bytes_received);
	submit(out);
}

/*
 * Ends what conn says, if it has ended: exactly one of those who find out deletes the entry, and
 * reports.
 */
static __always_inline void settle(struct connection *conn, struct sock *sk)
{
	u64 key = (u64)sk;
	struct connection last = *conn;
	long failed = bpf_map_delete_elem(&connections, &key);

	/* Else nobody took it: since 6.15, a bucket may not be locked in time. */
	if (failed && failed != -ENOENT)
		count(WIRE_CONNECTION, WIRE_LOST_STATE);
	if (failed)
		return;
	if (last.outcome == OUTCOME_FAILED)
		report_connection(&last, sk, last.error);
	else
		report_close(&last, sk);
}

#endif
