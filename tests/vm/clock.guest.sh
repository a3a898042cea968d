#!/bin/sh
# Runs in the guest: it sleeps (S3) while events are watched, and then someone sets the clock while they
# come in, ahead and back again.
. /bin/claims.sh

time_of() { sed -n "s/^.*true $1\"|\([0-9]*\)|.*\$/\1/p" /tmp/said; }
ntime_of() { sed -n "s/^.*true $1\"|[0-9]*|\"*\([0-9]*\)[0-9]\{9\}\"*\$/\1/p" /tmp/said; }
within() { # WORD FROM : once, and at most a minute after that
    [ "$(time_of "$1" | wc -l)" = 1 ] && [ "$(time_of "$1")" -ge "$2" ] && [ "$(time_of "$1")" -le $(($2 + 60)) ]
}
in_order() { # WORD…
    [ "$(sed -n 's/^.*true \([a-z]*\)".*$/\1/p' /tmp/said | paste -sd' ')" = "$*" ]
}
told() { # of what this script runs
    osquery-ebpf shell --csv --exec "$1 >/dev/null" \
        "SELECT cmdline, time, ntime FROM process_events WHERE cmdline LIKE '/bin/busybox true %' ORDER BY CAST(ntime AS INTEGER)" \
        >/tmp/said 2>/tmp/log
}

# Long enough to have fallen asleep by then, also where machines share a CPU: nothing else wakes it.
readonly ASLEEP=15
told "/bin/busybox true awake; cut -d' ' -f1 /proc/uptime >/tmp/before; echo +$ASLEEP >/sys/class/rtc/rtc0/wakealarm;
    echo mem >/sys/power/state; date +%s >/tmp/after; /bin/busybox true woken; sleep 1"
slept() { [ $(($(ntime_of woken) - $(ntime_of awake))) -ge $((ASLEEP - 1)) ]; }
claim it_goes_on_after_the_machine_has_slept in_order awake woken
claim time_since_boot_has_the_time_asleep slept
claim what_happens_after_it_has_the_time_of_day within woken "$(cat /tmp/after)"

readonly AHEAD=2000000000 BACK=1000000000
# The difference of the clocks is read ten times a second.
SCRIPT="date +%s >/tmp/began; /bin/busybox true now; sleep 1;
    date -s @$AHEAD; sleep 2; /bin/busybox true ahead; sleep 1;
    date -s @$BACK; sleep 2; /bin/busybox true back; sleep 1"
told "$SCRIPT"

claim what_happened_before_keeps_its_time within now "$(cat /tmp/began)"
claim what_happens_after_the_clock_was_set_ahead_has_its_new_time within ahead $AHEAD
claim so_it_has_after_it_was_set_back within back $BACK
claim the_order_of_what_happened_is_that_of_its_time_since_boot in_order now ahead back
result
