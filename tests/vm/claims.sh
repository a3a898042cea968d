# Sourced in the guest: claims, counted and told as Rust's test programs do.
total=0 failed=0
began=$(cut -d. -f1 /proc/uptime)

# What the program said and logged, and how things were before and after.
for file in said log before after; do : >/tmp/$file; done

claim() { # NAME CONDITION…
    name=$1
    shift
    total=$((total + 1))
    if "$@"; then
        echo "test $name ... ok"
    else
        failed=$((failed + 1))
        echo "test $name ... FAILED"
        sed 's/^/  said: /' /tmp/said
        sed 's/^/  log: /' /tmp/log
        sed 's/^/  before: /' /tmp/before
        sed 's/^/  after: /' /tmp/after
    fi
}
result() { # the summary; false if a claim failed
    word=ok
    [ $failed -eq 0 ] || word=FAILED
    seconds=$(($(cut -d. -f1 /proc/uptime) - began))
    echo "test result: $word. $((total - failed)) passed; $failed failed; 0 ignored; finished in ${seconds}.00s"
    [ $failed -eq 0 ]
}
