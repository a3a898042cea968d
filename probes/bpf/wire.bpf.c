// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Names every type of wire.h once, so that its BTF is complete. Never loaded. */
#include "kernel.h"
#include "wire.h"

enum wire_type anchor_type;
enum wire_outcome anchor_outcome;
enum wire_known anchor_known;
enum wire_abi anchor_abi;
enum wire_part anchor_part;
struct wire_counters anchor_counters;
struct wire_config anchor_config;
struct wire_exec anchor_exec;
struct wire_fork anchor_fork;
struct wire_exit anchor_exit;
enum wire_change_call anchor_change_call;
struct wire_setid anchor_setid;
struct wire_namespace anchor_namespace;
enum wire_socket_action anchor_socket_action;
enum wire_socket_call anchor_socket_call;
enum wire_socket_known anchor_socket_known;
struct wire_socket_switches anchor_socket_switches;
struct wire_network_key anchor_network_key;
struct wire_mark anchor_mark;
struct wire_socket anchor_socket;
struct wire_unix anchor_unix;
struct wire_connection anchor_connection;
