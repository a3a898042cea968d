#!/bin/sh
# Runs in the guest: what is told when BPF may not be used, in words a person understands, and that
# nothing is changed where nothing may be. The host's kernel arguments choose what is looked at.
#
# Every case runs the program itself, and the same statement.
. /bin/claims.sh
mount -t securityfs securityfs /sys/kernel/security

# It lives for a moment, since the connector tells only who: what was executed is looked up.
readonly COMMAND='/bin/busybox sh -c "sleep  1; :"' TOLD='/bin/busybox sh -c sleep  1; :'
ask() { # SETTINGS… : what the same SELECT answers, and why from there
    "$@" shell --json --exec "$COMMAND" "SELECT cmdline, source FROM process_events WHERE cmdline = '$TOLD'; \
        SELECT kind, source, reason FROM ebpf_events_health WHERE kind = 'exec'" >/tmp/said 2>/tmp/log
}
debian() { # a program of Debian's, with its libraries beside it
    /bin/ld-linux-x86-64.so.2 --library-path /bin "/bin/$@"
}
settings() { # of audit, without what only ever grows
    debian auditctl -s | grep -Ev '^(lost|backlog |backlog_wait_time_actual)'
    debian auditctl -l
}
row_from() { grep -qF "\"cmdline\":\"$TOLD\",\"source\":\"$1\"" /tmp/said; }
reason() { grep '"kind":"exec"' /tmp/said | grep -q "$1"; }
logged() { grep -q "$1" /tmp/log; }
unchanged() { cmp -s /tmp/before /tmp/after; }

if grep -qw audit=0 /proc/cmdline; then
    debian auditctl -s >/tmp/before 2>&1
    ask osquery-ebpf
    debian auditctl -s >/tmp/after 2>&1
    claim without_bpf_and_audit_the_connector_answers row_from connector
    claim health_says_that_lockdown_forbids_bpf reason lockdown
    claim health_says_that_audit_is_off_since_boot reason 'booted with audit=0.*boot with audit=1'
    claim the_log_says_it_too logged connector
else
    settings >/tmp/before
    ask debian setpriv --bounding-set=-bpf,-perfmon,-sys_admin osquery-ebpf
    settings >/tmp/after
    claim without_the_capability_audit_answers row_from audit
    claim health_names_the_capability reason CAP_BPF
    claim audit_is_as_it_was_afterwards unchanged

    echo confidentiality >/sys/kernel/security/lockdown
    ask osquery-ebpf
    settings >/tmp/after
    claim under_lockdown_audit_answers row_from audit
    claim health_names_the_lockdown_and_what_to_do reason lockdown=integrity
    claim audit_is_as_it_was_after_lockdown_too unchanged

    debian auditctl -a always,exit -F arch=b64 -S execve,execveat -k theirs >/dev/null
    debian auditctl -e 2 >/dev/null
    settings >/tmp/before
    ask osquery-ebpf
    settings >/tmp/after
    claim what_rules_of_others_record_is_told_though_audit_is_immutable row_from audit
    claim health_says_that_audit_is_immutable_until_the_next_boot reason 'immutable.*boot'
    claim nothing_immutable_was_changed unchanged
fi
result
