/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What BPF programs hand to user space, byte for byte.
 *
 * The build script generates Rust types from the compiled form of this file (bpf/wire.bpf.c), so
 * there is no second copy to keep in step. Every record begins with struct wire_header and struct
 * wire_task; variable parts follow the fixed part and are named by struct wire_span. Only
 * fixed-width integers, all padding spelled out.
 */
#ifndef WIRE_H
#define WIRE_H

#pragma clang diagnostic push
#pragma clang diagnostic error "-Wpadded"

/* Record types; also the first index of struct wire_counters. */
enum wire_type {
	WIRE_EXEC = 1,
	WIRE_FORK = 2,
	WIRE_EXIT = 3,
	WIRE_SETID = 4,
	WIRE_NAMESPACE = 5,
	WIRE_SOCKET = 6,
	WIRE_CONNECTION = 7,
	WIRE_FILE = 8,
	WIRE_TYPES = 9,
};

/* What became of an event; the second index of struct wire_counters. */
enum wire_outcome {
	/* An attempt to put a record into the ring: it is there, or it is LOST_RING. */
	WIRE_PRODUCED = 0,
	/* The ring had no room. */
	WIRE_LOST_RING = 1,
	/*
	 * In-flight state had no room, or was overwritten by a program that preempted this one; or
	 * it is over, and how it ended was not seen.
	 */
	WIRE_LOST_STATE = 2,
	/* Left out as asked. */
	WIRE_FILTERED = 3,
	WIRE_OUTCOMES = 4,
};

/* One for each CPU. A multiple of 128 bytes, so that no two share what is fetched at once. */
struct wire_counters {
	__u64 count[WIRE_TYPES][WIRE_OUTCOMES];
	__u64 padding[12];
};

/* Set by the loader before the programs run. */
struct wire_config {
	/* Unread bytes of the ring at which the reader is woken before its next turn. */
	__u64 wakeup_bytes;
	/* Our own process, whose doings are not reported. */
	__u32 own_tgid;
	/* Of a CPU's number, what says where it counts. */
	__u32 cpu_mask;
	/* Random, so that ids made of the kernel's addresses do not tell them. */
	__u64 secret;
};

/* What may change while the programs run: the one entry of the map `switches`. */
struct wire_socket_switches {
	/* 0: unix sockets are left alone. */
	__u32 unix_sockets;
	/* 0: so are datagrams to new peers. */
	__u32 datagram_peers;
};

/*
 * A network of excluded peers, as a key of a trie. IPv4 and its v4-mapped form are one family,
 * whose addresses have four bytes; `bits` counts the family's byte too.
 */
struct wire_network_key {
	__u32 bits;
	/* 4 or 6. */
	__u8 family;
	__u8 address[16];
	__u8 reserved[3];
};

/* A process whose program is excluded: only as long as it is the same process and runs that file.
 */
struct wire_mark {
	/* Of the group leader, in ticks of WIRE_TICK ns, which is all that /proc tells. */
	__u64 start;
	__u64 ino;
	__u32 dev;
	__u32 reserved;
};

struct wire_header {
	/* Bytes of this record, this header included. The ring's own record may be longer. */
	__u32 length;
	__u16 type;
	__u16 flags;
	/* CLOCK_BOOTTIME, ns. */
	__u64 time;
	__u32 cpu;
	__u32 reserved;
};

/* `length` bytes at `offset` from the start of the record. */
struct wire_span {
	__u32 offset;
	__u32 length;
};

/* In the initial user namespace. */
struct wire_creds {
	__u32 uid;
	__u32 gid;
	__u32 suid;
	__u32 sgid;
	__u32 euid;
	__u32 egid;
	__u32 fsuid;
	__u32 fsgid;
};

/* Inode numbers, as in /proc/PID/ns. */
struct wire_namespaces {
	__u32 mnt;
	__u32 pid;
	__u32 net;
	__u32 user;
};

/* Bits of wire_task.known: these fields were read. tgid and tid always are. */
enum wire_known {
	WIRE_KNOWN_START = 1 << 0,
	WIRE_KNOWN_PARENT = 1 << 1,
	WIRE_KNOWN_NS_PID = 1 << 2,
	WIRE_KNOWN_CREDS = 1 << 3,
	WIRE_KNOWN_AUID = 1 << 4,
	WIRE_KNOWN_NAMESPACES = 1 << 5,
	WIRE_KNOWN_CGROUP = 1 << 6,
};

struct wire_task {
	/* start_boottime of the group leader, and of the parent's group leader. */
	__u64 start;
	__u64 parent_start;
	/* kernfs id of the cgroup in the v2 hierarchy. */
	__u64 cgroup_id;
	__u32 tgid;
	__u32 tid;
	/* tgid in the innermost pid namespace. */
	__u32 ns_tgid;
	__u32 parent_tgid;
	struct wire_creds creds;
	struct wire_namespaces namespaces;
	__u32 auid;
	__u32 known;
	__u8 comm[16];
};

/* An inode. Times are Unix seconds. */
struct wire_inode {
	__u64 ino;
	__u64 size;
	__s64 atime;
	__s64 mtime;
	__s64 ctime;
	/* 0: not known. */
	__s64 btime;
	/* Kernel's own encoding of dev_t: major << 20 | minor. */
	__u32 dev;
	/* Magic number of the file system. */
	__u32 magic;
	__u32 mode;
	__u32 uid;
	__u32 gid;
	__u32 nlink;
};

/* Which instruction set's numbering a system call number belongs to. */
enum wire_abi {
	WIRE_ABI_UNKNOWN = 0,
	WIRE_ABI_NATIVE = 1,
	/* The 32-bit calls of a 64-bit kernel. */
	WIRE_ABI_COMPAT = 2,
};

/* Bits of wire_exec.parts. */
enum wire_part {
	/* Shorter than it was. */
	WIRE_ARGS_CUT = 1 << 0,
	WIRE_ENV_CUT = 1 << 1,
	WIRE_PATH_CUT = 1 << 2,
	WIRE_CWD_CUT = 1 << 3,
	WIRE_CGROUP_CUT = 1 << 4,
	/* Could not be read: the span means nothing. */
	WIRE_ARGS_UNREAD = 1 << 8,
	WIRE_ENV_UNREAD = 1 << 9,
	WIRE_PATH_UNREAD = 1 << 10,
	WIRE_CWD_UNREAD = 1 << 11,
	WIRE_CGROUP_UNREAD = 1 << 12,
	WIRE_RAW_PATH_UNREAD = 1 << 13,
	WIRE_INTERPRETER_UNREAD = 1 << 14,
	WIRE_FILE_UNREAD = 1 << 15,
	/* The executable's name is in no directory any more. */
	WIRE_FILE_UNHASHED = 1 << 16,
	/* The executable lies on a mount that no mount namespace holds, such as memfd's. */
	WIRE_FILE_DETACHED = 1 << 17,
	/* The call was given a descriptor other than AT_FDCWD to start from. */
	WIRE_BY_DESCRIPTOR = 1 << 18,
	/* It was given a path that stands for itself. */
	WIRE_BY_PATH = 1 << 19,
};

/*
 * path, cwd and cgroup hold the names from the object up to its root, each followed by NUL: the
 * walk goes upwards, and turning it round is cheaper in user space.
 */
struct wire_exec {
	struct wire_header header;
	struct wire_task task;
	struct wire_inode file;
	struct wire_span path;
	struct wire_span raw_path;
	struct wire_span interpreter;
	struct wire_span args;
	struct wire_span env;
	struct wire_span cwd;
	struct wire_span cgroup;
	/* Bytes and strings there were in all. */
	__u64 args_size;
	__u64 env_size;
	__u32 argc;
	__u32 envc;
	__u32 parts;
	/* Thread id of the caller, which becomes the leader and loses it. */
	__u32 old_tid;
	/* Controlling terminal, NUL-ended; empty: none. */
	__u8 tty[64];
};

struct wire_fork {
	struct wire_header header;
	struct wire_task task;
	__u64 child_start;
	__u32 child_tgid;
	/* 0: unknown. */
	__u32 child_ns_tgid;
	__u32 syscall;
	__u32 abi;
};

/* Calls that change ids or namespaces. */
enum wire_change_call {
	WIRE_SETUID = 1,
	WIRE_SETGID = 2,
	WIRE_SETREUID = 3,
	WIRE_SETREGID = 4,
	WIRE_SETRESUID = 5,
	WIRE_SETRESGID = 6,
	WIRE_SETFSUID = 7,
	WIRE_SETFSGID = 8,
	WIRE_UNSHARE = 9,
	WIRE_SETNS = 10,
};

/* The task is as it is afterwards. */
struct wire_setid {
	struct wire_header header;
	struct wire_task task;
	struct wire_creds before;
	__u32 call;
	__u32 reserved;
};

/* The task is as it is afterwards. */
struct wire_namespace {
	struct wire_header header;
	struct wire_task task;
	struct wire_namespaces before;
	/* CLONE_NEW*, as given. */
	__u64 flags;
	__u32 call;
	__u32 reserved;
};

struct wire_exit {
	struct wire_header header;
	struct wire_task task;
	/* As wait(2) gives it. */
	__u32 status;
	__u32 reserved;
};

enum wire_socket_action {
	WIRE_SOCKET_CONNECT = 1,
	WIRE_SOCKET_ACCEPT = 2,
	WIRE_SOCKET_BIND = 3,
	WIRE_SOCKET_LISTEN = 4,
	WIRE_SOCKET_CLOSE = 5,
};

enum wire_socket_call {
	/* Seen in the kernel only: io_uring, socketcall, or a first write that connects. */
	WIRE_CALL_NONE = 0,
	WIRE_CALL_CONNECT = 1,
	WIRE_CALL_ACCEPT = 2,
	WIRE_CALL_ACCEPT4 = 3,
	WIRE_CALL_BIND = 4,
	WIRE_CALL_LISTEN = 5,
	WIRE_CALL_SENDTO = 6,
	WIRE_CALL_SENDMSG = 7,
	WIRE_CALL_SENDMMSG = 8,
};

/* Bits of wire_socket.known. */
enum wire_socket_known {
	WIRE_SOCKET_FD = 1 << 0,
	WIRE_SOCKET_RESULT = 1 << 1,
	WIRE_SOCKET_SENT = 1 << 2,
	WIRE_SOCKET_RECEIVED = 1 << 3,
	/* Of a call; that of a connection is always known. */
	WIRE_SOCKET_DURATION = 1 << 4,
};

/* One end of a socket. */
struct wire_end {
	/* Network order; the first four bytes for IPv4. */
	__u8 address[16];
	__u16 port;
	/* 0: this end is not known, or has no name. Need not be the socket's. */
	__u16 family;
	/* AF_UNIX: bytes of the name, which is in struct wire_unix. */
	__u32 name_length;
};

struct wire_socket {
	struct wire_header header;
	struct wire_task task;
	/* Stands for the address of the struct sock. */
	__u64 id;
	struct wire_end local;
	struct wire_end remote;
	/* WIRE_SOCKET_CLOSE only: payload bytes. */
	__u64 bytes_sent;
	__u64 bytes_received;
	/* ns within the call; WIRE_SOCKET_CLOSE: since the call that opened it. */
	__u64 duration;
	__s32 error;
	__s32 fd;
	__s32 result;
	__u32 known;
	__u16 family;
	__u16 socket_type;
	__u16 protocol;
	__u8 action;
	__u8 call;
};

/* Bytes of sockaddr_un.sun_path. */
#define WIRE_UNIX_NAME 108

/* What WIRE_SOCKET is for a unix socket. */
struct wire_unix {
	struct wire_socket socket;
	__u8 local_name[WIRE_UNIX_NAME];
	__u8 remote_name[WIRE_UNIX_NAME];
};

/* The outcome of a connect that was open when its WIRE_SOCKET was sent: always after that. */
struct wire_connection {
	struct wire_header header;
	struct wire_task task;
	__u64 id;
	struct wire_end local;
	/* 0: established; else an errno. */
	__s32 error;
	__u32 reserved;
};

#pragma clang diagnostic pop

#endif
