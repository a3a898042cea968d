/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Which system call, if any, brought a task to a function of the kernel, and with which descriptor.
 *
 * The numbers are part of the ABI: arch/x86/entry/syscalls, uapi/asm-generic/unistd.h,
 * arch/arm/tools/syscall.tbl. socketcall(2) has its arguments in memory and stays without a name.
 */
#ifndef SOCKET_NAMED_BPF_H
#define SOCKET_NAMED_BPF_H

#include "socket_report.bpf.h"

#ifdef __TARGET_ARCH_x86
/* Calls of x32 have the numbers of the 64-bit ones and this bit. */
#define X32_SYSCALL_BIT 0x40000000

enum native_number {
	NATIVE_CONNECT = 42,
	NATIVE_ACCEPT = 43,
	NATIVE_SENDTO = 44,
	NATIVE_SENDMSG = 46,
	NATIVE_BIND = 49,
	NATIVE_LISTEN = 50,
	NATIVE_ACCEPT4 = 288,
	NATIVE_SENDMMSG = 307,
};

enum compat_number {
	COMPAT_SENDMMSG = 345,
	COMPAT_BIND = 361,
	COMPAT_CONNECT = 362,
	COMPAT_LISTEN = 363,
	COMPAT_ACCEPT4 = 364,
	COMPAT_SENDTO = 369,
	COMPAT_SENDMSG = 370,
	/* There is none. */
	COMPAT_ACCEPT = -1,
};
#else
#define X32_SYSCALL_BIT 0

enum native_number {
	NATIVE_BIND = 200,
	NATIVE_LISTEN = 201,
	NATIVE_ACCEPT = 202,
	NATIVE_CONNECT = 203,
	NATIVE_SENDTO = 206,
	NATIVE_SENDMSG = 211,
	NATIVE_ACCEPT4 = 242,
	NATIVE_SENDMMSG = 269,
};

enum compat_number {
	COMPAT_BIND = 282,
	COMPAT_CONNECT = 283,
	COMPAT_LISTEN = 284,
	COMPAT_ACCEPT = 285,
	COMPAT_SENDTO = 290,
	COMPAT_SENDMSG = 296,
	COMPAT_ACCEPT4 = 366,
	COMPAT_SENDMMSG = 374,
};
#endif

static __always_inline bool is_it(s32 number, u32 abi, s32 native, s32 compat)
{
	return number == (abi == WIRE_ABI_COMPAT ? compat : native);
}

/*
 * The name of the call that does `action`, and its descriptor where that leads to `sk`. A worker of
 * io_uring may still have the registers of the task that made it, so a descriptor is never taken at
 * its word. WIRE_CALL_NONE and -1: some other call.
 */
static __always_inline u8 named_call(u8 action, struct sock *sk, s32 *fd)
{
	u8 name = WIRE_CALL_NONE;
	u32 abi;
	s32 number = current_syscall(&abi);

	*fd = -1;
	if (abi == WIRE_ABI_UNKNOWN)
		return name;
	number &= ~X32_SYSCALL_BIT;
	if (action == WIRE_SOCKET_CONNECT) {
		if (is_it(number, abi, NATIVE_CONNECT, COMPAT_CONNECT))
			name = WIRE_CALL_CONNECT;
		else if (is_it(number, abi, NATIVE_SENDTO, COMPAT_SENDTO))
			name = WIRE_CALL_SENDTO;
		else if (is_it(number, abi, NATIVE_SENDMSG, COMPAT_SENDMSG))
			name = WIRE_CALL_SENDMSG;
		else if (is_it(number, abi, NATIVE_SENDMMSG, COMPAT_SENDMMSG))
			name = WIRE_CALL_SENDMMSG;
	} else if (action == WIRE_SOCKET_ACCEPT) {
		if (is_it(number, abi, NATIVE_ACCEPT, COMPAT_ACCEPT))
			name = WIRE_CALL_ACCEPT;
		else if (is_it(number, abi, NATIVE_ACCEPT4, COMPAT_ACCEPT4))
			name = WIRE_CALL_ACCEPT4;
	} else if (action == WIRE_SOCKET_BIND) {
		if (is_it(number, abi, NATIVE_BIND, COMPAT_BIND))
			name = WIRE_CALL_BIND;
	} else if (is_it(number, abi, NATIVE_LISTEN, COMPAT_LISTEN)) {
		name = WIRE_CALL_LISTEN;
	}
	if (!name || !sk)
		return name;
	*fd = current_first_argument(abi);
	if (socket_of(*fd) == sk)
		return name;
	*fd = -1;
	return WIRE_CALL_NONE;
}

#endif
