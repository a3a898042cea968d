#!/bin/sh
# Runs in the guest: someone sets the clock while events come in, ahead and back again.
. /bin/claims.sh

readonly AHEAD=2000000000 BACK=1000000000
# The difference of the clocks is read ten times a second.
SCRIPT="date +%s >/tmp/began; /bin/busybox true now; sleep 1;
    date -s @$AHEAD; sleep 1; /bin/busybox true ahead; sleep 1;
    date -s @$BACK; sleep 1; /bin/busybox true back; sleep 1"
osquery-ebpf shell --csv --exec "$SCRIPT >/dev/null" \
    "SELECT cmdline, time, ntime FROM process_events WHERE cmdline LIKE '/bin/busybox true %' ORDER BY CAST(ntime AS INTEGER)" \
    >/tmp/said 2>/tmp/log

time_of() { sed -n "s/^.*true $1\"|\([0-9]*\)|.*\$/\1/p" /tmp/said; }
within() { # WORD FROM : once, and at most a minute after that
    [ "$(time_of "$1" | wc -l)" = 1 ] && [ "$(time_of "$1")" -ge "$2" ] && [ "$(time_of "$1")" -le $(($2 + 60)) ]
}
in_order() { [ "$(sed -n 's/^.*true \([a-z]*\)".*$/\1/p' /tmp/said | paste -sd' ')" = 'now ahead back' ]; }

claim what_happened_before_keeps_its_time within now "$(cat /tmp/began)"
claim what_happens_after_the_clock_was_set_ahead_has_its_new_time within ahead $AHEAD
claim so_it_has_after_it_was_set_back within back $BACK
claim the_order_of_what_happened_is_that_of_its_time_since_boot in_order
result
