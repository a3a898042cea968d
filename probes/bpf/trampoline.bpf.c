// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Tells whether this kernel takes trampolines at all, before anything of use is attached: the
 * function is one that the kernel has for such tests, and is never called otherwise.
 */
#include "kernel.h"
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "Dual BSD/GPL";

SEC("fexit/bpf_fentry_test1")
int trial(unsigned long long *ctx)
{
	return 0;
}
